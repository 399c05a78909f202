"""Many small exchanges on one connection: a stream each, and one crossing into C for a whole list of them."""

import asyncio

import weft

COUNT = 20_000
IN_FLIGHT = 100


async def answer(connection: weft.Connection) -> None:
    try:
        while True:
            requests = await connection.receive_messages()
            connection.send_replies([(stream, request[::-1]) for stream, request in requests if request is not None])
    except weft.ConnectionClosed:
        pass


async def main() -> None:
    async with (
        weft.serve("127.0.0.1", 0, answer, alpn="requests", self_signed="127.0.0.1") as server,
        weft.connect("127.0.0.1", server.port, alpn="requests", pins=server.fingerprint) as connection,
    ):
        asked = answered = 0
        while answered < COUNT:
            want = min(IN_FLIGHT - (asked - answered), COUNT - asked)
            if want:
                asked += len(connection.send_requests([b"request %05d" % (asked + n) for n in range(want)]))
            answered += len(await connection.receive_messages())
        print(f"{answered} exchanges")


if __name__ == "__main__":
    asyncio.run(main())

# prints: 20000 exchanges
