"""A TCP connection (CUBIC) that competes for the link: `send` gives whoever connects bytes without end, `receive ADDRESS`
takes them."""

import contextlib
import socket
import sys
import time

PORT = 5001


def connect(address):
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, PORT))
        time.sleep(0.05)


if sys.argv[1] == "send":
    with socket.create_server(("0.0.0.0", PORT)) as server:
        stream, _ = server.accept()
        with contextlib.suppress(OSError):  # a kernel without it has something like it
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        with contextlib.suppress(OSError):  # the other side ends when the case does
            while True:
                stream.sendall(bytes(65536))
else:
    stream = connect(sys.argv[2])
    while stream.recv(65536):
        pass
