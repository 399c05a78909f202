"""Programs: the command line, examples, programs that were written for aioquic, misuse, and the end of the
interpreter."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EXAMPLES = sorted((HERE.parent / "examples").glob("*.py"))
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]


class Program:
    """A program in the background, and the first lines it printed."""

    def __init__(self, *words, lines=1, **how):
        self.process = subprocess.Popen(
            [*PYTHON, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
        )
        self.lines = [self.process.stdout.readline() for _ in range(lines)]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate()
        if kind is None:
            assert self.process.returncode == 0 and not errors, errors


def run(*words, code=0, **how):
    done = subprocess.run([*PYTHON, *map(str, words)], capture_output=True, check=False, **how)
    assert done.returncode == code, f"exit {done.returncode}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout


# ---- the command line
# --------------------------------------------------------------------------------------------------


def test_serve_and_get(tmp_path):
    source = tmp_path / "files"
    source.mkdir()
    sizes = {"empty": 0, "one": 1, "large": 5_000_000}
    for name, size in sizes.items():
        (source / name).write_bytes(bytes(i * 7 % 256 for i in range(1000)) * (size // 1000) + b"x" * (size % 1000))
    with Program("-m", "weft", "serve", "--listen", "127.0.0.1:0", source, lines=2) as server:
        address = re.fullmatch(r"listening on (127\.0\.0\.1:\d+)\n", server.lines[0])[1]
        pin = re.fullmatch(r"fingerprint sha256:([0-9a-f]{64})\n", server.lines[1])[1]
        get = ["-m", "weft", "get", "--pin", pin]
        run(*get, *(f"{address}/{name}" for name in sizes), cwd=tmp_path)
        for name in sizes:
            assert (tmp_path / name).read_bytes() == (source / name).read_bytes()
        assert run(*get, "-o", "-", f"{address}/one") == b"x"
        run(*get, f"{address}/missing", code=1, cwd=tmp_path)
        run(*get, f"{address}/../conftest.py", code=1, cwd=tmp_path)
        run("-m", "weft", "get", f"{address}/one", code=3, cwd=tmp_path)  # not trusted
        run("-m", "weft", "get", "nonsense/one", code=2, cwd=tmp_path)
        run("-m", "weft", "nonsense", code=2)
        out = run("-m", "weft", "ping", "--insecure", "-n", "2", address).decode()
        assert out.startswith("connected to") and out.count(" ms, smoothed") == 2


def test_perf():
    with Program("-m", "weft", "perf", "--serve", "--listen", "127.0.0.1:0", lines=2) as server:
        address = server.lines[0].split()[-1]
        out = run("-m", "weft", "perf", "--insecure", "-d", "20MiB", "-u", "10MiB", address).decode()
        assert out.startswith("download 20971520 B, upload 10485760 B in "), out


# ---- examples
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example, tmp_path):
    """Each says at its end what it printed when all went well, as `# prints:` lines with regular expressions."""
    wanted = re.findall(r"^# prints: (.*)$", example.read_text(), re.M)
    assert wanted, f"{example.name} does not say what it prints"
    printed = run(example, cwd=tmp_path).decode().splitlines()
    assert len(printed) == len(wanted), printed
    for line, pattern in zip(printed, wanted, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


# ---- programs for aioquic
# ----------------------------------------------------------------------------------------------

ECHO_SERVER = """
import asyncio, sys
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, ProtocolNegotiated, StreamDataReceived

class Echo(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            assert event.alpn_protocol == "echo"
        elif isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
            self.transmit()
        elif isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data + b"-ack")
            self.transmit()

class Store:
    def __init__(self):
        self.tickets = {}
    def add(self, ticket):
        self.tickets[ticket.ticket] = ticket
    def pop(self, label):
        return self.tickets.pop(label, None)

async def main(certificate, key, retry):
    configuration = QuicConfiguration(alpn_protocols=["echo"], is_client=False, max_datagram_frame_size=65536)
    configuration.load_cert_chain(certificate, key)
    store = Store()
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Echo, retry=retry == "retry",
                         session_ticket_fetcher=store.pop, session_ticket_handler=store.add)
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()

asyncio.run(main(*sys.argv[1:]))
"""

ECHO_CLIENT = """
import asyncio, pickle, ssl, sys
from typing import cast
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, HandshakeCompleted, StreamDataReceived

class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._waiter = None
        self.completed = None

    async def ask(self, send):
        send(self._quic)
        self._waiter = self._loop.create_future()
        self.transmit()
        return await asyncio.shield(self._waiter)

    def quic_event_received(self, event):
        super().quic_event_received(event)
        if isinstance(event, HandshakeCompleted):
            self.completed = event
        if self._waiter is not None and isinstance(event, (DatagramFrameReceived, StreamDataReceived)):
            waiter, self._waiter = self._waiter, None
            waiter.set_result(event.data)

