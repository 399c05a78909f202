#!/usr/bin/env python3
"""Adds up what gcov saw of core/: lines and branches for each room and in all.

A line or branch counts as reached when any program reached it: functions in headers are compiled many times. A branch
is one way out of a condition, as gcov sees it after the compiler's first pass: each && and || has its own, a switch one
for each case. Assertions are not in the build that is measured (NDEBUG), so they have none; ways that only exceptions
take are left out. Where a line was compiled to different sets of branches (macros, inlined constants), the largest set
counts. Fails (exit code 1) below the shares asked for. What nothing reached is listed in <build>/missing.txt.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def gcov_of(files):
    """What gcov says about these files: one object for each."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *map(str, files)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for line in out.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def collect(build):
    lines = collections.defaultdict(dict)
    branches = collections.defaultdict(dict)
    data = sorted(path for path in build.rglob("*.gcda"))
    if not data:
        sys.exit(f"coverage.py: nothing was run in {build}")
    for at in range(0, len(data), 40):
        for unit in gcov_of(data[at : at + 40]):
            for file in unit["files"]:
                path = (ROOT / unit["current_working_directory"] / file["file"]).resolve()
                if not path.is_relative_to(ROOT / "core"):
                    continue
                name = str(path.relative_to(ROOT))
                for line in file["lines"]:
                    number = line["line_number"]
                    lines[name][number] = lines[name].get(number, 0) + line["count"]
                    for index, branch in enumerate(line["branches"]):
                        if branch["throw"]:
                            continue
                        key = (number, len(line["branches"]), index)
                        branches[name][key] = branches[name].get(key, 0) + branch["count"]
    return lines, {name: largest(counts) for name, counts in branches.items()}


def largest(counts):
    """Of each line's sets of branches the one with most."""
    most = {}
    for number, size, _ in counts:
        most[number] = max(most.get(number, 0), size)
    return {key: count for key, count in counts.items() if key[1] == most[key[0]]}


def share(reached, of):
    return 100 * reached / of if of else 100.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--lines", type=float, default=0, help="least share of lines, in percent")
    parser.add_argument("--branches", type=float, default=0, help="least share of branches, in percent")
    parser.add_argument("--files", action="store_true", help="each file, too")
    arguments = parser.parse_args()
    lines, branches = collect(arguments.build.resolve())
    rooms = collections.defaultdict(lambda: [0, 0, 0, 0])
    with open(arguments.build / "missing.txt", "w", encoding="utf-8") as missing:
        for name in sorted(lines):
            sums = [
                sum(1 for count in lines[name].values() if count),
                len(lines[name]),
                sum(1 for count in branches.get(name, {}).values() if count),
                len(branches.get(name, {})),
            ]
            for key in ("/".join(name.split("/")[:2]), "core", *([name] if arguments.files else [])):
                rooms[key] = [a + b for a, b in zip(rooms[key], sums)]
            gone = {number for number, count in lines[name].items() if not count}
            missing.writelines(f"{name}:{number}: line\n" for number in sorted(gone))
            half = {key[0] for key, count in branches.get(name, {}).items() if not count} - gone
            missing.writelines(f"{name}:{number}: branch\n" for number in sorted(half))
    print(f"{'room':<36} {'lines':>16} {'branches':>20}")
    for room in sorted(rooms, key=lambda name: (name == "core", name)):
        a, b, c, d = rooms[room]
        print(f"{room:<36} {share(a, b):6.1f} % of {b:6d} {share(c, d):8.1f} % of {d:6d}")
    a, b, c, d = rooms["core"]
    below = []
    if share(a, b) < arguments.lines:
        below.append(f"lines: {share(a, b):.1f} %, at least {arguments.lines:g} % are asked for")
    if share(c, d) < arguments.branches:
        below.append(f"branches: {share(c, d):.1f} %, at least {arguments.branches:g} % are asked for")
    for text in below:
        print(text)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
