"""weft: QUIC for asyncio.

    import asyncio, weft

    async def main():
        async with weft.serve("127.0.0.1", 4433, alpn=["echo"], certificate="cert.pem", key="key.pem") as server:
            async with weft.connect("127.0.0.1", 4433, alpn=["echo"], ca="cert.pem") as conn:
                stream = await conn.open_stream()
                await stream.write(b"hello", fin=True)
                print(await stream.read())

    asyncio.run(main())

`connect` and `serve` begin; `Connection` and `Stream` are what one works with; `errors` has what can go wrong. The same
without asyncio is `weft.blocking`, with trio `weft.trio`; `weft.testing` has networks in memory, `weft.compat.aioquic`
the names of aioquic. An engine in C does the work in the loop's own thread; see docs/.
"""

from . import _core as _core

if not _core.in_main_interpreter():
    raise ImportError("weft works in the main interpreter alone: its engines are shared by what is in a process")

from ._loop import AsyncioEngine as Engine
from ._options import Options
from .connection import Connecting, Connection, connect
from .errors import *  # noqa: F403
from .errors import ConnectionClosed, Error, HandshakeError, IdleTimeout, StreamReset, StreamStopped
from .server import Server, Serving, echo, serve
from .stream import Stream
from .streams import StreamReader, StreamWriter

__version__ = _core.weft_version_text()


def has_feature(name: str) -> bool:
    """Whether this build has a feature: "quic-v2", "early-data", "migration", "bbr" ... (weft_has_feature of
    weft.h)."""
    return bool(_core.weft_has_feature(name))


__all__ = [
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "Engine",
    "Error",
    "HandshakeError",
    "IdleTimeout",
    "Options",
    "Server",
    "Serving",
    "Stream",
    "StreamReader",
    "StreamReset",
    "StreamStopped",
    "StreamWriter",
    "__version__",
    "connect",
    "echo",
    "has_feature",
    "serve",
]
