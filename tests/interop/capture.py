"""Reads what link.c captured: IP packets, QUIC packets, and with the key logs of both sides the frames in them.

A Trace is one end's capture in order of time. What cannot be decrypted (corrupted on the way, or keys that nobody logged)
is kept as a packet without frames. RFC 9000 (formats), RFC 9001 (protection), RFC 9369 (version 2). Needs the package
cryptography.

What must stay true: nothing here believes a side's own words. Connections, versions, key phases and marks are what was on
the wire.
"""

import dataclasses
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives import hmac

V1, V2 = 1, 0x6B3343CF
SALTS = {
    V1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    V2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
TYPES = {
    V1: ["initial", "0rtt", "handshake", "retry"],
    V2: ["retry", "initial", "0rtt", "handshake"],
}
PREFIX = {V1: "quic", V2: "quicv2"}
SUITES = {0x1301: (hashes.SHA256, 16), 0x1302: (hashes.SHA384, 32), 0x1303: (hashes.SHA256, 32)}
CLIENT, SERVER = "client", "server"


# ---- captures -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Datagram:
    time: float
    sender: str  # CLIENT or SERVER
    source: tuple  # address, port
    destination: tuple
    ecn: int
    v6: bool
    payload: bytes


def read_capture(path):
    """Datagrams of a pcap file of raw IP packets; the client's network is 10.0.1.0/24 or fd00:1::/64."""
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    while at + 16 <= len(data):
        seconds, nanoseconds, size, _ = struct.unpack_from("=IIII", data, at)
        packet = data[at + 16 : at + 16 + size]
        at += 16 + size
        v6 = packet[0] >> 4 == 6
        header = 40 if v6 else (packet[0] & 15) * 4
        source, destination = (packet[8:24], packet[24:40]) if v6 else (packet[12:16], packet[16:20])
        ports = struct.unpack_from("!HH", packet, header)
        ecn = (packet[1] >> 4 if v6 else packet[1]) & 3
        from_client = source[:4] == b"\xfd\0\0\1" if v6 else source[:3] == b"\n\0\1"
        yield Datagram(
            seconds + nanoseconds / 1e9,
            CLIENT if from_client else SERVER,
            (source, ports[0]),
            (destination, ports[1]),
            ecn,
            v6,
            packet[header + 8 :],
        )


def read_keylogs(*paths):
    """client_random -> label -> secret."""
    secrets = {}
    for path in paths:
        if path.exists():
            for line in path.read_text().splitlines():
                if line and not line.startswith("#"):
                    label, random, secret = line.split()
                    secrets.setdefault(bytes.fromhex(random), {})[label] = bytes.fromhex(secret)
    return secrets


# ---- protection -----------------------------------------------------------------------------------------------------


def expand_label(algorithm, secret, label, length):
    name = b"tls13 " + label.encode()
    info = struct.pack("!HB", length, len(name)) + name + b"\0"
    return HKDFExpand(algorithm=algorithm(), length=length, info=info).derive(secret)


class Keys:
    """Of one direction, level and key phase."""

    def __init__(self, secret, suite, version, header_of=None):
        self.secret, self.suite, self.version = secret, suite, version
        self.algorithm, size = SUITES[suite]
        prefix = PREFIX[version]
        key = expand_label(self.algorithm, secret, prefix + " key", size)
        self.iv = expand_label(self.algorithm, secret, prefix + " iv", 12)
        self.aead = ChaCha20Poly1305(key) if suite == 0x1303 else AESGCM(key)
        # Header protection keys do not change with key updates (RFC 9001 6.1).
        self.header_key = header_of.header_key if header_of else expand_label(self.algorithm, secret, prefix + " hp", size)
        self.phase = 1 - header_of.phase if header_of else 0
        self.ecb = None if suite == 0x1303 else Cipher(algorithms.AES(self.header_key), modes.ECB()).encryptor()

    def mask(self, sample):
        if self.ecb:
            return self.ecb.update(sample)
        return Cipher(algorithms.ChaCha20(self.header_key, sample), None).encryptor().update(bytes(5))

    def open(self, number, header, sealed):
        nonce = (int.from_bytes(self.iv, "big") ^ number).to_bytes(12, "big")
        return self.aead.decrypt(nonce, sealed, header)

    def next(self):
        secret = expand_label(self.algorithm, self.secret, PREFIX[self.version] + " ku", len(self.secret))
        return Keys(secret, self.suite, self.version, self)


def initial_keys(version, connection_id):
    extract = hmac.HMAC(SALTS[version], hashes.SHA256())
    extract.update(connection_id)
    secret = extract.finalize()
    return {
        side: Keys(expand_label(hashes.SHA256, secret, side + " in", 32), 0x1301, version) for side in (CLIENT, SERVER)
    }


# ---- frames ---------------------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "big")

    def varint(self):
        first = self.number(1)
        return (first & 63) << 8 * (size := (1 << (first >> 6)) - 1) | self.number(size)

    def left(self):
        return len(self.data) - self.at


@dataclasses.dataclass
class Frame:
    type: int
    offset: int = 0
    data: bytes = b""  # CRYPTO bytes, data of a PATH_CHALLENGE or PATH_RESPONSE
    length: int = 0  # of STREAM
    ecn: tuple | None = None  # ACK_ECN: ECT(0), ECT(1), CE
    largest: int = 0  # ACK


def read_ack(reader, kind):
    frame = Frame(kind, largest=reader.varint())
    reader.varint()
    for _ in range(reader.varint() * 2 + 1):
        reader.varint()
    if kind == 3:
        frame.ecn = (reader.varint(), reader.varint(), reader.varint())
    return frame


def read_stream(reader, kind):
    reader.varint()
    offset = reader.varint() if kind & 4 else 0
    length = reader.varint() if kind & 2 else reader.left()
    reader.take(length)
    return Frame(kind, offset=offset, length=length)


VARINTS = {4: 3, 5: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1, 0xAF: 4, 0x24: 4}


def read_frames(payload):
    """The frames of a packet, as far as they are known: an extension's frame ends the list."""
    reader, frames = Reader(payload), []
    while reader.left():
        kind = reader.varint()
        if kind in (0, 1, 0x1E, 0x1F):
            frames.append(Frame(kind)) if kind else None
        elif kind in (2, 3):
            frames.append(read_ack(reader, kind))
        elif kind == 6:
            offset = reader.varint()
            frames.append(Frame(kind, offset=offset, data=reader.take(reader.varint())))
        elif kind == 7:
            frames.append(Frame(kind, data=reader.take(reader.varint())))
        elif 8 <= kind <= 15:
            frames.append(read_stream(reader, kind))
        elif kind == 0x18:
            reader.varint(), reader.varint()
            frames.append(Frame(kind, data=reader.take(reader.number(1))))
            reader.take(16)
        elif kind in (0x1A, 0x1B):
            frames.append(Frame(kind, data=reader.take(8)))
        elif kind in (0x1C, 0x1D):
            code = reader.varint()
            if kind == 0x1C:
                reader.varint()
            frames.append(Frame(kind, offset=code, data=reader.take(reader.varint())))
        elif kind in VARINTS:
            for _ in range(VARINTS[kind]):
                reader.varint()
            frames.append(Frame(kind))
        else:
            frames.append(Frame(kind))
            break
    return frames


# ---- TLS ------------------------------------------------------------------------------------------------------------


class CryptoStream:
    """CRYPTO bytes of one direction and level, put together; messages as far as they are whole."""

    def __init__(self):
        self.pieces, self.bytes = {}, b""

    def add(self, frame):
        self.pieces[frame.offset] = max(frame.data, self.pieces.get(frame.offset, b""), key=len)
        for offset in sorted(self.pieces):
            if offset <= len(self.bytes) < offset + len(self.pieces[offset]):
                self.bytes = self.bytes[:offset] + self.pieces[offset]

    def messages(self):
        at = 0
        while at + 4 <= len(self.bytes):
            end = at + 4 + int.from_bytes(self.bytes[at + 1 : at + 4], "big")
            if end > len(self.bytes):
                return
            yield self.bytes[at], self.bytes[at + 4 : end]
            at = end


def read_extensions(reader):
    found = {}
    end = reader.at + 2 + int.from_bytes(reader.data[reader.at : reader.at + 2], "big")
    reader.take(2)
    while reader.at < end:
        kind, length = reader.number(2), reader.number(2)
        found[kind] = reader.take(length)
    return found


# ---- connections ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Packet:
    time: float
    sender: str
    datagram: Datagram
    first: bool  # in its datagram
    type: str  # initial, 0rtt, handshake, retry, negotiation, 1rtt
    version: int
    dcid: bytes
    scid: bytes
    size: int
    token: bytes = b""
    number: int | None = None
    phase: int = 0
    frames: list | None = None  # None: it could not be decrypted

    def has(self, kind):
        return any(frame.type == kind for frame in self.frames or [])


class Connection:
    def __init__(self, original, client_id, secrets):
        self.client_id, self.secrets = client_id, secrets
        self.initial_ids = [original]  # that Initial keys may follow from: the client's, and that of a Retry
        self.ids = {CLIENT: [client_id], SERVER: [original]}  # to which packets are sent that are for this side
        self.keys, self.largest, self.crypto = {}, {}, {}
        self.random = self.suite = None
        self.packets = []

    def stream(self, side, level):
        return self.crypto.setdefault((side, level), CryptoStream())

    def hello(self):
        """Extensions of the ClientHello and the suites it offers."""
        for kind, body in self.stream(CLIENT, "initial").messages():
            if kind == 1:
                reader = Reader(body, 34)
                reader.take(reader.number(1))
                suites = struct.unpack(f"!{(size := reader.number(2)) // 2}H", reader.take(size))
                reader.take(reader.number(1))
                return read_extensions(reader), suites
        return {}, ()

    def parameters(self, side):
        """Transport parameters: id -> bytes."""
        extensions = self.hello()[0]
        if side == SERVER:
            messages = dict(self.stream(SERVER, "handshake").messages())
            extensions = read_extensions(Reader(messages[8])) if 8 in messages else {}
        reader, found = Reader(extensions.get(0x39, b"")), {}
        while reader.left():
            kind = reader.varint()
            found[kind] = reader.take(reader.varint())
        return found

    def learn(self):
        """Client's random and suite, from the hellos, for the key log."""
        if self.random is None:
            data = self.stream(CLIENT, "initial").bytes
            self.random = data[6:38] if len(data) >= 38 else None
        for kind, body in self.stream(SERVER, "initial").messages():
            retry = body[2:34].startswith(bytes.fromhex("cf21ad74e59a6111"))  # HelloRetryRequest
            if kind == 2 and not retry:
                self.suite = int.from_bytes(body[35 + body[34] : 37 + body[34]], "big")

    def keys_for(self, side, level, version):
        """All that may open such a packet."""
        if level == "initial":
            for connection_id in self.initial_ids:
                if (version, connection_id) not in self.keys:
                    self.keys[version, connection_id] = initial_keys(version, connection_id)
                yield self.keys[version, connection_id][side]
            return
        name = {
            "0rtt": "CLIENT_EARLY_TRAFFIC_SECRET",
            "handshake": f"{side.upper()}_HANDSHAKE_TRAFFIC_SECRET",
            "1rtt": f"{side.upper()}_TRAFFIC_SECRET_0",
        }[level]
        secret = self.secrets.get(self.random, {}).get(name)
        suites = [self.suite] if self.suite else (0x1301, 0x1303) if level == "0rtt" else ()
        if secret and level == "0rtt" and len(secret) == 48:
            suites = (0x1302,)
        for suite in suites if secret else ():
            if (side, level, version, suite) not in self.keys:
                self.keys[side, level, version, suite] = Keys(secret, suite, version)
            yield self.keys[side, level, version, suite]

    def phases(self, side, version):
        """Keys of the 1-RTT packets of a side, a list that grows with its key updates."""
        if (side, "phases", version) not in self.keys:
            first = next(self.keys_for(side, "1rtt", version), None)
            if first is None:
                return None
            self.keys[side, "phases", version] = [first, first.next()]
        return self.keys[side, "phases", version]

    def unprotect(self, keys, packet, data, offset):
        """First byte and packet number, the header as it was; ValueError when there is too little of it."""
        sample = data[offset + 4 : offset + 20]
        if len(sample) < 16:
            raise ValueError("cut off")
        mask = keys.mask(sample)
        first = data[0] ^ mask[0] & (0x0F if data[0] & 0x80 else 0x1F)
        size = (first & 3) + 1
        raw = bytes(a ^ b for a, b in zip(data[offset : offset + size], mask[1:]))
        space = "application" if packet.type in ("0rtt", "1rtt") else packet.type
        expected = self.largest.get((packet.sender, space), -1) + 1
        number, window = int.from_bytes(raw, "big"), 1 << size * 8
        number |= expected & ~(window - 1)
        if number <= expected - window // 2 and number < (1 << 62) - window:
            number += window
        elif number > expected + window // 2 and number >= window:
            number -= window
        return first, number, bytes([first]) + data[1:offset] + raw

    def open(self, packet, data, offset, end):
        """Decrypts, if it can: number, phase and frames of the packet."""
        if packet.type == "1rtt":
            phases = self.phases(packet.sender, packet.version)
            candidates = reversed(phases) if phases else ()
        else:
            candidates = self.keys_for(packet.sender, packet.type, packet.version)
        for keys in candidates:
            try:
                first, number, header = self.unprotect(keys, packet, data, offset)
                if packet.type == "1rtt" and first >> 2 & 1 != keys.phase:
                    continue
                payload = keys.open(number, header, data[len(header) : end])
            except (InvalidTag, ValueError):
                continue
            packet.number, packet.frames = number, read_frames(payload)
            if packet.type == "1rtt":
                packet.phase = first >> 2 & 1
                if keys is phases[-1]:
                    phases.append(keys.next())
            space = "application" if packet.type in ("0rtt", "1rtt") else packet.type
            self.largest[packet.sender, space] = max(number, self.largest.get((packet.sender, space), -1))
            self.take(packet)
            return True
        return False

    def take(self, packet):
        for frame in packet.frames:
            if frame.type == 6:
                self.stream(packet.sender, packet.type).add(frame)
            elif frame.type == 0x18:
                self.ids[packet.sender].append(frame.data)
        if packet.type in ("initial", "handshake"):
            if packet.scid not in self.ids[packet.sender]:
                self.ids[packet.sender].append(packet.scid)
            self.learn()
        if packet.type == "handshake" and packet.sender == SERVER:
            preferred = self.parameters(SERVER).get(0x0D, b"")  # IPv4 and port, IPv6 and port, a connection ID, a token
            if len(preferred) > 25 and preferred[25 : 25 + preferred[24]] not in self.ids[SERVER]:
                self.ids[SERVER].append(preferred[25 : 25 + preferred[24]])


class Trace:
    def __init__(self, capture, *keylogs):
        self.secrets = read_keylogs(*keylogs)
        self.connections, self.packets = [], []
        self.datagrams = list(read_capture(capture))
        self.by_flow = {}  # client's address -> connection
        for datagram in self.datagrams:
            self.read(datagram)

    def of(self, sender, *types):
        return [packet for packet in self.packets if packet.sender == sender and packet.type in types]

    def find(self, datagram, dcid, scid, long):
        """Connections that a packet may belong to, the likeliest first."""
        receiver = SERVER if datagram.sender == CLIENT else CLIENT
        flow = datagram.source if datagram.sender == CLIENT else datagram.destination
        fits = (lambda known: dcid == known) if long else (lambda known: known and dcid.startswith(known))
        found = [c for c in reversed(self.connections) if any(fits(known) for known in c.ids[receiver])]
        if long and datagram.sender == CLIENT:
            found += [c for c in reversed(self.connections) if scid and c.client_id == scid and c not in found]
        if flow in self.by_flow and self.by_flow[flow] not in found:
            found.append(self.by_flow[flow])
        return found

    def read(self, datagram):
        data, first = datagram.payload, True
        while data:
            try:
                length = self.read_long(datagram, data, first) if data[0] & 0x80 else self.read_short(datagram, data, first)
            except (ValueError, IndexError, KeyError):
                return  # no QUIC (any more): corrupted, or padding after the packets
            data, first = data[length:], False

    def read_short(self, datagram, data, first):
        if not any(data):
            return len(data)  # padding of a datagram, outside of packets
        for connection in self.find(datagram, data[1:21], b"", False):
            receiver = SERVER if datagram.sender == CLIENT else CLIENT
            known = sorted({len(i) for i in connection.ids[receiver] if data[1:].startswith(i)}, reverse=True)
            for size in known:
                for version in (V1, V2):
                    packet = Packet(datagram.time, datagram.sender, datagram, first, "1rtt", version, data[1 : 1 + size], b"", len(data))
                    if connection.open(packet, data, 1 + size, len(data)):
                        self.note(connection, datagram, packet)
                        return len(data)
        self.packets.append(Packet(datagram.time, datagram.sender, datagram, first, "1rtt", 0, b"", b"", len(data)))
        return len(data)

    def note(self, connection, datagram, packet):
        flow = datagram.source if datagram.sender == CLIENT else datagram.destination
        self.by_flow[flow] = connection
        connection.packets.append(packet)
        self.packets.append(packet)

    def read_long(self, datagram, data, first):
        reader = Reader(data, 1)
        version = reader.number(4)
        dcid, scid = reader.take(reader.number(1)), reader.take(reader.number(1))
        kind = "negotiation" if version == 0 else TYPES[version][data[0] >> 4 & 3]
        packet = Packet(datagram.time, datagram.sender, datagram, first, kind, version, dcid, scid, len(data))
        found = self.find(datagram, dcid, scid, True)
        if kind in ("negotiation", "retry"):
            packet.token = data[reader.at : -16] if kind == "retry" else b""
            if found and kind == "retry":
                found[0].initial_ids.append(scid)
                found[0].ids[SERVER].append(scid)
                found[0].crypto, found[0].random = {}, None  # some begin with another ClientHello
            self.packets.append(packet)
            return len(data)
        if kind == "initial":
            packet.token = reader.take(reader.varint())
        length = reader.varint()
        packet.size = min(reader.at + length, len(data))
        if kind == "initial" and datagram.sender == CLIENT:
            found.append(Connection(dcid, scid, self.secrets))
        for connection in found:
            if connection.open(packet, data, reader.at, packet.size):
                if connection not in self.connections:
                    self.connections.append(connection)
                self.note(connection, datagram, packet)
                return packet.size
        self.packets.append(packet)
        return packet.size
