"""Keyword arguments become a configuration of the core.

A `Settings` is made for each call of connect or serve. Configurations cannot change once they are used and may be
shared, so those made of the same arguments, and of files that have not changed, are made once and kept for the next
call.

The invariant that matters: a configuration lives as long as a connection or listener that uses it, because callbacks
for certificates and key logs hang on it; whoever has a connection holds its Settings.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from . import _core
from ._options import TIMES
from ._types import Path, Source, Verify
from .errors import Error, OptionError, ValueNotAllowedError, make

Pins: TypeAlias = "str | bytes | Sequence[str | bytes]"
Keylog: TypeAlias = "Path | Callable[[str], object]"

CACHED = 32

_cache: dict[tuple[Any, ...], Settings] = {}


def _free(handle: int) -> None:
    _core.weft_config_free(handle)


class Settings:
    """A configuration of the core, and what must live as long as it."""

    __slots__ = ("__weakref__", "_kept", "handle")

    def __init__(self, role: int) -> None:
        self.handle: int = _core.weft_config_new(role)
        self._kept: list[object] = []
        weakref.finalize(self, _free, self.handle).atexit = False

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A function of weft_config; its error has the core's own words."""
        try:
            return function(self.handle, *arguments)
        except Error as error:
            text = _core.config_error(self.handle)
            raise make(error.number, text or str(error)) from None

    def option(self, name: str, value: Any) -> None:
        """An option of the table, by its name."""
        if isinstance(value, bool):
            self.call(_core.weft_config_set, name, "on" if value else "off")
        elif isinstance(value, str):
            self.call(_core.weft_config_set, name, value)
        elif isinstance(value, (int, float)):
            if name in TIMES:
                value = round(value * 1e9)
            if not isinstance(value, int):
                raise ValueNotAllowedError(f"{name} must be a whole number, not {value!r}")
            if value < 0:
                raise ValueNotAllowedError(f"{name} must not be negative: {value!r}")
            self.call(_core.weft_config_set_uint, name, value)
        else:
            raise OptionError(f"{name} must be a number, a text or a flag, not {type(value).__name__}")

    def keep(self, thing: object) -> None:
        self._kept.append(thing)

    def get(self, name: str) -> int:
        value: int = self.call(_core.weft_config_get_uint, name)
        return value


def _names(names: str | Iterable[str]) -> str:
    if isinstance(names, str):
        return names
    listed = list(names)
    for name in listed:
        if "," in name:
            raise ValueNotAllowedError(f"an ALPN name must not have a comma: {name!r}")
    return ",".join(listed)


def _read(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        return file.read()


def _is_der(data: bytes) -> int:
    return _core.WEFT_PEM if b"-----BEGIN" in data else _core.WEFT_DER


def _pin(pin: str | bytes) -> bytes:
    if isinstance(pin, str):
        try:
            pin = bytes.fromhex(pin.removeprefix("sha256:").replace(":", ""))
        except ValueError:
            raise ValueNotAllowedError(f"a pin must be 64 hexadecimal digits: {pin!r}") from None
    if len(pin) != 32:
        raise ValueNotAllowedError(f"a pin must be a SHA-256, 32 bytes, not {len(pin)}")
    return pin


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, (str, bytes, os.PathLike)) else list(value)


def _identity(settings: Settings, certificate: Any, key: Source | None, self_signed: str | None) -> None:
    if self_signed is not None:
        settings.call(_core.weft_config_self_signed, self_signed, 365)
    if certificate is None:
        if key is not None:
            raise ValueNotAllowedError("there is a key, but no certificate")
        return
    pairs = [(certificate, key)] if isinstance(certificate, (str, bytes, os.PathLike)) else list(certificate)
    for chain, own_key in pairs:
        if own_key is None:
            raise ValueNotAllowedError("a certificate needs its key")
        data = _read(chain)
        settings.call(_core.weft_config_add_certificate, _is_der(data), data, _read(own_key))


def _trust(settings: Settings, ca: Any, system_trust: bool, pins: Pins | None, verify: bool | Verify | None) -> None:
    for root in _listed(ca):
        data = _read(root)
        settings.call(_core.weft_config_add_trust, _is_der(data), data)
    if ca is not None and system_trust:
        settings.call(_core.weft_config_use_system_trust, 1)
    for pin in _listed(pins):
        settings.call(_core.weft_config_add_pin, _pin(pin))
    if isinstance(verify, bool):
        settings.call(_core.weft_config_set_verify, int(verify))
    elif verify is not None:
        settings.keep(verify)
        settings.call(_core.config_set_verify_callback, verify)


def _secrets(settings: Settings, keylog: Keylog | None, ticket_secret: bytes | None, lifetime: int) -> None:
    if callable(keylog):
        settings.keep(keylog)
        settings.call(_core.config_set_keylog_callback, keylog)
    elif keylog is not None:
        settings.call(_core.weft_config_set_keylog_file, os.fspath(keylog))
    if ticket_secret is not None:
        settings.call(_core.weft_config_set_ticket_secret, ticket_secret, lifetime)


def _build(
    role: int,
    alpn: str | Iterable[str],
    options: dict[str, Any],
    *,
    certificate: Any = None,
    key: Source | None = None,
    self_signed: str | None = None,
    ca: Any = None,
    system_trust: bool = False,
    pins: Pins | None = None,
    verify: bool | Verify | None = None,
    keylog: Keylog | None = None,
    qlog: Path | None = None,
    ciphers: str | None = None,
    groups: str | None = None,
    ticket_secret: bytes | None = None,
    ticket_lifetime: int = 7200,
    replay: Callable[[bytes, int], bool] | None = None,
    preferred_address: tuple[str | None, str | None] | None = None,
) -> Settings:
    settings = Settings(role)
    settings.call(_core.weft_config_set_alpn, _names(alpn))
    for name, value in options.items():
        settings.option(name, value)
    _identity(settings, certificate, key, self_signed)
    _trust(settings, ca, system_trust, pins, verify)
    _secrets(settings, keylog, ticket_secret, ticket_lifetime)
    if qlog is not None:
        settings.call(_core.weft_config_set_qlog_dir, os.fspath(qlog))
    if ciphers is not None:
        settings.call(_core.weft_config_set_ciphers, ciphers)
    if groups is not None:
        settings.call(_core.weft_config_set_groups, groups)
    if replay is not None:
        settings.keep(replay)
        settings.call(_core.config_set_replay_callback, replay)
    if preferred_address is not None:
        settings.call(_core.weft_config_set_preferred_address, *preferred_address)
    return settings


def _stamp(value: Any) -> Any:
    """Something that changes when what the argument stands for does."""
    if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
        status = os.stat(value)
        return (os.fspath(value), status.st_mtime_ns, status.st_size, status.st_ino)
    if isinstance(value, (list, tuple)):
        return tuple(_stamp(one) for one in value)
    return value


def settings_for(role: int, alpn: str | Iterable[str], options: dict[str, Any], tls: dict[str, Any]) -> Settings:
    """Settings for these arguments: made now, or by an earlier call with the same."""
    if not isinstance(alpn, str):
        alpn = tuple(alpn)
    try:
        stamps = tuple((name, type(value), _stamp(value)) for name, value in sorted({**options, **tls}.items()))
        wanted = (role, alpn, stamps)
        found = _cache.get(wanted)
    except TypeError:  # not hashable: made anew each time
        return _build(role, alpn, options, **tls)
    if found is None:
        found = _build(role, alpn, options, **tls)
        if len(_cache) >= CACHED:
            del _cache[next(iter(_cache))]
        _cache[wanted] = found
    return found
