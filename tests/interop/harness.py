"""One conversation between a client and a server, each weft or another implementation, through a relay or directly.

A Case says who talks to whom, over what, and what must come of it; converse() starts the programs, waits, stops them and
returns what is wrong, as sentences. Nothing here knows which cases there are: that is `run`.

What every case must show: the client ends with the expected code; each file it asked for is there, with the SHA-256 of
the original, and nothing else is; the server saw as many connections as there were, closed and not
forgotten, and ends with code 0 when it is told to. The programs' output, qlogs and key logs stay in the case's directory.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time
from typing import Callable

HANG = 180  # seconds: no case takes this long; what does is stuck, and is reported as such


@dataclasses.dataclass
class Programs:
    weft: str
    relay: str
    quicgo: str
    aioquic: str  # a python
    quinn: str
    quiche: str
    link: str

    def peer(self):
        return [self.aioquic, str(pathlib.Path(__file__).with_name("peers") / "aioquic_peer.py")]


@dataclasses.dataclass
class Result:
    """What came of a conversation, for a case's own checks."""

    client_code: int
    client: dict  # the client's summary
    client_errors: str
    server: list  # the server's lines of JSON: peers print one for each connection, and a summary at last
    relay: dict  # the relay's counts
    qlog: str  # of the peer

    @property
    def ended(self):
        """The first connection as a peer's server saw it."""
        return next((line for line in self.server if "clean" in line and "summary" not in line), {})


@dataclasses.dataclass
class Case:
    client: str  # weft, aioquic, quic-go
    server: str
    name: str
    files: list
    relay: list | None = None  # the relay's arguments; None: directly
    client_args: list = dataclasses.field(default_factory=list)
    server_args: list = dataclasses.field(default_factory=list)
    trust: list | None = None  # the client's options for it; None: the pin that the server prints
    host: str = "127.0.0.1"
    qlog: bool = False
    code: int = 0  # the client's
    connections: int = 1  # that the server is to see
    missing: list = dataclasses.field(default_factory=list)  # files asked for that are not to arrive
    check: Callable[[Result], list] = lambda result: []
    column: str = ""  # in the table

    @property
    def lossy(self):
        return any(fault in (self.relay or []) for fault in ("--drop", "--corrupt", "--mtu"))

    @property
    def title(self):
        return f"{self.client} <- {self.server}: {self.name}" + (f", {self.column}" if self.column else "")


class Failure(Exception):
    """A program did not do its part: the rest of the case makes no sense."""


# ---- commands ---------------------------------------------------------------------------------------------------------


def server_command(programs, case, root, directory):
    listen = f"[{case.host}]:0" if ":" in case.host else f"{case.host}:0"
    if case.server == "weft":
        return [programs.weft, "serve", "--json", "--listen", listen, "--root", str(root), *case.server_args]
    if case.server == "quic-go":
        return [programs.quicgo, "serve", "-listen", listen, "-root", str(root), *case.server_args]
    qlog = ["--qlog", str(directory / "qlog")] if case.qlog else []
    return [*programs.peer(), "serve", "--listen", listen, "--root", str(root), *qlog, *case.server_args]


def client_command(programs, case, address, pin, directory):
    output = str(directory / "out")
    paths = ["/" + name for name in case.files]
    if case.client == "quic-go":
        trust = case.trust or ["-pin", pin]
        return [programs.quicgo, "get", "-output", output, *trust, *case.client_args, address, *paths]
    trust = case.trust or ["--pin", pin]
    if case.client == "weft":
        return [programs.weft, "get", "--json", "--output", output, *trust, *case.client_args, address, *paths]
    qlog = ["--qlog", str(directory / "qlog")] if case.qlog else []
    return [*programs.peer(), "get", "--output", output, *trust, *qlog, *case.client_args, address, *paths]


# ---- processes --------------------------------------------------------------------------------------------------------


class Process:
    """A program whose output goes to files in the case's directory."""

    def __init__(self, name, command, directory, qlog, extra=None):
        self.name = name
        self.output = directory / f"{name}.out"
        self.errors = directory / f"{name}.err"
        environment = dict(os.environ, QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING="true")
        environment.pop("SSLKEYLOGFILE", None)
        environment.pop("QLOGDIR", None)
        if qlog:
            environment["QLOGDIR"] = str(directory / "qlog")
        environment.update(extra or {})
        (directory / f"{name}.command").write_text(" ".join(command) + "\n")
        with self.output.open("w") as out, self.errors.open("w") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)

    def says(self, word, deadline):
        """What follows the word at the start of a line, once there is such a line."""
        while True:
            for line in self.output.read_text().splitlines(keepends=True):
                if line.startswith(word) and line.endswith("\n"):
                    return line[len(word) :].strip()
            if self.process.poll() is not None:
                raise Failure(f"the {self.name} ended (code {self.process.returncode}): {self.last_words()}")
            if time.monotonic() > deadline:
                raise Failure(f"the {self.name} never said '{word}'")
            time.sleep(0.01)

    def json(self):
        lines = [line for line in self.output.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines]

    def last_words(self):
        return (
            " / ".join(self.errors.read_text(errors="replace").strip().splitlines()[-3:])[-600:] or "no words on stderr"
        )

    def wait(self, seconds=HANG):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise Failure(f"the {self.name} hung: {self.last_words()}") from None

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.wait(30)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# ---- what must hold ---------------------------------------------------------------------------------------------------


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file):
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def check_files(case, out, root, sums):
    wrong = []
    there = {path.name for path in out.iterdir()}
    wanted = set(case.files) - set(case.missing)
    if there - wanted:
        wrong.append(f"there are files that should not be: {sorted(there - wanted)[:5]}")
    if wanted - there:
        wrong.append(f"{len(wanted - there)} of {len(wanted)} files are missing: {sorted(wanted - there)[:5]}")
    for name in sorted(wanted & there):
        if sha256(out / name) != sums[name]:
            wrong.append(f"{name} is not what was sent ({(out / name).stat().st_size} bytes)")
    return wrong


