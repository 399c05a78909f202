"""Connections and servers: how they begin, what is known of them, how they end, and what is refused."""

import asyncio
import hashlib
import logging
import ssl
from pathlib import Path

import pytest

import weft
from weft import errors

# ---- beginning
# ---------------------------------------------------------------------------------------------------------


async def test_await_or_async_with(certificate):
    chain, key = certificate
    server = await weft.serve("127.0.0.1", 0, weft.echo, alpn=["a", "b"], certificate=chain, key=key)
    conn = await weft.connect("127.0.0.1", server.port, alpn=["b"], ca=chain)
    assert conn.alpn == "b" and conn.connected and not conn.is_server and conn.version == 1
    assert conn.cipher.startswith("TLS_") and conn.remote_address == server.address and conn.rtt > 0
    assert conn.info["state"] == 1 and conn.path["mtu"] >= 1200
    await conn.aclose(3, "bye")
    assert conn.close_error.code == 3 and not conn.close_error.by_peer and conn.close_error.cause == "local"
    server.close()
    server.close()
    await server.wait_closed()


async def test_names_and_ipv6(certificate):
    chain, key = certificate
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
        async with weft.connect("localhost", server.port, alpn="x", ca=chain, family=4) as conn:
            assert conn.server is None and conn.remote_address.startswith("127.0.0.1:")
    async with weft.serve("::1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
        async with weft.connect("::1", server.port, alpn="x", ca=chain, family=6) as conn:
            assert (await conn.open_stream()).id == 0


async def test_certificates_from_memory(certificate):
    chain, key = (Path(name).read_bytes() for name in certificate)
    der = ssl.PEM_cert_to_DER_cert(chain.decode())
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=[(chain, key)]) as server:
        async with weft.connect("127.0.0.1", server.port, alpn="x", ca=[der]) as conn:
            assert conn.peer_certificate == der
        assert conn.peer_certificate == der, "also afterwards"
        assert server.fingerprint == hashlib.sha256(der).digest()


async def test_pins(certificate):
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", self_signed="localhost,127.0.0.1") as server:
        pin = server.fingerprint
        async with weft.connect("127.0.0.1", server.port, alpn="x", pins=[pin.hex()]):
            pass
        async with weft.connect("127.0.0.1", server.port, alpn="x", pins="sha256:" + pin.hex()):
            pass
        with pytest.raises(weft.HandshakeError):
            await weft.connect("127.0.0.1", server.port, alpn="x", pins=bytes(32))
        async with weft.connect("127.0.0.1", server.port, alpn="x", verify=False):
            pass


async def test_verify_callback(pair):
    seen = []

    def verify(chain, name, ok):
        seen.append((len(chain), name, ok))
        return answers.pop()

    answers = [0]
    async with pair(weft.echo, client={"verify": verify}) as p:
        assert seen == [(1, "127.0.0.1", True)]
        answers.append(42)
        with pytest.raises(weft.HandshakeError) as caught:
            await p.connect()
        assert caught.value.alert == 42 and not caught.value.by_peer


async def test_client_certificates(certificate):
    chain, key = certificate
    both = {"certificate": chain, "key": key, "ca": chain}
    async with weft.serve("127.0.0.1", 0, alpn="x", verify=True, **both) as server:
        async with weft.connect("127.0.0.1", server.port, alpn="x", **both):
            accepted = await server.accept()
            assert accepted.peer_certificate == ssl.PEM_cert_to_DER_cert(Path(chain).read_text())
        conn = await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain)
        await conn.wait_closed()  # without one: the server's alert comes after the client is connected (TLS 1.3)
        assert conn.close_error.by_peer and conn.close_error.code & 0x100


async def test_handshakes_that_fail(certificate):
    chain, key = certificate
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
        with pytest.raises(weft.HandshakeError) as caught:
            await weft.connect("127.0.0.1", server.port, alpn="y", ca=chain)
        assert caught.value.alert == 120 and caught.value.by_peer  # no_application_protocol
        with pytest.raises(weft.HandshakeError) as caught:
            await weft.connect("127.0.0.1", server.port, alpn="x")  # not among the system's authorities
        assert caught.value.alert is not None and not caught.value.by_peer
        with pytest.raises(weft.HandshakeError):
            await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain, server_name="example.org")
    with pytest.raises(weft.HandshakeError) as caught:  # nobody is there
        await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain, handshake_timeout=0.05)
    assert "timeout" in str(caught.value)


