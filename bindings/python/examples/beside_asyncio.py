"""A QUIC server inside an asyncio application: one loop, TCP and QUIC beside each other, one set of objects behind
both."""

import asyncio

import weft


class Counter:
    def __init__(self) -> None:
        self.value = 0

    def add(self, line: bytes) -> bytes:
        self.value += int(line)
        return b"%d\n" % self.value


async def main() -> None:
    counter = Counter()

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(counter.add(await reader.readline()))
        writer.close()
        await writer.wait_closed()

    async def over_quic(connection: weft.Connection) -> None:
        async for stream in connection.streams():
            await stream.write(counter.add(await stream.readline()), fin=True)

    tcp = await asyncio.start_server(over_tcp, "127.0.0.1", 0)
    async with tcp, weft.serve("127.0.0.1", 0, over_quic, alpn="count", self_signed="127.0.0.1") as quic:
        reader, writer = await asyncio.open_connection(*tcp.sockets[0].getsockname())
        writer.write(b"40\n")
        print("TCP", (await reader.readline()).decode().strip())
        writer.close()
        await writer.wait_closed()
        async with weft.connect("127.0.0.1", quic.port, alpn="count", pins=quic.fingerprint) as connection:
            stream = await connection.open_stream()
            await stream.write(b"2\n", fin=True)
            print("QUIC", (await stream.read()).decode().strip())


if __name__ == "__main__":
    asyncio.run(main())

# prints: TCP 40
# prints: QUIC 42
