"""What weft writes into QLOGDIR in the cases of the matrix, beside other implementations, is held to what tests/qlog asks of each log
by itself: the schema, time, packet numbers, acknowledgements, metrics."""

import importlib.util
import pathlib
import sys
from importlib.machinery import SourceFileLoader

QLOG = pathlib.Path(__file__).resolve().parents[1] / "qlog"
CHECKS = (
    "every_record_is_of_the_schema", "time_goes_forward", "packet_numbers_are_used_once",
    "what_is_acknowledged_or_lost_was_sent", "metrics_make_sense",
)  # fmt: skip


def load():
    sys.path.insert(0, str(QLOG))  # for its schema
    loader = SourceFileLoader("qlog_tests", str(QLOG / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("qlog_tests", loader))
    loader.exec_module(module)
    return module


def check(directories):
    """Of cells that were played, each with a title: what is wrong, as sentences."""
    tests, wrong, empty = load(), [], []
    for title, directory in directories:
        try:
            found = [tests.Log(path) for path in sorted(directory.iterdir())]
        except (AssertionError, ValueError) as failure:
            wrong.append(f"{title}: {failure}")
            continue
        tests.logs[title] = found
        if not found:
            empty.append(title)
    wrong += [f"no qlog was written in {title}" for title in empty]
    for name in CHECKS:
        try:
            getattr(tests, name)()
        except AssertionError as failure:
            wrong.append(f"{name}: {failure}"[:600])
    return wrong
