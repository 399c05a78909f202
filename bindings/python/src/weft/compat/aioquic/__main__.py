"""python -m weft.compat.aioquic PROGRAM ...: runs a program that was written for aioquic, on weft."""

import runpy
import sys
from pathlib import Path

from . import install


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python -m weft.compat.aioquic PROGRAM [ARGUMENTS ...]")
    install()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
