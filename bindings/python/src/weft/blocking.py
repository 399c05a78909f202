"""The same objects without asyncio: every call returns when it is done, or raises TimedOutError.

    with weft.blocking.connect("example.org", 4433, alpn="echo") as conn:
        with conn.open_stream() as stream:
            stream.write(b"hello", fin=True)
            print(stream.read(timeout=5))

Nothing runs in the background: connections of a thread share an engine, which turns during calls alone. A program that
does something else for long should call `Connection.poll` now and then, or set max_idle_timeout and keep_alive with
that in mind.

The calls here run the coroutines of the asyncio objects, turning the engine while they wait; what they wait on is a
`_Slot`.

The invariant that matters: a coroutine that is given up, for a time-out or an exception, is closed, and cancelled as
asyncio would: it has changed nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Coroutine, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from . import _core
from . import connection as _connection
from . import server as _server
from ._config import settings_for
from ._loop import Engine as _Engine
from ._types import Buffer
from .errors import ConnectionClosed, StateError, TimedOutError
from .stream import Stream as _Stream

T = TypeVar("T")
Inner = TypeVar("Inner")


class _Slot:
    """What a coroutine waits on here."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = False

    def set_result(self, _: Any, /) -> None:
        self._done = True

    def done(self) -> bool:
        return self._done

    def __await__(self) -> Generator[_Slot, None, None]:
        while not self._done:
            yield self


class Engine(_Engine):
    """An engine that turns while one of its objects' methods is called, in the thread that made it."""

    __slots__ = ("_running", "_touched")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._touched = True
        self._running = False

    def touch(self) -> None:
        self._touched = True

    def waiter(self) -> _Slot:
        return _Slot()

    def turn(self, timeout: float | None = 0) -> None:
        """One turn, after waiting up to so many seconds for something to do; None: without end."""
        self._touched = False
        if timeout is not None and timeout <= 0:
            events, _ = _core.turn(self.glue)
        else:
            events, _ = _core.turn_blocking(self.glue, -1 if timeout is None else max(1, round(timeout * 1000)))
        self.dispatch(events)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """What the coroutine returns. TimedOutError after so many seconds."""
        if self._running:
            coroutine.close()
            raise StateError("weft.blocking is called from within one of its own calls")
        until = None if timeout is None else time.monotonic() + timeout
        self._running = True
        try:
            slot = coroutine.send(None)
            while True:
                while not slot.done():
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimedOutError(f"not done after {timeout} seconds")
                    self.turn(left)
                slot = coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            self._running = False
            coroutine.close()
            if self._touched and not self.closed:
                self.turn(0)  # what was written goes out now, not with the next call

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_local = threading.local()


def current() -> Engine:
    """This thread's engine."""
    engine: Engine | None = getattr(_local, "engine", None)
    if engine is None or engine.closed:
        engine = _local.engine = Engine()
    return engine


