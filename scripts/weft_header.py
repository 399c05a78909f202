"""weft.h as data: its structs, enums, constants and functions, each with the comment that belongs to it.

For what is generated from the header and for the tests of it. It reads the plain C that the header is written in, not C at
large, and refuses what it does not understand, so that nothing can be overlooked.

A comment belongs to the declaration that begins on the line after it, and to those that follow without an empty line or
another comment between: `/* Both. */ a(); b();` is about a and b.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "abi" / "include" / "weft" / "weft.h"

COMMENT = re.compile(r"/\*.*?\*/", re.S)
DECLARATION = re.compile(
    r"(?P<enum>enum (?P<enum_name>\w+) \{(?P<enum_body>[^}]*)\};)"
    r"|(?P<struct>typedef struct (?P<struct_name>\w+) \{(?P<struct_body>[^}]*)\} (?P=struct_name);)"
    r"|(?P<callback>typedef [^;{}]*\(\*(?P<callback_name>\w+)\)\([^;{}]*\);)"
    r"|(?P<function>WEFT_API (?P<result>[\w ]+?[ *]+?)(?P<function_name>\w+)\((?P<parameters>[^;{}]*)\);)"
    r"|(?P<forward>struct \w+;)"
)
MACRO = re.compile(r"#define[ \t]+(WEFT_\w+)[ \t]+([^\n]+)")
NO_MACROS = {"WEFT_API", "WEFT_WEFT_H"}


class Unreadable(Exception):
    pass


@dataclass
class Member:
    name: str
    type: str


@dataclass
class Parameter:
    name: str
    type: str


@dataclass
class Declaration:
    kind: str  # enum, struct, callback, function
    name: str
    line: int
    comment: str | None  # in one line
    text: str = ""  # without comments
    own_comment: bool = True  # False: the comment is that of a declaration above
    members: list = field(default_factory=list)
    result: str = ""
    parameters: list = field(default_factory=list)


@dataclass
class Header:
    text: str
    declarations: list
    macros: dict  # name: (value, line)

    def of(self, kind):
        return [one for one in self.declarations if one.kind == kind]


def blanked(text):
    """Without comments, at the same places."""
    return COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def plain(comment):
    """A comment's words in one line."""
    inside = re.sub(r"^/\*+<?|\*/$", "", comment.strip())
    return " ".join(re.sub(r"^[ \t]*\*[ \t]?", "", line).strip() for line in inside.split("\n")).strip()


def split_commas(text):
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def declared(text):
    """`const uint8_t *data[4]` -> ("data", "const uint8_t *[4]")."""
    text = " ".join(text.split())
    pointer = re.fullmatch(r"(.*)\(\*(\w+)\)(\(.*\))", text)
    if pointer:
        return pointer[2], f"{pointer[1].strip()} (*){pointer[3]}"
    match = re.fullmatch(r"(.*?)(\w+)((?:\[[^\]]*\])*)", text)
    if not match or not match[1].strip():
        raise Unreadable(text)
    return match[2], match[1].strip() + match[3]


def struct_members(body):
    members = []
    for statement in re.sub(r"#if.*?#endif", "", body, flags=re.S).split(";"):
        if not statement.strip():
            continue
        first, *others = split_commas(statement)
        name, kind = declared(first)
        members.append(Member(name, kind))
        base = re.sub(r"[*\[].*", "", kind).strip()
        for other in others:
            name, kind = declared(f"{base} {other}")
            members.append(Member(name, kind))
    return members


def parameters_of(text):
    if text.strip() == "void":
        return []
    return [Parameter(*declared(part)) for part in split_commas(text)]


def parse(text):
    code = blanked(text)
    code = re.sub(r'extern "C" \{', lambda m: " " * len(m.group()), code)
    code = re.sub(r"#ifdef __cplusplus\s*\}\s*#endif", lambda m: re.sub(r"[^\n]", " ", m.group()), code)
    macros = {m[1]: (m[2].strip(), code[: m.start()].count("\n") + 1) for m in MACRO.finditer(code) if m[1] not in NO_MACROS}
    comments = {match.end(): match for match in COMMENT.finditer(text)}
    declarations, rest, last_end, last = [], code, 0, None
    for match in DECLARATION.finditer(code):
        kind = next(kind for kind in ("enum", "struct", "callback", "function", "forward") if match[kind])
        rest = rest[: match.start()] + re.sub(r"[^\n]", " ", match.group()) + rest[match.end() :]
        if kind == "forward":
            continue
        before = text[: match.start()].rstrip(" \t")
        above = comments.get(len(before) - 1) if before.endswith("*/\n") else None
        if above and above.start() and text[above.start() - 1] != "\n":
            above = None  # it stands behind code
        shared = above is None and last is not None and not re.search(r"\n[ \t]*\n", text[last_end : match.start()])
        one = Declaration(kind, match[f"{kind}_name"], text[: match.start()].count("\n") + 1, None, match.group())
        if above:
            one.comment = plain(above.group())
        elif shared:
            one.comment, one.own_comment = last.comment, False
        if kind == "enum":
            one.members = [Member(part.split("=")[0].strip(), "") for part in split_commas(match["enum_body"])]
        elif kind == "struct":
            one.members = struct_members(match["struct_body"])
        elif kind == "function":
            one.result = match["result"].strip()
            one.parameters = parameters_of(match["parameters"])
        declarations.append(one)
        last_end, last = match.end(), one
    left = re.sub(r"^[ \t]*#(?:[^\n]|\\\n)*", "", rest, flags=re.M).strip()
    if left:
        raise Unreadable(left.split("\n")[0])
    return Header(text, declarations, macros)


def read(path=HEADER):
    return parse(Path(path).read_text(encoding="utf-8"))
