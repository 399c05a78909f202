"""`async for` over what comes one by one and ends with the connection: its streams, its datagrams.

These are objects with `__anext__` and not async generators, for one reason: a generator that is left before its end -
by `break`, by an exception, by a task that is cancelled in the loop's body - is still suspended. Whoever collects it
hands it to the event loop, which makes a task to close it, some time after everything else is over; that task would be
left behind, and other kinds of loops warn of it.

The invariant that matters: nothing is held here between two items, so there is nothing to close.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from .errors import ConnectionClosed

T = TypeVar("T")


class Each(AsyncIterator[T], Generic[T]):
    """What `following` gives, until the connection is closed with code 0 or by this side; else ConnectionClosed."""

    __slots__ = ("_following",)

    def __init__(self, following: Callable[[], Awaitable[T]]) -> None:
        self._following = following

    async def __anext__(self) -> T:
        try:
            return await self._following()
        except ConnectionClosed as error:
            if error.clean or error.cause == "local":
                raise StopAsyncIteration from None
            raise


__all__ = ["Each"]
