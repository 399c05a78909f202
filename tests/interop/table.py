"""The table of docs/interop.md: what passes, and what a peer lacks, as matrix.py and lacks.py have it. `run` holds the page to it;
run as a program, with the python that ./setup prints for aioquic, it writes the table into the page anew."""

import pathlib

import lacks
import matrix

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "interop.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def table():
    pairs = [("weft", "weft")] + [pair for peer in matrix.PEERS for pair in (("weft", peer), (peer, "weft"))]
    notes = list(dict.fromkeys(text for text in lacks.LACKS.values()))
    lines = ["| client ← server | " + " | ".join(f"{client} ← {server}" for client, server in pairs) + " |"]
    lines.append("|---" * (len(pairs) + 1) + "|")
    for case in matrix.CASES:
        marks = []
        for pair in pairs:
            lack = lacks.lack(*pair, case.name)
            marks.append(f"– ({notes.index(lack.split(': ', 1)[1]) + 1})" if lack else "ok")
        lines.append(f"| {case.name} | " + " | ".join(marks) + " |")
    lines.append("")
    peers = {text: peer for (peer, _, _), text in lacks.LACKS.items()}
    lines += [f"{number}. {peers[text]}: {text}" for number, text in enumerate(notes, 1)]
    return "\n".join(lines) + "\n"


def check():
    """What is wrong, as sentences."""
    return [] if BEGIN + table() + END in PAGE.read_text() else ["docs/interop.md has another table: tests/interop/table.py writes it"]


if __name__ == "__main__":
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1])