async def test_wrong_arguments(certificate):
    chain, key = certificate
    good = {"alpn": "x", "ca": chain}
    for port in (0, -1, 65536):
        with pytest.raises(ValueError):
            await weft.connect("127.0.0.1", port, **good)
    with pytest.raises(errors.ResolveError):
        await weft.connect("no-such-name.invalid", 1, **good)
    for name, value, kind in [
        ("max_idle_timout", 5, errors.OptionError),
        ("max_idle_timeout", -1, errors.ValueNotAllowedError),
        ("max_idle_timeout", "5 parsecs", errors.ValueNotAllowedError),
        ("max_idle_timeout", None, errors.OptionError),
        ("initial_window", 1, errors.ValueNotAllowedError),
        ("initial_window", 10.5, errors.ValueNotAllowedError),
        ("congestion_control", "reno", errors.ValueNotAllowedError),
        ("alpn", "", errors.TLSError),
        ("alpn", ["a,b"], errors.ValueNotAllowedError),
        ("ca", b"nothing", errors.CertificateError),
        ("ca", "/no/such/file", FileNotFoundError),
        ("certificate", chain, errors.ValueNotAllowedError),
        ("key", key, errors.ValueNotAllowedError),
        ("pins", "abc", errors.ValueNotAllowedError),
        ("pins", b"abc", errors.ValueNotAllowedError),
        ("ciphers", "ROT13", errors.TLSError),
    ]:
        with pytest.raises(kind) as caught:
            await weft.connect("127.0.0.1", 1, **{**good, name: value})
        assert str(caught.value)
    with pytest.raises(errors.OptionError, match="max_idle_timout"):
        await weft.connect("127.0.0.1", 1, max_idle_timout=5, **good)
    with pytest.raises(errors.ValueNotAllowedError, match="initial_window"):
        await weft.connect("127.0.0.1", 1, initial_window=1, **good)
    with pytest.raises(errors.TLSError):
        await weft.serve("127.0.0.1", 0, alpn="x")  # no certificate
    with pytest.raises(errors.AddressError):
        await weft.serve("localhost", 0, alpn="x", certificate=chain, key=key)
    async with weft.serve("127.0.0.1", 0, alpn="x", certificate=chain, key=key) as server:
        with pytest.raises(errors.IOFailedError):
            await weft.serve("127.0.0.1", server.port, alpn="x", certificate=chain, key=key)


async def test_options_reach_the_core(pair):
    async with pair(max_idle_timeout=7.5, initial_max_data="3MiB", client={"max_idle_timeout": "9s"}) as p:
        assert p.client.info["peer_max_idle_timeout"] == 7_500_000_000
        assert p.peer.info["peer_max_idle_timeout"] == 9_000_000_000
        assert p.client.info["peer_initial_max_data"] == 3 << 20


def test_every_option_is_a_keyword():
    from weft import _core
    from weft._options import TIMES, Options

    table = _core.options()
    assert [row[0] for row in table] == list(Options.__annotations__)
    assert {row[0] for row in table if row[1] == _core.WEFT_OPTION_TIME} == TIMES


def test_every_error_has_a_class():
    from weft import _core

    for number in range(-40, 0):
        name, made = _core.weft_error_name(number), errors.make(number)
        assert (type(made) is errors.Error) == (name == "UNKNOWN") and str(made)
        assert name == "UNKNOWN" or type(made).number == number
    assert issubclass(errors.OptionError, TypeError) and issubclass(errors.TimedOutError, TimeoutError)


# ---- the end
# -----------------------------------------------------------------------------------------------------------


