"""What the QUIC interop runner looks for in the captures of a case, and a little more. Each check gets an Outcome and returns
what is wrong, as sentences."""

import dataclasses

from capture import CLIENT, SERVER, V1, V2, Reader, Trace

KIB = 1 << 10


@dataclasses.dataclass
class Outcome:
    case: object
    client: Trace  # as seen at the client's end
    server: Trace
    link: dict  # the counts of link.c
    files: int  # bytes asked for
    connections: int
    numbers: dict = dataclasses.field(default_factory=dict)  # to be reported


def expect(what, condition):
    return [] if condition else [what]


# ---- for all cases --------------------------------------------------------------------------------------------------


def handshakes(outcome):
    """As many as there should be, by the connection IDs that the server has chosen."""
    seen = {p.scid for p in outcome.client.of(SERVER, "initial", "handshake") if p.frames is not None}
    return expect(f"{len(seen)} handshakes, not {outcome.connections}", len(seen) == outcome.connections)


def version_1(outcome):
    versions = {p.version for p in outcome.client.of(SERVER, "initial", "handshake") if p.frames is not None}
    return expect(f"versions {versions}", versions == {V1})


def no_retry(outcome):
    return expect("there was a Retry", not outcome.client.of(SERVER, "retry"))


def legible(outcome):
    """Most packets opened: otherwise the other checks prove nothing."""
    lost = sum(p.frames is None for p in outcome.server.packets if p.type in ("1rtt", "handshake", "initial"))
    return expect(f"{lost} of {len(outcome.server.packets)} packets could not be decrypted", lost * 10 <= len(outcome.server.packets))


def sizes(outcome):
    """No datagram that a path with an MTU of 1500 does not take, no Initial of the client below 1200 (RFC 9000 14.1)."""
    large = [len(d.payload) for d in outcome.client.datagrams if len(d.payload) > (1452 if d.v6 else 1472)]
    small = [p.datagram for p in outcome.client.of(CLIENT, "initial") if len(p.datagram.payload) < 1200]
    return expect(f"a datagram of {max(large, default=0)} bytes", not large) + expect("an Initial below 1200 bytes", not small)


# ---- for one case ---------------------------------------------------------------------------------------------------


def long_rtt(outcome):
    hellos = [p for p in outcome.client.of(CLIENT, "initial") if any(f.type == 6 and f.offset == 0 for f in p.frames or [])]
    return expect(f"{len(hellos)} ClientHellos, where at least 2 fit into a round trip", len(hellos) >= 2)


def chacha20(outcome):
    """Runner: only this suite is offered. Where a client cannot restrict its offer, the server takes no other."""
    wrong = []
    for connection in outcome.client.connections:
        _, suites = connection.hello()
        wrong += expect(f"the suite is {connection.suite:#x}", connection.suite == 0x1303)
        real = [s for s in suites if s & 0x0F0F != 0x0A0A]  # without GREASE
        if outcome.case.only_chacha20_offered:
            wrong += expect(f"offered suites {real}", real == [0x1303])
    return wrong


def multiplexing(outcome):
    wrong = []
    for connection in outcome.client.connections:
        limit = connection.parameters(SERVER).get(0x08)
        wrong += expect("the server's transport parameters could not be read", limit is not None)
        if limit:
            wrong += expect("a limit of more than 1000 streams", Reader(limit).varint() <= 1000)
    return wrong


def retry(outcome):
    tokens = {p.token for p in outcome.client.of(SERVER, "retry")}
    initials = outcome.client.of(CLIENT, "initial")
    echoed = [p for p in initials if p.token in tokens]
    before = [p.number for p in initials if not p.token and p.number is not None]
    wrong = expect("no Retry", tokens) + expect("no Initial has a token of a Retry", echoed)
    if echoed and before and echoed[0].number is not None:
        wrong += expect("packet numbers begin anew after the Retry", echoed[0].number > max(before))
    return wrong


def resumption(outcome):
    wrong = []
    for i, connection in enumerate(outcome.client.connections):
        kinds = [kind for kind, _ in connection.stream(SERVER, "handshake").messages()]
        wrong += expect(f"connection {i}: no EncryptedExtensions", 8 in kinds)
        wrong += expect(f"connection {i}: {'a' if i else 'no'} Certificate", (11 in kinds) == (i == 0))
    return wrong


def zero_rtt(outcome):
    early = sum(p.size for p in outcome.client.of(CLIENT, "0rtt"))
    # Bytes of streams, where the runner counts whole packets: what searches for the path's MTU asks for nothing.
    late = sum(f.length for p in outcome.client.of(CLIENT, "1rtt") for f in p.frames or [])
    return (
        resumption(outcome)
        + expect("no 0-RTT packets", early > 0)
        + expect(f"{late} bytes of streams in the client's 1-RTT packets, {early} in 0-RTT", late <= 0.5 * outcome.case.request_bytes)
    )


def key_update(outcome):
    wrong = []
    for side, trace in ((CLIENT, outcome.client), (SERVER, outcome.server)):
        phases = [p.phase for p in trace.of(side, "1rtt") if p.frames is not None]
        wrong += expect(f"the {side} never sent in phase 1", 1 in phases and 0 in phases)
    return wrong


def version_2(outcome):
    def versions(trace, side, kind):
        return {p.version for p in trace.of(side, kind)}

    return (
        expect("no Initial of the client with version 1", V1 in versions(outcome.client, CLIENT, "initial"))
        + expect("no Initial of the server with version 2", V2 in versions(outcome.server, SERVER, "initial"))
        + expect("the client's Handshake packets", versions(outcome.client, CLIENT, "handshake") == {V2})
        + expect("the server's Handshake packets", versions(outcome.server, SERVER, "handshake") == {V2})
    )


