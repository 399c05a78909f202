#!/usr/bin/env python3
"""Holds the sources to what docs/architecture.md promises of them.

- the layer rule: a file includes its own room and rooms to its left; wolfSSL stays in crypto, libuv in io and abi;
  rooms left of io include no header of the operating system and call no allocator, clock or random source of libc;
- the `weft` command and the public header see nothing of the inside;
- no C file over 800 lines, no function over 80 (those over 60 are listed), no line over 120 columns;
- both walks at the top of docs/architecture.md name functions that exist, in the files it names. Its lines look like
      -> `quic/endpoint.c` `quic_endpoint_input` finds the connection ...

Each file (and each step of a walk) is one check. Needs nothing but Python's standard library.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Left to right. mux and masque stand side by side: neither may include the other.
RANK = {"base": 0, "tables": 1, "crypto": 2, "quic": 3, "http": 4, "mux": 5, "masque": 5, "io": 6, "abi": 7}
FILE_LINES = 800
PUBLIC_HEADER_LINES = 1300  # one header for everything, most of it documentation: an hour's reading
FUNCTION_LINES = 80
COLUMNS = 120  # of the public header more: its tables are read as tables
FUNCTION_LINES_WISHED = 60
WALK_STEPS = 10  # fewer steps than this in the document means that its format was not understood

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
WALK_STEP = re.compile(r"`([a-z0-9_./]+\.[ch])` `([a-z0-9_]+)`")
SYSTEM = re.compile(r"^(sys/|arpa/|net/|netinet/|linux/|(unistd|time|poll|pthread|fcntl|signal|netdb|dirent|ifaddrs)\.h$)")
INJECTED = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free|rand|srand|random|getenv|fopen|printf|clock)\s*\(")
# What is nevertheless right, file by file.
MAY_SEE = {
    ("core/crypto/process.c", "time.h"),  # wolfSSL asks its host for the date, to judge certificates
    ("core/crypto/random.c", "sys/random.h"),  # wolfSSL draws from its host, and says not for whom
    ("core/crypto/random.c", "sys/mman.h"),  # madvise: a page that a fork wipes, so that nothing is drawn twice
    ("core/crypto/selfsigned.c", "time.h"),  # gmtime_r and strftime write a given date, and read no clock
    ("core/crypto/tls_names.c", "arpa/inet.h"),  # inet_pton is a parser, no system call
}
MAY_ALLOCATE = {"core/base/mem.c"}  # wraps libc's allocator for those who inject none
KEYWORDS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else"}


def blank(text):
    """The text without comments, strings, character constants and preprocessor lines; line breaks stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:\\\n|/\*.*?\*/|[^\n])*', re.S | re.M
    )
    return pattern.sub(lambda m: "\n" * m.group().count("\n") or " ", text)


