"""Servers: a UDP address that connections come to.

A `Server` accepts until it is closed. Its connections go to a handler, a coroutine function that runs as one task for
each connection, or are taken with `async for`. They are given out when their handshake is complete, or earlier when
they bring early data; handshakes that fail are nobody's business here (the engine counts them).

The invariant that matters: the server owns the tasks of its handlers. When it is closed they are cancelled and awaited,
so that no task is left behind.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import _core
from ._loop import Engine, current
from ._options import Options
from ._types import Path, Source, Verify, Waiter
from .connection import Connection
from .errors import ClosedError, Error, GoneError, StateError

if TYPE_CHECKING:
    from typing import Unpack

    from ._config import Keylog, Pins, Settings

Handle: TypeAlias = "Callable[[Connection], Coroutine[Any, Any, object]]"

logger = logging.getLogger("weft")

FAILED = 1
"""The code that connections are closed with when their handler raised."""


async def echo(connection: Connection) -> None:
    """A handler that sends back what comes on each stream, one stream after the other: for first steps and for
    tests."""
    async for stream in connection.streams():
        if stream.is_bidirectional:
            async for chunk in stream:
                await stream.write(chunk)
            stream.write_eof()


class Server:
    """A listening server. Made by weft.serve."""

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_closing",
        "_conns",
        "_engine",
        "_handle",
        "_handler",
        "_iterated",
        "_settings",
        "_tasks",
        "_waiters",
        "address",
    )

    connection_type = Connection

    def __init__(self, engine: Engine, settings: Settings, address: str, flags: int, handler: Handle | None) -> None:
        self._engine = engine
        self._settings = settings
        self._handler = handler
        self._handle = _core.engine_listen(engine.glue, settings.handle, address, flags)
        engine.servers[self._handle] = self
        self.address: str = _core.weft_listener_address(self._handle) or address
        self._accepted: deque[Connection] = deque()
        self._conns: set[Connection] = set()
        self._tasks: dict[Connection, Any] = {}
        self._waiters: list[Waiter] = []
        self._closing = False
        self._iterated = False
        engine.touch()

    def __repr__(self) -> str:
        return f"<weft.Server {self.address}{'' if self._handle else ' closed'}>"

    # ---- events; called by the engine ----

    def _on_accepted(self, handle: int) -> None:
        try:
            _core.weft_conn_keep(handle)
        except GoneError:  # came and went within a turn
            return
        self._conns.add(self.connection_type(self._engine, handle, self._settings, self))

    def _on_connected(self, connection: Connection) -> None:
        if not connection._early:
            connection._early = True  # given out once
            self._give(connection)

    def _on_stream(self, connection: Connection) -> None:
        """Early data: the first stream comes before the handshake is complete."""
        if not connection.connected:
            self._on_connected(connection)
        if self._handler is None and not self._iterated and connection in self._accepted and connection.alpn == "echo":
            self._accepted.remove(connection)  # nobody is there for it, and everybody knows what echo means
            self._start(echo, connection)

    def _give(self, connection: Connection) -> None:
        if self._handler is not None:
            self._start(self._handler, connection)
            return
        self._accepted.append(connection)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _on_conn_closed(self, connection: Connection) -> None:
        self._conns.discard(connection)
        self._wake()

    def _on_closed(self) -> None:
        self._engine.servers.pop(self._handle, None)
        self._handle = 0
        self._wake()

    async def _wait(self) -> None:
        waiter = self._engine.waiter()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    # ---- handlers ----

    async def _run(self, handler: Handle, connection: Connection) -> None:
        try:
            await handler(connection)
        except Exception as error:
            if not isinstance(error, ClosedError) or not connection.closed:
                logger.exception("the handler of %r failed", connection)
            connection.close(FAILED)
        else:
            await connection.aclose()

    def _start(self, handler: Handle, connection: Connection) -> None:
        def done(_: object) -> None:  # also when the task was cancelled before its first step
            connection.close()
            self._tasks.pop(connection, None)
            self._wake()

        self._tasks[connection] = self._engine.spawn(self._run(handler, connection), done)

    # ---- accepting ----

    async def accept(self) -> Connection:
        """The next connection. StateError: the server was closed, or has a handler."""
        self._iterated = True
        if self._handler is not None:
            raise StateError("this server's connections go to its handler")
        while not self._accepted:
            if self._closing or not self._handle:
                raise StateError("the server is closed")
            await self._wait()
        return self._accepted.popleft()

    def __aiter__(self) -> AsyncIterator[Connection]:
        self._iterated = True
        return self

    async def __anext__(self) -> Connection:
        try:
            return await self.accept()
        except StateError:
            if self._handler is not None:
                raise
            raise StopAsyncIteration from None

    # ---- what is known of it ----

    @property
    def port(self) -> int:
        """The UDP port it listens on, also when the system has chosen it."""
        return int(self.address.rpartition(":")[2])

    @property
    def connections(self) -> frozenset[Connection]:
        """Those that have not ended, in handshakes too."""
        return frozenset(self._conns)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the first certificate, as weft.connect(pins=...) wants it."""
        return _core.weft_config_fingerprint(self._settings.handle)

    def reload(self, *, alpn: str | Iterable[str], **settings: Any) -> None:
        """Connections accepted from now on have these settings (those of weft.serve): new certificates without a
        pause."""
        made = _settings(alpn, settings)
        _core.weft_listener_reload(self._handle, made.handle)
        made.keep(self._settings)  # handshakes that have begun go on with the old ones, and their callbacks
        self._settings = made

    # ---- the end ----

    def stop_accepting(self) -> None:
        """New clients are refused (CONNECTION_REFUSED, RFC 9000 20.1); connections stay."""
        if self._handle:
            _core.weft_listener_stop(self._handle)
            self._engine.touch()

    def close(self, code: int = 0) -> None:
        """Closes the address and all connections, at once. Idempotent."""
        if self._closing:
            return
        self._closing = True
        for task in list(self._tasks.values()):
            task.cancel()
        if self._handle:
            try:
                _core.weft_listener_close(self._handle, code)
            except (ClosedError, GoneError):
                pass
            self._engine.touch()
        self._wake()

    async def wait_closed(self) -> None:
        """Waits until its connections have ended and its handlers have returned."""
        while self._tasks or self._conns or not self._closing:
            if not self._handle and not self._conns and not self._tasks:
                return
            await self._wait()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.close()
        if kind is None or issubclass(kind, Exception):
            await self.wait_closed()
        return False


