"""Streams: every way to read and to write, their ends, and what is refused."""

import asyncio

import pytest

import weft
from weft import errors


async def test_the_first_example(script):
    done = script(
        """
import asyncio, weft

async def main():
    async with weft.serve("127.0.0.1", 4433, alpn=["echo"], certificate="cert.pem", key="key.pem") as server:
        async with weft.connect("127.0.0.1", 4433, alpn=["echo"], ca="cert.pem") as conn:
            stream = await conn.open_stream()
            await stream.write(b"hello", fin=True)
            print(await stream.read())

asyncio.run(main())
"""
    )
    assert done.stdout == "b'hello'\n"


@pytest.mark.parametrize("size", [0, 1, 1200, 16383, 16384, 65536, 1 << 20, 5_000_001])
async def test_sizes(pair, size):
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        await stream.write(data, fin=True)
        assert await stream.read() == data
        assert stream.at_eof and await stream.read() == b"" and await stream.read(10) == b""
        await stream.wait_acknowledged()
        await stream.wait_closed()
        assert stream.closed


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
async def test_what_can_be_written(pair, kind, size):
    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        data = kind(b"x" * size)
        reading = asyncio.create_task(stream.read())
        for _ in range(3):
            await stream.write(data)
        if isinstance(data, bytearray):
            data[:] = b"y" * size  # what was written is not what is in the buffer now
        stream.write_eof()
        assert await reading == b"x" * size * 3


async def test_wide_memoryview(pair):
    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        await stream.write(memoryview(b"12345678" * 10).cast("Q"), fin=True)
        assert await stream.read() == b"12345678" * 10


async def test_wrong_types(pair):
    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        for wrong in ("text", 5, None, [1]):
            with pytest.raises(TypeError):
                await stream.write(wrong)
        await stream.write(b"", fin=True)
        assert await stream.read() == b""


async def test_bytes_are_lent_and_given_back(pair):
    from weft import _core

    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        engine = p.client._engine
        await stream.write(bytes(100_000), fin=True)
        assert _core.engine_loans(engine.glue) >= 1
        assert len(await stream.read()) == 100_000
        await stream.wait_acknowledged()
        while _core.engine_loans(engine.glue):
            await asyncio.sleep(0.01)