async def main(port, ca):
    tickets = []
    configuration = QuicConfiguration(alpn_protocols=["echo"], is_client=True, max_datagram_frame_size=65536)
    configuration.load_verify_locations(ca)
    async with connect("127.0.0.1", int(port), configuration=configuration, create_protocol=Client,
                       session_ticket_handler=tickets.append) as client:
        client = cast(Client, client)
        await client.ping()
        print(await client.ask(lambda quic: quic.send_datagram_frame(b"quack")))
        stream_id = client._quic.get_next_available_stream_id()
        print(await client.ask(lambda quic: quic.send_stream_data(stream_id, b"query", False)))
        reader, writer = await client.create_stream()
        writer.write(b"bytes " * 100000)
        writer.write_eof()
        print(len(await reader.read()), writer.get_extra_info("stream_id"))
        streams = []
        for n in range(300):
            streams.append(await client.create_stream())
            streams[n][1].write(b"%d" % n)
            streams[n][1].write_eof()
        print(sum([int(await reader.read()) for reader, _ in streams]))
        client.request_key_update()
        while not tickets:
            await asyncio.sleep(0.01)
    configuration.session_ticket = pickle.loads(pickle.dumps(tickets[0]))
    async with connect("127.0.0.1", int(port), configuration=configuration, create_protocol=Client,
                       wait_connected=False) as client:
        reader, writer = await client.create_stream()
        writer.write(b"early")
        writer.write_eof()
        print(await reader.read(), client.completed.session_resumed)
    configuration = QuicConfiguration(alpn_protocols=["other"], verify_mode=ssl.CERT_NONE)
    try:
        async with connect("127.0.0.1", int(port), configuration=configuration):
            pass
    except ConnectionError as error:
        print("refused")

asyncio.run(main(*sys.argv[1:]))
"""

SAID = "b'quack-ack'\nb'query'\n600000 4\n44850\nb'early' True\nrefused\n"


@pytest.mark.parametrize("server", ["weft", "aioquic"])
@pytest.mark.parametrize("client", ["weft", "aioquic"])
def test_programs_for_aioquic(certificate, tmp_path, server, client):
    """The same two programs with aioquic and with weft in its place, in each combination."""
    (tmp_path / "server.py").write_text(ECHO_SERVER)
    (tmp_path / "client.py").write_text(ECHO_CLIENT)
    chain, key = certificate
    on = {"weft": ["-m", "weft.compat.aioquic"], "aioquic": []}
    words = [sys.executable, *on[server], tmp_path / "server.py", chain, key]
    # Not a Retry to aioquic's client: it answers one with new packet number spaces (QuicConnection._connect).
    # What it had sent in 0-RTT is forgotten with the old ones: never sent again, as RFC 9000 17.2.5.3 asks it to be.
    words.append("retry" if client == "weft" else "")
    with subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline().strip()
        words = [sys.executable, *on[client], tmp_path / "client.py", port, chain]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
        process.stdin.close()
    assert done.stdout == SAID and done.returncode == 0, done.stdout + done.stderr


# ---- misuse, and the end
# -----------------------------------------------------------------------------------------------

HEAD = """
import asyncio, gc, os, sys, threading, warnings
import weft
def serve():
    return weft.serve("127.0.0.1", 0, weft.echo, alpn="echo", certificate="cert.pem", key="key.pem")
def connect(server):
    return weft.connect("127.0.0.1", server.port, alpn="echo", ca="cert.pem")
"""

PROGRAMS = {
    "nothing is closed": """
async def main():
    server = await serve()
    conn = await connect(server)
    stream = await conn.open_stream()
    await stream.write(bytes(100000))
    print("ok")
asyncio.run(main())
""",
    "kept until the interpreter ends": """
kept = []
async def main():
    server = await serve()
    conn = await connect(server)
    kept.extend([server, conn, await conn.open_stream()])
    print("ok")
asyncio.run(main())
""",
    "used after its loop": """
kept = []
async def main():
    server = await serve()
    kept.append(await connect(server))
asyncio.run(main())
async def again():
    try:
        kept[0].close()
    except RuntimeError as error:
        assert "loop is closed" in str(error), error
    async with serve() as server, connect(server) as conn:
        print("ok")
asyncio.run(again())
""",
    "fork": """
async def main():
    async with serve() as server, connect(server) as conn:
        stream = await conn.open_stream()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if not child:
            code = 1
            try:
                stream.write_nowait(b"x")
            except RuntimeError as error:
                code = 0 if "forked" in str(error) else 2
            for call in (conn.open_stream_nowait, conn.ping):
                try:
                    call()
                    code = 3
                except RuntimeError as error:
                    code = code if "forked" in str(error) else 4
            gc.collect()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await stream.write(b"still here", fin=True)
        assert await stream.read() == b"still here"
        print("ok")
asyncio.run(main())
""",
    "a child makes its own": """
async def main():
    async with serve() as server, connect(server) as conn:
        stream = await conn.open_stream()
        await stream.write(b"x", fin=True)
        assert await stream.read() == b"x"
asyncio.run(main())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    child = os.fork()
asyncio.run(main())
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("ok")
""",
    "another thread": """
async def main():
    async with serve() as server, connect(server) as conn:
        stream = await conn.open_stream()
        caught = []
        def elsewhere():
            for call in (lambda: stream.write_nowait(b"x"), conn.open_stream_nowait, conn.ping, stream.read_nowait):
                try:
                    call()
                except RuntimeError as error:
                    caught.append(error)
        await asyncio.to_thread(elsewhere)
        assert len(caught) == 4 and all(isinstance(error, weft.ThreadError) for error in caught), caught
        print("ok")
asyncio.run(main())
""",
    "engines in threads": """
async def main():
    async with serve() as server, connect(server) as conn:
        for _ in range(50):
            stream = await conn.open_stream()
            await stream.write(bytes(100000), fin=True)
            assert len(await stream.read()) == 100000
threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("ok")
""",
    "a subinterpreter": """
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
made = interpreters.create()
text = "import sys; sys.path[:] = %r\\n" % (sys.path,)
text += "try:\\n import weft\\nexcept ImportError: pass\\nelse: raise SystemError"
done = interpreters.run_string(made, text)
assert done is None, done
interpreters.destroy(made)
print("ok")
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(script, name):
    assert script(HEAD + PROGRAMS[name]).stdout == "ok\n"
