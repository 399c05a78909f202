"""Of aioquic's TLS what programs hold in their hands: sessions, and names of cipher suites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class CipherSuite(IntEnum):
    AES_128_GCM_SHA256 = 0x1301
    AES_256_GCM_SHA384 = 0x1302
    CHACHA20_POLY1305_SHA256 = 0x1303


@dataclass
class SessionTicket:
    """A session to resume. `ticket` is weft's own form of it; all of it can be pickled."""

    ticket: bytes
    server_name: str = ""


SessionTicketFetcher = Callable[[bytes], "SessionTicket | None"]
SessionTicketHandler = Callable[[SessionTicket], None]