async def test_reading(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        await theirs.write(b"line one\nline two\nrest")
        assert await mine.read(4) == b"line"
        assert await mine.readline() == b" one\n"
        assert await mine.readuntil(b"two") == b"line two"
        assert await mine.readexactly(1) == b"\n"
        assert mine.read_nowait(2) == b"re" and mine.read_nowait() == b"st" and mine.read_nowait() is None
        buffer = bytearray(10)
        await theirs.write(b"abcdefghijklm", fin=True)
        assert await mine.readinto(buffer) == 10 and buffer == b"abcdefghij"
        assert await mine.readinto(memoryview(buffer)[:2]) == 2 and buffer[:2] == b"kl"
        assert await mine.readline() == b"m" and await mine.readline() == b""
        assert await mine.readinto(buffer) == 0 and mine.read_nowait() == b""
        assert await mine.read(0) == b"" and await mine.readexactly(0) == b""


async def test_reading_too_little(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        await theirs.write(b"abc", fin=True)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await mine.readexactly(4)
        assert caught.value.partial == b"abc" and caught.value.expected == 4
        mine, theirs = await p.stream()
        await theirs.write(b"abc", fin=True)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await mine.readuntil(b"\n")
        assert caught.value.partial == b"abc"
        mine, theirs = await p.stream()
        await theirs.write(b"x" * 1000 + b"\n", fin=True)
        with pytest.raises(asyncio.LimitOverrunError):
            await mine.readuntil(b"\n", limit=100)
        assert await mine.readuntil(b"\n") == b"x" * 1000 + b"\n"


async def test_separator_in_pieces(pair):
    async with pair() as p:
        mine, theirs = await p.stream()

        async def slowly():
            for byte in b"one--two--":
                await theirs.write(bytes([byte]))
                await asyncio.sleep(0.002)

        writing = asyncio.create_task(slowly())
        assert await mine.readuntil(b"--") == b"one--"
        assert await mine.readexactly(5) == b"two--"
        await writing


async def test_readexactly_more_than_a_window(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        writing = asyncio.create_task(theirs.write(bytes(30_000_000), fin=True))
        assert len(await mine.readexactly(29_999_999)) == 29_999_999
        assert await mine.read() == b"\0"
        await writing


async def test_iteration(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        await theirs.write(b"x" * 700_000, fin=True)
        chunks = [chunk async for chunk in mine]
        assert b"".join(chunks) == b"x" * 700_000 and all(0 < len(chunk) <= 256 << 10 for chunk in chunks)


async def test_reset_and_stop(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        theirs.reset(7)
        with pytest.raises(weft.StreamReset) as caught:
            await mine.read()
        assert caught.value.code == 7 and isinstance(caught.value, errors.StreamClosedError)
        theirs.stop(8)
        with pytest.raises(weft.StreamStopped) as stopped:
            while True:
                await mine.write(bytes(100_000))
                await asyncio.sleep(0)
        assert stopped.value.code == 8
        with pytest.raises(errors.StreamClosedError):
            await theirs.write(b"x")
        with pytest.raises(errors.StreamClosedError):
            await theirs.read()
        theirs.reset(9)
        theirs.stop(9)  # nothing happens
        mine.abort()


async def test_codes_have_a_range(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        with pytest.raises(errors.ValueNotAllowedError):
            mine.reset(1 << 62)
        with pytest.raises(OverflowError):
            mine.reset(-1)
        mine.reset((1 << 62) - 1)
        with pytest.raises(weft.StreamReset) as caught:
            await theirs.read()
        assert caught.value.code == (1 << 62) - 1


async def test_waiting_for_what_was_broken_off(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        reading = asyncio.create_task(mine.read())
        await asyncio.sleep(0.01)
        theirs.reset(3)
        with pytest.raises(weft.StreamReset):
            await reading
        mine, theirs = await p.stream()

        async def fill():
            while True:
                await mine.write(bytes(1 << 20))

        filling = asyncio.create_task(fill())
        await asyncio.sleep(0.05)
        assert not filling.done()
        theirs.stop(4)
        with pytest.raises(weft.StreamStopped):
            await filling


async def test_unidirectional(pair):
    async with pair() as p:
        mine = await p.client.open_stream(unidirectional=True)
        assert mine.id == 2 and not mine.is_bidirectional and mine.is_local
        assert await mine.read() == b""
        await mine.write(b"one way", fin=True)
        theirs = await p.peer.accept_stream()
        assert theirs.id == 2 and not theirs.is_local
        assert await theirs.read() == b"one way"
        with pytest.raises(errors.StreamClosedError):
            await theirs.write(b"x")
        await mine.wait_acknowledged()


async def test_after_the_end(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        mine.write_eof()
        mine.write_eof()
        with pytest.raises(errors.StreamClosedError):
            await mine.write(b"x")
        with pytest.raises(errors.StreamClosedError):
            mine.write_nowait(b"x")
        assert await theirs.read() == b""
        theirs.write_eof()
        await mine.read()
        await mine.wait_acknowledged()
        await mine.wait_closed()
        assert mine.closed
        with pytest.raises(errors.StreamClosedError):
            mine.set_priority(1)


async def test_one_task_a_direction(pair):
    async with pair() as p:
        mine, _ = await p.stream()
        reading = asyncio.create_task(mine.read())
        await asyncio.sleep(0)
        with pytest.raises(errors.StateError):
            await mine.read(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_write_nowait_and_drain(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        written = 0
        with pytest.raises(errors.BlockedError):
            while True:
                mine.write_nowait(bytes(100_000))
                written += 100_000
        assert not mine.can_write and written < 10_000_000
        with pytest.raises(errors.StateError):
            await mine.wait_acknowledged()
        reading = asyncio.create_task(theirs.read())
        await mine.drain()
        assert mine.can_write
        mine.write_nowait(b"end", fin=True)
        assert len(await reading) == written + 3
        await mine.wait_acknowledged()


async def test_order_of_pending_and_end(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        parts = [bytes([n % 256]) * 50_001 for n in range(200)]

        async def write():
            for n, part in enumerate(parts):
                await mine.write(bytearray(part) if n % 2 else part)
            mine.write_eof()

        writing = asyncio.create_task(write())
        assert await theirs.read() == b"".join(parts)
        await writing


async def test_limit_of_streams(pair):
    async with pair(initial_max_streams_bidi=4) as p:
        streams = [await p.client.open_stream() for _ in range(4)]
        with pytest.raises(errors.StreamLimitError):
            p.client.open_stream_nowait()
        waiting = [asyncio.create_task(p.client.open_stream()) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        waiting[1].cancel()
        for stream in streams:
            await stream.write(b"", fin=True)
            theirs = await p.peer.accept_stream()
            theirs.write_eof()
            assert await theirs.read() == b"" and await stream.read() == b""
        ids = {(await waiting[0]).id, (await waiting[2]).id}
        assert ids == {16, 20}


async def test_what_came_before_a_close(pair):
    """A peer that closes right behind its last bytes: they can be read all the same."""
    async with pair() as p:
        mine, theirs = await p.stream()
        await theirs.write(b"last words", fin=True)
        await asyncio.sleep(0)
        await theirs.wait_acknowledged()
        p.peer.close(5, "that was it")
        await p.client.wait_closed()
        assert await mine.read() == b"last words"
        with pytest.raises(weft.ConnectionClosed) as caught:
            await p.client.open_stream()
        assert caught.value.code == 5 and caught.value.reason == "that was it" and caught.value.by_peer


async def test_half_of_it_came_before_a_close(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        await theirs.write(b"half")
        await mine.read(1)
        p.peer.close(6)
        await p.client.wait_closed()
        assert await mine.read(2) == b"al"
        assert await mine.read(9) == b"f"
        with pytest.raises(weft.ConnectionClosed):
            await mine.read()


async def test_leaving_the_block(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        async with mine:
            await mine.write(b"x")
        assert await theirs.read() == b"x"
        mine, theirs = await p.stream()
        with pytest.raises(ZeroDivisionError):
            async with mine:
                raise ZeroDivisionError
        with pytest.raises(weft.StreamReset):
            await theirs.read()


async def test_priority_deadline_and_info(pair):
    async with pair() as p:
        mine, theirs = await p.stream()
        mine.set_priority(0, False)
        assert mine.info["urgency"] == 0 and not mine.info["incremental"] and mine.info["written"] == 1
        with pytest.raises(errors.ValueNotAllowedError):
            mine.set_priority(8)
        mine.set_deadline(0.02, 77)
        with pytest.raises(weft.StreamReset) as caught:
            await theirs.read()
        assert caught.value.code == 77
        assert p.client.get_stream(mine.id) in (mine, None) and p.client.get_stream(4000) is None


async def test_asyncio_reader_and_writer(pair):
    async with pair(weft.echo) as p:
        stream = await p.client.open_stream()
        reader, writer = stream.reader, stream.writer
        writer.write(b"one\ntwo\n")
        writer.writelines([b"thr", b"ee\n", bytes(3_000_000)])
        assert writer.can_write_eof() and not writer.is_closing()
        assert writer.get_extra_info("peername") == f"127.0.0.1:{p.server.port}"
        assert writer.get_extra_info("nothing", 5) == 5
        await writer.drain()
        writer.write_eof()
        assert await reader.readline() == b"one\n" and await reader.readexactly(4) == b"two\n"
        assert await reader.readuntil(b"\n") == b"three\n"
        assert len(await reader.read()) == 3_000_000 and reader.at_eof()
        writer.close()
        await writer.wait_closed()
        assert writer.is_closing()
