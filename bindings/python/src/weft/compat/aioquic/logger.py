"""qlog by aioquic's names: a logger is a directory that weft writes to."""

from __future__ import annotations

import os


class QuicLogger:
    """Collects nothing: qlog goes to files, with QuicFileLogger."""

    path: str | None = None


class QuicFileLogger(QuicLogger):
    """qlog files in a directory that exists."""

    def __init__(self, path: str) -> None:
        if not os.path.isdir(path):
            raise ValueError(f"QUIC log output directory '{path}' does not exist")
        self.path = path
