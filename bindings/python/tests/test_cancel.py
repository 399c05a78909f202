"""Cancellation at any await, random patterns of streams, and what must not grow."""

import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import os
import pkgutil
import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import weft
import weft.testing
from weft import errors

# ---- cancellation
# ------------------------------------------------------------------------------------------------------


def steps_of(coroutine, count):
    """Runs a coroutine for `count` of its awaits, then cancels it: True when it was over before."""

    async def run():
        task = asyncio.ensure_future(coroutine)
        for _ in range(count):
            await asyncio.sleep(0)
            if task.done():
                break
        over = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return over

    return run()


async def at_every_await(make, check):
    """Cancels what `make` gives after each number of rounds of the loop, until it ends by itself; check(n) after
    each."""
    for count in range(500):
        over = await steps_of(make(), count)
        await check(count)
        if over:
            return count
    raise AssertionError("it never ended by itself")


async def test_cancelled_read(pair):
    """Whatever is read before and after cancelled reads is what was written, with nothing lost or doubled."""
    async with pair() as p:
        mine, theirs = await p.stream()
        source = random.Random(1)
        sent, got = bytearray(), bytearray()
        for kind in ("read", "exactly", "until", "all", "into"):
            for _ in range(40):
                part = source.randbytes(source.randrange(1, 3000)).replace(b"\n", b"x") + b"\n"
                sent += part
                buffer = bytearray(500)
                calls = {
                    "read": lambda: mine.read(1000),
                    "exactly": lambda: mine.readexactly(700),
                    "until": lambda: mine.readuntil(b"\n"),
                    "all": lambda: mine.read(),
                    "into": functools.partial(mine.readinto, buffer),
                }
                reading = asyncio.ensure_future(calls[kind]())
                for _ in range(source.randrange(6)):
                    await asyncio.sleep(0)
                await theirs.write(part)
                for _ in range(source.randrange(40)):
                    await asyncio.sleep(0)
                reading.cancel()
                try:
                    data = await reading
                    got += buffer[:data] if kind == "into" else data
                except asyncio.CancelledError:
                    pass
        theirs.write_eof()
        got += await mine.read()
        assert got == sent


async def test_cancelled_write(pair):
    """A write that was cancelled has written nothing, one that was not, everything."""
    async with pair() as p:
        mine, theirs = await p.stream()
        source = random.Random(2)
        sent, got = [], bytearray()

        async def reader():
            while chunk := await theirs.read(source.randrange(1, 300_000)):
                got.extend(chunk)
                if source.random() < 0.3:
                    await asyncio.sleep(0.001)

        reading = asyncio.ensure_future(reader())
        for n in range(120):
            data = bytes([n % 256]) * source.choice([10, 1000, 20_000, 900_000])
            writing = asyncio.ensure_future(mine.write(data if n % 3 else bytearray(data)))
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
            writing.cancel()
            try:
                await writing
                sent.append(data)
            except asyncio.CancelledError:
                pass
        mine.write_eof()
        await reading
        assert bytes(got) == b"".join(sent) and 10 < len(sent) < 120


async def test_cancelled_connect(certificate):
    chain, key = certificate
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:

        async def one():
            async with weft.connect("127.0.0.1", server.port, alpn="x", ca=chain) as conn:
                stream = await conn.open_stream()
                await stream.write(b"x", fin=True)
                assert await stream.read() == b"x"

        async def check(_):
            pass

        assert await at_every_await(one, check) > 3
        await one()
        engine = server._engine
        while server.connections or any(not conn.is_server for conn in engine.conns.values()):
            await asyncio.sleep(0.01)
        assert not engine.streams