class _Wrapped(Generic[Inner]):
    __slots__ = ("_engine", "_inner")

    def __init__(self, inner: Inner, engine: Engine) -> None:
        self._inner = inner
        self._engine = engine

    def __repr__(self) -> str:
        return repr(self._inner).replace("weft.", "weft.blocking.", 1)

    def __getattr__(self, name: str) -> Any:
        """What needs no waiting is the asyncio object's: id, info, reset, stop, close, stats, alpn ..."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


class Stream(_Wrapped[_Stream]):
    """A stream (weft.Stream) whose methods wait by themselves. `timeout`, in seconds, is for the call; None: no
    limit."""

    __slots__ = ()

    def read(self, n: int = -1, *, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.read(n), timeout)

    def readexactly(self, n: int, *, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.readexactly(n), timeout)

    def readuntil(self, separator: bytes = b"\n", *, limit: int = 64 << 10, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.readuntil(separator, limit=limit), timeout)

    def readline(self, *, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.readline(), timeout)

    def readinto(self, buffer: bytearray | memoryview, *, timeout: float | None = None) -> int:
        return self._engine.run(self._inner.readinto(buffer), timeout)

    def write(self, data: Buffer, *, fin: bool = False, timeout: float | None = None) -> None:
        self._engine.run(self._inner.write(data, fin=fin), timeout)

    def drain(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.drain(), timeout)

    def write_eof(self) -> None:
        self._inner.write_eof()
        self._engine.turn()

    def wait_acknowledged(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.wait_acknowledged(), timeout)

    def wait_closed(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.wait_closed(), timeout)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._engine.run(self._inner.read_chunk()):
            yield chunk

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._engine.run(self._inner.__aexit__(kind, error, trace))
        return False


class Connection(_Wrapped[_connection.Connection]):
    """A connection (weft.Connection) whose methods wait by themselves."""

    __slots__ = ()

    def open_stream(self, *, unidirectional: bool = False, timeout: float | None = None) -> Stream:
        stream = self._engine.run(self._inner.open_stream(unidirectional=unidirectional), timeout)
        return Stream(stream, self._engine)

    def accept_stream(self, *, timeout: float | None = None) -> Stream:
        return Stream(self._engine.run(self._inner.accept_stream(), timeout), self._engine)

    def streams(self) -> Iterator[Stream]:
        while True:
            try:
                stream = self.accept_stream()
            except ConnectionClosed as error:
                if error.clean or error.cause == "local":
                    return
                raise
            yield stream

    def send_datagram(self, data: Buffer) -> None:
        self._inner.send_datagram(data)
        self._engine.turn()

    def receive_datagram(self, *, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.receive_datagram(), timeout)

    def receive_messages(self, *, timeout: float | None = None) -> list[tuple[int, bytes | None]]:
        return self._engine.run(self._inner.receive_messages(), timeout)

    def wait_session(self, *, timeout: float | None = None) -> bytes:
        return self._engine.run(self._inner.wait_session(), timeout)

    def wait_connected(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.wait_connected(), timeout)

    def wait_confirmed(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.wait_confirmed(), timeout)

    def wait_closed(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.wait_closed(), timeout)

    def migrate(self, local: str | None = None, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.migrate(local), timeout)

    def drain(self, *, timeout: float | None = None) -> None:
        self._engine.run(self._inner.drain(), timeout)

    def poll(self, timeout: float = 0) -> None:
        """Lets the engine work, waiting up to so many seconds for something to do."""
        self._engine.turn(timeout)

    def close(self, code: int = 0, reason: str = "") -> None:
        self._inner.close(code, reason)
        self._engine.turn()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._engine.run(self._inner.__aexit__(kind, error, trace))
        return False


class Server(_Wrapped[_server.Server]):
    """A server (weft.Server) without handlers: iterate over it, or `accept`."""

    __slots__ = ()

    def accept(self, *, timeout: float | None = None) -> Connection:
        return Connection(self._engine.run(self._inner.accept(), timeout), self._engine)

    def __iter__(self) -> Iterator[Connection]:
        while not self._inner._closing:
            yield self.accept()

    def poll(self, timeout: float = 0) -> None:
        """Lets the engine work, waiting up to so many seconds for something to do."""
        self._engine.turn(timeout)

    def close(self, code: int = 0) -> None:
        self._inner.close(code)
        self._engine.turn()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._engine.run(self._inner.__aexit__(kind, error, trace))
        return False


TLS = (*_server.TLS, "session", "token", "family", "server_name")


def connect(
    host: str,
    port: int,
    *,
    alpn: str | Iterable[str],
    timeout: float | None = None,
    server_name: str | None = None,
    session: bytes | None = None,
    token: bytes | None = None,
    family: Literal[0, 4, 6] = 0,
    engine: Engine | None = None,
    **settings: Any,
) -> Connection:
    """weft.connect with its arguments, and a time-out in seconds for the handshake."""
    own = engine if engine is not None else current()
    tls = {name: value for name, value in settings.items() if name in TLS}
    options = {name: value for name, value in settings.items() if name not in TLS}
    made = settings_for(_core.WEFT_CLIENT, alpn, options, tls)
    connection = _connection.begin(
        own, made, host, port, family=family, server_name=server_name, session=session, token=token
    )
    return Connection(own.run(_connection.established(connection), timeout), own)


def serve(
    host: str,
    port: int,
    *,
    alpn: str | Iterable[str],
    reuse_port: bool = False,
    steer: bool = False,
    v6_only: bool = False,
    engine: Engine | None = None,
    **settings: Any,
) -> Server:
    """weft.serve with its arguments, but a handler."""
    own = engine if engine is not None else current()
    made = _server._settings(alpn, settings)
    flags = _server.flags_of(reuse_port, steer, v6_only)
    server = _server.Server(own, made, _server.address_of(host, port), flags, None)
    server._iterated = True
    own.turn()
    return Server(server, own)


__all__ = ["Connection", "Engine", "Server", "Stream", "connect", "current", "serve"]
