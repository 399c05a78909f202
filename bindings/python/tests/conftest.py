"""What the tests share: certificates, servers, and coroutine tests.

A test that is a coroutine function runs in an event loop of its own (uvloop's with WEFT_TEST_LOOP=uvloop), in debug
mode, and fails if it leaves a task behind. There are no time limits: a test that hangs is shown by faulthandler and
stopped from outside.
"""

import asyncio
import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import weft

HERE = Path(__file__).resolve().parent
LOOP = os.environ.get("WEFT_TEST_LOOP", "asyncio")


def run(coroutine):
    async def watched():
        await coroutine
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks are left behind: {left}"

    if LOOP == "uvloop":
        import uvloop

        return uvloop.run(watched())
    return asyncio.run(watched())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(chain, key): PEM files of a certificate for localhost and 127.0.0.1 that signs itself."""
    directory = tmp_path_factory.mktemp("certificate")
    chain, key = directory / "cert.pem", directory / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
    subprocess.run([*words, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return str(chain), str(key)


class Pair:
    """A server and a client of it, connected."""

    def __init__(self, certificate: tuple[str, str], handler: Callable | None = None, client=None, **options) -> None:
        self.chain, self.key = certificate
        self.server_options = {"certificate": self.chain, "key": self.key, "alpn": "test", **options}
        self.client_options = {"ca": self.chain, "alpn": "test", **options, **(client or {})}
        self.handler = handler

    async def __aenter__(self):
        self.serving = weft.serve("127.0.0.1", 0, self.handler, **self.server_options)
        self.server = await self.serving.__aenter__()
        self.connecting = self.connect()
        self.client = await self.connecting.__aenter__()
        self.peer = None if self.handler else await self.server.accept()
        return self

    def connect(self, **more):
        return weft.connect("127.0.0.1", self.server.port, **{**self.client_options, **more})

    async def stream(self, **how):
        """A stream and the peer's end of it, with one byte gone through each way that there is."""
        mine = await self.client.open_stream(**how)
        await mine.write(b"?")
        theirs = await self.peer.accept_stream()
        assert await theirs.read(1) == b"?"
        return mine, theirs

    async def __aexit__(self, *error):
        if error[0] is None or issubclass(error[0], Exception):
            await self.connecting.__aexit__(*error)
        await self.serving.__aexit__(*error)


@pytest.fixture
def pair(certificate):
    return lambda *args, **options: Pair(certificate, *args, **options)


@pytest.fixture
def script(certificate, tmp_path):
    """Runs a Python program in a process of its own, all warnings being errors; gives what it printed."""

    def run_it(text, *arguments, check=True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # examples say 4433, which may be in use
            probe.bind(("127.0.0.1", 0))
            text = text.replace('"127.0.0.1", 4433', f'"127.0.0.1", {probe.getsockname()[1]}')
        file = tmp_path / "program.py"
        file.write_text(text)
        words = [sys.executable, "-X", "dev", "-W", "error", str(file), *arguments]
        done = subprocess.run(words, capture_output=True, text=True, cwd=Path(certificate[0]).parent, check=False)
        # asyncio's debug mode says what took long, which on a busy machine is anything.
        done.stderr = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("Executing <"))
        if check:
            assert done.returncode == 0 and not done.stderr, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run_it
