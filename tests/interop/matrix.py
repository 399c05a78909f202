"""The test cases of the QUIC interop runner, each with weft and a peer in two network namespaces, joined by link.c.

Cases, files, scenarios and checks are the runner's (its testcases_quic.py); the names too. http3 comes with HTTP/3.
A case's wishes say what the programs are to do beyond fetching all files over one connection; `commands` translates them
into each program's own words. weft is told by the runner's own conventions: ROLE, TESTCASE, SSLKEYLOGFILE.
"""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import time
from typing import Callable

import checks
import lacks
from harness import Failure, Process, check_files, sha256
from capture import Trace

HERE = pathlib.Path(__file__).resolve().parent
KIB, MIB = 1 << 10, 1 << 20
LINE = ["--delay", "15", "--bandwidth", "10000", "--queue", "25"]
LOSS = ["--burst", "3", "--rate-up"]
COMMON = (checks.handshakes, checks.legible, checks.sizes)
PEERS = ("aioquic", "quic-go", "quinn", "quiche")


@dataclasses.dataclass
class RunnerCase:
    name: str
    files: list  # sizes
    link: list = dataclasses.field(default_factory=lambda: LINE)
    wishes: tuple = ()  # chacha20, retry, resume, early, key-update, v2, preferred, each, long-chain, ipv6, cross
    tests: tuple = ("transfer", "transfer")  # what the runner tells the client, and the server
    check: tuple = ()
    connections: int = 1
    seconds: int = 120  # the runner's limit is 60, 300 or 180: ours are wider, the machine may be busy
    quick: bool = False  # a part of `make test`: what is soon over and does not hang on the machine's pace
    name_length: int = 0
    corrupts: bool = False
    v1: bool = True
    only_chacha20_offered: bool = True
    strict: bool = True  # the server is ours

    @property
    def request_bytes(self):
        return len(self.files) * self.name_length


def same(name):
    return (name, name)


CASES = [
    RunnerCase("handshake", [KIB], tests=same("handshake"), check=(checks.no_retry,), quick=True),
    RunnerCase("transfer", [2 * MIB, 3 * MIB, 5 * MIB]),
    RunnerCase("longrtt", [KIB], ["--delay", "750", *LINE[2:]], tests=same("handshake"), check=(checks.long_rtt,), quick=True),
    RunnerCase("multiplexing", [32] * 1999, check=(checks.multiplexing,)),
    RunnerCase("chacha20", [3 * MIB], wishes=("chacha20",), tests=same("chacha20"), check=(checks.chacha20,), quick=True),
    RunnerCase("keyupdate", [3 * MIB], wishes=("key-update",), tests=("keyupdate", "transfer"), check=(checks.key_update,), quick=True),
    RunnerCase("retry", [10 * KIB], wishes=("retry",), tests=same("retry"), check=(checks.retry,), quick=True),
    RunnerCase("resumption", [5 * KIB, 10 * KIB], wishes=("resume",), tests=same("resumption"), check=(checks.resumption,), connections=2, quick=True),
    RunnerCase("zerortt", [32] * 40, wishes=("resume", "early"), tests=same("zerortt"), check=(checks.zero_rtt,), connections=2, name_length=250, quick=True),
    RunnerCase("v2", [KIB], wishes=("v2",), tests=same("v2"), check=(checks.version_2,), v1=False, quick=True),
    RunnerCase("amplificationlimit", [5 * KIB], [*LINE, "--drop-up", "2,3,4,5,6,7"], wishes=("long-chain",), check=(checks.amplification,)),
    RunnerCase("blackhole", [10 * MIB], [*LINE, "--on", "5000", "--off", "2000"], check=(checks.blackhole,)),
    RunnerCase("handshakeloss", [KIB] * 50, [*LINE, *LOSS, "30", "--rate-down", "30"], wishes=("each",), tests=same("multiconnect"), check=(checks.hit,), connections=50, seconds=600),
    RunnerCase("transferloss", [2 * MIB], [*LINE, *LOSS, "2", "--rate-down", "2"], check=(checks.hit,)),
    RunnerCase("handshakecorruption", [KIB] * 50, [*LINE, "--corrupt", *LOSS, "30", "--rate-down", "30"], wishes=("each",), tests=same("multiconnect"), check=(checks.hit,), connections=50, seconds=600, corrupts=True),
    RunnerCase("transfercorruption", [2 * MIB], [*LINE, "--corrupt", *LOSS, "2", "--rate-down", "2"], check=(checks.hit,), corrupts=True),
    RunnerCase("ecn", [100 * KIB], tests=same("ecn"), check=(checks.ecn,), quick=True),
    RunnerCase("rebind-port", [10 * MIB], [*LINE, "--rebind-first", "1000", "--rebind-every", "5000"], check=(checks.path_changes,)),
    RunnerCase("rebind-addr", [10 * MIB], [*LINE, "--rebind-first", "1000", "--rebind-every", "5000", "--rebind-address"], check=(checks.address_changes,)),
    RunnerCase("connectionmigration", [2 * MIB], wishes=("preferred",), tests=("transfer", "connectionmigration"), check=(checks.migration,)),
    RunnerCase("ipv6", [5 * KIB, 10 * KIB], wishes=("ipv6",), check=(checks.only_ipv6,), quick=True),
    RunnerCase("goodput", [10 * MIB], check=(checks.goodput,)),
    RunnerCase("crosstraffic", [25 * MIB], wishes=("cross",), check=(checks.goodput,), seconds=300),
]


