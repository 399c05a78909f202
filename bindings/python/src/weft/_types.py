"""Types that the package's stubs and signatures share. No behaviour lives here."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import CapsuleType

    Buffer: TypeAlias = bytes | bytearray | memoryview
    Capsule: TypeAlias = CapsuleType
else:
    Buffer = bytes | bytearray | memoryview
    Capsule = object

Path: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "str | os.PathLike[str] | bytes"
"""A file's name, or what would be in it."""

Verify: TypeAlias = "Callable[[list[bytes], str | None, bool], int | None]"
"""verify(chain, server_name, ok): 0 or None to accept, else the TLS alert to refuse with (RFC 8446 6.2)."""


class Waiter(Protocol):
    """What one task waits on, once. asyncio.Future is one."""

    def set_result(self, result: Any, /) -> Any: ...
    def done(self) -> bool: ...
    def __await__(self) -> Any: ...


Handler: TypeAlias = "Callable[[Any], Awaitable[Any]]"
