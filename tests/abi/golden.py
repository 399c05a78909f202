"""What programs that are linked with weft rely on, as text: how it is found in a build, and how two of them compare.

    symbols.txt    the functions that the shared library exports, with their version nodes
    layout.txt     every struct with the offset, size and type of its members, every enumerator, every constant
    weft.abi       what libabigail reads from the shared library: types of arguments and results, SONAME
    headers/       weft.h as it was when a version of the ABI began; programs made with it must go on running

`run` holds a build to these files, `record` writes them. A comparison gives two lists: what breaks programs that exist, and
what was only added. Structs that begin with `size` may grow at their end; other structs are fixed, for programs hold arrays
of them. Members and constants whose names begin with `reserved` or `pad_` are nobody's.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import weft_header  # noqa: E402

SYMBOLS = HERE / "symbols.txt"
LAYOUT = HERE / "layout.txt"
ABI = HERE / "weft.abi"
HEADERS = HERE / "headers"
INCLUDE = ROOT / "abi" / "include"
# What changes with each release, by design.
CHANGING = re.compile(r"WEFT_VERSION(_MAJOR|_MINOR|_PATCH)?")
NOBODYS = re.compile(r"(reserved|pad_)")


def command(*words, **more):
    """Runs a program to its end; its output. A failure is an exception with all it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


# --- symbols ----------------------------------------------------------------------------------------------------------


def exported(library):
    """The lines of symbols.txt: `name version` of what the shared library exports; version `-` where there is none."""
    found, nodes = [], set()
    for line in command("nm", "-D", "--defined-only", "--with-symbol-versions", library).splitlines():
        kind, name = line.split()[-2:]
        name, _, version = name.partition("@@")
        if kind == "A" and (not version or name == version):  # a version node has a symbol of its own
            nodes.add(name)
        else:
            found.append(f"{name} {version or '-'}")
    return sorted(found)


def archive_globals(archive):
    """Names that the static library defines for others."""
    lines = command("nm", "-g", "--defined-only", archive).splitlines()
    return sorted(line.split()[2] for line in lines if len(line.split()) == 3)


def unwelcome(symbols):
    """Of the lines of exported(): what is not ours to export, or has no version."""
    return [line for line in symbols if not re.fullmatch(r"weft_\w+ WEFT_\d+\.\d+", line)]


def compare_lists(old, new):
    return [f"gone: {one}" for one in sorted(set(old) - set(new))], [f"new: {one}" for one in sorted(set(new) - set(old))]


# --- layout -----------------------------------------------------------------------------------------------------------


def probe(header):
    """A program that prints the layout of what `header` declares."""
    out = ["#include <stdio.h>", "#include <weft/weft.h>", "int main(void) {"]
    for one in header.of("struct"):
        out.append(f'    printf("struct {one.name} %zu\\n", sizeof({one.name}));')
        for member in one.members:
            at, size = f"offsetof({one.name}, {member.name})", f"sizeof((({one.name} *)0)->{member.name})"
            out.append(f'    printf("    %zu %zu {member.name}: {member.type}\\n", {at}, {size});')
    for one in header.of("enum"):
        out.append(f'    printf("enum {one.name}\\n");')
        out += [f'    printf("    {member.name} %lld\\n", (long long){member.name});' for member in one.members]
    for name, (value, _) in header.macros.items():
        form, cast = ("%s", "") if value.startswith('"') else ("%lld", "(long long)")
        out.append(f'    printf("constant {name} {form}\\n", {cast}{name});')
    return "\n".join([*out, "    return 0;", "}", ""])


def layout(include=INCLUDE):
    """The text of layout.txt for the header in `include`, by the C compiler."""
    header = weft_header.read(Path(include) / "weft" / "weft.h")
    with tempfile.TemporaryDirectory() as scratch:
        source, program = Path(scratch, "probe.c"), Path(scratch, "probe")
        source.write_text(probe(header))
        command("cc", "-std=c99", "-I", include, source, "-o", program)
        return command(program)


def read_layout(text):
    structs, constants, current = {}, {}, None
    for line in text.splitlines():
        if line.startswith("struct "):
            _, name, size = line.split()
            current = structs[name] = {"size": int(size), "members": {}}
        elif line.startswith("enum "):
            current = None
        elif line.startswith("constant "):
            _, name, value = line.split(maxsplit=2)
            constants[name] = value
        elif current is None:
            name, value = line.split()
            constants[name] = value
        else:
            at, size, name = line.split(maxsplit=2)
            name, _, kind = name.partition(": ")
            current["members"][name] = (int(at), int(size), kind)
    return structs, constants