async def test_cancelled_waits(pair):
    async with pair(initial_max_streams_bidi=1, max_datagram_frame_size=1000) as p:
        mine, theirs = await p.stream()
        conn = p.client
        calls = [conn.open_stream, conn.accept_stream, conn.receive_datagram, conn.wait_closed, conn.receive_messages]
        for call in calls[:4]:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0.002)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not any(conn._waiters.values())
        waiting = [asyncio.ensure_future(conn.open_stream()) for _ in range(2)]
        await asyncio.sleep(0.002)
        mine.write_eof()
        theirs.write_eof()
        assert await theirs.read() == b"" and await mine.read() == b""
        await asyncio.sleep(0)
        waiting[0].cancel()  # perhaps in the moment in which it was its turn
        with contextlib.suppress(asyncio.CancelledError):
            (await waiting[0]).abort()
        assert isinstance(await waiting[1], weft.Stream) or waiting[0].done()


async def test_cancelled_server(certificate):
    chain, key = certificate
    for count in range(30):
        server = await weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key)
        conn = await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain)
        stream = await conn.open_stream()
        await stream.write(bytes(100_000))
        for _ in range(count):
            await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
        conn.close()
        await conn.wait_closed()


async def test_iteration_that_is_left_leaves_nothing(pair):
    """A loop over streams or datagrams that is left in its body, by break or by cancellation, has nothing to close: no
    async generator is behind it, which the event loop would have to end with a task of its own."""
    begun = []
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=begun.append)
    try:
        async with pair(max_datagram_frame_size=1000) as p:
            inside = asyncio.Event()

            async def of_streams():
                async for stream in p.peer.streams():
                    inside.set()
                    await stream.read(-1)

            async def of_datagrams():
                async for _ in p.peer.datagrams():
                    inside.set()
                    await asyncio.Event().wait()

            for loop in (of_streams, of_datagrams):
                await p.stream()
                inside.clear()
                task = asyncio.ensure_future(loop())
                (await p.client.open_stream()).write_nowait(b"x")
                p.client.send_datagram(b"x")
                await inside.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            (await p.client.open_stream()).write_nowait(b"x")
            async for _ in p.peer.streams():
                break
            p.client.send_datagram(b"x")
            async for _ in p.peer.datagrams():
                break
            gc.collect()
            assert asyncio.all_tasks() == {asyncio.current_task()}
    finally:
        sys.set_asyncgen_hooks(*before)
    assert not begun


def test_no_async_generators():
    """Nowhere in the package, but where contextlib ends them itself."""
    found = [info.name for info in pkgutil.walk_packages(weft.__path__, "weft.")]
    for name in ["weft", *(name for name in found if not name.endswith("_core"))]:
        module = importlib.import_module(name)
        kinds = [thing for thing in vars(module).values() if inspect.isclass(thing)]
        for thing in [module, *kinds]:
            for function in vars(thing).values():
                assert not inspect.isasyncgenfunction(function), f"{name}: {function}"


# ---- random patterns
# ---------------------------------------------------------------------------------------------------

ACTION = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 200_000)),
    st.tuples(st.just("read"), st.integers(1, 100_000)),
    st.tuples(st.sampled_from(["eof", "reset", "stop", "pause", "abort"]), st.integers(0, 100)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    st.lists(st.lists(ACTION, max_size=12), min_size=1, max_size=6), st.integers(0, 2**32), st.sampled_from([0, 0.05])
)
def test_patterns(patterns, seed, loss):
    """Whatever is done on whichever streams: each byte comes as it was sent, and everything ends."""

    async def stream_of(conn, pattern, number):
        stream = await conn.open_stream()
        sent, got = 0, 0
        with contextlib.suppress(errors.StreamClosedError):
            for action, value in pattern:
                if action == "write":
                    await stream.write(bytes([number]) * value)
                    sent += value
                elif action == "read" and got < sent:
                    data = await stream.read(value)
                    assert data == bytes([number]) * len(data)
                    got += len(data)
                elif action == "eof":
                    stream.write_eof()
                elif action == "reset":
                    stream.reset(value)
                elif action == "stop":
                    stream.stop(value)
                elif action == "abort":
                    stream.abort(value)
                else:
                    await asyncio.sleep(0)
            stream.write_eof()
            rest = await stream.read()
            assert rest == bytes([number]) * (sent - got)
        stream.abort()
        await stream.wait_closed()

    async def main():
        async with weft.testing.Network(seed, loss=loss, delay=0.01) as network:

            async def each(connection):
                async with asyncio.TaskGroup() as group:
                    async for stream in connection.streams():
                        group.create_task(back(stream))

            async def back(stream):
                with contextlib.suppress(errors.StreamClosedError, weft.ConnectionClosed):
                    async for chunk in stream:
                        await stream.write(chunk)
                    stream.write_eof()
                    await stream.wait_closed()
                stream.abort()

            await network.serve(each, alpn="echo")
            async with network.connect(alpn="echo") as conn:
                async with asyncio.TaskGroup() as group:
                    for number, pattern in enumerate(patterns, 1):
                        group.create_task(stream_of(conn, pattern, number))
                assert not conn._live

    asyncio.run(main())


