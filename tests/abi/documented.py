#!/usr/bin/env python3
"""Finds functions of weft.h whose comment leaves out what a caller must know.

    comment      each function has one, of its own or (three functions at most) together with those above it
    errors       each WEFT_E_* that the function can return, as the sources of abi/ have it, is named in its comment; but for
                 those that the header's beginning names for all functions
    ownership    of pointers that are returned; of handles that are made: how they end; of callbacks and their arguments
    units        of times and lifetimes
    RFC          a comment that names a frame, a packet or a mechanism of the protocol says where it is specified, and every
                 reference is to an RFC by number, and to a section of the large ones

Prints what it finds, and "N passed, N failed" (one check a function). Arguments: a header to judge in place of ours.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
import weft_header  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED_MOST = 3
FOR_ALL = {"HANDLE", "GONE", "THREAD", "INVALID", "NOMEM", "UNSUPPORTED"}
FOR_STREAMS = {"CLOSED"}
# Errors that a function's code mentions and the function does not return.
NOT_RETURNED = {
    "weft_config_self_signed": {"TOO_LARGE"},  # what it makes is small
    "weft_pool_listen": {"INTERNAL", "TOO_LARGE"},  # its text has room for every address
    "weft_pair_step": {"TOO_LARGE"},  # no datagram on the way is larger than a train
    "weft_pair_run": {"TOO_LARGE"},
    "weft_conn_get_close": "fills them in: they are in weft_close.error",
    "weft_stream_write_ref": {"BLOCKED"},  # becomes a count of 0
}
HANDLES = r"weft_(config|engine|listener|conn|stream|buffer|pool|pair)"
# Functions that look a handle up: what they return is named for all functions, or for all of weft_config.
LOOK_UP = re.compile(r"abi_\w+_(get|pin|begin)|abi_registry_\w+")
# Functions of which a handle is asked, not made.
FINDS = {"weft_stream_find", "weft_pool_engine"}
TIME = re.compile(r"(^|_)(ns|now|time|timeout|deadline|delay|days|lifetime|interval)(_|$)")
TIME_TOLD = re.compile(r"\bns\b|nanosecond|\bseconds\b|\bdays\b")
LARGE_RFCS = "8446|9000|9001|9002|9114|9110|9113"
PROTOCOL = re.compile(
    r"\b(RESET_STREAM|STOP_SENDING|MAX_STREAMS|MAX_DATA|NEW_TOKEN|PING|CONNECTION_CLOSE|CONNECTION_REFUSED|DATAGRAM frame|"
    r"PATH_CHALLENGE|key update|early data|0-RTT|session tickets?|stateless reset|migrat\w+|key(ing)? material|"
    r"transport error)\b"
)
FUNCTION = re.compile(r"^(?:[a-z]\w*[ *]+)+(\w+)\([^;{}]*\)\s*\{(.*?)\}$", re.S | re.M)


def bodies(directory, pattern):
    """Functions of the C files there, name: body."""
    found = {}
    for path in sorted((ROOT / directory).glob(pattern)):
        for match in FUNCTION.finditer(weft_header.blanked(path.read_text(encoding="utf-8"))):
            found[match[1]] = match[2]
    return found


class Sources:
    def __init__(self):
        self.abi, self.core = bodies("abi", "*.c"), bodies("core", "*/*.c")

    def errors(self, name, seen=None):
        """Errors that this function of abi/ names, or those of abi/ that it calls, or functions of the core that it calls
        itself. Deeper in the core there are too many that never get here."""
        seen = set() if seen is None else seen
        if name in seen or name not in self.abi or LOOK_UP.fullmatch(name):
            return set()
        seen.add(name)
        body = self.abi[name]
        found = set(re.findall(r"\bWEFT_E_(\w+)", re.sub(r"[!=]= WEFT_E_\w+", "", body)))
        for called in set(re.findall(r"\b(\w+)\(", body)):
            found |= self.errors(called, seen)
            found |= set(re.findall(r"\breturn [^;]*?\bERR_(\w+)", self.core.get(called, "")))
        return found - {"OK"}


def about_errors(one, sources):
    comment = one.comment
    returned = sources.errors(one.name) - FOR_ALL
    if one.name.startswith("weft_stream_"):
        returned -= FOR_STREAMS
    not_returned = NOT_RETURNED.get(one.name, set())
    missing = set() if isinstance(not_returned, str) else returned - not_returned - set(re.findall(r"WEFT_E_(\w+)", comment))
    if one.result in ("int32_t", "int64_t") and missing:
        yield f"errors: can return {', '.join(f'WEFT_E_{name}' for name in sorted(missing))}"
    if one.name not in sources.abi:
        yield "its definition was not found in abi/*.c"


def about_ownership(one):
    comment = one.comment
    if one.result.endswith("*") and not re.search(r"\bstatic\b|borrowed|user pointer", comment):
        yield "ownership: whose is the pointer that is returned?"
    for parameter in one.parameters:
        made = re.fullmatch(rf"{HANDLES} \*", parameter.type) and one.name not in FINDS
        if made and not re.search(r"freed with|_release|handle ends|CONN_CLOSED", comment):
            yield f"ownership: how does the handle {parameter.name} end?"
        callback = re.search(r"_callbacks \*$|_cb$|\(\*\)", parameter.type)
        if callback and not re.search(r"copied|must stay|kept|called|callback\(|callback NULL", comment):
            yield f"ownership: is {parameter.name} copied, or must it stay?"


def about_units(one):
    for parameter in one.parameters:
        if TIME.search(parameter.name) and not TIME_TOLD.search(one.comment):
            yield f"units: {parameter.name} is a time in which unit?"


def about_rfcs(one):
    comment = one.comment
    mentioned = PROTOCOL.search(comment)
    if mentioned and "RFC " not in comment:
        yield f"RFC: {mentioned[0]!r} is specified where?"
    for match in re.finditer(r"\bRFC\b(.{0,12})", comment):
        number = re.match(r" (\d{4})(?: (\d+|[A-Z])(\.\d+)*\b)?", match[1])
        if not number:
            yield f"RFC: which one is {match[0]!r}?"
        elif re.fullmatch(LARGE_RFCS, number[1]) and not number[2]:
            yield f"RFC: which section of RFC {number[1]}?"


def findings(header, sources):
    """{function: [what its comment leaves out]}, for every function."""
    found, group, known = {}, 0, {member.name for enum in header.of("enum") for member in enum.members}
    for one in header.of("function"):
        group = 1 if one.own_comment else group + 1
        if not one.comment:
            found[one.name] = ["has no comment"]
            continue
        left_out = []
        if group > SHARED_MOST:
            left_out.append(f"shares a comment with {group - 1} others")
        unknown = [name for name in re.findall(r"\bWEFT_E_\w+", one.comment) if name not in known]
        left_out += [f"names {name}, which does not exist" for name in unknown]
        left_out += [*about_errors(one, sources), *about_ownership(one), *about_units(one), *about_rfcs(one)]
        found[one.name] = left_out
    return found


def main():
    path = Path(sys.argv[1]) if sys.argv[1:] else weft_header.HEADER
    header = weft_header.read(path)
    lines = {one.name: one.line for one in header.of("function")}
    found = findings(header, Sources())
    for name, left_out in found.items():
        for what in left_out:
            print(f"{path.name}:{lines[name]}: {name}: {what}")
    failed = sum(bool(left_out) for left_out in found.values())
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