# ---- commands -------------------------------------------------------------------------------------------------------

PREFERRED, SECOND_ADDRESS = "10.0.2.3:443", "10.0.1.3"  # addresses that link.c has given besides the first
# Servers that can tell clients to move. quinn can too, but goes on sending from the address that it was first reached at.
CAN_PREFER = ("weft",)
FOLLOWS_PREFERRED = ("weft", "aioquic")  # clients that then do
CHOOSES_SUITES = ("weft", "aioquic", "quinn")


def binary(programs, name):
    peers = {"weft": [programs.weft], "aioquic": programs.peer(), "quic-go": [programs.quicgo]}
    return peers.get(name) or [getattr(programs, name)]


def patience(case, name):
    """Three losses in a row of one packet are not rare at 30 %, and each doubles the wait for the next try. The others have
    a minute anyhow, weft in such a case."""
    limit = {"aioquic": ["--idle-timeout", "60"], "quic-go": ["-idle-timeout", "60s"]}
    return limit.get(name, []) if "each" in case.wishes else []


def server_command(programs, case, name, root, directory, certificates):
    chain = "long-chain" if "long-chain" in case.wishes else "chain"
    key = "long-key" if "long-chain" in case.wishes else "key"
    dash = "-" if name == "quic-go" else "--"
    listen = "[::]:443" if "ipv6" in case.wishes else "0.0.0.0:443"
    words = ["serve", dash + "root", root, dash + "listen", listen]
    words += patience(case, name)
    certificate = "--cert" if name == "weft" else dash + "certificate"
    words += [certificate, certificates / f"{chain}.pem", dash + "key", certificates / f"{key}.pem"]
    if name == "weft":
        words += ["--json"]
        if "preferred" in case.wishes:
            words += ["--preferred", PREFERRED]
        if case.name == "keyupdate":
            words += ["--key-update"] if directory.name.startswith("quiche") else []
    else:
        words += [dash + "keylog", directory / "server.keys"]
        words += [dash + "retry"] if "retry" in case.wishes else []
        if "early" in case.wishes and name == "quic-go":
            words += ["-early", "-groups", "X25519"]  # its wish for ML-KEM costs a HelloRetryRequest, and that the early data
        words += ["--suites", "CHACHA20_POLY1305_SHA256"] if "chacha20" in case.wishes and name in CHOOSES_SUITES else []
        words += ["--preferred", PREFERRED] if "preferred" in case.wishes and name in CAN_PREFER else []
        words += ["--versions", "6b3343cf,1"] if "v2" in case.wishes and name == "aioquic" else []
    return [*binary(programs, name), *map(str, words)]


