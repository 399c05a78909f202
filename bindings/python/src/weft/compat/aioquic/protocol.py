"""QuicConnectionProtocol, connect and serve, as aioquic.asyncio has them.

A protocol hears of its connection through `quic_event_received`; unless a subclass has its own, streams are asyncio's
StreamReader and StreamWriter. As there, a reader holds whatever the peer sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ... import _core
from ..._config import settings_for
from ..._loop import current
from ...connection import begin
from ...errors import Error, UnsupportedError
from ...server import Server, _settings, address_of
from . import events
from .configuration import QuicConfiguration
from .connection import QuicConnection, QuicTokenHandler, _Connection
from .tls import SessionTicketFetcher, SessionTicketHandler

QuicStreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]
QuicConnectionHandler = Callable[[], None]
PING_LOOKS = 0.0005


class QuicStreamAdapter(asyncio.Transport):
    """The transport of a stream's StreamWriter."""

    def __init__(self, protocol: QuicConnectionProtocol, stream_id: int) -> None:
        super().__init__()
        self.protocol = protocol
        self.stream_id = stream_id
        self._closing = False

    def can_write_eof(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.stream_id if name == "stream_id" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.protocol._quic.send_stream_data(self.stream_id, bytes(data))

    def write_eof(self) -> None:
        if not self._closing:
            self._closing = True
            self.protocol._quic.send_stream_data(self.stream_id, b"", end_stream=True)

    def close(self) -> None:
        self.write_eof()

    def is_closing(self) -> bool:
        return self._closing


class QuicConnectionProtocol(asyncio.DatagramProtocol):
    """One connection. Subclasses have quic_event_received, and call methods of self._quic, followed by
    self.transmit()."""

    def __init__(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> None:
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._stream_handler = stream_handler or (lambda reader, writer: None)
        self._stream_readers: dict[int, asyncio.StreamReader] = {}
        self._closed = asyncio.Event()
        quic._tell = self._event

    def _event(self, event: events.QuicEvent) -> None:
        self.quic_event_received(event)
        if isinstance(event, events.ConnectionTerminated):
            for reader in self._stream_readers.values():
                if not reader.at_eof():
                    reader.feed_eof()
            self._closed.set()

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            reader = self._stream_readers.get(event.stream_id)
            if reader is None:
                reader, writer = self._create_stream(event.stream_id)
                self._stream_handler(reader, writer)
            reader.feed_data(event.data)
            if event.end_stream:
                reader.feed_eof()
        elif isinstance(event, events.StreamReset):
            reader = self._stream_readers.get(event.stream_id)
            if reader is not None:
                reader.feed_eof()

    def _create_stream(self, stream_id: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        adapter = QuicStreamAdapter(self, stream_id)
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        writer = asyncio.StreamWriter(adapter, protocol, reader, self._loop)
        self._stream_readers[stream_id] = reader
        return reader, writer

    async def create_stream(self, is_unidirectional: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream_id = self._quic.get_next_available_stream_id(is_unidirectional)
        self._quic.send_stream_data(stream_id, b"")
        return self._create_stream(stream_id)

    def transmit(self) -> None:
        self._quic._weft._engine.touch()

    def request_key_update(self) -> None:
        self._quic.request_key_update()

    def change_connection_id(self) -> None:
        self._quic.change_connection_id()

    async def ping(self) -> None:
        """Returns when the peer has acknowledged it."""
        connection = self._quic._weft
        before = connection.stats()["acks_received"]
        connection.ping()
        while connection.stats()["acks_received"] == before:
            connection._alive()
            await asyncio.sleep(PING_LOOKS)

    def close(self, error_code: int = 0, reason_phrase: str = "") -> None:
        self._quic.close(error_code, reason_phrase=reason_phrase)

    async def wait_connected(self) -> None:
        """ConnectionError when the handshake fails."""
        try:
            await self._quic._weft.wait_connected()
        except Error as error:
            raise ConnectionError(str(error)) from error

    async def wait_closed(self) -> None:
        await self._closed.wait()


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    configuration: QuicConfiguration | None = None,
    create_protocol: Callable[..., QuicConnectionProtocol] | None = QuicConnectionProtocol,
    session_ticket_handler: SessionTicketHandler | None = None,
    stream_handler: QuicStreamHandler | None = None,
    token_handler: QuicTokenHandler | None = None,
    wait_connected: bool = True,
    local_port: int = 0,
) -> AsyncGenerator[QuicConnectionProtocol, None]:
    if local_port:
        raise UnsupportedError("the system chooses the port of a client")
    if configuration is None:
        configuration = QuicConfiguration(is_client=True)
    if configuration.server_name is None:
        configuration.server_name = host
    arguments = configuration.arguments()
    tls = {name: arguments.pop(name) for name in TLS if name in arguments}
    settings = settings_for(_core.WEFT_CLIENT, configuration.alpn_protocols or ["hq-interop"], arguments, tls)
    ticket = configuration.session_ticket
    engine = current()
    connection = begin(
        engine,
        settings,
        host,
        port,
        server_name=configuration.server_name,
        session=ticket.ticket if ticket else None,
        token=configuration.token or None,
        kind=_Connection,
    )
    assert isinstance(connection, _Connection)
    quic = QuicConnection(connection, configuration, session_ticket_handler, token_handler)
    protocol = (create_protocol or QuicConnectionProtocol)(quic, stream_handler=stream_handler)
    try:
        if wait_connected:
            await protocol.wait_connected()
        yield protocol
    finally:
        protocol.close()
        await protocol.wait_closed()


TLS = ("certificate", "key", "ca", "verify", "keylog", "qlog", "ciphers")


class QuicServer:
    """A listening server; `close` ends it and its connections."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport = self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name != "sockname":
            return default
        host, _, port = self._server.address.rpartition(":")
        return (host.strip("[]"), int(port))

    def close(self) -> None:
        self._server.close()


class _Server(Server):
    __slots__ = ("_make",)

    _make: Callable[[_Connection], None]
    connection_type = _Connection

    def _on_accepted(self, handle: int) -> None:
        super()._on_accepted(handle)
        connection = self._engine.conns.get(handle)
        if isinstance(connection, _Connection):
            self._make(connection)

    def _on_connected(self, connection: Any) -> None:
        """Protocols hear of everything; nobody accepts."""

    def _on_stream(self, connection: Any) -> None:
        """As above."""


async def serve(
    host: str,
    port: int,
    *,
    configuration: QuicConfiguration,
    create_protocol: Callable[..., QuicConnectionProtocol] = QuicConnectionProtocol,
    session_ticket_fetcher: SessionTicketFetcher | None = None,
    session_ticket_handler: SessionTicketHandler | None = None,
    retry: bool = False,
    stateless_retry: bool = False,
    stream_handler: QuicStreamHandler | None = None,
) -> QuicServer:
    arguments = configuration.arguments()
    arguments["address_validation"] = "always" if retry or stateless_retry else "never"
    arguments["early_data"] = session_ticket_fetcher is not None  # weft keeps its own register of tickets
    settings = _settings(configuration.alpn_protocols or ["hq-interop"], arguments)
    server = _Server(current(), settings, address_of(host, port), 0, None)

    def make(connection: _Connection) -> None:
        quic = QuicConnection(connection, configuration)
        create_protocol(quic, stream_handler=stream_handler)  # the connection holds it

    server._make = make
    return QuicServer(server)


__all__ = ["QuicConnectionProtocol", "QuicServer", "connect", "serve"]
