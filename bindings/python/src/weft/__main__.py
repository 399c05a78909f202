"""python -m weft: serve files, get them, ping a server, measure.

    python -m weft serve [--listen HOST:PORT] [--cert FILE --key FILE] [DIRECTORY]
    python -m weft get   [--ca FILE | --pin SHA256 | --insecure] [-o FILE] HOST:PORT/PATH ...
    python -m weft ping  [-n COUNT] HOST:PORT
    python -m weft perf  [--download SIZE] [--upload SIZE] HOST:PORT     against `weft perf server`, or `serve`
    python -m weft perf  --serve [--listen HOST:PORT]

Files go over hq-interop: one `GET /path` a stream, the bare bytes back. Exit codes: 0 ok, 1 something did not arrive, 2
the command line was not understood, 3 no connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import weft

NOT_FOUND = 0x104
PIECE = 256 << 10
SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def size(text: str) -> int:
    digits = text.rstrip("KkMmGgIiBb")
    unit = text[len(digits) :].lower()
    if not digits.isdigit() or unit not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: 1000, 64KiB, 10MiB, 1GiB")
    return int(digits) * SUFFIXES[unit]


def say(text: str) -> None:
    print(text, flush=True)


# ---- serve
# -------------------------------------------------------------------------------------------------------------


async def answer(stream: weft.Stream, root: Path) -> None:
    """One request: GET /path, ended by the end of the stream or a line's."""
    try:
        words = (await stream.readline()).split()
        if len(words) < 2 or words[0] != b"GET":
            stream.abort(NOT_FOUND)
            return
        path = (root / words[1].decode("utf-8", "replace").lstrip("/")).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            stream.abort(NOT_FOUND)
            return
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                await stream.write(piece)
        stream.write_eof()
        await stream.wait_acknowledged()
    except weft.Error:
        pass  # the peer has gone, or does not want it any more


async def files(connection: weft.Connection, root: Path) -> None:
    tasks: set[asyncio.Task[None]] = set()
    try:
        async for stream in connection.streams():
            if stream.is_bidirectional:
                task = asyncio.create_task(answer(stream, root))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def measured(stream: weft.Stream) -> None:
    """draft-banks-quic-performance: eight bytes say how many are wanted; what else comes is counted by the client."""
    try:
        wanted = int.from_bytes(await stream.readexactly(8), "big")
        async for _ in stream:
            pass
        piece = bytes(PIECE)
        while wanted > 0:
            await stream.write(piece if wanted >= PIECE else piece[:wanted])
            wanted -= PIECE
        stream.write_eof()
    except (weft.Error, asyncio.IncompleteReadError):
        pass


async def measure(connection: weft.Connection) -> None:
    async for stream in connection.streams():
        if stream.is_bidirectional:
            await measured(stream)


async def until_signal(arguments: argparse.Namespace, handler: Any, alpn: list[str]) -> int:
    host, port = arguments.listen
    identity: dict[str, Any] = {"certificate": arguments.cert, "key": arguments.key}
    if arguments.cert is None:
        identity = {"self_signed": "localhost,127.0.0.1,::1"}
    async with weft.serve(host, port, handler, alpn=alpn, **identity) as server:
        say(f"listening on {server.address}")
        say(f"fingerprint sha256:{server.fingerprint.hex()}")
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        await over.wait()
    return 0


async def serve(arguments: argparse.Namespace) -> int:
    root = Path(arguments.directory).resolve()
    if not root.is_dir():
        say(f"weft: {root} is not a directory")
        return 1
    return await until_signal(arguments, lambda connection: files(connection, root), ["hq-interop"])


# ---- clients
# -----------------------------------------------------------------------------------------------------------


def trust(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"ca": arguments.ca, "server_name": arguments.server_name}
    if arguments.pin:
        found["pins"] = arguments.pin
    if arguments.insecure:
        found["verify"] = False
    return found


async def fetch(connection: weft.Connection, path: str, target: str | None) -> bool:
    stream = await connection.open_stream()
    await stream.write(f"GET /{path}\r\n".encode(), fin=True)
    name = target or os.path.basename(path) or "index"
    try:
        chunk = await stream.read_chunk()
        with contextlib.nullcontext(sys.stdout.buffer) if name == "-" else open(name, "wb") as file:
            while chunk:
                file.write(chunk)
                chunk = await stream.read_chunk()
    except weft.Error as error:
        print(f"weft: /{path}: {error}", file=sys.stderr)
        return False
    return True