def client_command(programs, case, name, server, files, directory, certificates):
    dash = "-" if name == "quic-go" else "--"
    address = "[fd00:2::2]:443" if "ipv6" in case.wishes else "10.0.2.2:443"
    words = ["get", dash + "output", directory / "out", dash + "ca", certificates / "ca.pem", dash + "server-name", "interop.example"]
    words += patience(case, name)
    if "preferred" in case.wishes and not (name in FOLLOWS_PREFERRED and server in CAN_PREFER):
        words += [dash + "migrate", SECOND_ADDRESS]
    if name == "weft":
        return [*binary(programs, name), *map(str, words), "--json", address, *files]
    words += [dash + "keylog", directory / "client.keys"]
    words += [dash + wish for wish in ("resume", "each") if wish in case.wishes]
    words += ["--early"] if "early" in case.wishes and name in ("quinn", "quiche") else []
    words += ["--suites", "CHACHA20_POLY1305_SHA256"] if "chacha20" in case.wishes and name in CHOOSES_SUITES else []
    words += ["--versions", "1,6b3343cf"] if "v2" in case.wishes and name == "aioquic" else []
    words += ["--key-updates", "1"] if "key-update" in case.wishes and name in ("aioquic", "quinn") else []
    return [*binary(programs, name), *map(str, words), address, *files]


def environment(case, role, name, directory):
    if name != "weft":
        return {}
    test = case.tests[role == "server"]
    told = {"ROLE": role, "TESTCASE": test, "SSLKEYLOGFILE": str(directory / f"{role}.keys")}
    if case.quick:  # the others' are large, and tell the same
        told["QLOGDIR"] = str(directory / "qlog")
    return told


# ---- one cell -------------------------------------------------------------------------------------------------------


def make_files(case, root):
    """Files of chance bytes, always the same ones; the paths."""
    source = random.Random(case.name)
    root.mkdir()
    names = []
    for i, size in enumerate(case.files):
        name = f"{i}-".ljust(case.name_length, "x") if case.name_length else f"file-{i}"
        (root / name).write_bytes(source.randbytes(size))
        names.append(name)
    return names


@dataclasses.dataclass
class Cell:
    case: RunnerCase
    client: str
    server: str

    @property
    def title(self):
        return f"{self.client} <- {self.server}: {self.case.name}"

    @property
    def lack(self):
        return lacks.lack(self.client, self.server, self.case.name)

    def directory(self, log):
        return log / f"{self.client}-{self.server}-{self.case.name}"

    def inside(self, link, namespace, command):
        return [
            "nsenter", f"--net=/proc/{link.process.pid}/fd/{namespace}", "setpriv", "--pdeathsig", "KILL", "--", *command
        ]  # fmt: skip

    def run(self, programs, directory, certificates, seed):
        """What is wrong, and numbers."""
        started = []

        def start(name, command, extra=None):
            started.append(Process(name, command, directory, False, extra))
            return started[-1]

        try:
            for name in ("out", "qlog"):
                (directory / name).mkdir()
            root = directory / "root"
            names = make_files(self.case, root)
            began = time.monotonic()
            deadline = began + self.case.seconds
            link = start("link", [programs.link, "--capture", str(directory), "--seed", str(seed), *self.case.link])
            inside = dict(zip(("client", "server"), link.says("ready ", deadline).split()))
            command = server_command(programs, self.case, self.server, root, directory, certificates)
            server = start("server", self.inside(link, inside["server"], command), environment(self.case, "server", self.server, directory))
            server.says("fingerprint sha256:", deadline)
            if "cross" in self.case.wishes:
                cross = [programs.aioquic, str(HERE / "crosstraffic.py")]
                start("cross-server", self.inside(link, inside["server"], [*cross, "send"]))
                start("cross-client", self.inside(link, inside["client"], [*cross, "receive", "10.0.2.2"]))
            command = client_command(programs, self.case, self.client, self.server, ["/" + name for name in names], directory, certificates)
            client = start("client", self.inside(link, inside["client"], command), environment(self.case, "client", self.client, directory))
            code = client.wait(self.case.seconds)
            time.sleep(0.2)  # for the last datagrams
            server_code = server.stop()
            if link.stop() != 0:
                raise Failure("the link failed: " + link.last_words())
            wrong = checks.expect(f"the client ended with code {code}: {client.last_words()}", code == 0)
            if self.server == "weft":
                wrong += checks.expect(f"the server ended with code {server_code}", server_code == 0)
            want = dataclasses.make_dataclass("Want", ["files", "missing"])(names, [])
            wrong += check_files(want, directory / "out", root, {name: sha256(root / name) for name in names})
            numbers = {"s": round(time.monotonic() - began, 1)}
            return wrong + self.check(directory, link.json()[-1], numbers), numbers
        except Failure as failure:
            return [str(failure)], {}
        finally:
            for process in started:
                process.kill()
            shutil.rmtree(directory / "root", ignore_errors=True)
            shutil.rmtree(directory / "out", ignore_errors=True)

    def check(self, directory, link, numbers):
        keys = [directory / "client.keys", directory / "server.keys"]
        case = dataclasses.replace(self.case, only_chacha20_offered=self.client in CHOOSES_SUITES)
        traces = [Trace(directory / f"{end}.pcap", *keys) for end in ("client", "server")]
        case.strict = self.server == "weft"
        outcome = checks.Outcome(case, *traces, link, sum(case.files), case.connections, numbers)
        common = COMMON if not case.corrupts else (checks.handshakes,)
        wrong = [] if case.name == "v2" else [s for check in (*common, *([checks.version_1] if case.v1 else [])) for s in check(outcome)]
        return wrong + [sentence for check in case.check for sentence in check(outcome)]


