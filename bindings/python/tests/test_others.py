"""The same objects in other surroundings: blocking, trio, networks in memory, batches."""

import asyncio
import inspect
import threading

import pytest
import trio

import weft
import weft.blocking
import weft.testing
import weft.trio
from weft import errors

# ---- blocking
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def echo_server(certificate):
    """A server of asyncio in a thread of its own: its port."""
    chain, key = certificate
    ready, port, over = threading.Event(), [], []

    async def main():
        async with weft.serve(
            "127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key, max_datagram_frame_size=1200
        ) as server:
            port.append(server.port)
            over.extend([asyncio.get_running_loop(), asyncio.Event()])
            ready.set()
            await over[1].wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    ready.wait()
    yield port[0]
    over[0].call_soon_threadsafe(over[1].set)
    thread.join()


def test_blocking_client(certificate, echo_server):
    chain, _ = certificate
    with weft.blocking.connect("127.0.0.1", echo_server, alpn="x", ca=chain, timeout=10) as conn:
        assert conn.alpn == "x" and conn.rtt > 0 and "weft.blocking.Connection" in repr(conn)
        with conn.open_stream() as stream:
            stream.write(b"hello ")
            assert stream.readexactly(5) == b"hello"
            stream.write(b"line\nrest", fin=True)
            assert stream.readline() == b" line\n" and stream.readuntil(b"es") == b"res"
            assert stream.read() == b"t"
        stream = conn.open_stream()
        buffer = bytearray(4)
        stream.write(b"12345678")
        assert stream.readinto(buffer) == 4 and buffer == b"1234" and stream.read(10) == b"5678"
        with pytest.raises(errors.TimedOutError):
            stream.read(1, timeout=0.02)
        stream.write(b"later")
        assert stream.read(10) == b"later", "the read that timed out took nothing"
        stream.write_eof()
        assert list(stream) == []
        stream.wait_acknowledged()
        stream.wait_closed()
        many = [conn.open_stream() for _ in range(20)]
        for n, stream in enumerate(many):
            stream.write(b"%d" % n, fin=True)
        assert [int(stream.read()) for stream in many] == list(range(20))
        assert conn.wait_session()
        conn.poll()
    assert conn.close_error.clean


def test_blocking_both_sides(certificate):
    chain, key = certificate
    with (
        weft.blocking.serve(
            "127.0.0.1", 0, alpn="x", certificate=chain, key=key, max_datagram_frame_size=1200
        ) as server,
        weft.blocking.connect("127.0.0.1", server.port, alpn="x", ca=chain, max_datagram_frame_size=1200) as conn,
    ):
        peer = server.accept(timeout=10)
        mine = conn.open_stream()
        mine.write(bytes(3_000_000), timeout=10)
        theirs = peer.accept_stream()
        assert len(theirs.readexactly(3_000_000)) == 3_000_000
        theirs.reset(5)
        with pytest.raises(weft.StreamReset):
            mine.read()
        conn.send_datagram(b"dgram")
        assert peer.receive_datagram(timeout=10) == b"dgram"
        with pytest.raises(errors.TimedOutError):
            peer.accept_stream(timeout=0.01)
        conn.close(9, "enough")
        peer.wait_closed()
        assert peer.close_error.code == 9
        with pytest.raises(weft.ConnectionClosed):
            next(peer.streams())


def test_blocking_refusals(certificate):
    with pytest.raises(weft.HandshakeError):
        weft.blocking.connect("127.0.0.1", 9, alpn="x", handshake_timeout=0.05)
    with pytest.raises(errors.TimedOutError):
        weft.blocking.connect("127.0.0.1", 9, alpn="x", timeout=0.05)
    with pytest.raises(errors.OptionError):
        weft.blocking.connect("127.0.0.1", 9, alpn="x", no_such_option=1)
    with weft.blocking.Engine() as engine:

        async def inner():
            engine.run(inner())

        with pytest.raises(errors.StateError):
            engine.run(inner())


def test_owner_thread(certificate):
    chain, key = certificate
    with weft.blocking.serve("127.0.0.1", 0, alpn="x", certificate=chain, key=key) as server:
        caught = []

        def elsewhere():
            for call in (server.close, lambda: server.poll(0)):
                try:
                    call()
                except RuntimeError as error:
                    caught.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert caught and all(isinstance(error, errors.ThreadError) for error in caught)
        server._inner._closing = False


# ---- trio
# --------------------------------------------------------------------------------------------------------------


