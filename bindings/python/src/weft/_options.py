"""Keyword arguments of connect, serve and listen, one for each option of the core. Made by scripts/python_tables.py; `make generated` makes it anew."""

from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """Times are seconds, or texts with a unit ("250ms"); sizes are bytes, or texts with a unit ("4MiB")."""

    max_idle_timeout: float | str
    """Close silently after so long without a packet from the peer; 0: never. Allowed: 0 to 1000h; unless set:
    30s."""

    handshake_timeout: float | str
    """Give up a handshake that is not complete after so long. Allowed: 10ms to 1h; unless set: 10s."""

    keep_alive: float | str
    """Send a PING when nothing was sent for so long; 0: never. Allowed: 0 to 1h; unless set: 0."""

    max_udp_payload_size: int | str
    """Largest datagram we accept (transport parameter). Allowed: 1200 to 65527; unless set: 65527."""

    send_udp_payload_size: int | str
    """Largest datagram we send on a path whose MTU allows it, 1200 at least; 0: as large as the local interface
    takes. Allowed: 0 to 65527; unless set: 1452."""

    initial_max_data: int | str
    """Bytes the peer may send on all streams before the first credit. Allowed: 0 to 1EiB; unless set: 1536KiB."""

    initial_max_stream_data_bidi_local: int | str
    """The same for one bidirectional stream that we open. Allowed: 0 to 1EiB; unless set: 1MiB."""

    initial_max_stream_data_bidi_remote: int | str
    """The same for one bidirectional stream that the peer opens. Allowed: 0 to 1EiB; unless set: 1MiB."""

    initial_max_stream_data_uni: int | str
    """The same for one unidirectional stream. Allowed: 0 to 1EiB; unless set: 1MiB."""

    max_data_window: int | str
    """Most the connection's receive window may grow to by auto-tuning. Allowed: 0 to 1EiB; unless set: 24MiB."""

    max_stream_data_window: int | str
    """Most a stream's receive window may grow to by auto-tuning. Allowed: 0 to 1EiB; unless set: 16MiB."""

    initial_max_streams_bidi: int
    """Bidirectional streams the peer may have open at a time. Allowed: 0 to 2^60; unless set: 128."""

    initial_max_streams_uni: int
    """Unidirectional streams the peer may have open at a time. Allowed: 0 to 2^60; unless set: 128."""

    stream_send_buffer: int | str
    """Bytes a stream holds for sending before writes are refused until it drains. Allowed: 1KiB to 1TiB; unless
    set: 1MiB."""

    connection_send_buffer: int | str
    """The same for all streams of a connection together; an eighth of the engine's memory budget at most. Allowed:
    64KiB to 1TiB; unless set: 32MiB."""

    ack_delay_exponent: int
    """Scale of the ACK Delay field we send (transport parameter). Allowed: 0 to 20; unless set: 3."""

    max_ack_delay: float | str
    """Longest we wait before acknowledging (transport parameter). Allowed: 1ms to 16383ms; unless set: 25ms."""

    active_connection_id_limit: int
    """Connection IDs of the peer we keep (transport parameter). Allowed: 2 to 8; unless set: 4."""

    disable_active_migration: bool
    """Ask the peer not to change its address (transport parameter). Allowed: on, off; unless set: off."""

    congestion_control: Literal["cubic", "newreno", "bbr"]
    """Congestion controller: cubic, newreno or bbr. Allowed: cubic, newreno, bbr; unless set: cubic."""

    hystart: bool
    """Leave slow start early by HyStart++ (RFC 9406). Allowed: on, off; unless set: on."""

    pacing: bool
    """Spread packets over the round trip instead of sending bursts. Allowed: on, off; unless set: on."""

    initial_rtt: float | str
    """Round-trip time assumed before the first sample (RFC 9002 6.2.2). Allowed: 1ms to 10s; unless set: 333ms."""

    initial_window: int
    """Initial congestion window in datagrams (RFC 9002 7.2). Allowed: 2 to 1000; unless set: 10."""

    initial_packet_number_skip: bool
    """Skip packet numbers now and then to catch optimistic ACKs (RFC 9000 21.4). Allowed: on, off; unless set:
    on."""

    address_validation: Literal["never", "always", "auto"]
    """Server: when to validate addresses with Retry: never, always, or auto: when there are more strangers than the
    half_open options allow. Allowed: never, always, auto; unless set: auto."""

    half_open_limit: int
    """Server: clients of unproven addresses an engine serves before it asks every new one for a Retry (auto).
    Allowed: 0 to 1000000; unless set: 192."""

    half_open_rate: int
    """Server: clients a second that may begin and never prove their address before every new one is asked for a
    Retry (auto). Allowed: 1 to 1000000; unless set: 100."""

    max_handshakes: int
    """Server: handshakes of clients under way in an engine, and in memory never more than half the budget; a large
    one counts as several; beyond, first packets wait until one ends, or was silent for 250 ms and makes room.
    Allowed: 1 to 16000000; unless set: 4096."""

    handshakes_per_turn: int
    """Server: handshakes begun in one turn of the loop; others wait for the next, so that those who are connected
    do not wait for them. Allowed: 1 to 64; unless set: 4."""

    stateless_reset_rate: int
    """Stateless resets a second that an engine sends at most; 0: none. Allowed: 0 to 1000000; unless set: 1000."""

    stateless_reply_rate: int
    """Server: Version Negotiation packets and refusals a second that an engine sends at most; 0: none. Allowed: 0
    to 1000000; unless set: 10000."""

    max_closing: int
    """Closed connections an engine keeps to answer late packets, and in memory never more than a sixteenth of the
    budget; the oldest are forgotten early. Allowed: 1 to 1000000; unless set: 1024."""

    early_packets: int
    """Packets a connection keeps that came before their keys. Allowed: 0 to 8; unless set: 8."""

    orphan_packets: int
    """Server: 0-RTT packets an engine keeps that came before their connection. Allowed: 0 to 16; unless set: 16."""

    amplification_limit: int
    """Bytes sent for each byte received to an address that is not proven (RFC 9000 8). Allowed: 1 to 3; unless set:
    3."""

    connected_sockets: int
    """Server: connections of an engine that get a socket of their own, connected to their client, when the
    handshake is over; 0: all use the listener's. Allowed: 0 to 1000000; unless set: 0."""

    prefix_v4: int
    """Server: bits of an IPv4 address that make a network, for prefix_share. Allowed: 8 to 32; unless set: 24."""

    prefix_v6: int
    """Server: bits of an IPv6 address that make a network, for prefix_share. Allowed: 16 to 128; unless set: 56."""

    prefix_share: int
    """Server: percent that one network may take of half-open places, handshakes and turns (where half are taken)
    and of scarce memory; 100: networks are not told apart. Allowed: 1 to 100; unless set: 25."""

    retry_token_lifetime: float | str
    """Server: how long a Retry token is good. Allowed: 1s to 1h; unless set: 30s."""

    max_connections: int
    """Server: connections a listener holds at a time. Allowed: 1 to 16000000; unless set: 1000000."""

    early_data: bool
    """Send (client) or accept (server) 0-RTT data. Allowed: on, off; unless set: off."""

    session_tickets: int
    """Server: session tickets sent after a handshake. Allowed: 0 to 8; unless set: 2."""

    grease: bool
    """Send reserved transport parameters that the peer must ignore (RFC 9000 18.1). Allowed: on, off; unless set:
    on."""

    max_datagram_frame_size: int | str
    """Largest DATAGRAM frame we accept (transport parameter, RFC 9221); 0: none. Allowed: 0 to 65535; unless set:
    0."""

    datagram_send_queue: int | str
    """Bytes of datagrams that wait to be sent. Allowed: 1KiB to 1TiB; unless set: 256KiB."""

    datagram_receive_queue: int | str
    """Bytes of received datagrams that wait for the application. Allowed: 1KiB to 1TiB; unless set: 256KiB."""

    datagram_queue_count: int
    """Datagrams that wait, in either direction. Allowed: 1 to 1048576; unless set: 1024."""

    datagram_drop: Literal["oldest", "newest"]
    """When such a queue is full: drop the oldest in it, or refuse the newest. Allowed: oldest, newest; unless set:
    oldest."""

    datagram_priority: Literal["before", "after"]
    """Datagrams go out before or after what streams have to send. Allowed: before, after; unless set: before."""

    ecn: bool
    """Mark packets as ECN-capable on paths that pass the test for it (RFC 9000 13.4). Allowed: on, off; unless set:
    on."""

    reset_stream_at: bool
    """Let the peer reset streams from an offset on, what comes before being delivered (transport parameter).
    Allowed: on, off; unless set: on."""

    ack_frequency: bool
    """Tell the peer how often to acknowledge, and let it tell us, if it speaks the extension (transport parameter).
    Allowed: on, off; unless set: off."""

    follow_preferred_address: bool
    """Client: move to the address that the server prefers (RFC 9000 9.6). Allowed: on, off; unless set: on."""

    spin_bit: bool
    """Let observers measure round trips (RFC 9000 17.4). Allowed: on, off; unless set: off."""

    glitch_burst: int
    """Points of what is to no use after which a connection is closed; 0: never. Allowed: 0 to 2147483648; unless
    set: 10000."""

    glitch_rate: int
    """Such points that a connection is forgiven a second. Allowed: 0 to 2147483648; unless set: 330."""

    ack_ranges: int
    """Ranges of an ACK frame that are looked at, the newest first. Allowed: 32 to 65536; unless set: 256."""

    path_burst: int
    """Server: new addresses of a client that are followed at a time. Allowed: 1 to 1048576; unless set: 64."""

    path_rate: int
    """Server: new addresses of a client that are followed a second, after those. Allowed: 0 to 1048576; unless set:
    2."""

    stall_timeout: float | str
    """Close when bytes wait so long for a peer that takes next to none of them, or behind a hole that it does not
    fill; 0: never. Allowed: 0 to 1000h; unless set: 2m."""

    progress_timeout: float | str
    """Close when so long no byte of a stream and no datagram has moved, whatever else the peer sends; 0: never.
    Allowed: 0 to 1000h; unless set: 0."""

    versions: Literal["both", "v1", "v2"]
    """QUIC versions that are spoken at all: both, v1 or v2. Allowed: both, v1, v2; unless set: both."""

    version: Literal["v1", "v2"]
    """Client: QUIC version to begin with, v1 or v2; a session to resume begins with its own. Allowed: v1, v2;
    unless set: v1."""

    version_preference: Literal["client", "v1", "v2"]
    """QUIC version to change to when the client offers it (server), or to ask the server to change to (client):
    client (the choice is the client's, which stays with what it begins with), v1 or v2. Allowed: client, v1, v2;
    unless set: client."""

    qlog_one_in: int
    """Write a qlog of one connection in so many, where a qlog is asked for at all. Allowed: 1 to 4294967296; unless
    set: 1."""

    keep_exporter: bool
    """Server: keying material can be exported (RFC 8446 7.5) after the handshake is confirmed too; costs 12 KiB a
    connection. Allowed: on, off; unless set: off."""

    careful_resume: bool
    """Jump to half of the window that an earlier connection to the same address had, and save ours for the next
    (RFC 9959); needs pacing, not with bbr. Allowed: on, off; unless set: off."""

    careful_resume_most: int | str
    """Largest window that is jumped to. Allowed: 16KiB to 1TiB; unless set: 4MiB."""

    careful_resume_lifetime: float | str
    """How long a saved window is good. Allowed: 1s to 24h; unless set: 1h."""


TIMES = frozenset(
    [
        "max_idle_timeout",
        "handshake_timeout",
        "keep_alive",
        "max_ack_delay",
        "initial_rtt",
        "retry_token_lifetime",
        "stall_timeout",
        "progress_timeout",
        "careful_resume_lifetime",
    ]
)
"""The options that are times: numbers for them are seconds, where the core has nanoseconds."""