# ---- what must not grow
# ------------------------------------------------------------------------------------------------


async def test_a_reader_that_stops(pair):
    """Flow control bounds what both sides hold, however much is to be sent."""
    window = {"initial_max_stream_data_bidi_remote": "256KiB", "max_stream_data_window": "256KiB"}
    window |= {"initial_max_data": "512KiB", "max_data_window": "512KiB", "stream_send_buffer": "128KiB"}
    async with pair(**window) as p:
        mine, theirs = await p.stream()
        engine = p.client._engine
        before = engine.stats["memory_used"]
        written = 0

        async def write():
            nonlocal written
            while True:
                await mine.write(bytes(50_000))
                written += 50_000

        writing = asyncio.ensure_future(write())
        last = -1
        while written != last:
            last = written
            await asyncio.sleep(0.05)
        assert 256 << 10 <= written < 800_000
        assert engine.stats["memory_used"] - before < 2 << 20
        writing.cancel()
        assert len(await theirs.read(10_000_000)) > 0


async def test_streams_beyond_number(pair):
    async with pair(weft.echo) as p:
        for n in range(10_000):
            stream = await p.client.open_stream()
            stream.write_nowait(b"x", fin=True)
            if n % 100 == 99:
                await asyncio.sleep(0)
        while p.client._live:
            for stream in list(p.client._live):
                assert await stream.read() == b"x"
                await stream.wait_closed()
        assert p.client.stats()["streams_opened_local"] == 10_000 and not p.client._engine.streams.keys()


async def test_a_thousand_connections(certificate):
    chain, key = certificate
    patient = {"handshake_timeout": 600, "max_idle_timeout": 3600}  # however slow the machine is
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key, **patient) as server:
        conns = []
        for _ in range(20):
            new = [weft.connect("127.0.0.1", server.port, alpn="x", ca=chain, **patient) for _ in range(50)]
            conns += await asyncio.gather(*(one._connect() for one in new))

        async def one(conn, n):
            stream = await conn.open_stream()
            await stream.write(b"%d" % n, fin=True)
            assert await stream.read() == b"%d" % n

        await asyncio.gather(*(one(conn, n) for n, conn in enumerate(conns)))
        assert len(server.connections) == 1000
        for conn in conns:
            conn.close()
        await asyncio.gather(*(conn.wait_closed() for conn in conns))


CYCLES = int(os.environ.get("WEFT_CYCLES", "300"))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


async def test_cycles_leave_nothing(certificate):
    """Connections that come and go leave no object behind, and no memory."""
    chain, key = certificate

    async def cycle(server):
        async with weft.connect("127.0.0.1", server.port, alpn="x", ca=chain) as conn:
            stream = await conn.open_stream()
            await stream.write(bytes(20_000), fin=True)
            assert len(await stream.read()) == 20_000

    def counted():
        gc.collect()
        kinds = (weft.Connection, weft.Stream, asyncio.Future, asyncio.Task, BaseException)
        return sum(isinstance(thing, kinds) for thing in gc.get_objects())

    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
        for _ in range(CYCLES // 3):
            await cycle(server)
        while server.connections:
            await asyncio.sleep(0.01)
        objects, memory = counted(), resident()
        for _ in range(CYCLES):
            await cycle(server)
        while server.connections:
            await asyncio.sleep(0.01)
        assert counted() <= objects + 5
        assert resident() - memory < (4 << 20)