def test_trio(certificate):
    chain, key = certificate

    async def main():
        async with weft.trio.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
            async with weft.trio.connect("127.0.0.1", server.port, alpn="x", ca=chain) as conn:
                stream = await conn.open_stream()
                await stream.write(bytes(2_000_000))
                assert len(await stream.readexactly(2_000_000)) == 2_000_000
                with trio.move_on_after(0.02) as scope:
                    await stream.read(1)
                assert scope.cancelled_caught
                await stream.write(b"after", fin=True)
                assert await stream.read() == b"after"

                async def one(n):
                    stream = await conn.open_stream()
                    await stream.write(b"%d" % n, fin=True)
                    assert await stream.read() == b"%d" % n

                async with trio.open_nursery() as nursery:
                    for n in range(300):
                        nursery.start_soon(one, n)
            assert conn.close_error.clean
            with pytest.raises(weft.HandshakeError):
                await weft.trio.connect("127.0.0.1", server.port, alpn="y", ca=chain)
        async with weft.trio.serve("127.0.0.1", 0, alpn="x", certificate=chain, key=key) as server:
            client = await weft.trio.connect("127.0.0.1", server.port, alpn="x", ca=chain)
            peer = await server.accept()
            client.close(4)
            await peer.wait_closed()
            assert peer.close_error.code == 4

    trio.run(main)
    trio.run(main)


# ---- networks in memory
# ------------------------------------------------------------------------------------------------


async def transfer(**network_settings):
    async with weft.testing.Network(**network_settings) as network:
        await network.serve(weft.echo, alpn="echo")
        async with network.connect(alpn="echo") as conn:
            stream = await conn.open_stream()
            reading = asyncio.create_task(stream.read())
            for _ in range(20):
                await stream.write(b"x" * 10_000)
            stream.write_eof()
            assert await reading == b"x" * 200_000
            return network.now, conn.stats()["packets_lost"], network.traffic("client")["sent"]


async def test_network_in_memory():
    began, lost, sent = await transfer(seed=1)
    assert lost == 0 and sent > 100
    slow, lost, _ = await transfer(seed=1, delay=0.2, loss=0.05, bandwidth=10_000_000)
    assert slow > began + 1 and lost > 0


def test_network_that_repeats(script):
    """In a process of its own: there must be no other engine."""
    source = "import asyncio, weft, weft.testing\n" + inspect.getsource(transfer)
    source += """
async def main():
    how = {"seed": 3, "repeatable": True, "delay": 0.05, "loss": 0.1, "jitter": 0.01}
    first = await transfer(**how)
    assert first == await transfer(**how) != await transfer(**{**how, "seed": 4})
    print(first)
asyncio.run(main())
"""
    assert script(source).stdout == script(source).stdout


async def test_network_that_breaks():
    async with weft.testing.Network(delay=0.02) as network:
        await network.serve(weft.echo, alpn="echo")
        conn = await network.connect(alpn="echo", max_idle_timeout=30)
        network.set_link("client", loss=1)
        stream = await conn.open_stream()
        await stream.write(b"lost")
        with pytest.raises(weft.IdleTimeout):
            await stream.read()
        assert network.now > 25
        with pytest.raises(weft.HandshakeError):
            await network.connect(alpn="echo")


async def test_an_engine_of_a_network_that_ends():
    """As if the host had lost power, while bytes were lent to it."""
    async with weft.testing.Network(delay=0.02) as network:
        await network.serve(weft.echo, alpn="echo")
        conn = await network.connect(alpn="echo")
        stream = await conn.open_stream()
        await stream.write(bytes(500_000))
        network.client.close()
        with pytest.raises(errors.StateError):
            await stream.read()


# ---- batches
# -----------------------------------------------------------------------------------------------------------


async def test_batches(pair):
    async def handler(connection):
        try:
            while True:
                messages = await connection.receive_messages()
                assert connection.send_replies([(stream, data[::-1]) for stream, data in messages]) == []
        except weft.ConnectionClosed:
            pass

    async with pair(handler, initial_max_streams_bidi=50) as p:
        sizes = [0, 1, 100, 5000, 20_000, 300_000]
        asked, answered = {}, 0
        for n in range(1000):
            message = bytes([n % 256]) * sizes[n % 6] + b"!"
            while not (opened := p.client.send_requests([message])):
                for stream, data in await p.client.receive_messages():
                    assert data == asked.pop(stream)[::-1]
                    answered += 1
            asked[opened[0]] = message
        while answered < 1000:
            for stream, data in await p.client.receive_messages():
                assert data == asked.pop(stream)[::-1]
                answered += 1
        assert not asked
        with pytest.raises(TypeError):
            p.client.send_replies([5])
        with pytest.raises(TypeError):
            p.client.send_requests(["text"])
        assert p.client.send_replies([(12345, b"x")]) == [12345]


async def test_batches_and_broken_streams(pair):
    async with pair() as p:
        opened = p.client.send_requests([b"one", b"two", b"three"])
        assert len(opened) == 3
        streams = [await p.peer.accept_stream() for _ in range(3)]
        streams[0].reset(3)
        await streams[1].write(b"part")
        await asyncio.sleep(0.02)
        await streams[1].write(b"ial", fin=True)
        await streams[2].write(b"last words", fin=True)
        got = {}
        while len(got) < 2:
            got |= dict(await p.client.receive_messages())
        assert (got[opened[0]] is None and got[opened[1]] == b"partial") or got[opened[2]] == b"last words"
        await streams[2].wait_acknowledged()
        p.peer.close(7)
        with pytest.raises(weft.ConnectionClosed):
            while True:
                got |= dict(await p.client.receive_messages())
        assert got == dict(zip(opened, [None, b"partial", b"last words"], strict=True))
