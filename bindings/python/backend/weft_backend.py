"""The build backend: scikit-build-core, and source distributions that hold the core.

A source distribution has only what lies beside pyproject.toml. So before one is made, the parts of the tree that a
build needs are copied into core/, and removed afterwards. Everything else is scikit-build-core's.
"""

import contextlib
import shutil
from pathlib import Path

from scikit_build_core import build as _inner
from scikit_build_core.build import *  # noqa: F403

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
COPY = HERE / "core"
PARTS = [
    "CMakeLists.txt",
    "LICENSE",
    "abi",
    "cmake",
    "core",
    "scripts/obtain.sh",
    "scripts/wolfssl.sh",
    "scripts/wolfssl_work.c",
    "scripts/wolfssl_bignum.h",
    "scripts/bignum.sh",
    "scripts/bignum_table.c",
    "scripts/boringssl.sh",
    "scripts/libuv.sh",
]


@contextlib.contextmanager
def _core_beside():
    """The core in core/, unless this is a source distribution already."""
    if COPY.exists() or not (ROOT / "core" / "tables").is_dir():
        yield
        return
    try:
        for part in PARTS:
            source, target = ROOT / part, COPY / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, target)
        yield
    finally:
        shutil.rmtree(COPY, ignore_errors=True)


def build_sdist(sdist_directory, config_settings=None):
    with _core_beside():
        return _inner.build_sdist(sdist_directory, config_settings)
