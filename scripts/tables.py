#!/usr/bin/env python3
"""Writes docs/options.md, docs/errors.md, docs/events.md and docs/stats.md from core/tables/*.def.

    scripts/tables.py            writes what has changed
    scripts/tables.py --check    writes nothing; says which are not current, and fails then

The tables are C; so a C compiler reads them, with the definitions they are used with in the library.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

# Prints a line for each entry, its fields separated by tabs.
PROBE = r"""
#include <inttypes.h>
#include <stdio.h>
#include "tables/errors.h"
#include "tables/options.h"
int main(void) {
    for (int id = 0; id < OPTION_IDS; id++) {
        const struct option_info *option = &options_table[id];
        printf("option\t%s\t%d\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%s\t", option->name, option->type, option->standard,
               option->least, option->greatest, option->text);
        for (int i = 0; option->choices && option->choices[i]; i++)
            printf("%s%s", i ? "," : "", option->choices[i]);
        putchar('\n');
    }
#define ERROR(name, number, text) printf("error\t%s\t%d\t%s\n", #name, -(number), text);
#include "tables/errors.def"
#define EVENT(name, number, text) printf("event\t%s\t%d\t%s\n", #name, number, text);
#include "tables/events.def"
#define STAT(scope, name, text) printf("stat\t%s\t%s\t%s\n", #scope, #name, text);
#include "tables/stats.def"
    return 0;
}
"""

NOTE = "<!-- Made by scripts/tables.py from core/tables/{}; `make generated` makes it anew. -->\n\n"

TYPES = ["time", "bytes", "count", "flag", "choice"]
TIMES = [(3600 * 10**9, "h"), (60 * 10**9, "m"), (10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns")]
SIZES = [(1 << 10 * power, f"{letter}iB") for power, letter in reversed(list(enumerate("KMGTPE", 1)))]

OPTIONS = """# Options

What can be set with `weft_config_set(config, "name", "value")`, or with `--set name=value` on the command line. `weft options`
and `weft_option_info` tell the same.

A value is written like this (no spaces, signs or fractions):

| type | | as a number (`weft_config_set_uint`) |
|---|---|---|
| time | `250ms`, `30s`; units `ns`, `us`, `ms`, `s`, `m`, `h` | nanoseconds |
| bytes | `65536`, `64KiB`, `4MiB`; units `B`, `KiB` to `EiB`, `kB`, `MB`, `GB`; `k`, `K`, `M`, `G` are powers of 1024 | bytes |
| count | `17` | itself |
| flag | `on`, `true`, `yes`, `1`; `off`, `false`, `no`, `0` | 1, 0 |
| choice | one of the names | its place in the list, from 0 |

An unknown name is `WEFT_E_OPTION`, a value that is not allowed `WEFT_E_VALUE`; `weft_config_error` then says what is.

| name | type | allowed | unless set | |
|---|---|---|---|---|
"""

ERRORS = """# Errors

What weft's functions return when they fail. `weft_error_name` gives the name, `weft_strerror` the sentence. The numbers stay as
they are for ever; there may be more. Which function gives which, and why, is said in `weft.h`. Codes that travel to the peer and
back (RFC 9000 20) are something else: `weft_close.code`.

| number | name | |
|---|---|---|
"""

EVENTS = """# Events

What an engine tells: as `weft_event.type` in batches, or by a call of the function of the same name in a table of callbacks.
`weft_event_name` gives the name. `weft.h` says what follows what, and which members come with each.

| number | name | |
|---|---|---|
"""

STATS = """# Counters

64-bit numbers that only grow. `weft_conn_get_stats` gives those of a connection, `weft_conn_get_path_stats` those of each of
its paths, with its addresses, round trips, window, MTU and ECN state; both go on answering when the connection has ended. `weft_engine_get_stats` gives their sums over all
connections, open and gone (`weft_engine_stats.conns`), and the engine's own. `weft_stat_info` tells the same as this page. Beside
them `weft_engine_stats` has numbers of memory, and of what there is now: see `weft.h`.
"""


def read_tables():
    with tempfile.TemporaryDirectory() as scratch:
        source, program = Path(scratch, "probe.c"), Path(scratch, "probe")
        source.write_text(PROBE)
        tables = ROOT / "core" / "tables"
        words = ["cc", "-std=c11", "-I", ROOT / "core", source, tables / "options.c", tables / "errors.c", "-o", program]
        subprocess.run(words, check=True)
        lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    return {kind: [row[1:] for row in rows if row[0] == kind] for kind in ("option", "error", "event", "stat")}


def in_units(value, units):
    for size, name in units:
        if value and value % size == 0:
            return f"{value // size}{name}"
    return str(value)


def power_of_two(value):
    return f"2^{value.bit_length() - 1}" if value > 1 << 32 and value & (value - 1) == 0 else str(value)


def option_row(name, kind, standard, least, greatest, text, choices):
    kind, numbers = TYPES[int(kind)], [int(standard), int(least), int(greatest)]
    if kind == "flag":
        allowed, unless_set = "`on`, `off`", ("`off`", "`on`")[numbers[0]]
    elif kind == "choice":
        names = choices.split(",")
        allowed, unless_set = ", ".join(f"`{one}`" for one in names), f"`{names[numbers[0]]}`"
    else:
        units = {"time": TIMES, "bytes": SIZES}.get(kind)
        unless_set, least, greatest = (in_units(one, units) if units else power_of_two(one) for one in numbers)
        allowed, unless_set = f"{least} to {greatest}", f"`{unless_set}`"
    return f"| `{name}` | {kind} | {allowed} | {unless_set} | {text} |"


def stats_page(stats):
    pages = [STATS]
    for scope, title in (("CONN", "Of a connection"), ("PATH", "Of a path"), ("ENGINE", "Of an engine")):
        pages.append(f"\n## {title}\n\n| name | |\n|---|---|\n")
        pages += [f"| `{name}` | {text} |\n" for where, name, text in stats if where == scope]
    return "".join(pages)


def numbered(rows, prefix):
    return "".join(f"| {number} | `{prefix}{name}` | {text} |\n" for name, number, text in rows)


def pages():
    tables = read_tables()
    options = "".join(f"{option_row(*row)}\n" for row in tables["option"])
    return {
        DOCS / "options.md": NOTE.format("options.def") + OPTIONS + options,
        DOCS / "errors.md": NOTE.format("errors.def") + ERRORS + numbered(tables["error"], "WEFT_E_"),
        DOCS / "events.md": NOTE.format("events.def") + EVENTS + numbered(tables["event"], "WEFT_EV_"),
        DOCS / "stats.md": NOTE.format("stats.def") + stats_page(tables["stat"]),
    }


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path}: {'not current; run `make generated`' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
