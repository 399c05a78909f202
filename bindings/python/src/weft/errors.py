"""Exceptions.

Each error of the core has a class of its own, made from the table of errors (`_error_table`); where Python has a class
of its own for such a thing, it is a base: `weft.OptionError` is a TypeError, `weft.TimedOutError` a TimeoutError. Here
are the exceptions that say more than a number: how a connection ended, how a stream was broken off.

The invariant that matters: whatever weft raises is a `weft.Error`, but for misuse that Python itself has words for
(wrong types, a closed event loop).
"""

from __future__ import annotations

from . import _core
from ._error_table import *  # noqa: F403
from ._error_table import BY_CODE, ClosedError, Error, StreamClosedError

CAUSES = ("none", "local", "peer", "idle", "handshake timeout", "protocol", "reset", "version", "internal", "connect")
"""What enum weft_cause means, in words."""


class ConnectionClosed(ClosedError):
    """The connection has ended (RFC 9000 10, 20).

    code: as sent or received: the application's if `application`, else one of RFC 9000 20.1 (0x100 + alert for TLS).
    reason: as sent or received, at most 128 bytes of it.
    by_peer: the peer sent the CONNECTION_CLOSE.
    cause: one of CAUSES: "local", "peer", "idle" ...
    """

    def __init__(
        self, code: int = 0, reason: str = "", by_peer: bool = False, *, cause: str = "local", application: bool = True
    ) -> None:
        super().__init__(code, reason, by_peer)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer
        self.cause = cause
        self.application = application

    @property
    def clean(self) -> bool:
        """Nothing went wrong: an application closed with code 0, or the peer with NO_ERROR."""
        return self.code == 0 and self.cause in ("local", "peer")

    def __str__(self) -> str:
        kind = "application" if self.application else "transport"
        words = {"local": "closed here", "peer": "closed by the peer", "idle": "nothing was heard for max_idle_timeout"}
        text = words.get(self.cause, self.cause)
        if self.cause in ("local", "peer", "protocol", "version", "internal"):
            text += f", {kind} code {self.code:#x}"
        return f"{text}: {self.reason}" if self.reason else text


class HandshakeError(ConnectionClosed):
    """The connection did not come about: no answer, no version or protocol in common, a certificate that was
    refused."""

    @property
    def alert(self) -> int | None:
        """The TLS alert (RFC 8446 6), if that is what ended it."""
        return self.code - 0x100 if not self.application and 0x100 <= self.code < 0x200 else None


class IdleTimeout(ConnectionClosed, TimeoutError):
    """Nothing was heard from the peer for max_idle_timeout (RFC 9000 10.1)."""


class StreamReset(StreamClosedError):
    """The peer broke its sending off with this code (RESET_STREAM, RFC 9000 19.4)."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"the peer reset the stream with code {self.code:#x}"


class StreamStopped(StreamClosedError):
    """The peer wants no more on this stream (STOP_SENDING, RFC 9000 19.5)."""

    def __init__(self, code: int = 0) -> None:
        super().__init__(code)
        self.code = code

    def __str__(self) -> str:
        return f"the peer stopped the stream with code {self.code:#x}"


def make(number: int, text: str | None = None) -> Error:
    """The exception for an error of the core."""
    return BY_CODE.get(number, Error)(text or _core.weft_strerror(number))


def closed(code: int, reason: bytes, cause: int, application: bool, connected: bool, error: int) -> Error:
    """The exception for the end of a connection."""
    text = reason.decode("utf-8", "replace")
    name = CAUSES[cause] if cause < len(CAUSES) else "unknown"
    if name == "connect":
        return make(error, text)
    if not connected and name != "local":
        kind: type[ConnectionClosed] = HandshakeError
    else:
        kind = IdleTimeout if name == "idle" else ConnectionClosed
    return kind(code, text, name == "peer", cause=name, application=application)


def again(error: BaseException) -> BaseException:
    """The same exception, to be raised once more without the traces of the last time."""
    return error.with_traceback(None)


_core.set_error_factory(make)