# ---- serving --------------------------------------------------------------------------------------------------------

TLS = (
    "certificate",
    "key",
    "self_signed",
    "ca",
    "system_trust",
    "pins",
    "verify",
    "keylog",
    "qlog",
    "ciphers",
    "groups",
    "ticket_secret",
    "ticket_lifetime",
    "replay",
    "preferred_address",
)


def _settings(alpn: str | Iterable[str], arguments: dict[str, Any]) -> Settings:
    from ._config import settings_for

    tls = {name: value for name, value in arguments.items() if name in TLS and value is not None}
    options = {name: value for name, value in arguments.items() if name not in TLS}
    return settings_for(_core.WEFT_SERVER, alpn, options, tls)


def address_of(host: str, port: int) -> str:
    if not 0 <= port < 65536:
        raise ValueError(f"port must be 0 to 65535, not {port}")
    host = host or "::"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def flags_of(reuse_port: bool, steer: bool, v6_only: bool) -> int:
    flags = _core.WEFT_LISTEN_REUSE_PORT if reuse_port or steer else 0
    flags |= _core.WEFT_LISTEN_STEER if steer else 0
    return flags | (_core.WEFT_LISTEN_V6_ONLY if v6_only else 0)


class Serving:
    """What weft.serve returns: `async with` it, or `await` it."""

    __slots__ = ("_begin", "_server")

    def __init__(self, begin_now: Callable[[], Server]) -> None:
        self._begin = begin_now
        self._server: Server | None = None

    async def _serve(self) -> Server:
        self._server = self._begin()
        return self._server

    def __await__(self) -> Generator[Any, Any, Server]:
        return self._serve().__await__()

    async def __aenter__(self) -> Server:
        return await self._serve()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        assert self._server is not None
        return await self._server.__aexit__(kind, error, trace)


def serve(
    host: str,
    port: int,
    handler: Handle | None = None,
    *,
    alpn: str | Iterable[str],
    certificate: Source | Sequence[tuple[Source, Source]] | None = None,
    key: Source | None = None,
    self_signed: str | None = None,
    ca: Source | Sequence[Source] | None = None,
    pins: Pins | None = None,
    verify: bool | Verify | None = None,
    keylog: Keylog | None = None,
    qlog: Path | None = None,
    ciphers: str | None = None,
    groups: str | None = None,
    ticket_secret: bytes | None = None,
    ticket_lifetime: int | None = None,
    replay: Callable[[bytes, int], bool] | None = None,
    preferred_address: tuple[str | None, str | None] | None = None,
    reuse_port: bool = False,
    steer: bool = False,
    v6_only: bool = False,
    engine: Engine | None = None,
    **options: Unpack[Options],
) -> Serving:
    """A server at host, an address of this machine ("0.0.0.0", "::" for all, IPv4 too), and port (0: the system
    chooses).

    handler: handler(connection) runs as a task for each connection. When it returns, the connection is closed with code
    0 after what was written has arrived; when it raises, that is logged and the connection closed with code 1. Without
    one use `async for connection in server`; connections of the protocol "echo" that nobody takes are echoed.
    alpn: application protocols, most wanted first; clients that offer none of them are refused (RFC 7301).
    certificate, key: a chain, leaf first, and its key: names of PEM or DER files, or bytes; or several pairs of them,
    chosen by the name the client asks for. self_signed: "localhost,127.0.0.1": a new certificate for these names that
    nobody has signed. ca, pins, verify: verify=True wants certificates of clients and checks them against ca; see
    weft.connect. ticket_secret: 32 bytes under which session tickets are issued, shared by the servers of a fleet;
    ticket_lifetime: seconds. replay(id, seconds): is this the first use of a ticket in the fleet? (early data, RFC 8446
    8) preferred_address: (IPv4, IPv6) that clients are asked to move to (RFC 9000 9.6).
    reuse_port, steer: several engines, in other threads or processes, on one port.
    keylog, qlog, ciphers, groups, engine, options: as for weft.connect.

    Errors: AddressError: the address is in use or not ours; IOFailedError, CertificateError, TLSError, OptionError,
    ValueNotAllowedError. Leaving the block closes the server and its connections at once.
    """
    tls: dict[str, Any] = {"certificate": certificate, "key": key, "self_signed": self_signed, "ca": ca, "pins": pins}
    tls |= {
        "verify": verify,
        "keylog": keylog,
        "qlog": qlog,
        "ciphers": ciphers,
        "groups": groups,
        "ticket_secret": ticket_secret,
    }
    tls |= {"ticket_lifetime": ticket_lifetime, "replay": replay, "preferred_address": preferred_address}

    def begin_now() -> Server:
        settings = _settings(alpn, {**options, **tls})
        flags = flags_of(reuse_port, steer, v6_only)
        return Server(engine if engine is not None else current(), settings, address_of(host, port), flags, handler)

    return Serving(begin_now)


__all__ = ["Error", "Server", "Serving", "echo", "serve"]
