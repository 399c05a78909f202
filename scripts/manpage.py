#!/usr/bin/env python3
"""Writes abi/cli/weft.1, the manual page of the `weft` command, from what the command's --help says.

    scripts/manpage.py PROGRAM            writes it when it has changed
    scripts/manpage.py PROGRAM --check    writes nothing; fails when it is not current

The help has one form everywhere (abi/cli/args.c): a line of usage, paragraphs, groups of options under a title, paragraphs.
What is indented by four is to be shown as it is.
"""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "abi" / "cli" / "weft.1"
DATE = "November 21, 2026"  # of the page's form; what it says follows the command

GROUP = re.compile(r"^[A-Z][\w ]*:$")
OPTION = re.compile(r"^    (?:-(?P<letter>\w), |    )--(?P<name>[\w-]+)(?: (?P<value>\S+(?: \S+)*?))?(?:\s{2,}(?P<text>.*))?$")
SUBCOMMANDS = re.compile(r"^usage: weft (?:\w+ )?((?:\w+ \| )+\w+) \.\.\.$", re.M)
COMMAND_LINE = re.compile(r"^    (\w+) {2,}\S", re.M)


def escaped(text):
    """A line of text in roff."""
    text = text.replace("\\", "\\e")
    return "\\&" + text if text.startswith((".", "'")) else text


def shown(line):
    """A line to be copied: its characters are those of the keyboard."""
    line = escaped(line)
    for character, name in {"-": "\\-", "`": "\\(ga", "~": "\\(ti", "^": "\\(ha"}.items():
        line = line.replace(character, name)
    return line


def filled(words):
    """Text to be filled, each sentence on lines of its own; hyphens of options are those of the keyboard."""
    text = " ".join(words.split())
    out = []
    for sentence in re.split(r"(?<=[.;:?!]) (?=[A-Z0-9])", text):
        for line in textwrap.wrap(sentence, 72, break_long_words=False, break_on_hyphens=False):
            line = re.sub(r"(?<![\w-])--?[a-z-]+", lambda match: match[0].replace("-", "\\-"), escaped(line))
            out.append(re.sub(r"`", "\\(ga", line))
    return out


def paragraphs(lines):
    """The help's paragraphs: text is filled, what is indented is shown as it is."""
    out, fresh = [], True
    for block in re.findall(r"(?:^(?!    ).+\n)+|(?:^    .*\n)+|^\n", "\n".join([*lines, ""]), re.M):
        if block == "\n":
            fresh = False
        elif block.startswith("    "):
            out += [".Bd -literal -offset indent", *(shown(line[4:]) for line in block.rstrip("\n").split("\n")), ".Ed"]
        else:
            out += [] if fresh and not out else [".Pp"]
            out += filled(block)
    return out


def options(lines):
    """A group of options as a list."""
    out, text = [".Bl -tag -width Ds"], []
    for line in lines:
        match = OPTION.match(line)
        if match:
            out += filled(" ".join(text)) if text else []
            letter = f"Fl {match['letter']} , " if match["letter"] else ""
            value = f" Ar {match['value']}" if match["value"] else ""
            out.append(f".It {letter}Fl \\-{match['name']}{value}")
            text = [match["text"] or ""]
        elif line.strip():
            text.append(line.strip())
    return [*out, *filled(" ".join(text)), ".El"]


def sections(help_text):
    """[(title or None, lines)]: paragraphs, and groups of options by their titles."""
    found = [(None, [])]
    for line in help_text.splitlines()[1:]:
        if GROUP.match(line):
            found.append((line[:-1], []))
        elif found[-1][0] and line and not line.startswith(" "):
            found.append((None, [line]))
        else:
            found[-1][1].append(line)
    return found


def command_page(words, help_text):
    out = [f".Ss weft {' '.join(words)}"]
    usage = help_text.splitlines()[0].removeprefix("usage: ")
    out += [".Bd -literal", shown(usage), ".Ed"]
    for title, lines in sections(help_text):
        if title == "Examples":
            out += [".Pp", "Examples:", *paragraphs(lines)]
        elif title:
            out += [".Pp", f"{title}:", *options(lines)]
        elif any(line.strip() for line in lines):
            out += [".Pp", *paragraphs("\n".join(lines).strip("\n").split("\n"))]
    return out


def helps(run):
    """[(words of the command, its help)], in the order of the command's own list."""
    found = []

    def collect(words):
        text = run(*words, "--help")
        found.append((words, text))
        below = SUBCOMMANDS.search(text)
        for word in below[1].split(" | ") if below else []:
            collect([*words, word])

    for word in COMMAND_LINE.findall(run("--help").split("\n`weft", 1)[0]):
        collect([word])
    return found


def page(program):
    def run(*words):
        done = subprocess.run([program, *words], check=True, capture_output=True, text=True)
        return done.stdout

    commands = helps(run)
    assert commands, "the help lists no commands"
    about = run("--help").split("\n\n", 3)
    names = [" ".join(words) for words, _ in commands]
    out = [
        '.\\" Made by scripts/manpage.py from the help of the command; `make generated` makes it anew.',
        f".Dd {DATE}", ".Dt WEFT 1", ".Os", ".Sh NAME", ".Nm weft", ".Nd QUIC from the command line", ".Sh SYNOPSIS",
        *(f".Nm\n.Cm {name}\n.Op Ar arguments" for name in names), ".Nm\n.Fl \\-help", ".Nm\n.Fl \\-version", ".Sh DESCRIPTION",
        *paragraphs(about[1].splitlines()), ".Bl -tag -width options",
    ]  # fmt: skip
    for line in about[2].splitlines():
        word, text = line.strip().split(None, 1)
        out += [f".It Cm {word}", escaped(text)]
    out += [".El", ".Pp", *paragraphs(about[3].split("\nExit codes")[0].splitlines()), ".Sh COMMANDS"]
    for words, text in commands:
        out += command_page(words, text)
    ends, environment = re.search(r"(Exit codes.*?)\n(SSLKEYLOGFILE.*)", about[3], re.S).groups()
    out += [".Sh ENVIRONMENT", ".Bl -tag -width Ds", ".It Ev SSLKEYLOGFILE", *filled(environment.split(", ", 1)[1]), ".El"]
    out += [".Sh EXIT STATUS", *filled(ends), ".Sh SEE ALSO", ".Rs", ".%R RFC 9000",
            ".%T QUIC: A UDP-Based Multiplexed and Secure Transport", ".Re", ""]  # fmt: skip
    out = [line for line in out if line != ""] + [""]
    return "\n".join(tidy(out))


def tidy(lines):
    """No two paragraphs' beginnings in a row, none at the beginning of a section, none before what begins one itself."""
    out = []
    for line in lines:
        opens = out and re.match(r"\.(Ss|Sh|Pp)\b", out[-1])
        if line == ".Pp" and opens:
            continue
        if re.match(r"\.(Ss|Sh|Bd|Bl)\b", line) and out and out[-1] == ".Pp":
            out.pop()
        out.append(line)
    return out


def main():
    if len(sys.argv) < 2 or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    text = page(sys.argv[1])
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
    if sys.argv[2:] and not current:
        print(f"{PAGE.name} is not current; run `make generated`")
        return 1
    if not current:
        PAGE.write_text(text, encoding="utf-8")
        print(f"{PAGE.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
