"""Engines: a turn of the core, its events to whom they concern, and asyncio as one of the ways to drive it.

`Engine` knows connections, streams and servers by their handles and tells them what has happened; it does not know who
waits, nor how. How to wait is a subclass's business: `waiter()` makes what a task waits on, `touch()` sees to it that a
turn follows soon. `AsyncioEngine` here is nested in the running loop: the core's descriptor (an epoll with the UDP
sockets in it) is watched with add_reader, its next deadline by one timer. No thread, no task, no callback per event: a
turn costs one crossing into C and gives one list. weft.blocking, weft.trio and weft.testing have engines of their own.

An asyncio loop has one engine, which connect and serve share, unless they are given another. It is made when first
needed and ends when nothing is left for it to do.

The invariant that matters: whoever changes something in the core outside of a turn calls touch(), or the change would
wait for the next datagram.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import StateError

if TYPE_CHECKING:
    from ._types import Waiter
    from .connection import Connection
    from .server import Server
    from .stream import Stream

logger = logging.getLogger("weft")

LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}

_all: weakref.WeakSet[Engine] = weakref.WeakSet()
_by_loop: weakref.WeakValueDictionary[int, AsyncioEngine] = weakref.WeakValueDictionary()

READABLE = _core.WEFT_EV_READABLE
WRITABLE = _core.WEFT_EV_WRITABLE
STREAM_OPENED = _core.WEFT_EV_STREAM_OPENED
STREAM_CLOSED = _core.WEFT_EV_STREAM_CLOSED
FINISHED = _core.WEFT_EV_FINISHED
RESET = _core.WEFT_EV_RESET
STOPPED = _core.WEFT_EV_STOPPED
ACCEPTED = _core.WEFT_EV_ACCEPTED
LISTENER_CLOSED = _core.WEFT_EV_LISTENER_CLOSED
LOG = _core.GLUE_EV_LOG


class Engine:
    """One thread's share of the work. See weft.h, "engines"; this is what all ways of driving one have in common.

    memory_limit: most bytes the core may hold, 0: no limit. number: 0 to 255, for several engines on one port.
    receive_buffer, send_buffer: socket buffers in bytes to ask of the system, 0: 4 MiB.
    fleet_secret: 32 bytes that servers which share an address share.
    """

    __slots__ = ("__weakref__", "closed", "conns", "forked", "glue", "handle", "servers", "streams")

    def __init__(
        self,
        *,
        memory_limit: int = 0,
        number: int = 0,
        receive_buffer: int = 0,
        send_buffer: int = 0,
        fleet_secret: bytes | None = None,
        glue: Any = None,
    ) -> None:
        if glue is None:
            glue = _core.engine_new(memory_limit, number, receive_buffer, send_buffer, fleet_secret)
        self.glue = glue
        self.handle: int = _core.engine_handle(glue)
        self.conns: dict[int, Connection] = {}
        self.streams: dict[int, Stream] = {}
        self.servers: dict[int, Server] = {}
        self.closed = False
        self.forked = False
        _all.add(self)

    # ---- for subclasses ----

    def touch(self) -> None:
        """Sees to it that a turn follows soon."""
        raise NotImplementedError

    def waiter(self) -> Waiter:
        """What a task of this kind of engine can wait on."""
        raise NotImplementedError

    def spawn(self, coroutine: Coroutine[Any, Any, None], done: Callable[[Any], object]) -> Any:
        """Runs it beside what is running, and calls done(...) when it is over; the result has cancel()."""
        coroutine.close()
        raise StateError("this engine runs no tasks: iterate over the server instead of giving it a handler")

    # ---- events ----

    def dispatch(self, events: list[_core.Event]) -> None:
        """Tells everybody what has happened. No user code runs in here."""
        streams = self.streams
        for kind, conn, handle, value, data in events:
            stream = streams.get(handle)
            if stream is not None:
                if kind == READABLE:
                    stream._on_readable()
                elif kind == WRITABLE:
                    stream._on_writable()
                elif kind == STREAM_CLOSED:
                    stream._on_closed(data)
                elif kind == FINISHED:
                    stream._on_finished()
                elif kind == RESET:
                    stream._on_reset(value)
                elif kind == STOPPED:
                    stream._on_stopped(value)
                continue
            owner = self.conns.get(conn)
            if owner is not None:
                owner._on_event(kind, handle, value, data)
            elif kind == LOG:
                logger.log(LEVELS.get(value, logging.INFO), "%s", data)
            else:
                server = self.servers.get(handle)
                if server is not None:
                    if kind == ACCEPTED:
                        server._on_accepted(conn)
                    elif kind == LISTENER_CLOSED:
                        server._on_closed()

    # ---- the end ----

    def close(self) -> None:
        """Ends the engine and all its objects at once, without a word to peers. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if not self.forked:
            _core.engine_free(self.glue)
        error = StateError("the engine was closed")
        self._end_all(error)

    def _end_all(self, error: BaseException) -> None:
        for conn in list(self.conns.values()):
            conn._end(error)
        for server in list(self.servers.values()):
            server._on_closed()
        self.conns.clear()
        self.streams.clear()
        self.servers.clear()

    def _after_fork(self) -> None:
        """In the child: what is here is the parent's."""
        self.forked = True
        self.closed = True
        error = RuntimeError("this belongs to the process that was forked; connect anew in this one")
        self._end_all(error)

    @property
    def stats(self) -> dict[str, Any]:
        """The engine's counters, and the sums over its connections ("conns"): docs/stats.md."""
        return _core.weft_engine_get_stats(self.handle)