async def test_close_with_code_and_reason(pair):
    async with pair() as p:
        p.client.close(0x1234, "grüße")
        p.client.close(5)  # nothing happens
        await p.peer.wait_closed()
        error = p.peer.close_error
        assert isinstance(error, weft.ConnectionClosed) and isinstance(error, ConnectionError)
        assert (error.code, error.reason, error.by_peer, error.cause) == (0x1234, "grüße", True, "peer")
        assert error.application and not error.clean and "0x1234" in str(error)
        for call in (p.peer.ping, p.peer.update_keys, p.peer.open_stream_nowait):
            with pytest.raises(weft.ConnectionClosed):
                call()
        assert p.peer.stats()["packets_received"] > 0 and p.peer.info["state"] == 3
        (path,) = p.peer.path_stats()
        assert path["use"] == 1 and path["remote"] == p.peer.info["remote"]
        assert path["packets_received"] == p.peer.stats()["packets_received"]


async def test_codes_have_a_range(pair):
    async with pair() as p:
        with pytest.raises(errors.ValueNotAllowedError):
            p.client.close(1 << 62)
        assert not p.client.closed


async def test_idle(pair):
    async with pair(max_idle_timeout=0.1) as p:
        await p.client.wait_closed()
        assert isinstance(p.client.close_error, weft.IdleTimeout) and isinstance(p.client.close_error, TimeoutError)
        with pytest.raises(weft.IdleTimeout):
            await p.client.accept_stream()


async def test_everybody_is_woken_at_the_end(pair):
    async with pair(initial_max_streams_bidi=1, max_datagram_frame_size=1000) as p:
        mine, _ = await p.stream()
        calls = [mine.read(), p.client.open_stream(), p.client.accept_stream(), p.client.receive_datagram()]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0.01)
        p.peer.close(9)
        for task in tasks:
            with pytest.raises(weft.ConnectionClosed) as caught:
                await task
            assert caught.value.code == 9


async def test_iteration_ends_with_the_connection(pair):
    async with pair() as p:
        await p.stream()
        p.peer.close(0)
        assert [stream async for stream in p.client.streams()] == []
        assert [datagram async for datagram in p.client.datagrams()] == []
        other = await p.connect()
        (await p.server.accept()).close(1)
        with pytest.raises(weft.ConnectionClosed):
            async for _ in other.streams():
                pass


async def test_leaving_the_block_sends_what_was_written(pair):
    received = asyncio.get_running_loop().create_future()

    async def handler(connection):
        async for stream in connection.streams():
            received.set_result(await stream.read())

    async with pair(handler) as p:
        async with p.connect() as conn:
            stream = await conn.open_stream(unidirectional=True)
            await stream.write(bytes(500_000), fin=True)
        assert len(await received) == 500_000


# ---- servers
# -----------------------------------------------------------------------------------------------------------


async def test_a_handler_that_raises(pair, caplog):
    async def handler(connection):
        await connection.accept_stream()
        raise ZeroDivisionError("oh")

    async with pair(handler) as p:
        stream = await p.client.open_stream()
        await stream.write(b"x")
        with caplog.at_level(logging.ERROR, "weft"):
            await p.client.wait_closed()
        assert p.client.close_error.code == 1 and p.client.close_error.by_peer
        assert "ZeroDivisionError" in caplog.text
        other = await p.connect()
        other.close()


async def test_a_handler_that_returns(pair):
    async def handler(connection):
        stream = await connection.open_stream(unidirectional=True)
        await stream.write(bytes(300_000), fin=True)

    async with pair(handler) as p:
        stream = await p.client.accept_stream()
        assert len(await stream.read()) == 300_000
        await p.client.wait_closed()
        assert p.client.close_error.clean and p.client.close_error.by_peer


async def test_closing_a_server_cancels_its_handlers(pair):
    ended = []

    async def handler(connection):
        try:
            await connection.accept_stream()
        finally:
            await asyncio.sleep(0)
            ended.append(connection)

    async with pair(handler) as p:
        await asyncio.sleep(0.01)
        assert len(p.server.connections) == 1
        p.server.close(17)
        await p.client.wait_closed()
        await p.server.wait_closed()
        assert len(ended) == 1 and p.client.close_error.code == 17


async def test_async_for_connections(certificate):
    chain, key = certificate
    async with weft.serve("127.0.0.1", 0, alpn="x", certificate=chain, key=key) as server:
        clients = [await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain) for _ in range(3)]
        count = 0
        async for conn in server:
            assert conn.server is server and conn.is_server
            count += 1
            if count == 3:
                server.close()
        assert count == 3
        with pytest.raises(errors.StateError):
            await server.accept()
        for client in clients:
            await client.wait_closed()


