"""weft for trio: `connect` and `serve` as in weft, with trio's tasks and cancellation.

    async with weft.trio.connect("example.org", 4433, alpn="echo") as conn:
        stream = await conn.open_stream()
        await stream.write(b"hello", fin=True)
        print(await stream.read())

The objects are weft's own: what differs is the engine. A system task of the running trio watches its descriptor and its
next deadline; handlers of servers are system tasks too, cancelled when the server is closed.

The invariant that matters: the task that drives the engine is the only one that turns it, and lives as long as the
engine is needed or trio runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import trio

from . import _core
from . import connection as _connection
from . import server as _server
from ._loop import Engine as _Engine


class _Waiter:
    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def set_result(self, _: Any, /) -> None:
        self._event.set()

    def done(self) -> bool:
        return self._event.is_set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._event.wait().__await__()


class Engine(_Engine):
    """An engine in the running trio."""

    __slots__ = ("_keep", "_nap", "_touched")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._keep = True
        self._touched = False
        self._nap: trio.CancelScope | None = None
        trio.lowlevel.spawn_system_task(self._drive)

    def touch(self) -> None:
        self._touched = True
        if self._nap is not None:
            self._nap.cancel()

    def waiter(self) -> _Waiter:
        return _Waiter()

    def spawn(self, coroutine: Coroutine[Any, Any, None], done: Callable[[Any], object]) -> trio.CancelScope:
        scope = trio.CancelScope()

        async def task() -> None:
            try:
                with scope:
                    await coroutine
            finally:
                coroutine.close()
                done(None)

        trio.lowlevel.spawn_system_task(task)
        return scope

    async def _drive(self) -> None:
        fd = _core.engine_fd(self.glue)
        try:
            while not self.closed:
                self._touched = False
                events, wait = _core.turn(self.glue)
                self.dispatch(events)
                if self._touched or wait == 0:
                    await trio.lowlevel.checkpoint()
                    continue
                if wait < 0 and not (self._keep or self.conns or self.servers):
                    break
                with trio.CancelScope(
                    deadline=trio.current_time() + wait * 1e-9 if wait > 0 else math.inf
                ) as self._nap:
                    await trio.lowlevel.wait_readable(fd)
                self._nap = None
        finally:
            self._nap = None
            self.close()

    def close(self) -> None:
        super().close()
        if self._nap is not None:
            self._nap.cancel()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


_engine: trio.lowlevel.RunVar[Engine | None] = trio.lowlevel.RunVar("weft.engine", None)


def current() -> Engine:
    """The engine of the running trio, made if there is none yet."""
    engine = _engine.get()
    if engine is None or engine.closed:
        engine = Engine()
        engine._keep = False
        _engine.set(engine)
    return engine


def connect(host: str, port: int, *, engine: Engine | None = None, **settings: Any) -> _connection.Connecting:
    """weft.connect with its arguments."""
    return _connection.connect(host, port, engine=engine if engine is not None else current(), **settings)


def serve(
    host: str, port: int, handler: _server.Handle | None = None, *, engine: Engine | None = None, **settings: Any
) -> _server.Serving:
    """weft.serve with its arguments."""
    return _server.serve(host, port, handler, engine=engine if engine is not None else current(), **settings)


__all__ = ["Engine", "connect", "current", "serve"]
