"""Without asyncio: a server and a client in one thread, each call returning when it is done."""

import weft.blocking


def main() -> None:
    with (
        weft.blocking.serve("127.0.0.1", 0, alpn="talk", self_signed="127.0.0.1") as server,
        weft.blocking.connect("127.0.0.1", server.port, alpn="talk", pins=server.fingerprint, timeout=30) as connection,
    ):
        peer = server.accept(timeout=30)
        mine = connection.open_stream()
        mine.write(b"how are you?\n")
        theirs = peer.accept_stream(timeout=30)
        print(theirs.readline(timeout=30).decode().strip())
        theirs.write(b"fine", fin=True)
        print(mine.read(timeout=30).decode())


if __name__ == "__main__":
    main()

# prints: how are you\?
# prints: fine
