"""StreamReader and StreamWriter, for code that was written for asyncio's.

They are views of a Stream and hold nothing of their own. `write` here never waits, as asyncio's does not: what goes
beyond the stream's buffer is held until there is room, so call `drain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._types import Buffer
from .stream import Stream


class StreamReader:
    """The reading side of a stream, with the methods of asyncio.StreamReader."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def read(self, n: int = -1) -> bytes:
        return await self.stream.read(n)

    async def readexactly(self, n: int) -> bytes:
        return await self.stream.readexactly(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        return await self.stream.readuntil(separator)

    async def readline(self) -> bytes:
        return await self.stream.readline()

    def at_eof(self) -> bool:
        return self.stream.at_eof

    def __aiter__(self) -> StreamReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.stream.readline()
        if not line:
            raise StopAsyncIteration
        return line


class StreamWriter:
    """The writing side of a stream, with the methods of asyncio.StreamWriter."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def write(self, data: Buffer) -> None:
        self.stream._writable()
        self.stream._send(data, False)

    def writelines(self, data: Iterable[Buffer]) -> None:
        for one in data:
            self.write(one)

    async def drain(self) -> None:
        await self.stream.drain()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.stream.write_eof()

    def close(self) -> None:
        self.stream.write_eof()

    def is_closing(self) -> bool:
        return self.stream._fin or self.stream.closed

    async def wait_closed(self) -> None:
        if self.stream._fin and not self.stream.closed:
            await self.stream.wait_acknowledged()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        connection = self.stream.connection
        found = {
            "peername": connection.remote_address,
            "sockname": connection.local_address,
            "stream_id": self.stream.id,
            "connection": connection,
        }
        return found.get(name, default)