def functions(text):
    """(name, first line, last line) of each function defined in `text`, which went through blank()."""
    found, depth, start, name = [], 0, 0, None
    statement = 0  # where the current top-level declaration begins
    for match in re.finditer(r"[{};]", text):
        at, char = match.start(), match.group()
        if char == "{":
            if depth == 0:
                head = text[statement:at]
                name = None
                if "(" in head and "=" not in head.split("(")[0]:
                    before = re.match(r"[^(]*?(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head, flags=re.S))
                    if before and before.group(1) not in KEYWORDS:
                        name = before.group(1)
                        start = statement + len(head) - len(head.lstrip())
            depth += 1
        elif char == "}":
            depth = max(0, depth - 1)
            if depth == 0:
                if name:
                    found.append((name, text.count("\n", 0, start) + 1, text.count("\n", 0, at) + 1))
                    name = None
                statement = at + 1
        elif depth == 0:
            statement = at + 1
    return found


class Source:
    def __init__(self, path):
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.code = blank(self.text)
        self.functions = functions(self.code)
        parts = self.name.split("/")
        self.room = parts[1] if parts[0] == "core" else "cli" if parts[1] == "cli" else parts[0]
        if parts[:2] == ["abi", "include"]:
            self.room = "public"
        # Commented-out includes do not count: look at the text without comments.
        text = re.sub(r"/\*.*?\*/", "", self.text, flags=re.S)
        self.includes = [(kind == "<", what) for kind, what in INCLUDE.findall(text)]

    def inner(self):
        """The files of ours that this one includes by quotes."""
        for outer, what in self.includes:
            if not outer:
                for base in (self.path.parent, ROOT / "core", ROOT / "abi", ROOT):
                    if (base / what).is_file():
                        yield (base / what).resolve()
                        break
                else:
                    raise FileNotFoundError(what)


def outside_headers(source, sources, seen=None):
    """The <...> headers that `source` sees, directly or through headers of ours."""
    seen = seen if seen is not None else set()
    if source.path in seen:
        return set()
    seen.add(source.path)
    found = {what for outer, what in source.includes if outer}
    for path in source.inner():
        if path in sources:
            found |= outside_headers(sources[path], sources, seen)
    return found


def wrong_arrows(source, sources):
    problems = []
    if source.room not in RANK and source.room not in ("cli", "public"):
        return [f"'{source.room}' is no room"]
    try:
        inner = [sources[path] for path in source.inner() if path in sources]
        headers = outside_headers(source, sources)
    except FileNotFoundError as missing:
        return [f'includes "{missing}", which does not exist']
    for other in inner:
        if source.room == "cli" and other.room != "cli":
            problems.append(f"the command may not include {other.name}, only <weft/weft.h>")
        elif source.room == "public" and other.room != "public":
            problems.append(f"the public header may not include {other.name}")
        elif source.room in RANK and other.room == "cli":
            problems.append(f"includes {other.name} of the command")
        elif source.room in RANK and other.room in RANK and other.room != source.room:
            if RANK[other.room] >= RANK[source.room]:
                problems.append(f"wrong arrow: {source.room} may not include {other.name}")
    for header in sorted(headers):
        if header.startswith("wolfssl/") and source.room != "crypto":
            problems.append(f"sees <{header}>: wolfSSL's types do not leave crypto")
        if (header == "uv.h" or header.startswith("uv/")) and source.room not in ("io", "abi"):
            problems.append(f"sees <{header}>: libuv is for io and abi")
        if header.startswith("weft/") and source.room not in ("abi", "cli", "public"):
            problems.append(f"sees <{header}>: the public header is abi's")
        system = SYSTEM.match(header) and (source.name, header) not in MAY_SEE
        if system and RANK.get(source.room, 9) < RANK["io"]:
            problems.append(f"sees <{header}>: the operating system is io's")
    if RANK.get(source.room, 9) < RANK["io"] and source.name not in MAY_ALLOCATE:
        for call in sorted(set(INJECTED.findall(source.code))):
            problems.append(f"calls {call}(): memory, time, randomness and files are injected")
    return problems


def too_long(source, notes):
    problems = []
    lines = source.text.count("\n")
    allowed = PUBLIC_HEADER_LINES if source.name.endswith("weft/weft.h") else FILE_LINES
    if lines > allowed:
        problems.append(f"{lines} lines, {allowed} are allowed")
    if allowed == FILE_LINES:
        for number, line in enumerate(source.text.splitlines(), 1):
            if len(line) > COLUMNS:
                problems.append(f"line {number}: {len(line)} columns, {COLUMNS} are allowed")
    for name, first, last in source.functions:
        length = last - first + 1
        if length > FUNCTION_LINES:
            problems.append(f"line {first}: {name} has {length} lines, {FUNCTION_LINES} are allowed")
        elif length > FUNCTION_LINES_WISHED:
            notes.append(f"{source.name}:{first}: {name} has {length} lines, {FUNCTION_LINES_WISHED} are wished for")
    return problems


def walk_steps(document):
    for line in document.splitlines():
        if re.match(r"\s*(->|In:|Out:)", line):
            yield from WALK_STEP.findall(line)


def missing_step(file, function, sources):
    for base in (ROOT / "core", ROOT):
        if (base / file).is_file():
            source = sources.get((base / file).resolve())
            if source and function in (name for name, _, _ in source.functions):
                return None
            return f"{file} defines no function {function}"
    return f"{file} does not exist"


def main():
    paths = sorted(p for top in ("core", "abi") for p in (ROOT / top).rglob("*.[ch]"))
    sources = {path.resolve(): Source(path) for path in paths}
    results, notes = [], []
    for source in sources.values():
        results.append((source.name, wrong_arrows(source, sources) + too_long(source, notes)))

    document = ROOT / "docs" / "architecture.md"
    if document.is_file():
        steps = list(walk_steps(document.read_text(encoding="utf-8")))
        if len(steps) < WALK_STEPS:
            results.append((document.name, [f"only {len(steps)} steps of the form -> `file.c` `function` found"]))
        for file, function in steps:
            problem = missing_step(file, function, sources)
            results.append((document.name, [problem] if problem else []))
    if not paths:
        results.append(("core", ["no sources found"]))

    for note in notes:
        print(f"note: {note}")
    for name, problems in results:
        for problem in problems:
            print(f"{name}: {problem}")
    failed = sum(1 for _, problems in results if problems)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