async def test_stop_accepting_and_reload(certificate):
    chain, key = certificate
    async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key) as server:
        async with weft.connect("127.0.0.1", server.port, alpn="x", ca=chain) as conn:
            server.reload(alpn="y", self_signed="localhost")
            async with weft.connect("127.0.0.1", server.port, alpn="y", pins=server.fingerprint) as other:
                assert other.alpn == "y"
            server.stop_accepting()
            with pytest.raises(weft.HandshakeError):
                await weft.connect("127.0.0.1", server.port, alpn="y", verify=False, handshake_timeout=0.2)
            stream = await conn.open_stream()
            await stream.write(b"still here", fin=True)
            assert await stream.read() == b"still here"


# ---- what a connection can do
# ------------------------------------------------------------------------------------------


async def test_datagrams(pair):
    async with pair(max_datagram_frame_size=1200) as p:
        assert p.client.max_datagram_size > 1000
        fates = []
        for n in range(20):
            p.client.send_datagram(b"%d" % n, notify=fates.append)
        got = {await p.peer.receive_datagram() for _ in range(20)}
        assert got == {b"%d" % n for n in range(20)}
        p.peer.send_datagram(b"")
        assert await p.client.receive_datagram() == b""
        while fates.count("acknowledged") < 20:
            await asyncio.sleep(0.01)
        assert fates.count("sent") == 20 and not p.client._notify
        with pytest.raises(errors.TooLargeError):
            p.client.send_datagram(bytes(2000))
        p.peer.close()
        await p.client.wait_closed()
        with pytest.raises(weft.ConnectionClosed):
            await p.client.receive_datagram()


async def test_a_notify_that_raises(pair, caplog):
    async with pair(max_datagram_frame_size=1200) as p:
        p.client.send_datagram(b"one", notify=lambda fate: 1 / 0)
        p.client.send_datagram(b"two")
        assert {await p.peer.receive_datagram(), await p.peer.receive_datagram()} == {b"one", b"two"}
        assert "ZeroDivisionError" in caplog.text


async def test_datagrams_nobody_takes(pair):
    async with pair(max_datagram_frame_size=1200, client={"max_datagram_frame_size": 0}) as p:
        with pytest.raises(errors.UnsupportedError):
            p.peer.send_datagram(b"x")
        for n in range(1500):
            p.client.send_datagram(b"%d" % n)
            if n % 50 == 0:
                await asyncio.sleep(0.001)
        await p.stream()
        while p.peer.stats()["datagram_frames_received"] < 1500 - p.client.stats()["datagram_frames_lost"]:
            await asyncio.sleep(0.01)
        assert p.peer.datagrams_dropped == p.peer.stats()["datagram_frames_received"] - 1024


async def test_datagram_queue_that_refuses(pair):
    async with pair(max_datagram_frame_size=1200, datagram_drop="newest", datagram_queue_count=4) as p:
        with pytest.raises(errors.BlockedError):
            for _ in range(100):
                p.client.send_datagram(b"x")
        await p.client.datagram_room()
        p.client.send_datagram(b"x")


async def test_resumption_and_early_data(pair):
    taken = []

    async def handler(connection):
        async for stream in connection.streams():
            taken.append((await stream.read(), connection.connected))
            await stream.write(b"answer", fin=True)

    async with pair(handler, early_data=True) as p:
        session = await p.client.wait_session()
        assert not p.client.resumed and p.client.early_data == "none"
        async with p.connect(session=session) as conn:
            assert not conn.connected and conn.early_data == "pending"
            stream = await conn.open_stream()
            await stream.write(b"early", fin=True)
            assert await stream.read() == b"answer"
            await conn.wait_connected()
            assert conn.resumed and conn.early_data == "accepted"
        assert taken[0][0] == b"early"
        async with p.connect(session=session) as conn:  # a second time: it is refused, and arrives all the same
            stream = await conn.open_stream()
            await stream.write(b"again", fin=True)
            assert await stream.read() == b"answer"
            assert conn.early_data == "rejected"
            session = await conn.wait_session()
        async with p.connect(session=session, early_data=False) as conn:
            assert conn.connected and conn.resumed and conn.early_data == "none"
        async with p.connect(session=b"nonsense") as conn:  # which costs nothing but the resumption
            assert not conn.resumed


