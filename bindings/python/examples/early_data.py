"""0-RTT: the second connection asks its question with the first packet it sends.

Whoever records the packets can send them again: a server must accept early data only for what may happen twice.
"""

import asyncio

import weft


async def answer(connection: weft.Connection) -> None:
    async for stream in connection.streams():
        await stream.read()
        await stream.write(b"answer", fin=True)


async def main() -> None:
    async with weft.serve(
        "127.0.0.1", 0, answer, alpn="quick", self_signed="127.0.0.1", early_data=True, session_tickets=1
    ) as server:
        session = None
        for _ in range(2):
            async with weft.connect(
                "127.0.0.1", server.port, alpn="quick", pins=server.fingerprint, session=session, early_data=True
            ) as connection:
                stream = await connection.open_stream()  # with a session: before the handshake is complete
                await stream.write(b"question", fin=True)
                await stream.read()
                print(f"resumed {connection.resumed}, early data {connection.early_data}")
                session = await connection.wait_session()


if __name__ == "__main__":
    asyncio.run(main())

# prints: resumed False, early data none
# prints: resumed True, early data accepted
