"""The exceptions that stand for errors of the core. Made by scripts/python_tables.py; `make generated` makes it anew."""


class Error(Exception):
    """Whatever goes wrong in weft; `number` is that of the core's error (docs/errors.md), 0: none of the core's."""

    number: int = 0


class InvalidError(Error, ValueError):
    """An argument is not allowed here."""

    number = -1


class OutOfMemoryError(Error, MemoryError):
    """Out of memory, or the engine's memory budget is used up."""

    number = -2


class HandleError(Error, LookupError):
    """Not a handle of this kind, or never issued."""

    number = -3


class GoneError(Error, LookupError):
    """The object behind the handle is gone."""

    number = -4


class StateError(Error, RuntimeError):
    """Not possible in the object's present state."""

    number = -5


class ThreadError(Error, RuntimeError):
    """Called from a thread that does not own the engine."""

    number = -6


class OptionError(Error, TypeError):
    """Unknown option."""

    number = -7


class ValueNotAllowedError(Error, ValueError):
    """Value not allowed for this option."""

    number = -8


class ClosedError(Error, ConnectionError):
    """The connection is closed or closing."""

    number = -9


class StreamClosedError(Error, ConnectionError):
    """This direction of the stream is closed."""

    number = -10


class StreamLimitError(Error):
    """The peer does not allow more streams now."""

    number = -11


class BlockedError(Error, BlockingIOError):
    """The buffer is full; a writable event follows."""

    number = -12


class TooLargeError(Error, ValueError):
    """Larger than the limit for it."""

    number = -13


class ResolveError(Error, OSError):
    """The name could not be resolved."""

    number = -14


class AddressError(Error, ValueError):
    """Not a usable address."""

    number = -15


class IOFailedError(Error, OSError):
    """The system refused an operation on a socket or file."""

    number = -16


class TLSError(Error, ValueError):
    """The TLS configuration cannot be used."""

    number = -17


class CertificateError(Error, ValueError):
    """A certificate or key could not be read or does not fit."""

    number = -18


class UnsupportedError(Error, RuntimeError):
    """Not supported by this build, system or peer."""

    number = -19


class ProtocolError(Error, ConnectionError):
    """The peer broke the protocol."""

    number = -20


class TimedOutError(Error, TimeoutError):
    """The time for it is over."""

    number = -21


class InternalError(Error, RuntimeError):
    """A rule inside weft was broken; please report it."""

    number = -22


BY_CODE: dict[int, type[Error]] = {
    -1: InvalidError,
    -2: OutOfMemoryError,
    -3: HandleError,
    -4: GoneError,
    -5: StateError,
    -6: ThreadError,
    -7: OptionError,
    -8: ValueNotAllowedError,
    -9: ClosedError,
    -10: StreamClosedError,
    -11: StreamLimitError,
    -12: BlockedError,
    -13: TooLargeError,
    -14: ResolveError,
    -15: AddressError,
    -16: IOFailedError,
    -17: TLSError,
    -18: CertificateError,
    -19: UnsupportedError,
    -20: ProtocolError,
    -21: TimedOutError,
    -22: InternalError,
}
"""The exception for each number."""
