"""QuicConfiguration: aioquic's settings, and what they are as arguments of weft.

The invariant that matters: a setting that weft cannot honour is an error when it is used, and is never passed over.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TextIO

from ...errors import UnsupportedError
from .logger import QuicLogger
from .tls import CipherSuite, SessionTicket

VERSION_1 = 0x00000001
VERSION_2 = 0x6B3343CF
CONTROLLERS = {"reno": "newreno", "cubic": "cubic", "bbr": "bbr"}


def _writer(file: TextIO) -> Callable[[str], object]:
    def line(text: str) -> None:
        file.write(text + "\n")
        file.flush()

    return line


@dataclass
class QuicConfiguration:
    """As in aioquic. Times are seconds."""

    alpn_protocols: list[str] | None = None
    congestion_control_algorithm: str = "reno"
    connection_id_length: int = 8
    idle_timeout: float = 60.0
    is_client: bool = True
    max_data: int = 1048576
    max_datagram_size: int = 1200
    max_stream_data: int = 1048576
    quic_logger: QuicLogger | None = None
    secrets_log_file: TextIO | None = None
    server_name: str | None = None
    session_ticket: SessionTicket | None = None
    token: bytes = b""
    cadata: bytes | None = None
    cafile: str | None = None
    capath: str | None = None
    certificate: Any = None
    cipher_suites: list[CipherSuite] | None = None
    initial_rtt: float = 0.1
    max_datagram_frame_size: int | None = None
    original_version: int | None = None
    private_key: Any = None
    supported_versions: list[int] = field(default_factory=lambda: [VERSION_1, VERSION_2])
    verify_mode: int | None = None

    def load_cert_chain(
        self,
        certfile: str | PathLike[str],
        keyfile: str | PathLike[str] | None = None,
        password: bytes | str | None = None,
    ) -> None:
        if password is not None:
            raise UnsupportedError("keys under a password are not supported")
        self.certificate = os.fspath(certfile)
        self.private_key = os.fspath(keyfile if keyfile is not None else certfile)

    def load_verify_locations(
        self, cafile: str | None = None, capath: str | None = None, cadata: bytes | None = None
    ) -> None:
        self.cafile, self.capath, self.cadata = cafile, capath, cadata

    # ---- for weft ----

    def _authorities(self) -> list[str | bytes] | None:
        found: list[str | bytes] = []
        if self.cafile is not None:
            found.append(os.fspath(self.cafile))
        if self.cadata is not None:
            found.append(self.cadata)
        if self.capath is not None:
            found += [entry.path for entry in os.scandir(self.capath) if entry.is_file()]
        return found or None

    def _versions(self) -> dict[str, str]:
        wanted = {VERSION_1: "v1", VERSION_2: "v2"}
        spoken = [wanted[version] for version in self.supported_versions if version in wanted]
        if not spoken:
            raise UnsupportedError("none of supported_versions is known")
        options = {"versions": spoken[0] if len(spoken) == 1 else "both"}
        first = self.original_version or self.supported_versions[0]
        if self.is_client and first in wanted and len(spoken) > 1:
            options["version"] = wanted[first]
        return options

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of weft.connect or weft.serve."""
        window = self.max_stream_data
        found: dict[str, Any] = {
            "max_idle_timeout": float(self.idle_timeout),
            "initial_max_data": self.max_data,
            "initial_max_stream_data_bidi_local": window,
            "initial_max_stream_data_bidi_remote": window,
            "initial_max_stream_data_uni": window,
            "send_udp_payload_size": self.max_datagram_size,
            "congestion_control": CONTROLLERS.get(self.congestion_control_algorithm, self.congestion_control_algorithm),
            "initial_rtt": self.initial_rtt,
            "early_data": True,
            **self._versions(),
        }
        if self.max_datagram_frame_size is not None:
            found["max_datagram_frame_size"] = min(self.max_datagram_frame_size, 65535)
        if self.certificate is not None:
            found |= {"certificate": self.certificate, "key": self.private_key}
        if (authorities := self._authorities()) is not None:
            found["ca"] = authorities
        if self.verify_mode is not None:
            found["verify"] = self.verify_mode != ssl.CERT_NONE
        if self.cipher_suites is not None:
            found["ciphers"] = ":".join(f"TLS_{CipherSuite(suite).name}" for suite in self.cipher_suites)
        if self.secrets_log_file is not None:
            found["keylog"] = _writer(self.secrets_log_file)
        if self.quic_logger is not None:
            path = getattr(self.quic_logger, "path", None)
            if path is None:
                raise UnsupportedError("qlog goes to a directory: QuicFileLogger")
            found["qlog"] = path
        return found
