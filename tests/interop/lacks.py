"""What a peer does not have, by its own documentation, source or list of known bugs: (peer, role, case) -> where it says so.
Any other hole in the matrix fails it, and so does a cell that is listed here and passes. Role "*" is both."""

NO_REPAIR = (
    "a server never repeats what was in flight to the client's old address, beyond one probe, once that has changed: "
    "https://github.com/cloudflare/quiche/issues/2452"
)

LACKS = {
    ("quic-go", "*", "v2"): "changes no version within a handshake (RFC 9368 is not among the RFCs of https://github.com/quic-go/quic-go#readme)",
    ("quinn", "*", "v2"): "speaks version 1 and drafts of it: https://docs.rs/quinn-proto/latest/quinn_proto/constant.DEFAULT_SUPPORTED_VERSIONS.html",
    ("quiche", "*", "v2"): "speaks version 1: https://docs.rs/quiche/latest/quiche/constant.PROTOCOL_VERSION.html",
    ("aioquic", "*", "ecn"): "lives on asyncio's datagram endpoints, which tell bytes and address, and no ECN field: https://docs.python.org/3/library/asyncio-protocol.html#datagram-protocols",
    ("quiche", "*", "ecn"): "is given and gives no ECN field: https://docs.rs/quiche/latest/quiche/struct.RecvInfo.html, struct.SendInfo.html",
    ("quiche", "server", "rebind-port"): NO_REPAIR,
    ("quiche", "server", "rebind-addr"): NO_REPAIR,
}


def lack(client, server, case):
    for role, peer in (("client", client), ("server", server)):
        for listed in (role, "*"):
            if (peer, listed, case) in LACKS:
                return f"{peer}: {LACKS[peer, listed, case]}"
    return None
