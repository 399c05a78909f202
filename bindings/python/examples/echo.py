"""An echo server and a client of it, in one program: what comes on a stream goes back on it.

python echo.py [WORDS...]
"""

import asyncio
import sys

import weft


async def echo(connection: weft.Connection) -> None:
    async for stream in connection.streams():
        async for chunk in stream:
            await stream.write(chunk)
        stream.write_eof()


async def main(words: list[str]) -> None:
    async with weft.serve("127.0.0.1", 0, echo, alpn="echo", self_signed="127.0.0.1") as server:
        async with weft.connect("127.0.0.1", server.port, alpn="echo", pins=server.fingerprint) as connection:
            for word in words:
                stream = await connection.open_stream()
                await stream.write(word.encode(), fin=True)
                print((await stream.read()).decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["hello"]))

# prints: hello
