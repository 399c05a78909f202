"""The events of a connection, with aioquic's names and members."""

from __future__ import annotations

from dataclasses import dataclass


class QuicEvent:
    """The base of all events."""


@dataclass
class ConnectionTerminated(QuicEvent):
    error_code: int
    frame_type: int | None
    reason_phrase: str


@dataclass
class DatagramFrameReceived(QuicEvent):
    data: bytes


@dataclass
class HandshakeCompleted(QuicEvent):
    alpn_protocol: str | None
    early_data_accepted: bool
    session_resumed: bool


@dataclass
class PingAcknowledged(QuicEvent):
    uid: int


@dataclass
class ProtocolNegotiated(QuicEvent):
    alpn_protocol: str | None


@dataclass
class StopSendingReceived(QuicEvent):
    error_code: int
    stream_id: int


@dataclass
class StreamDataReceived(QuicEvent):
    data: bytes
    end_stream: bool
    stream_id: int


@dataclass
class StreamReset(QuicEvent):
    error_code: int
    stream_id: int
