"""Streams: ordered bytes in one direction or both (RFC 9000 2).

What a peer has sent waits in the core until somebody reads it; only what `readuntil` and its like had to look at, and
what was left when the stream ended, is held here. So a reader that stops reading stops the peer, by flow control, at
the window's size (options initial_max_stream_data_*, max_stream_data_window). In the other direction a stream takes
what fits into its send buffer (option stream_send_buffer) and one write more; then `write` waits.

A stream has one slot for a task that reads and one for a task that writes. No future exists while nobody waits, and the
awaitables come from the engine: asyncio's, trio's, or those of weft.blocking.

The invariant that matters: a task that is cancelled while it waits has changed nothing. Bytes are taken from the core
only to be returned or to be held for the next read; a `write` has handed over all of its bytes or none.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._types import Buffer, Waiter
from .errors import BlockedError, Error, StateError, StreamClosedError, StreamReset, StreamStopped, again

if TYPE_CHECKING:
    from .connection import Connection
    from .streams import StreamReader, StreamWriter

CHUNK = 256 << 10
"""Most bytes that iteration and read() without a number take at a time."""

LIMIT = 64 << 10
"""Most bytes that readuntil and readline look at, unless told otherwise."""

FIN = _core.WEFT_FIN
CODE_MAX = _core.WEFT_CODE_MAX


class Stream:
    """One stream of a connection. Made by Connection.open_stream and Connection.streams, never by hand.

    id: RFC 9000 2.1: bit 0: opened by the server, bit 1: unidirectional.
    connection: whose it is.
    """

    __slots__ = (
        "__weakref__",
        "_counted",
        "_eof",
        "_fin",
        "_finished",
        "_handle",
        "_held",
        "_pending",
        "_reader",
        "_reset",
        "_stopped",
        "_writer",
        "connection",
        "id",
    )

    def __init__(self, connection: Connection, handle: int, stream_id: int) -> None:
        self.connection = connection
        self.id = stream_id
        self._handle = handle
        self._held: bytearray | None = None  # taken from the core, not read yet
        self._pending: deque[tuple[Buffer, int, int]] | None = None  # handed over, not taken by the core yet
        self._reader: Waiter | None = None
        self._writer: Waiter | None = None
        self._eof = False
        self._fin = False  # no more may be written
        self._finished = False  # the peer has everything
        self._counted = False  # the connection counts it as unfinished
        self._reset: Error | None = None  # why no more can be read
        self._stopped: Error | None = None  # why no more can be written
        if stream_id & 2:
            if self.is_local:
                self._eof = True
            else:
                self._fin = self._finished = True

    def __repr__(self) -> str:
        direction = "bidirectional" if self.is_bidirectional else "unidirectional"
        return f"<weft.Stream {self.id} {direction}{'' if self._handle else ' closed'}>"

    # ---- what it is ----

    @property
    def is_bidirectional(self) -> bool:
        """Bytes go both ways (RFC 9000 2.1); else only from the side that opened it."""
        return not self.id & 2

    @property
    def is_local(self) -> bool:
        """This side opened it."""
        return self.id & 1 == self.connection.is_server

    @property
    def info(self) -> dict[str, Any]:
        """States, bytes written, acknowledged, received ...: weft_stream_info of weft.h. Error: GoneError once it is
        closed."""
        return _core.weft_stream_get_info(self._live())

    @property
    def closed(self) -> bool:
        """Both directions are done, or the connection is."""
        return not self._handle

    def _live(self) -> int:
        if not self._handle:
            raise self.connection._why_closed() or StreamClosedError("the stream is closed")
        return self._handle

    # ---- events; called by the engine ----

    def _on_readable(self) -> None:
        waiter = self._reader
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_writer(self) -> None:
        waiter = self._writer
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _on_writable(self) -> None:
        pending = self._pending
        while pending:
            data, offset, flags = pending[0]
            try:
                taken = _core.stream_write(self.connection._engine.glue, self._handle, data, offset, flags)
            except Error as error:  # closed in the meantime; whoever waits is told
                self._stopped = self._stopped or error
                pending.clear()
                break
            if offset + taken < len(data):
                pending[0] = (data, offset + taken, flags)
                return
            pending.popleft()
        self._pending = None
        self._wake_writer()

    def _on_finished(self) -> None:
        self._finished = True
        self._uncount()
        self._wake_writer()

    def _on_reset(self, code: int) -> None:
        self._reset = StreamReset(code)
        self._on_readable()

    def _on_stopped(self, code: int) -> None:
        self._stopped = StreamStopped(code)
        self._pending = None
        self._uncount()
        self._wake_writer()

    def _on_closed(self, rest: tuple[bytes, bool] | None) -> None:
        if rest is not None:
            self._hold(rest[0])
            self._eof = rest[1]
        self._forget()

    def _forget(self) -> None:
        """The handle has ended."""
        connection = self.connection
        connection._engine.streams.pop(self._handle, None)
        connection._incoming.pop(self._handle, None)
        connection._live.discard(self)
        self._handle = 0
        self._pending = None
        self._uncount()
        self._on_readable()
        self._wake_writer()
        connection._tell_last(self.id)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.connection._finished_one()

    # ---- waiting ----

    async def _wait_readable(self) -> None:
        if self._reader is not None:
            raise StateError("another task is reading from this stream")
        self._reader = waiter = self.connection._engine.waiter()
        try:
            await waiter
        finally:
            self._reader = None

    async def _wait_writer(self) -> None:
        if self._writer is not None:
            raise StateError("another task is writing to this stream")
        self._writer = waiter = self.connection._engine.waiter()
        try:
            await waiter
        finally:
            self._writer = None

    # ---- reading ----

    def _hold(self, data: bytes | bytearray) -> None:
        if data:
            if self._held is None:
                self._held = bytearray()
            self._held += data

    def _take_held(self, limit: int) -> bytes:
        held = self._held
        assert held is not None
        if len(held) <= limit:
            self._held = None
            return bytes(held)
        data = bytes(held[:limit])
        del held[:limit]
        return data

    def _take(self, limit: int) -> bytes | None:
        """What is there, at most `limit` bytes; b"" at the end; None: nothing now. StreamReset, ConnectionClosed."""
        if self._held:
            return self._take_held(limit)
        if self._eof:
            return b""
        if self._reset is not None:
            raise again(self._reset)
        if not self._handle:
            raise self.connection._why_closed() or StreamClosedError("the stream was closed")
        engine = self.connection._engine
        got = _core.stream_read(self._handle, limit)
        if got is None:
            return None
        engine.touch()  # credit goes back to the peer
        data, self._eof = got
        return data

    async def read(self, n: int = -1) -> bytes:
        """n > 0: what is there, at most n bytes, waiting for at least one; b"" at the end of the stream.
        n < 0: everything up to the end of the stream.

        Errors: StreamReset, ConnectionClosed. Cancelled, it has taken nothing: the next read has all of it.
        """
        if n < 0:
            return await self._read_all()
        if n == 0:
            return b""
        while (data := self._take(n)) is None:
            await self._wait_readable()
        return data

    async def read_chunk(self) -> bytes:
        """What is there, at most 256 KiB, waiting for at least one byte; b"" at the end. As iteration does."""
        while (data := self._take(CHUNK)) is None:
            await self._wait_readable()
        return data

    async def _read_all(self) -> bytes:
        held, self._held = self._held, None
        parts: list[bytes] = [bytes(held)] if held else []
        try:
            while not (self._eof and not self._held):
                data = self._take(CHUNK)
                if data is None:
                    await self._wait_readable()
                else:
                    parts.append(data)
        except BaseException:  # cancelled or broken off: what was read is read again
            after = self._held
            self._held = None
            self._hold(b"".join(parts))
            if after:
                self._hold(after)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _collect(self, least: int) -> bytearray:
        """At least so many bytes held here; fewer at the end of the stream."""
        while self._held is None or len(self._held) < least:
            held, self._held = self._held, None  # _take looks behind them
            try:
                data = self._take(max(least - len(held or b""), CHUNK // 16))
            finally:
                after, self._held = self._held, held
            if data is None:
                await self._wait_readable()
                continue
            self._hold(data)
            if after:
                self._hold(after)
            if not data:
                break
        return self._held if self._held is not None else bytearray()

    async def readexactly(self, n: int) -> bytes:
        """Exactly n bytes. asyncio.IncompleteReadError at the end of the stream, with what there was.

        Errors: StreamReset, ConnectionClosed. Cancelled, it has taken nothing.
        """
        if n < 0:
            raise ValueError("n must not be negative")
        if n == 0:
            return b""
        held = await self._collect(n)
        if len(held) < n:
            partial = self._take_held(len(held)) if held else b""
            raise IncompleteReadError(partial, n)
        return self._take_held(n)

    async def readuntil(self, separator: bytes = b"\n", *, limit: int = LIMIT) -> bytes:
        """Up to and with the separator. asyncio.IncompleteReadError at the end of the stream, with what there was;
        asyncio.LimitOverrunError when it is not among the first `limit` bytes, which then are still to be read.

        Errors: StreamReset, ConnectionClosed. Cancelled, it has taken nothing.
        """
        if not separator:
            raise ValueError("separator must have at least one byte")
        looked = 0
        while True:
            held = self._held if self._held is not None else bytearray()
            at = held.find(separator, looked)
            if at >= 0 and at + len(separator) <= limit:
                return self._take_held(at + len(separator))
            if at >= 0 or len(held) >= limit:
                raise LimitOverrunError("the separator is not within the limit", len(held))
            looked = max(0, len(held) - len(separator) + 1)
            before = len(held)
            held = await self._collect(before + 1)
            if len(held) == before:
                partial = self._take_held(before) if before else b""
                raise IncompleteReadError(partial, None)

    async def readline(self) -> bytes:
        """Up to and with a newline; at the end of the stream what there is, perhaps b""."""
        try:
            return await self.readuntil(b"\n")
        except IncompleteReadError as error:
            return error.partial

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """What is there, into a buffer: the count; 0 at the end of the stream. No bytes object is made.

        Errors: StreamReset, ConnectionClosed. Cancelled, it has taken nothing.
        """
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        while True:
            if self._held or self._eof or self._reset is not None or not self._handle:
                data = self._take(len(view)) or b""
                view[: len(data)] = data
                return len(data)
            got = _core.stream_read_into(self._handle, view, 0)
            if got is not None:
                self.connection._engine.touch()
                count, self._eof = got
                return count
            await self._wait_readable()

    def read_nowait(self, n: int = CHUNK) -> bytes | None:
        """What is there now, at most n bytes: b"" at the end of the stream, None when there is nothing. The same
        errors."""
        return self._take(n)

    @property
    def at_eof(self) -> bool:
        """Everything the peer sent was read."""
        return self._eof and not self._held

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while (data := self._take(CHUNK)) is None:
            await self._wait_readable()
        if not data:
            raise StopAsyncIteration
        return data

    def stop(self, code: int = 0) -> None:
        """Asks the peer to send no more (STOP_SENDING, RFC 9000 19.5); what arrives is dropped. Nothing happens when
        there is nothing more to read anyway."""
        self._held = None
        if self._eof or self._reset is not None or not self._handle:
            return
        try:
            _core.weft_stream_stop(self._handle, code)
        except StreamClosedError:
            pass
        self._reset = StreamClosedError("the stream was stopped by this side")
        self.connection._engine.touch()
        self._on_readable()

    # ---- writing ----

    def _writable(self) -> None:
        if self._stopped is not None:
            raise again(self._stopped)
        if not self._handle:
            raise self.connection._why_closed() or StreamClosedError("the stream is closed")
        if self._fin:
            raise StreamClosedError("the end of the stream was written already")

    def _send(self, data: Buffer, fin: bool) -> None:
        """Hands over all of it."""
        if isinstance(data, memoryview) and (data.itemsize != 1 or data.ndim != 1):
            data = data.cast("B")
        flags = FIN if fin else 0
        engine = self.connection._engine
        if self._pending is None:
            taken = _core.stream_write(engine.glue, self._handle, data, 0, flags)
            engine.touch()
        else:
            taken = 0
        if taken < len(data) or (self._pending is not None and fin):
            if not isinstance(data, bytes):
                data, taken = bytes(data[taken:]), 0
            if self._pending is None:
                self._pending = deque()
            self._pending.append((data, taken, flags))
        if fin:
            self._fin = True
            self._counted = True
            self.connection._unfinished += 1

    async def write(self, data: Buffer, *, fin: bool = False) -> None:
        """Hands bytes over to be sent, waiting while the stream holds as much as it may (option stream_send_buffer).

        fin: they are the last. Bytes objects of 16 KiB and more are not copied. Cancelled, it has written nothing.
        Errors: StreamStopped, StreamClosedError after the end was written, ConnectionClosed.
        """
        self._writable()
        while self._pending is not None:
            await self._wait_writer()
            self._writable()
        self._send(data, fin)

    def write_nowait(self, data: Buffer, *, fin: bool = False) -> None:
        """The same without waiting. BlockedError: the stream holds as much as it may; nothing was written."""
        self._writable()
        if self._pending is not None:
            raise BlockedError("the stream's buffer is full")
        self._send(data, fin)

    @property
    def can_write(self) -> bool:
        """write_nowait would not raise BlockedError."""
        return self._pending is None

    async def drain(self) -> None:
        """Waits until the stream takes more. Errors: StreamStopped, ConnectionClosed."""
        while self._pending is not None:
            await self._wait_writer()
        if self._stopped is not None:
            raise again(self._stopped)
        if not self._handle and not self._finished:
            raise self.connection._why_closed() or StreamClosedError("the stream was closed")

    def write_eof(self) -> None:
        """Ends this direction: no more bytes follow. Nothing happens when it has ended already."""
        if self._fin or self._stopped is not None or not self._handle:
            return
        self._send(b"", True)

    async def wait_acknowledged(self) -> None:
        """Waits until the peer has everything that was written, the end included. StateError before write_eof;
        StreamStopped, ConnectionClosed: it will not have it."""
        if not self._fin:
            raise StateError("the end was not written yet: write_eof()")
        while not self._finished:
            if self._stopped is not None:
                raise again(self._stopped)
            if not self._handle:
                raise self.connection._why_closed() or StreamClosedError("the stream was closed")
            await self._wait_writer()

    def reset(self, code: int = 0) -> None:
        """Breaks this direction off (RESET_STREAM, RFC 9000 19.4): what was not acknowledged may never arrive. Nothing
        happens when everything was acknowledged, or when there is nothing to send on it."""
        if self._finished or not self._handle:
            return
        try:
            _core.weft_stream_reset(self._handle, code)
        except StreamClosedError:
            return
        self._fin = True
        self._pending = None
        self._stopped = StreamClosedError("the stream was reset by this side")
        self._uncount()
        self._wake_writer()
        self.connection._engine.touch()

    # ---- both ----

    def set_priority(self, urgency: int = 3, incremental: bool = True) -> None:
        """0 (first) to 7 (last); streams of one urgency share if incremental (RFC 9218). It is for this side's sending
        alone. Errors: ValueNotAllowedError, StreamClosedError, ConnectionClosed."""
        _core.weft_stream_set_priority(self._live(), urgency, int(incremental))

    def set_deadline(self, seconds: float | None, code: int = 0) -> None:
        """What is not done after so many seconds is broken off both ways with this code; None: no deadline."""
        ns = (1 << 64) - 1 if seconds is None else max(0, round(seconds * 1e9))
        _core.weft_stream_set_deadline(self._live(), ns, code)
        self.connection._engine.touch()

    async def wait_closed(self) -> None:
        """Waits until both directions are done, or the connection is."""
        while self._handle:
            await self.connection._wait(self.id)

    def abort(self, code: int = 0) -> None:
        """Breaks off what is not done, both ways."""
        self.reset(code)
        self.stop(code)

    def close(self) -> None:
        """Ends this direction after what was written, and wants no more of the other."""
        self.write_eof()
        self.stop()

    @property
    def reader(self) -> StreamReader:
        """What code for asyncio.StreamReader can use."""
        from .streams import StreamReader

        return StreamReader(self)

    @property
    def writer(self) -> StreamWriter:
        """What code for asyncio.StreamWriter can use."""
        from .streams import StreamWriter

        return StreamWriter(self)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is None:
            self.close()
        else:
            self.abort()
        return False
