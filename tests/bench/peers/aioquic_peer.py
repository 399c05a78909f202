"""aioquic, with windows that never limit, CUBIC, AES-128-GCM and datagrams of 1,452 bytes. It has neither GSO nor GRO.

    aioquic_peer.py server PORT CERT KEY
    aioquic_peer.py client PORT CA bulk DOWN UP | handshakes COUNT AT-ONCE | requests COUNT IN-FLIGHT

The protocol is that of draft-banks-quic-performance: the first eight bytes of a stream say how many bytes the answer has,
big-endian.
"""

import asyncio
import contextlib
import sys
import time

from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import CipherSuite

MESSAGE = 100
CHUNK = bytes(65536)


def configuration(is_client):
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["perf"],
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256],
        congestion_control_algorithm="cubic",
        max_data=32 << 20,
        max_datagram_size=1452,
        max_stream_data=16 << 20,
    )


async def send_zeros(writer, left):
    while left > 0:
        writer.write(CHUNK[:left])
        left -= len(CHUNK)
        await writer.drain()
    writer.write_eof()


async def answer(reader, writer):
    wanted = int.from_bytes(await reader.readexactly(8), "big")
    while await reader.read(1 << 20):
        pass
    await send_zeros(writer, wanted)


async def run_server(port, cert, key):
    tasks = set()

    def begin(reader, writer):
        task = asyncio.ensure_future(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    settings = configuration(False)
    settings.load_cert_chain(cert, key)
    await serve("127.0.0.1", port, configuration=settings, stream_handler=begin)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(connection, down, up):
    reader, writer = await connection.create_stream()
    writer.write(down.to_bytes(8, "big"))
    sending = asyncio.ensure_future(send_zeros(writer, up - 8)) if up > 8 else writer.write_eof()
    got = 0
    while chunk := await reader.read(1 << 20):
        got += len(chunk)
    if sending:
        await sending
    if got != down:
        raise ConnectionError(f"{got} bytes of {down}")


async def measured(work):
    print("begin", flush=True)
    began = time.monotonic()
    await work
    print("end", time.monotonic() - began, flush=True)


async def run_client(port, ca, load, first, second=0):
    settings = configuration(True)
    settings.load_verify_locations(ca)
    settings.server_name = "localhost"

    failed = []

    async def handshake(slots, closing):
        async with slots:
            try:
                joining = connect("127.0.0.1", port, configuration=settings)
                connection = await closing.enter_async_context(joining)
                await ask(connection, MESSAGE, MESSAGE)
                connection.close()
            except Exception as why:
                print("aioquic:", repr(why), file=sys.stderr)
                failed.append(why)

    async def handshakes(closing):
        slots = asyncio.Semaphore(second)
        await asyncio.gather(*(handshake(slots, closing) for _ in range(first)))

    async def requests(connection):
        left = iter(range(first))

        async def worker():
            for _ in left:
                await ask(connection, MESSAGE, MESSAGE)

        await asyncio.gather(*(worker() for _ in range(second)))

    if load == "handshakes":
        async with contextlib.AsyncExitStack() as closing:  # left when the last timers of all have run out
            await measured(handshakes(closing))
        print("handshakes", first - len(failed), len(failed), flush=True)
        return
    async with connect("127.0.0.1", port, configuration=settings) as connection:
        await measured(ask(connection, first, second) if load == "bulk" else requests(connection))


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    if role == "server":
        asyncio.run(run_server(int(port), *rest))
    else:
        asyncio.run(run_client(int(port), rest[0], rest[1], *map(int, rest[2:])))