def cells(quick, words):
    """All, or those of `make test`; and of these those that a word is a part of."""
    pairs = [("weft", "weft")] + [pair for peer in PEERS for pair in (("weft", peer), (peer, "weft"))]
    for case in CASES:
        for client, server in pairs:
            cell = Cell(case, client, server)
            if (case.quick or not quick) and (not words or any(word in cell.title for word in words)):
                yield cell


def run_cell(programs, cell, log, certificates):
    """Wrong sentences, numbers, the mark in the table."""
    directory = cell.directory(log)
    directory.mkdir()
    seed = random.Random(f"{os.environ.get('INTEROP_SEED', '1')} {cell.title}").getrandbits(31)
    wrong, numbers = cell.run(programs, directory, certificates, seed)
    if not os.environ.get("INTEROP_CAPTURES") and not wrong:
        for capture in directory.glob("*.pcap"):
            capture.unlink()
    if cell.lack:
        if wrong:
            return [], numbers, "lacks"
        return [f"it passes, though lacks.py says: {cell.lack}"], numbers, "FAILED"
    return wrong, numbers, "FAILED" if wrong else "ok"


def print_matrix(results):
    pairs = list(dict.fromkeys((cell.client, cell.server) for cell, _ in results))
    if not pairs:
        return
    marks = {(cell.case.name, cell.client, cell.server): (mark, numbers) for cell, (_, numbers, mark) in results}
    print("\n" + " " * 22 + "".join(f"{client + ' <-':>14}" for client, _ in pairs))
    print(" " * 22 + "".join(f"{server:>14}" for _, server in pairs))
    for case in CASES:
        row = [marks.get((case.name, *pair)) for pair in pairs]
        if any(row):
            texts = []
            for cell in row:
                mark, numbers = cell or ("", {})
                texts.append(f"{mark} {numbers.get('kbit/s', numbers.get('s', ''))}".strip())
            print(f"{case.name:22}" + "".join(f"{text:>14}" for text in texts))
    print("ok: seconds, or for goodput and crosstraffic kbit/s; lacks: the peer has no such thing (lacks.py)")
    for cell, (_, _, mark) in results:
        if mark == "lacks":
            print(f"    {cell.title}: {cell.lack}")


def save(results, path):
    rows = [{"client": c.client, "server": c.server, "case": c.case.name, "mark": mark, **numbers} for c, (_, numbers, mark) in results]
    path.write_text(json.dumps(rows, indent=1) + "\n")