async def get(arguments: argparse.Namespace) -> int:
    urls = [url.removeprefix("https://").partition("/") for url in arguments.urls]
    if len({url[0] for url in urls}) != 1:
        print("weft: all paths must be of one server", file=sys.stderr)
        return 2
    host, port = host_port(urls[0][0])
    async with weft.connect(host, port, alpn="hq-interop", **trust(arguments)) as connection:
        done = await asyncio.gather(*(fetch(connection, url[2], arguments.output) for url in urls))
    return 0 if all(done) else 1


async def ping(arguments: argparse.Namespace) -> int:
    host, port = arguments.server
    began = time.perf_counter()
    async with weft.connect(host, port, alpn=arguments.alpn.split(","), **trust(arguments)) as connection:
        say(
            f"connected to {connection.remote_address} in {(time.perf_counter() - began) * 1e3:.2f} ms, "
            f"{connection.cipher}"
        )
        for _ in range(arguments.count):
            acks = connection.stats()["acks_received"]
            began = time.perf_counter()
            connection.ping()
            while connection.stats()["acks_received"] == acks and not connection.closed:
                await asyncio.sleep(0.0002)
            say(f"{(time.perf_counter() - began) * 1e3:.2f} ms, smoothed {connection.rtt * 1e3:.2f} ms")
    return 0


async def perf(arguments: argparse.Namespace) -> int:
    if arguments.serve:
        return await until_signal(arguments, measure, ["perf"])
    if arguments.server is None:
        print("weft: perf needs HOST:PORT, or --serve", file=sys.stderr)
        return 2
    host, port = arguments.server
    down, up = arguments.download, arguments.upload
    async with weft.connect(host, port, alpn="perf", **trust(arguments)) as connection:
        began = time.perf_counter()
        stream = await connection.open_stream()
        await stream.write(down.to_bytes(8, "big"))
        piece = bytes(PIECE)
        for at in range(0, up, PIECE):
            await stream.write(piece if up - at >= PIECE else piece[: up - at])
        stream.write_eof()
        got = 0
        async for chunk in stream:
            got += len(chunk)
        seconds = time.perf_counter() - began
    say(f"download {got} B, upload {up} B in {seconds:.3f} s, {(got + up) * 8 / seconds / 1e9:.3f} Gbit/s")
    return 0 if got == down else 1


# ---- the command line
# --------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m weft", description="QUIC from the command line")
    top.add_argument("--version", action="version", version=weft.__version__)
    commands = top.add_subparsers(dest="command", required=True)

    def listening(command: argparse.ArgumentParser) -> None:
        command.add_argument("--listen", type=host_port, default=("::", 4433), metavar="HOST:PORT")
        command.add_argument("--cert", help="certificate chain, PEM; without it one is made up")
        command.add_argument("--key", help="its private key, PEM")

    def connecting(command: argparse.ArgumentParser) -> None:
        command.add_argument("--ca", help="trust the authorities in this PEM file, instead of the system's")
        command.add_argument("--pin", help="accept exactly the certificate with this SHA-256")
        command.add_argument("--insecure", action="store_true", help="accept every certificate")
        command.add_argument("--server-name", help="ask for this name, and verify it, instead of the host's")

    one = commands.add_parser("serve", help="serve the files of a directory")
    listening(one)
    one.add_argument("directory", nargs="?", default=".")
    one = commands.add_parser("get", help="get files")
    connecting(one)
    one.add_argument("-o", "--output", help="file to write to, - for the standard output; else the path's last part")
    one.add_argument("urls", nargs="+", metavar="HOST:PORT/PATH")
    one = commands.add_parser("ping", help="connect, and measure round trips")
    connecting(one)
    one.add_argument("--alpn", default="hq-interop,h3,perf")
    one.add_argument("-n", "--count", type=int, default=4)
    one.add_argument("server", type=host_port, metavar="HOST:PORT")
    one = commands.add_parser("perf", help="measure throughput, or be measured")
    connecting(one)
    listening(one)
    one.add_argument("--serve", action="store_true", help="be the side that is measured")
    one.add_argument("-d", "--download", type=size, default=256 << 20, metavar="SIZE")
    one.add_argument("-u", "--upload", type=size, default=0, metavar="SIZE")
    one.add_argument("server", type=host_port, nargs="?", metavar="HOST:PORT")
    return top


def main(words: list[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    run = {"serve": serve, "get": get, "ping": ping, "perf": perf}[arguments.command]
    try:
        return asyncio.run(run(arguments))
    except argparse.ArgumentTypeError as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    except (weft.Error, OSError, ValueError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 3 if isinstance(error, (weft.HandshakeError, weft.ConnectionClosed)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