class AsyncioEngine(Engine):
    """An engine in the running asyncio loop; also uvloop's. `weft.Engine`."""

    __slots__ = ("_at", "_fd", "_keep", "_loop", "_soon", "_timer")

    def __init__(self, **params: Any) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(**params)
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._keep = True  # made by the user: it does not end by itself
        self._fd = _core.engine_fd(self.glue)
        self._loop.add_reader(self._fd, self._turn)
        self.touch()  # the first turn tells the system which descriptors there are

    def touch(self) -> None:
        if self._soon is None and not self.closed:
            self._soon = self._loop.call_soon(self._turn)

    def waiter(self) -> Waiter:
        return self._loop.create_future()

    def spawn(self, coroutine: Coroutine[Any, Any, None], done: Callable[[Any], object]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        task.add_done_callback(done)
        return task

    def _turn(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self.closed:
            return
        events, wait = _core.turn(self.glue)
        if events:
            self.dispatch(events)
        if self._soon is not None:
            return
        if wait == 0:
            self._soon = self._loop.call_soon(self._turn)
        elif wait > 0:
            self._plan(self._loop.time() + wait * 1e-9)
        elif not (self._keep or self.conns or self.servers):
            self.close()  # nobody needs it, and it waits for nothing

    def _plan(self, when: float) -> None:
        """A turn at this time. An earlier timer stays: it costs less to turn once in vain than to set it anew each
        time."""
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
        self._at = when
        self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        self._turn()

    def close(self) -> None:
        if self.closed:
            return
        if not self._loop.is_closed() and not self.forked:
            self._loop.remove_reader(self._fd)
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None
        super().close()

    async def __aenter__(self) -> AsyncioEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def current() -> AsyncioEngine:
    """The engine of the running loop, made if there is none yet."""
    loop = asyncio.get_running_loop()
    engine = _by_loop.get(id(loop))
    if engine is None or engine.closed or engine._loop is not loop:
        engine = AsyncioEngine()
        engine._keep = False
        _by_loop[id(loop)] = engine
    return engine


def _forked() -> None:
    _core.set_forked()
    for engine in list(_all):
        if not engine.forked:
            engine._after_fork()
    _by_loop.clear()


os.register_at_fork(after_in_child=_forked)
