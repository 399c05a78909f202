#!/usr/bin/env python3
"""Instructions for each packet, ACK, handshake and request: counted, not timed, so that noise cannot change them.

    walk.py [--build DIR]               count and print
    walk.py [--build DIR] --check       and fail where more than 5 % over the recorded numbers (tests/bench/walk.json)
    walk.py [--build DIR] --record      and record them
    walk.py [--build DIR] --top REGION  the functions of a region that cost most

Callgrind runs bench_walk (walk.c) once for each region. What is held to the record are weft's own instructions, those
of files under core/ and abi/: the share of wolfSSL and libc depends on what the processor can do, and is printed beside
them. Compilers differ too, so numbers are recorded for each (name and major version); with a compiler that has none the
check says so, and counts as failed unless --unknown-compiler-ok is given.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "walk.json"
REGIONS = ["send", "sender-turn", "receive", "acknowledge", "handshake-client", "handshake-server", "request-client",
           "request-server"]
TOLERANCE = 0.05
OWN = re.compile(r"(^|/)(core|abi)/[^/]*/?[^/]*\.[ch]$")


def self_costs(text):
    """Sums callgrind's self cost by (file, function). The format compresses names to "(number) name" at first use."""
    names = {"fl": {}, "fn": {}}
    costs = defaultdict(int)
    file = function = None
    skip = False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in ("fl", "fi", "fe", "fn"):
            table = names["fn" if key == "fn" else "fl"]
            number, _, name = value.partition(" ")
            if name:
                table[number] = name
            if key == "fn":
                function = table[number]
            else:
                file = table[number]
        elif key == "calls":
            skip = True  # the next line is the callee's inclusive cost
        elif key in ("cfi", "cfl", "cfn"):
            number, _, name = value.partition(" ")
            if name:
                names["fn" if key == "cfn" else "fl"][number] = name
        elif line[:1].isdigit() or line[:1] in "+-*":
            if skip:
                skip = False
            else:
                fields = line.split()  # a cost of 0 may be left out
                costs[file, function] += int(fields[1]) if len(fields) > 1 else 0
    return costs


def count(program, region):
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={out}", str(program), region],
            capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"walk: {region}: {result.stderr}")
        units, unit = result.stdout.split()
        return int(units), unit, self_costs(out.read_text())


def compiler(build):
    cache = (build / "CMakeCache.txt").read_text()
    path = re.search(r"^CMAKE_C_COMPILER:\w+=(.*)$", cache, re.M).group(1)
    version = subprocess.run([path, "-dumpversion"], capture_output=True, text=True, check=True).stdout.split(".")[0]
    banner = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    machine = subprocess.run([path, "-dumpmachine"], capture_output=True, text=True, check=True).stdout.split("-")[0]
    return f"{'clang' if 'clang' in banner else 'gcc'}-{version.strip()}-{machine}"


def top(units, costs, source):
    total = sum(costs.values())
    for (file, function), cost in sorted(costs.items(), key=lambda item: -item[1])[:45]:
        place = (file or "?").replace(f"{source}/", "")
        print(f"{cost / units:10.1f}  {100 * cost / total:5.1f} %  {function}  {place}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path(os.environ.get("WEFT_BUILD", HERE.parents[1] / "build/release")))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--unknown-compiler-ok", action="store_true")
    parser.add_argument("--top", metavar="REGION", choices=REGIONS)
    args = parser.parse_args()
    program = args.build / "tests/bench_walk"
    if args.top:
        units, _, costs = count(program, args.top)
        return top(units, costs, HERE.parents[1])
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    name = compiler(args.build)
    known, found, failed = record.get(name), {}, 0
    print(f"{'instructions':<18}{'per':<12}{'weft':>10}{'recorded':>10}{'wolfSSL, libc':>15}   ({name})")
    for region in REGIONS:
        units, unit, costs = count(program, region)
        own = sum(cost for (file, _), cost in costs.items() if OWN.search(file or ""))
        found[region] = round(own / units, 1)
        other = (sum(costs.values()) - own) / units
        before = known.get(region) if known else None
        worse = bool(args.check and before and found[region] > before * (1 + TOLERANCE))
        failed += worse
        mark = f"  more than {TOLERANCE:.0%} over the record" if worse else ""
        print(f"{region:<18}{unit:<12}{found[region]:>10,.0f}{before or '-':>10}{other:>15,.0f}{mark}")
    if args.record:
        record[name] = found
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    if args.check:
        if not known and not args.unknown_compiler_ok:
            print(f"nothing is recorded for {name}: tests/bench/walk.py --record does that")
            failed = len(REGIONS)
        print(f"{len(REGIONS) - failed} passed, {failed} failed")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
