"""Who is measured, how each is built and started.

A peer is a program that plays both roles of one small protocol (draft-banks-quic-performance: the first eight bytes of a
stream say how many bytes the answer has):

    PEER server PORT CERT KEY                   prints "ready"
    PEER client PORT CA bulk DOWN UP            prints "begin" and "end SECONDS" around what is measured
    PEER client PORT CA handshakes COUNT AT-ONCE       prints "handshakes COMPLETED FAILED", too
    PEER client PORT CA requests COUNT IN-FLIGHT

A handshake is completed when the connection has had the answer to one small request, which a server reads only when its
side of the handshake is complete, too; then it is closed, and the next begun. AT-ONCE of them are under way.

Each is set as its authors recommend for throughput: release builds, GSO and GRO where it has them, and windows (16 MiB a
stream, 32 MiB a connection) that never limit on loopback. What was set besides stands in `settings`, and is printed. Each
talks to itself; all use AES-128-GCM. Builds lie in the cache (WEFT_CACHE), named after the hash of their sources.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("WEFT_CACHE", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "weft"))


@dataclass
class Peer:
    name: str
    settings: str
    build: object  # () -> the command, as words
    loads: set = field(default_factory=lambda: {"down", "up", "handshakes", "crowd", "requests"})
    quic: bool = True
    less: dict = field(default_factory=dict)  # load -> how much less it is given to do, so that it takes seconds too
    command: list = None

    def server(self, load, port, cert, key):
        return [*self.command, "server", str(port), str(cert), str(key)]

    def client(self, port, ca, load, *args):
        return [*self.command, "client", str(port), str(ca), load, *map(str, args)]

    def share(self, load, count):
        return count // self.less.get(load, 1)


def certificate(where):
    """A key, and a certificate for localhost signed by itself: (certificate, key)."""
    cert, key = where / "cert.pem", where / "key.pem"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "keyUsage=digitalSignature",
                "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", str(key), "-out", str(cert)])
    return cert, key


def digest(*paths):
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:12]


def run(command, **kwargs):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)
    if result.returncode:
        sys.exit(f"bench: {' '.join(map(str, command))}:\n{result.stdout[-4000:]}")
    return result.stdout


def cached(name, sources, make):
    """The directory of a finished build; made by `make(directory)` when there is none."""
    home = CACHE / f"bench-{name}-{digest(*sources)}"
    if not home.exists():
        print(f"building {name} ...", file=sys.stderr, flush=True)
        work = home.with_name(f".{home.name}.{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        make(work)
        work.rename(home)
    return home


def built_by_cargo(directory, names):
    """() -> where the programs of a package below peers/ are; ../rust/src/lib.rs is a part of each."""
    source = HERE / "peers" / directory
    sources = [source / "Cargo.toml", source / "Cargo.lock", HERE / "peers/rust/src/lib.rs", *source.glob("src/**/*.rs")]

    def make(work):
        run(["cargo", "build", "--release", "--locked", "--target-dir", str(work / "target")], cwd=source)
        for name in names:
            shutil.copy2(work / "target/release" / name, work / name)
        shutil.rmtree(work / "target")

    return cached(directory, sorted(set(sources)), make)


def rust(name):
    return lambda: [str(built_by_cargo("rust", ["quinn", "s2n"]) / name)]


def crate(name):
    return lambda: [str(built_by_cargo(name, [f"{name}-bench"]) / f"{name}-bench")]


def go():
    source = HERE / "peers/go"

    def make(work):
        run(["go", "build", "-trimpath", "-buildvcs=false", "-o", str(work / "quicgo"), "."], cwd=source)

    return [str(cached("quicgo", [source / "main.go", source / "go.mod", source / "go.sum"], make) / "quicgo")]


def tls():
    source = HERE / "peers/tls/tls.c"

    def make(work):
        run(["cc", "-O2", "-o", str(work / "tls"), str(source), "-lssl", "-lcrypto"])

    return [str(cached("tls", [source], make) / "tls")]


def aioquic():
    """The versions are those that the interop tests use."""
    listed = HERE.parent / "interop/peers/requirements.txt"

    def make(work):
        run([sys.executable, "-m", "venv", str(work)])
        run([str(work / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--only-binary", ":all:", "-r", str(listed)])

    return [str(cached("aioquic", [listed], make) / "bin/python"), str(HERE / "peers/aioquic_peer.py")]


class Tls(Peer):
    def server(self, load, port, cert, key):
        return super().server(load, port, cert, key) + (["crowd"] if load == "crowd" else [])


class Weft(Peer):
    """The weft command, whose client reports by itself; see `weft perf --help`."""

    def server(self, load, port, cert, key):
        listen = ["--listen", f"127.0.0.1:{port}", "--cert", str(cert), "--key", str(key)]
        own = {"handshakes": ["--groups", "X25519"], "crowd": ["--groups", "X25519"],
               "jumbo": ["--set", "send_udp_payload_size=9000"], "largest": ["--set", "send_udp_payload_size=0"]}
        return [*self.command, "perf", "server", *listen, *own.get(load, [])]

    def client(self, port, ca, load, *args):
        base = [*self.command, "perf", "client", f"127.0.0.1:{port}", "--ca", str(ca), "--server-name", "localhost",
                "--json", "--quiet"]
        if load == "bulk":
            return base + ["-d", str(args[0]), "-u", str(args[1])]
        if load == "handshakes":
            return base + ["--handshakes", str(args[0]), "--at-once", str(args[1]), "--groups", "X25519", "-d", "100",
                           "-u", "92"]
        return base + ["-n", str(args[0]), "-s", str(args[1]), "-d", "100", "-u", "92"]


HALF = {"down": 2, "up": 2, "requests": 2}
SLOW = {"down": 100, "up": 100, "handshakes": 10, "crowd": 10, "requests": 50}


def all_peers(weft, plain=None):
    """weft is the command as `make install` installs it, plain that of `make build`, or None."""
    every = {"down", "up", "jumbo", "largest", "handshakes", "crowd", "requests"}
    ours = [Weft("weft", "CUBIC, pacing on, preset of `weft perf`; X25519 alone for handshakes", lambda: [str(weft)], every)]
    if plain:
        ours.append(Weft("weft plain", "the same, built once, by `make build`", lambda: [str(plain)], every - {"jumbo", "largest"}))
    return [
        *ours,
        Peer("quinn", "aws-lc, CUBIC, GSO and GRO, current-thread runtime", rust("quinn"), less=HALF),
        Peer("quiche", "BoringSSL, CUBIC, GSO and GRO by quinn-udp, its pacer not waited for", crate("quiche"), less=HALF),
        Peer("MsQuic", "quictls, CUBIC, GSO and GRO, pacing on, profile for throughput, one worker, no copy of what is sent",
             crate("msquic"), less=HALF),
        Peer("s2n-quic", "rustls with aws-lc, CUBIC, GSO and GRO, current-thread runtime", rust("s2n"), less=HALF),
        Peer("quic-go", "Go's crypto, CUBIC, GSO, GOMAXPROCS of its core", go, less=HALF),
        Peer("aioquic", "OpenSSL through Python, CUBIC, asyncio", aioquic, less=SLOW),
        Tls("TLS over TCP", "OpenSSL, 16 KiB records, no kernel TLS; blocking, in a crowd by epoll", tls,
            {"down", "up", "handshakes", "crowd"}, False),
    ]


def finished(client_output):
    """Seconds that the client says the measured part took."""
    for line in client_output.splitlines():
        if line.startswith("end "):
            return float(line.split()[1])
        if line.startswith("{"):
            return json.loads(line)["seconds"]
    raise ValueError(f"no result in {client_output[-500:]!r}")


def handshakes(client_output):
    """(completed, failed) as the client says."""
    for line in client_output.splitlines():
        if line.startswith("handshakes "):
            return tuple(map(int, line.split()[1:3]))
        if line.startswith("{"):
            told = json.loads(line)
            return told["handshakes"], told["handshakes_failed"]
    raise ValueError(f"no count of handshakes in {client_output[-500:]!r}")
