"""Networks in memory, for tests: a client and a server that meet over loss, delay and narrow links in virtual time.

    async with weft.testing.Network(seed=7, delay=0.05, loss=0.01) as network:
        server = await network.serve(handler, alpn="echo")
        async with network.connect(alpn="echo") as conn:
            ...

There are no sockets, and nobody waits: the clock jumps from one thing that happens to the next, as soon as the tasks of
the loop have come to rest. From one seed comes one course of events, so a test that fails fails again. Tasks that sleep
by asyncio's clock sleep in real time; on the network meanwhile everything happens.

The invariant that matters: the network takes a step only after the loop has gone round several times without anybody
calling weft.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from . import _core
from . import connection as _connection
from . import server as _server
from ._loop import Engine as _Engine
from ._types import Waiter

ROUNDS = 8
"""How often the loop goes round before the clock moves on."""

ADDRESS = "192.0.2.2"
PORT = 443


class _NetworkEngine(_Engine):
    __slots__ = ("_network",)

    def __init__(self, network: Network, glue: Any) -> None:
        self._network = network
        super().__init__(glue=glue)

    def touch(self) -> None:
        self._network._stir()

    def waiter(self) -> Waiter:
        return asyncio.get_running_loop().create_future()

    def spawn(self, coroutine: Coroutine[Any, Any, None], done: Callable[[Any], object]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(done)
        return task


def _link(
    loss: float, duplicate: float, corrupt: float, delay: float, jitter: float, bandwidth: int, queue: float, mtu: int
) -> tuple[int, ...]:
    millionths = [round(share * 1_000_000) for share in (loss, duplicate, corrupt)]
    return (*millionths, round(delay * 1e9), round(jitter * 1e9), bandwidth, round(queue * 1e9), mtu)


class Network:
    """Two engines, `client` and `server`, and what is between them.

    seed: everything random comes from it. repeatable: TLS draws from it too, so that the same seed gives the same
    bytes; there can be no other engine in the process then.
    loss, duplicate, corrupt: shares (0.01: one in a hundred). delay, jitter, queue: seconds. bandwidth: bits per
    second, 0: without limit. mtu: bytes, 0: none is too large. The same for both directions; set_link changes one.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        repeatable: bool = False,
        loss: float = 0,
        duplicate: float = 0,
        corrupt: float = 0,
        delay: float = 0,
        jitter: float = 0,
        bandwidth: int = 0,
        queue: float = 0,
        mtu: int = 0,
    ) -> None:
        link = _link(loss, duplicate, corrupt, delay, jitter, bandwidth, queue, mtu)
        self._pair, client, server = _core.pair_new(seed, int(repeatable), link, link)
        self.client = _NetworkEngine(self, client)
        self.server = _NetworkEngine(self, server)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = 0
        self._soon: asyncio.Handle | None = None
        self._servers: list[_server.Server] = []
        self._fingerprint: bytes | None = None

    # ---- the clock ----

    @property
    def now(self) -> float:
        """The clock, in seconds."""
        return _core.weft_pair_now(self._pair) / 1e9

    def _stir(self) -> None:
        self._left = ROUNDS
        if self._soon is None and self._loop is not None:
            self._soon = self._loop.call_soon(self._round)

    def _round(self) -> None:
        self._soon = None
        if self._loop is None:
            return
        if self._left:
            self._left -= 1
        else:
            more = _core.weft_pair_step(self._pair)
            for engine in (self.client, self.server):
                self._left = ROUNDS
                engine.dispatch(_core.drain(engine.glue)[0])
            if not more:
                return
        self._soon = self._loop.call_soon(self._round)

    # ---- the network ----

    def set_link(
        self,
        direction: str,
        *,
        loss: float = 0,
        duplicate: float = 0,
        corrupt: float = 0,
        delay: float = 0,
        jitter: float = 0,
        bandwidth: int = 0,
        queue: float = 0,
        mtu: int = 0,
    ) -> None:
        """Changes one direction, "client" (from the client) or "server", for what is sent from now on."""
        number = {"client": 0, "server": 1}[direction]
        link = _link(loss, duplicate, corrupt, delay, jitter, bandwidth, queue, mtu)
        _core.pair_set_link(self._pair, number, link)
        self._stir()

    def traffic(self, direction: str) -> dict[str, int]:
        """What one direction has carried: sent, delivered, lost (datagrams), bytes_sent, bytes_delivered."""
        traffic: dict[str, int] = _core.weft_pair_traffic(self._pair, {"client": 0, "server": 1}[direction])
        return traffic

    async def serve(
        self, handler: _server.Handle | None = None, *, alpn: str | Iterable[str], port: int = PORT, **settings: Any
    ) -> _server.Server:
        """A server at 192.0.2.2, with the arguments of weft.serve; without a certificate it makes one. It ends with the
        network."""
        if "certificate" not in settings:
            settings.setdefault("self_signed", ADDRESS)
        made = _server._settings(alpn, settings)
        server = _server.Server(self.server, made, f"{ADDRESS}:{port}", 0, handler)
        self._servers.append(server)
        self._fingerprint = server.fingerprint
        return server

    def connect(self, *, alpn: str | Iterable[str], port: int = PORT, **settings: Any) -> _connection.Connecting:
        """A connection to 192.0.2.2, with the arguments of weft.connect; it trusts what `serve` made."""
        if not {"ca", "pins", "verify"} & settings.keys() and self._fingerprint is not None:
            settings["pins"] = self._fingerprint
        return _connection.connect(ADDRESS, port, alpn=alpn, engine=self.client, **settings)

    async def __aenter__(self) -> Network:
        self._loop = asyncio.get_running_loop()
        self._stir()
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()
        self.close()

    def close(self) -> None:
        """Ends both engines and the network. Idempotent."""
        if self._loop is None and self.client.closed:
            return
        self._loop = None
        if self._soon is not None:
            self._soon.cancel()
        for engine in (self.client, self.server):
            engine.close()
        _core.weft_pair_free(self._pair)


__all__ = ["Network"]