async def test_address_validation_and_tokens(pair):
    async with pair(address_validation="always") as p:
        assert p.client.stats()["packets_received"] > 0
        while p.client.token is None:
            await p.client._wait("token")
        retries = p.client._engine.stats["retries_sent"]
        assert retries >= 1
        async with p.connect(token=p.client.token):
            assert p.client._engine.stats["retries_sent"] == retries


async def test_key_update_ping_and_stats(pair):
    async with pair() as p:
        await p.client.wait_confirmed()
        await p.stream()
        p.client.update_keys()
        with pytest.raises(errors.StateError):
            p.client.update_keys()
        p.client.ping()
        await p.stream()
        assert p.client.stats()["key_updates"] >= 1
        assert set(p.client._engine.stats["conns"]) == set(p.client.stats())


async def test_migration(pair):
    async with pair(weft.echo) as p:
        before = p.client.local_address
        stream = await p.client.open_stream()
        await stream.write(b"before")
        assert await stream.read(9) == b"before"
        await p.client.migrate()
        assert p.client.local_address != before
        await stream.write(b"after", fin=True)
        assert await stream.read() == b"after"
        with pytest.raises(errors.AddressError):
            await p.client.migrate("nowhere")


async def test_exporter(pair):
    async with pair() as p:
        one = p.client.export_keying_material("label", b"context", 48)
        assert len(one) == 48 and one == p.client.export_keying_material("label", b"context", 48)
        assert one != p.client.export_keying_material("label", b"other", 48)


async def test_exporter_of_a_server(pair):
    async with pair(client={"server_name": "localhost"}, keep_exporter=True) as p:
        await p.client.wait_confirmed()
        await p.stream()
        assert p.peer.export_keying_material("l", b"c") == p.client.export_keying_material("l", b"c")
    async with pair() as p:
        await p.client.wait_confirmed()
        await p.stream()
        with pytest.raises(errors.StateError):
            p.peer.export_keying_material("l", b"c")


async def test_key_log(pair, tmp_path):
    lines = []
    async with pair(client={"keylog": lines.append}) as p:
        assert any(line.startswith("CLIENT_TRAFFIC_SECRET_0 ") for line in lines)
        file = tmp_path / "keys.log"
        async with p.connect(keylog=file):
            pass
        assert "SERVER_HANDSHAKE_TRAFFIC_SECRET" in file.read_text()


async def test_qlog(pair, tmp_path):
    async with pair(weft.echo, qlog=tmp_path) as p:
        await p.client.wait_confirmed()
        p.client.close()
        while len(list(tmp_path.iterdir())) < 2:  # written when the connections are forgotten, some round trips later
            await asyncio.sleep(0.01)
    names = sorted(file.name.rpartition("_")[2] for file in tmp_path.iterdir())
    assert names == ["client.sqlog", "server.sqlog"]
    assert all(b"transport:" in file.read_bytes() or b"quic:" in file.read_bytes() for file in tmp_path.iterdir())


async def test_two_versions(pair):
    async with pair(versions="v2") as p:
        assert p.client.version == 0x6B3343CF


async def test_engines_of_ones_own(certificate):
    chain, key = certificate
    async with weft.Engine(memory_limit=64 << 20) as engine, weft.Engine() as other:
        async with weft.serve("127.0.0.1", 0, weft.echo, alpn="x", certificate=chain, key=key, engine=engine) as server:
            async with weft.connect("127.0.0.1", server.port, alpn="x", ca=chain, engine=other) as conn:
                stream = await conn.open_stream()
                await stream.write(b"x", fin=True)
                assert await stream.read() == b"x"
            assert engine.stats["connections_accepted"] == 1 == other.stats["connections_opened"]
            left = await weft.connect("127.0.0.1", server.port, alpn="x", ca=chain, engine=other)
            other.close()
            with pytest.raises(errors.StateError):
                await left.open_stream()


def test_names_of_the_package():
    assert weft.has_feature("early-data") and not weft.has_feature("time-travel")
    for name in weft.__all__:
        assert hasattr(weft, name)
