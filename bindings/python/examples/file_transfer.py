"""Files over streams: the client asks for names, each on a stream of its own; the server sends what it has.

Received bytes are written to disk as they come. A disk that is slow slows the peer down, by flow control, and nothing
else.
"""

import asyncio
import hashlib
import tempfile
from pathlib import Path

import weft

NOT_FOUND = 1


async def send(stream: weft.Stream, root: Path) -> None:
    path = root / (await stream.readline()).decode().strip()
    if not path.is_file():
        stream.abort(NOT_FOUND)
        return
    with path.open("rb") as file:
        while piece := file.read(256 << 10):
            await stream.write(piece)  # waits while the client is slow
    stream.write_eof()


async def fetch(connection: weft.Connection, name: str, target: Path) -> bool:
    stream = await connection.open_stream()
    await stream.write(f"{name}\n".encode(), fin=True)
    try:
        with target.open("wb") as file:
            async for chunk in stream:
                file.write(chunk)
    except weft.StreamReset as error:
        print(f"{name}: code {error.code}")
        return False
    return True


async def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "large").write_bytes(bytes(range(256)) * 40_000)

        async def handler(connection: weft.Connection) -> None:
            async with asyncio.TaskGroup() as group:
                async for stream in connection.streams():
                    group.create_task(send(stream, root))

        async with (
            weft.serve("127.0.0.1", 0, handler, alpn="files", self_signed="127.0.0.1") as server,
            weft.connect("127.0.0.1", server.port, alpn="files", pins=server.fingerprint) as connection,
        ):
            await asyncio.gather(*(fetch(connection, "large", root / f"copy{n}") for n in range(3)))
            await fetch(connection, "missing", root / "nothing")
        sums = {hashlib.sha256((root / name).read_bytes()).hexdigest() for name in ("large", "copy0", "copy1", "copy2")}
        print(f"{len(sums)} sum for 4 files")


if __name__ == "__main__":
    asyncio.run(main())

# prints: missing: code 1
# prints: 1 sum for 4 files
