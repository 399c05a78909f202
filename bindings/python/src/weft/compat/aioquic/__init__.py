"""aioquic's names on weft's engine: `connect`, `serve`, QuicConfiguration, QuicConnectionProtocol and its events.

    from weft.compat.aioquic import QuicConfiguration, connect, serve          # by hand
    weft.compat.aioquic.install()                                             # from here on `import aioquic` is this
    python -m weft.compat.aioquic program.py ...                              # a program of aioquic's, unchanged

What is there is what programs use that transfer streams and datagrams: the asyncio API, the events, and of
QuicConnection what protocols call on `self._quic`. Not there are aioquic's own sans-I/O connection (datagrams in and
out), HTTP/3, and its TLS. As in aioquic nothing limits what is written or received by these names: that is why weft has
its own.
"""

from __future__ import annotations

import sys
from types import ModuleType

from . import configuration, connection, events, logger, protocol, tls
from .configuration import QuicConfiguration
from .connection import QuicConnection
from .protocol import QuicConnectionProtocol, connect, serve


def install() -> None:
    """Puts these modules where programs look for aioquic's. ImportError when aioquic itself is imported already."""
    if "aioquic" in sys.modules and not hasattr(sys.modules["aioquic"], "__weft__"):
        raise ImportError("aioquic is imported already")
    top = ModuleType("aioquic", __doc__)
    names: dict[str, ModuleType] = {"aioquic": top, "aioquic.quic": ModuleType("aioquic.quic")}
    names |= {"aioquic.asyncio": protocol, "aioquic.asyncio.client": protocol, "aioquic.asyncio.server": protocol}
    names |= {"aioquic.asyncio.protocol": protocol, "aioquic.tls": tls, "aioquic.quic.configuration": configuration}
    names |= {"aioquic.quic.connection": connection, "aioquic.quic.events": events, "aioquic.quic.logger": logger}
    for name in ("aioquic", "aioquic.quic"):
        names[name].__path__ = []
        names[name].__dict__["__weft__"] = True
    for name, module in names.items():
        sys.modules[name] = module
        above, _, last = name.rpartition(".")
        if above and above != "aioquic.asyncio":
            setattr(names[above], last, module)


__all__ = ["QuicConfiguration", "QuicConnection", "QuicConnectionProtocol", "connect", "install", "serve"]
