"""Datagrams made by hand, sent to `weft serve`: what a client would not send, and what must be answered, or not.

A Probe gets a socket connected to a running server and returns what is wrong. Afterwards the server must still be alive
and end with code 0.
"""

import dataclasses
import os
import pathlib
import socket
import struct
import time
from typing import Callable

from harness import HANG, Failure, Process

UNKNOWN_VERSION = 0x1A2A3A4A  # of the form 0x?a?a?a?a, which no version ever has (RFC 9000 15)
SILENCE = 0.5  # seconds in which nothing comes: then nothing is going to
DCID, SCID = bytes(range(8)), bytes(range(100, 111))


@dataclasses.dataclass
class Probe:
    name: str
    ask: Callable[[socket.socket], list]
    server_args: list = dataclasses.field(default_factory=list)
    client = "probe"
    server = "weft"
    column = ""

    @property
    def title(self):
        return f"probe <- weft: {self.name}"

    def run(self, programs, root, directory: pathlib.Path):
        command = [programs.weft, "serve", "--json", "--listen", "127.0.0.1:0", "--root", str(root), *self.server_args]
        server = Process("server", command, directory, False)
        try:
            host, port = server.says("listening on ", time.monotonic() + HANG).rsplit(":", 1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, int(port)))
                wrong = self.ask(probe)
            if server.process.poll() is not None:
                raise Failure(f"the server ended (code {server.process.returncode}): {server.last_words()}")
            code = server.stop()
            return wrong + ([f"the server ended with code {code}"] if code else [])
        except Failure as failure:
            return [str(failure)]
        finally:
            server.kill()


def answer(probe, datagram, patience=SILENCE):
    """The server's answer; empty: none came."""
    probe.send(datagram)
    probe.settimeout(patience)
    try:
        return probe.recv(65536)
    except TimeoutError:
        return b""


def long_header(version, dcid=DCID, scid=SCID, first=0xC3):
    return bytes([first]) + struct.pack("!I", version) + bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid


def padded(datagram, size=1200):
    return datagram + os.urandom(size - len(datagram))


def check_negotiation(packet, dcid, scid):
    """A Version Negotiation packet in answer to a client's with these IDs (RFC 8999 6, RFC 9000 17.2.1)."""
    if not packet:
        return ["no Version Negotiation came"]
    ids = bytes([len(scid)]) + scid + bytes([len(dcid)]) + dcid  # ours, each in the other's place
    if packet[0] & 0x80 == 0 or packet[1:5] != bytes(4) or packet[5 : 5 + len(ids)] != ids:
        return [f"this is no Version Negotiation that belongs to our packet: {packet.hex()}"]
    rest = packet[5 + len(ids) :]
    versions = [version for (version,) in struct.iter_unpack("!I", rest)] if len(rest) % 4 == 0 else []
    wrong = []
    if 1 not in versions:
        wrong.append(f"version 1 is not offered: {rest.hex()}")
    if UNKNOWN_VERSION in versions:
        wrong.append("the version that we asked for is offered, which makes the packet worthless to us")
    if not packet[0] & 0x40:
        wrong.append("the bit that may once have to be 1 for others is not (RFC 9000 17.2.1: SHOULD)")
    return wrong


def negotiates(probe):
    return check_negotiation(answer(probe, padded(long_header(UNKNOWN_VERSION)), HANG), DCID, SCID)


def negotiates_long_ids(probe):
    """IDs of other versions may have up to 255 bytes (RFC 8999 5.1); they are given back whole."""
    dcid, scid = os.urandom(255), os.urandom(254)
    return check_negotiation(answer(probe, padded(long_header(UNKNOWN_VERSION, dcid, scid)), HANG), dcid, scid)


def negotiates_empty_ids(probe):
    return check_negotiation(answer(probe, padded(long_header(UNKNOWN_VERSION, b"", b"")), HANG), b"", b"")


def silent_on(datagram, why):
    def ask(probe):
        got = answer(probe, datagram)
        return [f"{why}, and yet it is answered: {got[:64].hex()}"] if got else []

    return ask


def survives_noise(probe):
    """Ten thousand datagrams of chance bytes, half of them with a long header of a version that is spoken."""
    for i in range(10000):
        size = int.from_bytes(os.urandom(2), "big") % 1500
        noise = os.urandom(size)
        probe.send(noise if i % 2 else (long_header(1, first=0xC0 | noise[0] if noise else 0xC0) + noise)[:1500])
        if i % 64 == 0:
            time.sleep(0.001)
    return negotiates_after(probe)


def negotiates_after(probe):
    """The server still answers; what the noise has earned itself (stateless resets) comes first."""
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        probe.settimeout(1)
        probe.send(padded(long_header(UNKNOWN_VERSION)))
        try:
            while True:
                packet = probe.recv(65536)
                if packet[1:5] == bytes(4) and not check_negotiation(packet, DCID, SCID):
                    return []
        except TimeoutError:
            continue
    return ["the server no longer answers"]


def resets_unknown(probe):
    """A short header for a connection that is unknown: a Stateless Reset, shorter than what it answers, or silence."""
    datagram = bytes([0x40]) + os.urandom(99)
    got = answer(probe, datagram)
    if got and (got[0] & 0xC0 != 0x40 or not 21 <= len(got) < len(datagram)):
        return [f"no proper Stateless Reset: {got.hex()}"]
    return []


def all_probes():
    yield Probe("an unknown version is negotiated", negotiates)
    yield Probe("Version Negotiation for IDs of 255 bytes", negotiates_long_ids)
    yield Probe("Version Negotiation for empty IDs", negotiates_empty_ids)
    yield Probe(
        "no Version Negotiation for small datagrams",
        silent_on(padded(long_header(UNKNOWN_VERSION), 1199), "1199 bytes are too few (RFC 9000 14.1)"),
    )
    yield Probe(
        "no answer to Version Negotiation",
        silent_on(padded(long_header(0)), "a Version Negotiation packet must not be answered (RFC 9000 6.1)"),
    )
    yield Probe(
        "no answer to a small Initial",
        silent_on(padded(long_header(1) + b"\0\x44\x00", 600), "an Initial below 1200 bytes must be dropped (14.1)"),
    )
    yield Probe("Stateless Reset", resets_unknown)
    yield Probe("noise", survives_noise)
