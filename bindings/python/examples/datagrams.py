"""Datagrams (RFC 9221) over a network that loses some: each arrives whole or not at all, and one hears what became of
it."""

import asyncio
from collections import Counter

import weft
import weft.testing

TICKS = 200


async def main() -> None:
    fates: Counter[str] = Counter()
    arrived = 0

    async def handler(connection: weft.Connection) -> None:
        nonlocal arrived
        async for _ in connection.datagrams():
            arrived += 1

    async with weft.testing.Network(seed=5, delay=0.02, loss=0.1) as network:
        await network.serve(handler, alpn="ticks", max_datagram_frame_size=1200)
        async with network.connect(alpn="ticks") as connection:
            for n in range(TICKS):
                connection.send_datagram(b"tick %d".ljust(1000) % n, notify=lambda fate: fates.update([fate]))
            while fates["acknowledged"] + fates["lost"] < TICKS:
                await asyncio.sleep(0)
    print(f"sent {fates['sent']}, lost some: {0 < fates['lost'] < TICKS // 2}")
    print(f"all that was acknowledged arrived: {fates['acknowledged'] <= arrived < TICKS}")


if __name__ == "__main__":
    asyncio.run(main())

# prints: sent 200, lost some: True
# prints: all that was acknowledged arrived: True
