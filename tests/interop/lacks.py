"""What a peer does not have, by its own documentation, source or list of known bugs: (peer, role, case) -> where it says so.
Any other hole in the matrix fails it, and so does a cell that is listed here and passes. Role "*" is both."""

NO_REPAIR = (
    "a server never repeats what was in flight to the client's old address, beyond one probe, once that has changed: "
    "https://github.com/cloudflare/quiche/issues/2452"
)

LACKS = {
    ("quic-go", "*", "v2"): "changes no version within a handshake: README, Supported RFCs, has RFC 9369 but not RFC 9368",
    ("quinn", "*", "v2"): "speaks version 1 and drafts: quinn_proto::DEFAULT_SUPPORTED_VERSIONS",
    ("quiche", "*", "v2"): "speaks version 1: quiche::PROTOCOL_VERSION, the only one of version_is_supported()",
    ("aioquic", "*", "ecn"): "aioquic/asyncio sends and receives by asyncio's datagram endpoints, which show and set no ECN field",
    ("quiche", "*", "ecn"): "quiche::RecvInfo and SendInfo have no ECN field; its source says of ACK: sending ECN is not supported at this time",
    ("quiche", "server", "rebind-port"): NO_REPAIR,
    ("quiche", "server", "rebind-addr"): NO_REPAIR,
}


def lack(client, server, case):
    for role, peer in (("client", client), ("server", server)):
        for listed in (role, "*"):
            if (peer, listed, case) in LACKS:
                return f"{peer}: {LACKS[peer, listed, case]}"
    return None
