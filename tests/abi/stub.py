"""Libraries with the interface of a header and nothing behind it: what the checks are checked with.

A stub has the functions, types, debug information, version nodes and SONAME that weft built from that header would have. So
a change can be made to a copy of the header and seen by the checks as it would be seen in a build.
"""

from pathlib import Path

import golden
import weft_header


def include_directory(where, change=None):
    """A directory with a copy of weft.h in it, to include from; `change` takes its text and gives another."""
    text = weft_header.HEADER.read_text(encoding="utf-8")
    changed = change(text) if change else text
    assert not change or changed != text, "the change has changed nothing"
    (Path(where) / "weft").mkdir(parents=True)
    (Path(where) / "weft" / "weft.h").write_text(changed, encoding="utf-8")
    return Path(where)


def source(header):
    lines = ["#include <weft/weft.h>"]
    for one in header.of("function"):
        lines.append(one.text.removeprefix("WEFT_API ").rstrip(";"))
        if one.result == "void":
            lines.append("{ }")
        elif one.result.startswith("weft_"):
            lines.append(f"{{ {one.result} none = {{0}}; return none; }}")
        else:
            lines.append("{ return 0; }")
    return "\n".join([*lines, ""])


def objects(include, where):
    header = weft_header.read(include / "weft" / "weft.h")
    text, out = where / "stub.c", where / "stub.o"
    text.write_text(source(header))
    golden.command("cc", "-std=c11", "-g", "-fPIC", "-fvisibility=hidden", "-I", include, "-c", text, "-o", out)
    return out


def shared(include, where, *, versioned=True):
    """libweft.so for the header in `include`."""
    library, flags = where / "libweft.so", []
    if versioned:
        flags.append(f"-Wl,--version-script={golden.ROOT / 'abi' / 'weft.map'}")
    golden.command("cc", "-shared", "-Wl,-soname,libweft.so.0", *flags, objects(include, where), "-o", library)
    return library


def archive(include, where, more=""):
    """libweft.a for it, with `more` C beside."""
    library, beside = where / "libweft.a", where / "more.c"
    beside.write_text(more)
    golden.command("cc", "-c", beside, "-o", where / "more.o")
    library.unlink(missing_ok=True)
    golden.command("ar", "rcs", library, objects(include, where), where / "more.o")
    return library
