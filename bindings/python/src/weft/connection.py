"""Connections, and how a client gets one.

A `Connection` holds what Python must know of a connection: streams that wait to be accepted, datagrams that wait to be
received, who waits for what. All else - state, addresses, counters, certificates - is asked of the core when somebody
asks. When the connection ends, a copy of that is taken, so that it can still be asked afterwards.

The invariant that matters: CONN_CLOSED comes once and last, and everybody who waits on the connection or one of its
streams is woken by it; a task that is cancelled leaves no waiter behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._each import Each
from ._loop import Engine, current, logger
from ._options import Options
from ._types import Buffer, Path, Source, Verify, Waiter
from .errors import BlockedError, Error, StateError, StreamLimitError, again, closed
from .stream import Stream

if TYPE_CHECKING:
    from typing import Unpack

    from ._config import Keylog, Pins, Settings
    from .server import Server

EARLY = ("none", "pending", "accepted", "rejected")
OUTCOMES = {1: "sent", 2: "acknowledged", 3: "lost", 4: "dropped"}
PATH_NEWS = {1: "validated", 2: "failed", 3: "active"}
DATAGRAMS = 1024
HERD = 64
"""How many tasks that wait for a stream are woken at a time; each that gets one wakes another."""


def _wake(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class Connection:
    """One QUIC connection, client or server (RFC 9000). Made by weft.connect and by servers."""

    __slots__ = (
        "__weakref__",
        "_batch",
        "_datagrams",
        "_early",
        "_engine",
        "_error",
        "_final",
        "_handle",
        "_incoming",
        "_live",
        "_news",
        "_notify",
        "_partial",
        "_settings",
        "_token_next",
        "_unfinished",
        "_waiters",
        "_whole",
        "confirmed",
        "connected",
        "datagrams_dropped",
        "is_server",
        "server",
        "user",
    )

    def __init__(self, engine: Engine, handle: int, settings: Settings, server: Server | None = None) -> None:
        self._engine = engine
        self._handle = handle
        self._settings = settings
        self.server = server
        self.is_server = server is not None
        self.user: Any = None
        self.connected = False
        self.confirmed = False
        self.datagrams_dropped = 0
        self._early = False
        self._error: BaseException | None = None
        self._final: dict[str, Any] | None = None
        self._incoming: dict[int, Stream] = {}
        self._live: set[Stream] = set()
        self._datagrams: deque[bytes] | None = None
        self._batch: list[int] | None = None
        self._partial: dict[int, bytearray] | None = None
        self._whole: list[tuple[int, bytes | None]] = []
        self._notify: dict[int, Callable[[str], object]] | None = None
        self._news: deque[tuple[str, str, str]] | None = None
        self._token_next = 1
        self._unfinished = 0
        self._waiters: dict[str | int, dict[Waiter, None]] | None = None
        engine.conns[handle] = self

    def __repr__(self) -> str:
        role = "server" if self.is_server else "client"
        state = "closed" if self._final is not None else "open" if self.connected else "connecting"
        return f"<weft.Connection {role} {state} {self.remote_address}>"

    # ---- waiting ----

    async def _wait(self, what: str | int) -> None:
        """Until _tell(what), or the end."""
        waiter = self._engine.waiter()
        if self._waiters is None:
            self._waiters = {}
        waiters = self._waiters.setdefault(what, {})
        waiters[waiter] = None
        try:
            await waiter
        finally:
            del waiters[waiter]

    def _tell(self, what: str) -> None:
        if self._waiters is not None:
            _wake(self._waiters.get(what, ()))

    def _tell_last(self, what: str | int) -> None:
        """As _tell, for what happens once."""
        if self._waiters is not None:
            _wake(self._waiters.pop(what, ()))

    def _tell_some(self, what: str, most: int) -> None:
        """As _tell, but only to those who have waited longest and were not told yet."""
        if self._waiters is None:
            return
        for waiter in self._waiters.get(what, ()):
            if not most:
                return
            if not waiter.done():
                waiter.set_result(None)
                most -= 1

    def _why_closed(self) -> BaseException | None:
        """Why it has ended; None while it has not."""
        return self._error and again(self._error)

    def _alive(self) -> int:
        if self._error is not None:
            raise again(self._error)
        return self._handle

    # ---- events; called by the engine ----

    def _on_event(self, kind: int, handle: int, value: int, data: Any) -> None:
        if kind == _core.WEFT_EV_STREAM_OPENED:
            self._on_stream(handle, value)
        elif kind == _core.WEFT_EV_READABLE:
            self._on_batch(handle)
        elif kind == _core.WEFT_EV_DATAGRAM:
            self._on_datagram(data)
        elif kind in (_core.WEFT_EV_RESET, _core.WEFT_EV_STOPPED, _core.WEFT_EV_STREAM_CLOSED):
            self._on_batch_end(kind, handle, data)
        elif kind == _core.WEFT_EV_STREAMS:
            self._tell_some("streams", HERD)
        elif kind == _core.WEFT_EV_CONNECTED:
            self.connected = True
            self._tell("connected")
            if self.server is not None:
                self.server._on_connected(self)
        elif kind == _core.WEFT_EV_CONFIRMED:
            self.confirmed = True
            self._tell("connected")
        elif kind == _core.WEFT_EV_CONN_CLOSED:
            cause, flags, error, reason = data
            application = bool(flags & _core.WEFT_APP)
            self._end(closed(value, reason, cause, application, self.connected or self.is_server, error))
        elif kind == _core.WEFT_EV_SESSION:
            self._tell("session")
        elif kind == _core.WEFT_EV_TOKEN:
            self._tell("token")
        elif kind == _core.WEFT_EV_DATAGRAM_OUTCOME:
            self._on_outcome(handle, value)
        elif kind == _core.WEFT_EV_DATAGRAM_ROOM:
            self._tell("room")
        elif kind == _core.WEFT_EV_PATH_NEWS:
            self._on_path_news()

    def _on_stream(self, handle: int, stream_id: int) -> None:
        stream = Stream(self, handle, stream_id)
        self._engine.streams[handle] = stream
        self._live.add(stream)
        self._incoming[handle] = stream
        self._tell("accept")
        if self.server is not None:
            self.server._on_stream(self)

    def _on_datagram(self, data: tuple[bytes, int]) -> None:
        if self._datagrams is None:
            self._datagrams = deque()
        if len(self._datagrams) >= DATAGRAMS:
            self._datagrams.popleft()
            self.datagrams_dropped += 1
        self._datagrams.append(data[0])
        self._tell("datagram")

    def _on_outcome(self, token: int, outcome: int) -> None:
        if self._notify is None:
            return
        notify = self._notify.get(token)
        if outcome != _core.WEFT_DATAGRAM_SENT:
            self._notify.pop(token, None)
        if notify is not None:
            try:
                notify(OUTCOMES[outcome])
            except Exception:  # the events that follow concern others
                logger.exception("notify of a datagram failed")

    def _on_path_news(self) -> None:
        if self._news is None:
            self._news = deque(maxlen=64)
        while (news := _core.conn_path_news(self._handle)) is not None:
            self._news.append((PATH_NEWS.get(news[0], "unknown"), news[1], news[2]))
        self._tell("path")

    def _end(self, error: BaseException) -> None:
        """It is over: everybody who waits is told."""
        self._error = error
        engine = self._engine
        if not engine.closed:
            self._final = {
                "info": _core.weft_conn_get_info(self._handle),
                "stats": _core.weft_conn_get_stats(self._handle),
                "paths": self._paths(),
            }
            self._final["certificate"] = _core.conn_certificate(self._handle)
            self._final["session"] = _core.conn_session(self._handle)
            self._final["token"] = _core.conn_token(self._handle)
            _core.weft_conn_release(self._handle)
        else:
            self._final = {"info": {}, "stats": {}, "paths": [], "certificate": b"", "session": b"", "token": b""}
        engine.conns.pop(self._handle, None)
        self._handle = 0
        for stream in list(self._live):
            stream._forget()
        if self._waiters is not None:
            for waiters in self._waiters.values():
                _wake(waiters)
        if self.server is not None:
            self.server._on_conn_closed(self)
        engine.touch()

    # ---- streams ----

    def open_stream_nowait(self, *, unidirectional: bool = False) -> Stream:
        """Opens a stream. StreamLimitError: the peer allows no more now. The peer hears of it with the first bytes."""
        handle = _core.stream_open(self._alive(), int(unidirectional))
        if not handle:
            self._engine.touch()
            raise StreamLimitError("the peer does not allow more streams now")
        info_id = _core.weft_stream_get_info(handle)["id"]
        stream = Stream(self, handle, info_id)
        self._engine.streams[handle] = stream
        self._live.add(stream)
        return stream

    async def open_stream(self, *, unidirectional: bool = False) -> Stream:
        """Opens a stream (RFC 9000 2), waiting while the peer allows no more. Errors: ConnectionClosed, StateError
        before the handshake (unless with early data)."""
        waited = False
        while True:
            try:
                stream = self.open_stream_nowait(unidirectional=unidirectional)
            except StreamLimitError:
                waited = True
                try:
                    await self._wait("streams")
                except BaseException:
                    self._tell_some("streams", 1)  # it was perhaps this task's turn
                    raise
                continue
            if waited:
                self._tell_some("streams", 1)
            return stream

    async def accept_stream(self) -> Stream:
        """The next stream that the peer has opened. Errors: ConnectionClosed."""
        while not self._incoming:
            if self._error is not None:
                raise again(self._error)
            await self._wait("accept")
        handle = next(iter(self._incoming))
        return self._incoming.pop(handle)

    def streams(self) -> AsyncIterator[Stream]:
        """The streams that the peer opens, until the connection is closed with code 0 or by this side; else
        ConnectionClosed."""
        return Each(self.accept_stream)

    def get_stream(self, stream_id: int) -> Stream | None:
        """The stream with this ID (RFC 9000 2.1), if it is open."""
        for stream in self._live:
            if stream.id == stream_id:
                return stream
        return None

    # ---- many small exchanges: a stream each, a list at a time ----

    def _batches(self) -> list[int]:
        if self._batch is None:
            self._batch, self._whole, self._partial = [], [], {}
            _core.conn_set_batch(self._alive(), 1)
            for stream in list(self._incoming.values()):  # came before the first call
                self._batch.append(stream._handle)
                self._engine.streams.pop(stream._handle, None)
                self._live.discard(stream)
            self._incoming.clear()
        return self._batch

    def _on_batch(self, handle: int) -> None:
        if self._batch is not None:
            self._batch.append(handle)
            if self._waiters is not None:
                _wake(self._waiters.get("batch", ()))

    def _on_batch_end(self, kind: int, handle: int, data: Any) -> None:
        """A stream was broken off, or ended with its connection and had something left."""
        if self._partial is None or kind == _core.WEFT_EV_STOPPED:
            return
        before = self._partial.pop(handle, b"")
        if kind == _core.WEFT_EV_RESET:
            self._whole.append((handle, None))
        elif data is not None and data[1]:
            self._whole.append((handle, bytes(before) + data[0]))
        self._tell("batch")

    def send_requests(self, messages: Sequence[Buffer]) -> list[int]:
        """Opens a stream for each message, writes it and ends it, in one crossing: the streams' handles. Fewer than
        there are messages when the peer allows no more streams now.

        From the first call on the connection is in batch mode: what comes is received with `receive_messages`, and
        streams of the peer are not given to `streams`. Errors: ConnectionClosed.
        """
        self._batches()
        opened = _core.batch_open(self._engine.glue, self._alive(), messages)
        self._engine.touch()
        return opened

    def send_replies(self, replies: Sequence[tuple[int, Buffer]]) -> list[int]:
        """Writes (handle, message) to streams and ends them, in one crossing: the handles of those that are gone.
        Errors: ConnectionClosed."""
        self._alive()
        failed = _core.batch_write(self._engine.glue, replies)
        self._engine.touch()
        return failed

    async def receive_messages(self) -> list[tuple[int, bytes | None]]:
        """What streams have brought to their end: a list of (handle, message), of at least one. None for a message: its
        stream was reset. Errors: ConnectionClosed, when everything that came before was given."""
        batch = self._batches()
        while True:
            if batch or self._whole:
                messages = self._read_batch(batch)
                if messages:
                    return messages
            elif self._error is not None:
                raise again(self._error)
            else:
                await self._wait("batch")

    def _read_batch(self, batch: list[int]) -> list[tuple[int, bytes | None]]:
        messages, self._whole = self._whole, []
        partial = self._partial
        assert partial is not None
        for handle, data, end in _core.batch_read(batch):
            if handle in partial:
                data = bytes(partial.pop(handle)) + data
            if end:
                messages.append((handle, data))
            else:
                partial[handle] = bytearray(data)
        batch.clear()
        self._engine.touch()
        return messages

    # ---- datagrams (RFC 9221) ----

    def send_datagram(self, data: Buffer, *, notify: Callable[[str], object] | None = None) -> None:
        """Sends a datagram, of at most max_datagram_size bytes. notify("sent"), then once notify("acknowledged" |
        "lost" | "dropped") tells what becomes of it.

        Errors: UnsupportedError: the peer takes none; TooLargeError; BlockedError: the queue is full, and option
        datagram_drop is "newest"; ConnectionClosed.
        """
        token = 0
        if notify is not None:
            token = self._token_next
        if not _core.datagram_send(self._alive(), data, token):
            raise BlockedError("the queue of datagrams is full")
        if notify is not None:
            self._token_next += 1
            if self._notify is None:
                self._notify = {}
            self._notify[token] = notify
        self._engine.touch()

    async def datagram_room(self) -> None:
        """After BlockedError: waits until datagrams may be sent again. Errors: ConnectionClosed."""
        self._alive()
        await self._wait("room")
        self._alive()

    async def receive_datagram(self) -> bytes:
        """The next datagram of the peer. At most 1024 wait; the oldest go first (datagrams_dropped counts them).
        Errors: ConnectionClosed, when those that came before were given."""
        while not self._datagrams:
            if self._error is not None:
                raise again(self._error)
            await self._wait("datagram")
        return self._datagrams.popleft()

    def datagrams(self) -> AsyncIterator[bytes]:
        """The peer's datagrams, until the connection is closed with code 0 or by this side; else ConnectionClosed."""
        return Each(self.receive_datagram)

    @property
    def max_datagram_size(self) -> int:
        """Most bytes a datagram may have now. Errors: UnsupportedError: the peer takes none; StateError: not
        connected."""
        return _core.weft_datagram_max(self._alive()) or 0

    # ---- what is known of it ----

    @property
    def info(self) -> dict[str, Any]:
        """All of weft_conn_info of weft.h; also when it has ended."""
        if self._final is not None:
            info: dict[str, Any] = self._final["info"]
            return info
        return _core.weft_conn_get_info(self._handle)

    def stats(self) -> dict[str, int]:
        """The connection's counters (docs/stats.md); also when it has ended."""
        if self._final is not None:
            stats: dict[str, int] = self._final["stats"]
            return stats
        return _core.weft_conn_get_stats(self._handle)

    def path_stats(self) -> list[dict[str, Any]]:
        """Its paths: the one in use first, then others, then those that are gone ("use": 1, 2, 3). Addresses, round
        trips (ns), window, MTU, ECN state, counters (weft_path_stats of weft.h, docs/stats.md); also after its end."""
        if self._final is not None:
            paths: list[dict[str, Any]] = self._final["paths"]
            return paths
        return self._paths()

    def _paths(self) -> list[dict[str, Any]]:
        paths: list[dict[str, Any]] = []
        while (path := _core.weft_conn_get_path_stats(self._handle, len(paths)))["use"]:
            paths.append(path)
        return paths

    @property
    def path(self) -> dict[str, Any]:
        """The path in use: addresses, rtt (ns), congestion_window, mtu ...: weft_path of weft.h. Errors: StateError."""
        return _core.weft_conn_get_path(self._alive())

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time in seconds (RFC 9002 5.3)."""
        seconds: float = self.path["rtt"] / 1e9
        return seconds

    @property
    def local_address(self) -> str | None:
        """ "192.0.2.1:4433", "[2001:db8::1]:4433"; None before it is known."""
        return self.info.get("local")

    @property
    def remote_address(self) -> str | None:
        """The peer's, in the same form; it changes when the peer moves (RFC 9000 9)."""
        return self.info.get("remote")

    @property
    def alpn(self) -> str:
        """The application protocol that was agreed on (RFC 7301); "" before it is known."""
        return str(self.info.get("alpn", ""))

    @property
    def server_name(self) -> str:
        """The name the client asked for (RFC 6066 3); "": none."""
        return str(self.info.get("server_name", ""))

    @property
    def cipher(self) -> str:
        """The cipher suite, "TLS_AES_128_GCM_SHA256" (RFC 8446 B.4); "" before it is known."""
        return str(self.info.get("cipher", ""))

    @property
    def version(self) -> int:
        """Of QUIC: 1, or 0x6b3343cf for version 2 (RFC 9369); 0: not known yet."""
        return int(self.info.get("version", 0))

    @property
    def resumed(self) -> bool:
        """The handshake resumed an earlier session."""
        return bool(self.info.get("resumed", 0))

    @property
    def early_data(self) -> str:
        """What became of 0-RTT: "none", "pending", "accepted", "rejected"."""
        return EARLY[int(self.info.get("early", 0))]

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's leaf certificate, DER; None: it sent none, or none yet."""
        found = self._final["certificate"] if self._final is not None else _core.conn_certificate(self._handle)
        return found or None

    @property
    def session(self) -> bytes | None:
        """Client: the newest session, for weft.connect(session=...) (RFC 8446 4.6.1); None: the server gave none
        yet."""
        found = self._final["session"] if self._final is not None else _core.conn_session(self._handle)
        return found or None

    @property
    def token(self) -> bytes | None:
        """Client: the newest token, for weft.connect(token=...) (RFC 9000 8.1.3)."""
        found = self._final["token"] if self._final is not None else _core.conn_token(self._handle)
        return found or None

    async def wait_session(self) -> bytes:
        """Waits for a session that a later connection can resume. Errors: ConnectionClosed."""
        while (session := self.session) is None:
            self._alive()
            await self._wait("session")
        return session

    async def wait_connected(self) -> None:
        """Waits until the handshake is complete; with early data, connect does not. Errors: HandshakeError and
        others."""
        while not self.connected:
            self._alive()
            await self._wait("connected")

    async def wait_confirmed(self) -> None:
        """Waits until the peer is known to have completed the handshake too (RFC 9001 4.1.2). Errors: as for
        wait_connected."""
        while not self.confirmed:
            self._alive()
            await self._wait("connected")

    def export_keying_material(self, label: str, context: bytes = b"", length: int = 32) -> bytes:
        """Keying material for label and context (RFC 8446 7.5). StateError: the handshake is not complete, or its
        secrets have been forgotten: servers do that when the handshake is confirmed, unless the option keep_exporter is
        set."""
        return _core.conn_export(self._alive(), label, context, length)

    # ---- what it can be told ----

    def update_keys(self) -> None:
        """Begins a key update (RFC 9001 6). StateError: too early, or the last one is not acknowledged yet."""
        _core.weft_conn_update_keys(self._alive())
        self._engine.touch()

    def ping(self) -> None:
        """Sends a PING (RFC 9000 19.2): keeps the connection open, and measures the round trip."""
        _core.weft_conn_ping(self._alive())
        self._engine.touch()

    async def migrate(self, local: str | None = None) -> None:
        """Client: moves to another address of its own (RFC 9000 9.2), "192.0.2.1", with or without port; None: a new
        port. Returns when the connection has moved. StateError: the new path does not work (the connection stays where
        it is), or the server does not want clients to move; BlockedError, AddressError, ConnectionClosed."""
        await self.wait_confirmed()
        if self._news is not None:
            self._news.clear()
        _core.weft_conn_migrate(self._alive(), local)
        self._engine.touch()
        while True:
            await self._wait("path")
            self._alive()
            while self._news:
                news, at, _ = self._news.popleft()
                if news == "active":
                    return
                if news == "failed":
                    raise StateError(f"the peer does not answer on the path from {at}")

    def close(self, code: int = 0, reason: str = "") -> None:
        """Closes with an application error code and a reason, at once, whatever is still to be sent. Nothing happens
        when it is closed already."""
        if self._error is not None or not self._handle:
            return
        try:
            _core.weft_conn_close(self._handle, code, reason)
        except ConnectionError:
            return
        self._engine.touch()

    async def wait_closed(self) -> None:
        """Waits until it has ended, for whatever reason; `close_error` has it then."""
        while self._error is None:
            await self._wait("closed")

    @property
    def close_error(self) -> BaseException | None:
        """How it ended: usually a ConnectionClosed with code, reason, by_peer and cause; None while it has not."""
        return self._error

    @property
    def closed(self) -> bool:
        """It has ended, for whatever reason: `close_error` has it."""
        return self._error is not None

    def _finished_one(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._tell("finished")

    async def drain(self) -> None:
        """Waits until the peer has all of every stream whose end was written, or the connection has ended."""
        while self._unfinished and self._error is None:
            await self._wait("finished")

    async def aclose(self, code: int = 0, reason: str = "") -> None:
        """drain(), close(), wait_closed()."""
        try:
            await self.drain()
        finally:
            self.close(code, reason)
        await self.wait_closed()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is None:
            await self.aclose()
        else:
            self.close(0)
            if issubclass(kind, Exception):
                await self.wait_closed()
        return False


# ---- connecting -----------------------------------------------------------------------------------------------------


def begin(
    engine: Engine,
    settings: Settings,
    host: str,
    port: int,
    *,
    family: int = 0,
    server_name: str | None = None,
    session: bytes | None = None,
    token: bytes | None = None,
    kind: type[Connection] = Connection,
) -> Connection:
    """Begins a connection; the handshake is still to come."""
    if not 0 < port < 65536:
        raise ValueError(f"port must be 1 to 65535, not {port}")
    handle = _core.engine_connect(engine.glue, settings.handle, host, port, family, server_name, session, token)
    _core.weft_conn_keep(handle)
    connection = kind(engine, handle, settings)
    connection._early = session is not None and settings.get("early_data") == 1
    engine.touch()
    return connection


async def established(connection: Connection) -> Connection:
    """Waits for the handshake, or only for the moment from which 0-RTT may be written."""
    try:
        if connection._early and connection.early_data == "pending":
            return connection
        await connection.wait_connected()
    except BaseException:
        connection.close(0)
        raise
    return connection


class Connecting:
    """What weft.connect returns: `async with` it, or `await` it."""

    __slots__ = ("_arguments", "_begin", "_connection")

    def __init__(self, begin_now: Callable[[], Connection]) -> None:
        self._begin = begin_now
        self._connection: Connection | None = None

    async def _connect(self) -> Connection:
        self._connection = self._begin()
        return await established(self._connection)

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._connect().__await__()

    async def __aenter__(self) -> Connection:
        return await self._connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        assert self._connection is not None
        return await self._connection.__aexit__(kind, error, trace)


def connect(
    host: str,
    port: int,
    *,
    alpn: str | Iterable[str],
    ca: Source | Sequence[Source] | None = None,
    system_trust: bool = False,
    pins: Pins | None = None,
    verify: bool | Verify | None = None,
    server_name: str | None = None,
    certificate: Source | Sequence[tuple[Source, Source]] | None = None,
    key: Source | None = None,
    session: bytes | None = None,
    token: bytes | None = None,
    family: Literal[0, 4, 6] = 0,
    keylog: Keylog | None = None,
    qlog: Path | None = None,
    ciphers: str | None = None,
    groups: str | None = None,
    engine: Engine | None = None,
    **options: Unpack[Options],
) -> Connecting:
    """A connection to host, a name or an address (names with several addresses are raced, RFC 8305).

    alpn: application protocols, most wanted first (RFC 7301).
    ca: authorities to trust, instead of the system's (beside them with system_trust): names of PEM or DER files, or
    bytes. pins: SHA-256 of leaf certificates that are accepted, whoever signed them.
    verify: False: accept every certificate. A function: verify(chain, server_name, ok) is 0, or the alert to refuse
    with. server_name: to ask for and to verify instead of host.
    certificate, key: of this client, for servers that ask.
    session: Connection.session of an earlier connection, to resume; with early_data=True the first bytes go out with
    the first packet (0-RTT), and this returns before the handshake is complete. token: Connection.token, likewise.
    keylog: file to append secrets to in the NSS format, or a function that is given each line.
    qlog: directory, which exists, for what the connection does, as qlog.
    ciphers, groups: colon-separated names: "TLS_AES_128_GCM_SHA256", "X25519:P-256".
    engine: a weft.Engine, instead of the one that the loop's connections share.
    options: docs/options.md.

    Errors: HandshakeError, ResolveError, AddressError, TLSError, CertificateError, OptionError, ValueNotAllowedError.
    Leaving the block closes the connection with code 0, after what was written has arrived; with an exception, at once.
    """
    tls: dict[str, Any] = {
        "ca": ca,
        "system_trust": system_trust,
        "pins": pins,
        "verify": verify,
        "certificate": certificate,
        "key": key,
    }
    tls |= {"keylog": keylog, "qlog": qlog, "ciphers": ciphers, "groups": groups}

    def begin_now() -> Connection:
        from ._config import settings_for

        settings = settings_for(_core.WEFT_CLIENT, alpn, dict(options), tls)
        return begin(
            engine if engine is not None else current(),
            settings,
            host,
            port,
            family=family,
            server_name=server_name,
            session=session,
            token=token,
        )

    return Connecting(begin_now)


__all__ = ["Connecting", "Connection", "Error", "connect"]