def compare_struct(name, old, new, breaks, additions):
    for member, (at, size, kind) in old["members"].items():
        if NOBODYS.match(member):
            continue
        if member not in new["members"]:
            breaks.append(f"{name}.{member} is gone")
            continue
        now_at, now_size, now_kind = new["members"][member]
        if now_at != at:
            breaks.append(f"{name}.{member} has moved from {at} to {now_at}")
        # A struct inside a struct may grow into room that was reserved for it.
        if now_kind != kind or (now_size != size and not kind.startswith("weft_")):
            breaks.append(f"{name}.{member} was `{kind}` of {size} bytes and is `{now_kind}` of {now_size}")
    free = [(at, at + size) for member, (at, size, _) in old["members"].items() if NOBODYS.match(member)]
    for member, (at, size, kind) in new["members"].items():
        if member in old["members"] or NOBODYS.match(member):
            continue
        additions.append(f"{name}.{member}: {kind} at {at}")
        if at < old["size"] and not any(start <= at and at + size <= end for start, end in free):
            breaks.append(f"{name}.{member} lies where programs that exist have something else, or padding nobody cleared")
    if new["size"] < old["size"]:
        breaks.append(f"{name} has shrunk from {old['size']} to {new['size']} bytes")
    elif new["size"] > old["size"] and "size" not in old["members"]:
        breaks.append(f"{name} has grown from {old['size']} to {new['size']} bytes, and has no `size` that tells")


def compare_layout(old, new):
    breaks, additions = [], []
    (old_structs, old_constants), (new_structs, new_constants) = read_layout(old), read_layout(new)
    for name, struct in old_structs.items():
        if name not in new_structs:
            breaks.append(f"{name} is gone")
        else:
            compare_struct(name, struct, new_structs[name], breaks, additions)
    additions += [f"struct {name}" for name in new_structs if name not in old_structs]
    for name, value in old_constants.items():
        now = new_constants.get(name)
        if now is None:
            breaks.append(f"{name} is gone")
        elif now != value:
            (additions if CHANGING.fullmatch(name) else breaks).append(f"{name} was {value} and is {now}")
    additions += [f"{name} = {value}" for name, value in new_constants.items() if name not in old_constants]
    if not breaks and not additions and old != new:
        additions.append("what is reserved, or the order of things")
    return breaks, additions


def grown(old, new):
    """Names of the structs that differ, and break nothing by it."""
    (old_structs, _), (new_structs, _) = read_layout(old), read_layout(new)
    names = []
    for name, struct in old_structs.items():
        breaks = []
        if struct != new_structs.get(name, struct):
            compare_struct(name, struct, new_structs[name], breaks, [])
            names += [] if breaks else [name]
    return names


# --- libabigail -------------------------------------------------------------------------------------------------------

# Only what the header shows; nothing of the machine it was built on.
PUBLIC = [
    "--drop-private-types", "--exported-interfaces-only", "--no-architecture", "--no-corpus-path", "--no-comp-dir-path",
    "--no-show-locs", "--no-elf-needed", "--no-parameter-names", "--type-id-style", "hash",
]  # fmt: skip


def abidw(library, include=INCLUDE):
    text = command("abidw", "--headers-dir", include, *PUBLIC, library)
    return re.sub(r"path='[^']*/([^'/]*)'", r"path='\1'", text)


def abidiff(recorded, library, include=INCLUDE):
    """(what breaks, what was added) in libabigail's words; either may be empty.

    Two texts are compared, not a text and a library: the text has no places any more, so abidiff would take every type in
    it for a private one, and let everything pass. That structs may grow, and which, it is told by name: what its own
    rule for members that are inserted at the end lets pass is too much (members that change places)."""
    names = grown(LAYOUT.read_text(), layout(include)) if LAYOUT.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        today, suppressions = Path(scratch, "today.abi"), Path(scratch, "grown.suppr")
        today.write_text(abidw(library, include))
        suppressions.write_text("".join(f"[suppress_type]\n  name = {name}\n" for name in names))

        def differences(*more):
            words = ["abidiff", "--no-architecture", "--suppressions", suppressions, *more, recorded, today]
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
            if done.returncode & ~12:  # 4: there are changes, 8: some break; all else: it could not compare
                raise AssertionError(f"abidiff: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return done.stdout.strip() if done.returncode else ""

        breaks = differences("--no-added-syms")
        return breaks, "" if breaks else differences()
