"""QuicConnection: what protocols call on `self._quic`, and weft's connection turning into events.

`_Connection` is a weft.Connection whose streams are read as soon as something is there; what came is a list of events,
given to the protocol in a callback of the loop of its own. Streams that are written to before the peer allows them
wait.

The invariant that matters: events come in the order in which they happened, ConnectionTerminated last and once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from ... import _core
from ...connection import Connection
from ...errors import ConnectionClosed, Error, StreamLimitError, UnsupportedError
from ...stream import Stream
from . import events
from .configuration import QuicConfiguration
from .tls import SessionTicket, SessionTicketHandler

NetworkAddress = Any
QuicTokenHandler = Callable[[bytes], None]


class _Connection(Connection):
    """A connection that tells everything as events."""

    __slots__ = ("_quic",)

    _quic: QuicConnection

    def _on_event(self, kind: int, handle: int, value: int, data: Any) -> None:
        super()._on_event(kind, handle, value, data)
        if kind == _core.WEFT_EV_CONNECTED:
            self._quic._on_connected()
        elif kind == _core.WEFT_EV_STREAMS:
            self._quic._open_waiting()
        elif kind == _core.WEFT_EV_SESSION:
            self._quic._on_session()
        elif kind == _core.WEFT_EV_TOKEN:
            self._quic._on_token()
        elif kind == _core.WEFT_EV_DATAGRAM and self._datagrams:
            self._quic._add(events.DatagramFrameReceived(self._datagrams.popleft()))

    def _on_stream(self, handle: int, stream_id: int) -> None:
        stream = _Stream(self, handle, stream_id)
        self._engine.streams[handle] = stream
        self._live.add(stream)
        self._quic._streams[stream_id] = stream
        if self.server is not None:
            self.server._on_stream(self)

    def _end(self, error: BaseException) -> None:
        before = self._error
        super()._end(error)
        if before is None:
            self._quic._on_end(error)


class _Stream(Stream):
    __slots__ = ()

    @property
    def _quic(self) -> QuicConnection:
        connection = self.connection
        assert isinstance(connection, _Connection)
        return connection._quic

    def _on_readable(self) -> None:
        while not self.at_eof:
            try:
                data = self._take(1 << 20)
            except Error:
                return
            if data is None:
                return
            self._quic._add(events.StreamDataReceived(data, self.at_eof, self.id))

    def _on_reset(self, code: int) -> None:
        super()._on_reset(code)
        self._quic._add(events.StreamReset(code, self.id))

    def _on_stopped(self, code: int) -> None:
        super()._on_stopped(code)
        self._quic._add(events.StopSendingReceived(code, self.id))

    def _forget(self) -> None:
        if self._held or (self._eof and not self.at_eof):
            self._on_readable()
        self._quic._streams.pop(self.id, None)
        super()._forget()


class QuicConnection:
    """One connection, by the methods of aioquic's that protocols call."""

    def __init__(
        self,
        connection: _Connection,
        configuration: QuicConfiguration,
        session_ticket_handler: SessionTicketHandler | None = None,
        token_handler: QuicTokenHandler | None = None,
    ) -> None:
        self._weft = connection
        self._configuration = configuration
        self._session_ticket_handler = session_ticket_handler
        self._token_handler = token_handler
        self._streams: dict[int, Stream] = {}
        self._waiting: dict[int, deque[tuple[bytes, bool]]] = {}
        self._events: deque[events.QuicEvent] = deque()
        self._next = {False: int(connection.is_server), True: 2 + int(connection.is_server)}
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.Handle | None = None
        self._tell: Callable[[events.QuicEvent], None] | None = None
        connection._quic = self

    # ---- events ----

    def _add(self, event: events.QuicEvent) -> None:
        self._events.append(event)
        if self._soon is None:
            self._soon = self._loop.call_soon(self._tell_all)

    def _tell_all(self) -> None:
        self._soon = None
        while self._events and self._tell is not None:
            self._tell(self._events.popleft())

    def next_event(self) -> events.QuicEvent | None:
        return self._events.popleft() if self._events else None

    def _on_connected(self) -> None:
        connection = self._weft
        alpn = connection.alpn or None
        self._add(events.ProtocolNegotiated(alpn))
        accepted = connection.early_data == "accepted"
        self._add(events.HandshakeCompleted(alpn, accepted, connection.resumed))
        self._open_waiting()

    def _on_session(self) -> None:
        session = self._weft.session
        if self._session_ticket_handler is not None and session is not None:
            self._loop.call_soon(
                self._session_ticket_handler, SessionTicket(session, self._configuration.server_name or "")
            )

    def _on_token(self) -> None:
        token = self._weft.token
        if self._token_handler is not None and token is not None:
            self._loop.call_soon(self._token_handler, token)

    def _on_end(self, error: BaseException) -> None:
        if isinstance(error, ConnectionClosed):
            frame = None if error.application else 0
            self._add(events.ConnectionTerminated(error.code, frame, error.reason or str(error)))
        else:
            self._add(events.ConnectionTerminated(1, 0, str(error)))

    # ---- what protocols call ----

    @property
    def configuration(self) -> QuicConfiguration:
        return self._configuration

    def get_next_available_stream_id(self, is_unidirectional: bool = False) -> int:
        return self._next[is_unidirectional]

    def _open(self, stream_id: int) -> Stream | None:
        """The stream, opened with those before it if it is ours and new; None: the peer does not allow it yet."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            return stream
        own, unidirectional = stream_id & 1 == self._weft.is_server, bool(stream_id & 2)
        if not own or stream_id < self._next[unidirectional]:
            if stream_id in self._waiting:
                return None
            raise ValueError(f"stream {stream_id} is unknown, or has ended")
        for each in range(self._next[unidirectional], stream_id + 1, 4):
            self._waiting[each] = deque()
        self._next[unidirectional] = stream_id + 4
        self._open_waiting()
        return self._streams.get(stream_id)

    def _open_waiting(self) -> None:
        for stream_id in sorted(self._waiting):
            try:
                handle = _core.stream_open(self._weft._alive(), int(bool(stream_id & 2)))
                if not handle:
                    raise StreamLimitError
            except (StreamLimitError, RuntimeError, ConnectionError):
                continue  # not yet, or never
            stream = _Stream(self._weft, handle, stream_id)
            self._weft._engine.streams[handle] = stream
            self._weft._live.add(stream)
            self._streams[stream_id] = stream
            for data, end in self._waiting.pop(stream_id):
                self._write(stream, data, end)

    @staticmethod
    def _write(stream: Stream, data: bytes, end: bool) -> None:
        try:
            stream._writable()
            stream._send(data, end)
        except ConnectionError:
            pass  # stopped or closed: events tell

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        if self._weft.closed:
            return
        stream = self._open(stream_id)
        if stream is None:
            self._waiting[stream_id].append((bytes(data), end_stream))
        else:
            self._write(stream, data, end_stream)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        stream = self._open(stream_id)
        if stream is not None:
            stream.reset(error_code)

    def stop_stream(self, stream_id: int, error_code: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.stop(error_code)

    def send_datagram_frame(self, data: bytes) -> None:
        self._weft.send_datagram(data)

    def send_ping(self, uid: int) -> None:
        self._weft.ping()

    def request_key_update(self) -> None:
        self._weft.update_keys()

    def change_connection_id(self) -> None:
        raise UnsupportedError("connection IDs change with the path: weft.Connection.migrate")

    def close(self, error_code: int = 0, frame_type: int | None = None, reason_phrase: str = "") -> None:
        connection = self._weft
        if connection.closed:
            return
        if frame_type is None:
            connection.close(error_code, reason_phrase)
        else:
            _core.weft_conn_close_transport(connection._handle, error_code, reason_phrase)
            connection._engine.touch()