def check_server(case, code, server, ended_before):
    """ended_before: the connections that the server knew to have ended when it was told to stop."""
    wrong = []
    if code != 0:
        wrong.append(f"the server ended with code {code}")
    if not server:
        return [*wrong, "the server printed no summary"]
    summary = server[-1]
    if case.code == 0 and summary.get("connections") != case.connections:
        wrong.append(f"the server counts {summary.get('connections')} connections")
    if case.server == "weft":
        if case.code == 0 and summary.get("files_sent") != len(case.files) - len(case.missing):
            wrong.append(f"the server counts {summary.get('files_sent')} of {len(case.files)} files as sent")
        if case.code == 0 and summary.get("broken_off") != 0:
            wrong.append(f"the server counts {summary.get('broken_off')} files as broken off")
    elif case.code == 0:
        # A lossy relay may lose the only CONNECTION_CLOSE there was; otherwise the server must have seen it.
        unclean = [line for line in ended_before if not line["clean"]]
        if unclean or (not case.lossy and not ended_before):
            wrong.append(f"the connection was not closed cleanly: {unclean or 'it was still open'}")
    return wrong


def check_relay(case, counts):
    """That the faults which were ordered did happen, where there was traffic enough for them."""
    wrong = []
    names = {
        "--drop": "dropped",
        "--dup": "duplicated",
        "--reorder": "reordered",
        "--corrupt": "corrupted",
        "--mtu": "too_large",
    }
    for direction in ("up", "down"):
        if counts[direction]["sent"] == 0:
            wrong.append(f"nothing went {direction} through the relay")
    for option, count in names.items():
        total = counts["up"]["received"] + counts["down"]["received"]
        happened = counts["up"][count] + counts["down"][count]
        if option in case.relay and total > 600 and happened == 0:
            wrong.append(f"the relay never {count} anything")
    if "--rebind" in case.relay and counts["rebinds"] == 0:
        wrong.append("the relay never moved the client to another port")
    return wrong


# ---- a conversation ---------------------------------------------------------------------------------------------------


def settle(case, server):
    """Lets a CONNECTION_CLOSE arrive that is still on its way; the connections the server knows to have ended."""
    deadline = time.monotonic() + (0.3 if case.lossy else 5)
    if case.server == "weft":
        time.sleep(0.1 if case.relay else 0.02)
        return []
    while time.monotonic() < deadline:
        ended = server.json()
        if ended:
            return ended
        time.sleep(0.01)
    return []


def converse(programs, case, root, sums, directory, seed):
    """Runs the case in its (empty) directory. What is wrong, as sentences; none: it passed."""
    for name in ("out", "qlog"):
        (directory / name).mkdir(parents=True)
    started = []

    def start(name, command, qlog=False):
        started.append(Process(name, command, directory, qlog and case.qlog))
        return started[-1]

    try:
        server = start("server", server_command(programs, case, root, directory), case.server == "quic-go")
        deadline = time.monotonic() + HANG
        address = server.says("listening on ", deadline)
        pin = server.says("fingerprint sha256:", deadline)
        relay = None
        if case.relay is not None:
            relay = start("relay", [programs.relay, "--server", address, "--seed", str(seed), *case.relay])
            address = relay.says("listening on ", deadline)
        client = start("client", client_command(programs, case, address, pin, directory), case.client == "quic-go")
        client_code = client.wait()
        ended = settle(case, server)
        server_code = server.stop()
        relay_counts = {}
        if relay:
            if relay.stop() != 0:
                raise Failure("the relay failed: " + relay.last_words())
            relay_counts = relay.json()[-1]
        wrong = []
        if client_code != case.code:
            wrong.append(f"the client ended with code {client_code}, not {case.code}: {client.last_words()}")
        wrong += check_files(case, directory / "out", root, sums)
        wrong += check_server(case, server_code, server.json(), ended)
        if relay:
            wrong += check_relay(case, relay_counts)
        result = Result(
            client_code,
            (client.json() or [{}])[-1],
            client.errors.read_text(errors="replace"),
            server.json(),
            relay_counts,
            "".join(path.read_text(errors="replace") for path in sorted((directory / "qlog").iterdir())),
        )
        return wrong + case.check(result)
    except Failure as failure:
        return [str(failure)]
    finally:
        for process in started:
            process.kill()
