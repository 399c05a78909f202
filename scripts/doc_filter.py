#!/usr/bin/env python3
"""Gives weft.h to Doxygen: the header is written to be read as it is, and what Doxygen needs beyond that is put in here.

- The essay at its top becomes the main page.
- `/* ---- connections --- */` begins a group; a comment that stands alone below it is about the group.
- A comment above a declaration is about all declarations up to the next empty line or comment, so each gets it.
- A comment behind something is about that.
"""

import re
import sys
from pathlib import Path

import weft_header

ESSAY = re.compile(r"/\* weft\.h - ([^\n]*)\n(.*?\*/)", re.S)
SECTION = re.compile(r"/\* -{4} (.*?) -+ \*/\n\n(?:/\*((?:(?!\*/).)*)\*/\n\n)?", re.S)
SPECIAL = re.compile(r'("[^"]*")|::|%')  # between quotes Doxygen leaves them alone
TITLE = re.compile(r"^ \* ([A-Z]{4,})\b(?!-)(\.?)", re.M)  # HANDLES cannot dangle


def with_own_comments(text):
    """Declarations that share a comment have copies of it."""
    lines = text.split("\n")
    for one in reversed(weft_header.parse(text).declarations):
        if one.comment and not one.own_comment:
            lines.insert(one.line - 1, f"/* {one.comment} */")
    return "\n".join(lines)


def essay(match):
    return f"/** \\mainpage {match[1]}\n" + TITLE.sub(r" * **\1**\2", match[2])


def section(match):
    group = re.sub(r"\W+", "_", match[1])
    about = f" *\n * {match[2].strip()}\n" if match[2] else ""
    return f"/** @}} */\n/** \\defgroup {group} {match[1].capitalize()}\n{about} * @{{ */\n\n"


def mark(match):
    """A comment in Doxygen's form, by where it stands; those that are so already stay."""
    comment, text = SPECIAL.sub(lambda one: one[1] or f"\\{one[0]}", match.group()), match.string
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    if comment.startswith("/**"):
        return comment
    if line.strip():
        return "/**<" + comment[2:]
    alone = not line and text.startswith("\n\n", match.end())
    return comment if alone else "/**" + comment[2:]


def filtered(text):
    text = ESSAY.sub(essay, with_own_comments(text), count=1)
    text = SECTION.sub(section, text).replace("/** @} */\n", "", 1)  # there is no group before the first
    text = weft_header.COMMENT.sub(mark, text)
    end = text.rindex("#ifdef __cplusplus")
    return text[:end] + "/** @} */\n\n" + text[end:]


if __name__ == "__main__":
    sys.stdout.write(filtered(Path(sys.argv[1]).read_text(encoding="utf-8")))
