"""The programs that tests/bench/python_run measures: a server and a client in Python, with weft or with aioquic.

    python_peers.py server weft|aioquic CERT KEY          prints its port; ends with its standard input
    python_peers.py client weft|aioquic CERT PORT LOAD N  prints one line of JSON
    python_peers.py idle weft CERT KEY N                  N connections to itself: bytes for each, of the core and beyond it

Loads: down (one stream, N bytes from the server), up (the same the other way), requests (N exchanges of 100 bytes, a stream
each, 100 in flight; weft's in batches), plain (the same with a Stream object for each).
What the client asks for is in the first bytes of a stream: "d" and eight bytes of length, "u" and the bytes, or a request.
"""

import asyncio
import json
import resource
import sys
import time

MESSAGE = b"r" * 100
IN_FLIGHT = 100
PIECE = b"x" * (256 << 10)
ALPN = "bench"
WINDOWS = {"initial_max_data": 48 << 20, "initial_max_stream_data_bidi_local": 16 << 20}
WINDOWS |= {
    "initial_max_stream_data_bidi_remote": 16 << 20,
    "max_data_window": 48 << 20,
    "initial_max_streams_bidi": 128,
}


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# ---- weft --------------------------------------------------------------------------------------------------------------


async def weft_stream(stream):
    kind = await stream.readexactly(1)
    if kind == b"d":
        left = int.from_bytes(await stream.readexactly(8), "big")
        while left > 0:
            piece = PIECE if left >= len(PIECE) else PIECE[:left]
            await stream.write(piece)
            left -= len(piece)
    elif kind == b"u":
        async for _ in stream:
            pass
    else:
        await stream.read()
        await stream.write(MESSAGE)
    stream.write_eof()


async def weft_serve(cert, key):
    import weft

    async def handler(connection):
        tasks = set()
        async for stream in connection.streams():
            task = asyncio.create_task(weft_stream(stream))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def batches(connection):
        try:
            while True:
                connection.send_replies([(stream, MESSAGE) for stream, _ in await connection.receive_messages()])
        except weft.ConnectionClosed:
            pass

    async def either(connection):
        await (batches if connection.alpn == "batch" else handler)(connection)

    return await weft.serve("127.0.0.1", 0, either, alpn=[ALPN, "batch"], certificate=cert, key=key, **WINDOWS)


async def weft_plain(connection, count):
    async def worker(share):
        for _ in range(share):
            stream = await connection.open_stream()
            await stream.write(MESSAGE, fin=True)
            await stream.read()

    await asyncio.gather(*(worker(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))


async def weft_requests(connection, count):
    asked = answered = 0
    while answered < count:
        want = min(IN_FLIGHT - (asked - answered), count - asked)
        if want:
            asked += len(connection.send_requests([MESSAGE] * want))
        answered += len(await connection.receive_messages())


async def weft_bulk(connection, load, count):
    stream = await connection.open_stream()
    if load == "down":
        await stream.write(b"d" + count.to_bytes(8, "big"), fin=True)
        got = 0
        async for chunk in stream:
            got += len(chunk)
        assert got == count
        return
    await stream.write(b"u")
    left = count
    while left > 0:
        await stream.write(PIECE if left >= len(PIECE) else PIECE[:left])
        left -= len(PIECE)
    stream.write_eof()
    assert await stream.read() == b""


async def weft_client(cert, port, load, count):
    import weft

    alpn = "batch" if load == "requests" else ALPN
    async with weft.connect("127.0.0.1", port, alpn=alpn, ca=cert, **WINDOWS) as connection:
        began, used = time.perf_counter(), cpu()
        if load == "requests":
            await weft_requests(connection, count)
        elif load == "plain":
            await weft_plain(connection, count)
        else:
            await weft_bulk(connection, load, count)
        return time.perf_counter() - began, cpu() - used


# ---- aioquic -----------------------------------------------------------------------------------------------------------


def aioquic_configuration(is_client):
    from aioquic.quic.configuration import QuicConfiguration

    windows = {"max_data": 48 << 20, "max_stream_data": 16 << 20}
    return QuicConfiguration(is_client=is_client, alpn_protocols=[ALPN], max_datagram_size=1452, **windows)


async def aioquic_serve(cert, key):
    from aioquic.asyncio import serve

    async def stream(reader, writer):
        kind = await reader.readexactly(1)
        if kind == b"d":
            writer.write(b"x" * int.from_bytes(await reader.readexactly(8), "big"))
        elif kind == b"u":
            while await reader.read(1 << 20):
                pass
        else:
            await reader.read()
            writer.write(MESSAGE)
        writer.write_eof()

    tasks = set()

    def handler(reader, writer):
        task = asyncio.ensure_future(stream(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    configuration = aioquic_configuration(False)
    configuration.load_cert_chain(cert, key)
    return await serve("127.0.0.1", 0, configuration=configuration, stream_handler=handler)


async def aioquic_client(cert, port, load, count):
    from aioquic.asyncio import connect

    configuration = aioquic_configuration(True)
    configuration.load_verify_locations(cert)
    configuration.server_name = "localhost"
    async with connect("127.0.0.1", port, configuration=configuration) as connection:
        began, used = time.perf_counter(), cpu()
        if load in ("requests", "plain"):

            async def worker(share):
                for _ in range(share):
                    reader, writer = await connection.create_stream()
                    writer.write(MESSAGE)
                    writer.write_eof()
                    await reader.read()

            await asyncio.gather(*(worker(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))
        else:
            reader, writer = await connection.create_stream()
            if load == "down":
                writer.write(b"d" + count.to_bytes(8, "big"))
                writer.write_eof()
            else:
                writer.write(b"u" + b"x" * count)
                writer.write_eof()
            got = 0
            while chunk := await reader.read(1 << 20):
                got += len(chunk)
            assert got == (count if load == "down" else 0)
        return time.perf_counter() - began, cpu() - used


# ---- both --------------------------------------------------------------------------------------------------------------


async def server(which, cert, key):
    served = await {"weft": weft_serve, "aioquic": aioquic_serve}[which](cert, key)
    port = served.port if which == "weft" else served._transport.get_extra_info("sockname")[1]
    used = cpu()  # that is for starting
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(json.dumps({"cpu": cpu() - used}), flush=True)
    served.close()


async def client(which, cert, port, load, count):
    seconds, used = await {"weft": weft_client, "aioquic": aioquic_client}[which](cert, int(port), load, int(count))
    print(json.dumps({"seconds": seconds, "cpu": used}), flush=True)


async def idle(_, cert, key, count):
    import gc

    import weft

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    async def more(server, number):
        for _ in range(number):
            made.append(await weft.connect("127.0.0.1", server.port, alpn="x", ca=cert, max_idle_timeout=600))

    made = []
    async with (
        weft.Engine() as engine,
        weft.serve("127.0.0.1", 0, alpn="x", certificate=cert, key=key, engine=engine, max_idle_timeout=600) as server,
    ):
        await more(server, 50)
        own = made[0]._engine
        await asyncio.sleep(2)
        before = resident(), engine.stats["memory_used"] + own.stats["memory_used"]
        await more(server, int(count))
        await asyncio.sleep(2)
        after = resident(), engine.stats["memory_used"] + own.stats["memory_used"]
        each, core = ((after[i] - before[i]) / (2 * int(count)) for i in (0, 1))
        print(json.dumps({"each": each, "core": core, "beyond": each - core}), flush=True)


if __name__ == "__main__":
    asyncio.run({"server": server, "client": client, "idle": idle}[sys.argv[1]](*sys.argv[2:]))
