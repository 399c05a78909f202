"""aioquic as a client and as a server of files: hq-interop, one `GET /path` a stream, the bare bytes back.

    aioquic_peer.py serve --root DIR [--listen ADDRESS:PORT] [options]
    aioquic_peer.py get   --output DIR (--pin SHA256 | --ca FILE | --insecure) ADDRESS:PORT PATH... [options]

The server makes a certificate of its own unless it is given one, prints "listening on ADDRESS:PORT" and "fingerprint
sha256:HEX", one line of JSON for each connection that ended, and on SIGINT or SIGTERM a summary. The client fetches all paths
at once over one connection and prints one line of JSON. Exit codes: 0 all arrived, 1 something did not, 3 no connection.
"""

import argparse
import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import json
import os
import pathlib
import signal
import ssl
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.logger import QuicFileLogger
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

NOT_FOUND = 0x104  # the code of RESET_STREAM for a file that is not there
SOME_TRAFFIC = 0.3  # seconds after which files are on their way
KEY_UPDATE_PAUSE = 0.1  # seconds: more than the three PTO that RFC 9001 6.5 asks for between two


def self_signed():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def fingerprint(certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def say(line):
    print(line, flush=True)


class Peer(QuicConnectionProtocol):
    """What both roles share: how the connection ended, and updates of the keys."""

    def __init__(self, quic, stream_handler=None, arguments=None):
        super().__init__(quic, stream_handler)
        self.arguments = arguments
        self.key_updates = 0
        self.ended = None
        self.tasks = set()

    def start(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def update_keys(self):
        """As often as may be: an update must wait for an acknowledgement in the current phase (RFC 9001 6.1)."""
        while self.key_updates < self.arguments.key_updates:
            try:
                await self.ping()
            except ConnectionError:
                return
            self.request_key_update()
            self.key_updates += 1
            await asyncio.sleep(KEY_UPDATE_PAUSE)

    def report(self):
        return {
            "version": self._quic._version,
            "key_updates": self.key_updates,
            "key_phase": self._quic._cryptos[self._one_rtt()].key_phase,
            "close_code": self.ended.error_code,
            "close_frame_type": self.ended.frame_type,
            "close_reason": self.ended.reason_phrase,
        }

    @staticmethod
    def _one_rtt():
        from aioquic.tls import Epoch

        return Epoch.ONE_RTT


class Server(Peer):
    ended_cleanly = 0
    connections = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.requests = {}
        self.answered = 0

    def quic_event_received(self, event):
        if isinstance(event, events.HandshakeCompleted):
            Server.connections += 1
            if self.arguments.key_updates:
                self.start(self.update_keys())
        elif isinstance(event, events.StreamDataReceived):
            request = self.requests.setdefault(event.stream_id, bytearray())
            request += event.data
            if event.end_stream:
                self.answer(event.stream_id, bytes(self.requests.pop(event.stream_id)))
        elif isinstance(event, events.ConnectionTerminated):
            self.ended = event
            clean = event.error_code == 0 and event.reason_phrase != "Idle timeout"
            Server.ended_cleanly += clean
            for task in self.tasks:
                task.cancel()
            say(json.dumps({"requests": self.answered, "clean": clean, **self.report()}))

    def answer(self, stream_id, request):
        self.answered += 1
        path = request.decode(errors="replace").removeprefix("GET ").strip()
        file = (self.arguments.root / path.lstrip("/")).resolve()
        if self.arguments.root not in file.parents or not file.is_file():
            self._quic.reset_stream(stream_id, NOT_FOUND)
            return
        self._quic.send_stream_data(stream_id, file.read_bytes(), end_stream=True)


class Client(Peer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.files = {}  # stream -> [path, open file or None, bytes]
        self.failed = {}
        self.wanted = 0
        self.done = asyncio.Event()

    def fetch(self, paths):
        self.wanted = len(paths)
        for path in paths:
            stream_id = self._quic.get_next_available_stream_id()
            self._quic.send_stream_data(stream_id, f"GET {path}\r\n".encode(), end_stream=True)
            target = self.arguments.output / path.lstrip("/")
            self.files[stream_id] = [path, target.open("wb"), 0]
        self.transmit()

    def finish(self, stream_id, error=None):
        path, file, _ = self.files[stream_id]
        if file.closed:
            return
        file.close()
        if error is not None:
            self.failed[path] = error
            os.unlink(file.name)
        self.wanted -= 1
        if self.wanted == 0:
            self.done.set()

    def quic_event_received(self, event):
        if isinstance(event, events.StreamDataReceived) and event.stream_id in self.files:
            entry = self.files[event.stream_id]
            entry[1].write(event.data)
            entry[2] += len(event.data)
            if event.end_stream:
                self.finish(event.stream_id)
        elif isinstance(event, events.StreamReset) and event.stream_id in self.files:
            self.finish(event.stream_id, f"reset with code {event.error_code:#x}")
        elif isinstance(event, events.ConnectionTerminated):
            self.ended = event
            for stream_id in self.files:
                self.finish(stream_id, "the connection ended")
            self.done.set()


def configuration(arguments, is_client):
    config = QuicConfiguration(
        alpn_protocols=["hq-interop"],
        is_client=is_client,
        idle_timeout=arguments.idle_timeout,
        max_data=16 << 20,
        max_stream_data=8 << 20,
    )
    if arguments.versions:
        config.supported_versions = [int(v, 16) for v in arguments.versions.split(",")]
    if arguments.suites:
        config.cipher_suites = [CipherSuite[name] for name in arguments.suites.split(",")]
    if arguments.qlog:
        config.quic_logger = QuicFileLogger(arguments.qlog)
    if arguments.keylog:
        config.secrets_log_file = open(arguments.keylog, "a", buffering=1)
    return config


async def run_server(arguments):
    arguments.root = arguments.root.resolve()
    config = configuration(arguments, is_client=False)
    if arguments.certificate:
        config.load_cert_chain(arguments.certificate, arguments.key)
    else:
        config.certificate, config.private_key = self_signed()
    host, port = address(arguments.listen)
    tickets = {}
    server = await serve(
        host,
        port,
        configuration=config,
        create_protocol=lambda quic, stream_handler=None: Server(quic, stream_handler, arguments),
        retry=arguments.retry,
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.update({ticket.ticket: ticket}),
    )
    bound = server._transport.get_extra_info("sockname")
    say(f"listening on [{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"listening on {bound[0]}:{bound[1]}")
    say(f"fingerprint sha256:{fingerprint(config.certificate)}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()
    if config.quic_logger:  # which writes by itself only what has ended
        pathlib.Path(arguments.qlog, "open.qlog").write_text(json.dumps(config.quic_logger.to_dict()))
    say(json.dumps({"summary": True, "connections": Server.connections, "clean": Server.ended_cleanly}))
    return 0


async def run_client(arguments):
    config = configuration(arguments, is_client=True)
    host, port = address(arguments.address)
    config.server_name = arguments.server_name or host
    if arguments.first_version:
        config.original_version = int(arguments.first_version, 16)
    if arguments.ca:
        config.load_verify_locations(cafile=arguments.ca)
    else:
        config.verify_mode = ssl.CERT_NONE
    peer = (host, port, 0, 0) if ":" in host else (host, port)  # as the socket will name it
    code, report = 0, {}
    if arguments.resume:
        code, report = await converse(arguments, config, peer, arguments.paths[:1])
        if code == 0 and config.session_ticket is None:
            print("aioquic_peer: no session ticket came", file=sys.stderr)
            code = 1
        arguments.paths = arguments.paths[1:]
    for paths in [[path] for path in arguments.paths] if arguments.each else [arguments.paths]:
        if code == 0:
            code, report = await converse(arguments, config, peer, paths)
    say(json.dumps(report))
    return code


async def converse(arguments, config, peer, paths):
    """One connection; leaves a session ticket in the configuration, which the next resumes. The exit code and a report."""

    ticket_came = asyncio.Event()

    def keep(ticket):
        config.session_ticket = ticket if arguments.resume else None
        ticket_came.set()

    connection = QuicConnection(configuration=config, session_ticket_handler=keep)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Client(connection, arguments=arguments), local_addr=("::" if ":" in peer[0] else "0.0.0.0", 0)
    )
    early = arguments.resume and config.session_ticket is not None
    protocol.connect(peer, transmit=not early)
    if early:
        protocol.fetch(paths)  # as 0-RTT, if the ticket allows for it
    try:
        await protocol.wait_connected()
    except ConnectionError:
        return 3, {"connected": False, **protocol.report()}
    if not early:
        presented = fingerprint(protocol._quic.tls._peer_certificate)
        if arguments.pin and presented != arguments.pin.removeprefix("sha256:"):
            print(f"aioquic_peer: the certificate is {presented}, not the pinned one", file=sys.stderr)
            protocol.close(error_code=1)
            return 1, {"connected": True}
        protocol.fetch(paths)
    if arguments.key_updates:
        protocol.start(protocol.update_keys())
    if arguments.migrate:
        await asyncio.sleep(SOME_TRAFFIC)
        protocol.change_connection_id()
        transport.close()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: protocol, local_addr=(arguments.migrate, 0)
        )
    await protocol.done.wait()
    while protocol.tasks and protocol.ended is None:  # the updates asked for take place even when the files are small
        await asyncio.wait(list(protocol.tasks), return_when=asyncio.FIRST_COMPLETED)
    if arguments.resume and not early:  # the ticket may come after the files
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ticket_came.wait(), arguments.idle_timeout)
    ended_early = protocol.ended is not None
    protocol.close()
    await protocol.wait_closed()
    transport.close()
    report = {
        "connected": True,
        "bytes": sum(entry[2] for entry in protocol.files.values()),
        "failed": protocol.failed,
        "ended_early": ended_early,
        "resumed": protocol._quic.tls.session_resumed,
        "early_data": protocol._quic.tls.early_data_accepted,
        **protocol.report(),
    }
    return (1 if protocol.failed or ended_early else 0), report


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--listen", default="127.0.0.1:0")
    server.add_argument("--root", type=pathlib.Path, required=True)
    server.add_argument("--certificate", help="PEM chain")
    server.add_argument("--key", help="PEM")
    server.add_argument("--retry", action="store_true", help="validate every address with Retry")
    client = commands.add_parser("get")
    client.add_argument("address")
    client.add_argument("paths", nargs="+")
    client.add_argument("--output", type=pathlib.Path, required=True)
    trust = client.add_mutually_exclusive_group(required=True)
    trust.add_argument("--pin", help="SHA-256 of the server's certificate")
    trust.add_argument("--ca", help="PEM file of the authority to trust")
    trust.add_argument("--insecure", action="store_true")
    client.add_argument("--server-name")
    client.add_argument(
        "--resume",
        action="store_true",
        help="fetch the first path, then the rest over a second connection that resumes",
    )
    client.add_argument("--each", action="store_true", help="a connection for each path, one after the other")
    client.add_argument("--migrate", help="an address of ours to move to when files come")
    client.add_argument("--first-version", help="hexadecimal: the version to begin with, supported or not")
    for command in (server, client):
        command.add_argument("--key-updates", type=int, default=0, help="how many to begin")
        command.add_argument("--versions", help="hexadecimal, comma-separated, most wanted first")
        command.add_argument("--suites", help="comma-separated, as in CHACHA20_POLY1305_SHA256")
        command.add_argument("--idle-timeout", type=float, default=15)
        command.add_argument("--qlog", help="directory")
        command.add_argument("--keylog", help="file")
    arguments = parser.parse_args()
    sys.exit(asyncio.run((run_server if arguments.command == "serve" else run_client)(arguments)))


if __name__ == "__main__":
    main()