def amplification(outcome):
    crypto = max((f.offset + len(f.data) for p in outcome.server.of(SERVER, "handshake") for f in p.frames or [] if f.type == 6), default=0)
    wrong = expect(f"only {crypto} bytes of Handshake CRYPTO: not the long chain", crypto >= 7500)
    chosen, allowed = set(), 0
    packets = {}
    for packet in outcome.server.packets:
        packets.setdefault(id(packet.datagram), []).append(packet)
    for datagram in outcome.server.datagrams:
        here = packets.get(id(datagram), [])
        if datagram.sender == CLIENT:
            if any(p.type == "handshake" or len(p.dcid) >= 8 and p.dcid in chosen for p in here):
                return wrong  # the address is validated (RFC 9000 8.1)
            # The runner lets up to four times slide, and so do we, with others.
            allowed += (3 if outcome.case.strict else 4) * len(datagram.payload)
        else:
            chosen |= {p.scid for p in here if p.type == "initial"}
            allowed -= len(datagram.payload)
            if allowed < 0:
                return [*wrong, f"{-allowed} bytes more than three times what came"]
    return [*wrong, "the address was never validated"]


def hit(outcome):
    """That the faults happened."""
    count = "corrupted" if outcome.case.corrupts else "dropped"
    return [x for way in ("up", "down") for x in expect(f"nothing was {count} {way}", outcome.link[way][count] > 0)]


def blackhole(outcome):
    return expect("nothing fell into the hole", outcome.link["up"]["dropped"] + outcome.link["down"]["dropped"] > 0)


def ecn(outcome):
    wrong = []
    for side, trace, other in ((CLIENT, outcome.client, SERVER), (SERVER, outcome.server, CLIENT)):
        marks = [d.ecn for d in trace.datagrams if d.sender == side]
        wrong += expect(f"the {side} marks nothing", any(mark in (1, 2) for mark in marks))
        wrong += expect(f"the {side} marks CE", 3 not in marks)
        counts = [f.ecn for p in trace.of(other, "initial", "handshake", "1rtt") for f in p.frames or [] if f.type == 3]
        wrong += expect(f"the {other} reports no marks", counts)
        arrived = {}  # what reached the other end, for the final counts to be no more than
        for mark in marks:
            arrived[mark] = arrived.get(mark, 0) + 1
        for count in counts:
            wrong += expect(f"the {other} reports {count} of {arrived}", count[0] <= arrived.get(2, 0) and count[2] == 0)
    return wrong[:6]


def flow(datagram):
    return datagram.source, datagram.destination


def new_paths(trace, side):
    """The packets that are the first of a side on a path, and what is sent in the same datagram; without the very first."""
    known, current = set(), None
    for datagram in trace.datagrams:
        if datagram.sender == side and flow(datagram) != current:
            if current is not None and flow(datagram) not in known:
                yield datagram, [p for p in trace.packets if p.datagram is datagram]
            current = flow(datagram)
            known.add(current)


PROBING = {0x18, 0x1A, 0x1B}  # NEW_CONNECTION_ID, PATH_CHALLENGE, PATH_RESPONSE; PADDING is not kept (RFC 9000 9.1)


def path_changes(outcome):
    """The server saw other paths, and challenged each before, or with, the first that it sends there beyond answers to the
    client's own probing, which ask for no validation (RFC 9000 9.3); a challenge on each was answered."""
    wrong, challenged, moved = [], {}, {}
    packets = {}
    for packet in outcome.server.packets:
        packets.setdefault(id(packet.datagram), []).append(packet)
    for datagram in outcome.server.datagrams:
        if datagram.sender != SERVER:
            continue
        here = [p.frames for p in packets.get(id(datagram), []) if p.frames is not None]
        path = flow(datagram)
        challenged.setdefault(path, set()).update(f.data for frames in here for f in frames if f.type == 0x1A)
        if path not in moved and any(f.type not in PROBING for frames in here for f in frames):
            moved[path] = bool(challenged[path])
    first, *others = moved
    for path in others:
        wrong += expect(f"the server sends to {path[1]} before a PATH_CHALLENGE", moved[path])
    responses = {f.data for p in outcome.client.of(CLIENT, "1rtt") for f in p.frames or [] if f.type == 0x1B}
    answered = all(not challenged[path] or challenged[path] & responses for path in others)
    wrong += expect("the server saw only one path", others)
    return wrong + expect("a path whose PATH_CHALLENGEs have no PATH_RESPONSE", answered)


def address_changes(outcome):
    addresses = {d.source[0] for d in outcome.server.datagrams if d.sender == CLIENT}
    return expect("the server saw only one address of the client", len(addresses) > 1) + path_changes(outcome)


def migration(outcome):
    wrong = path_changes(outcome)
    last = None
    for datagram, packets in new_paths(outcome.client, CLIENT):
        used = {p.dcid for p in outcome.client.of(CLIENT, "1rtt") if p.time < datagram.time}
        last = [p.dcid for p in packets if p.dcid in used]
        wrong += expect("the client moved with a connection ID used before (RFC 9000 9.5)", not last)
    return wrong


def only_ipv6(outcome):
    return expect("there is IPv4 in the capture", all(d.v6 for d in outcome.server.datagrams))


def goodput(outcome):
    times = [d.time for d in outcome.client.datagrams if d.sender == SERVER]
    seconds = max(times) - min(times) if times else 0
    outcome.numbers["kbit/s"] = round(outcome.files * 8 / 1000 / seconds) if seconds else 0
    outcome.numbers["lost in the queue"] = outcome.link["down"]["queue_full"]
    return expect("no time passed", seconds > 0)
