"""The way in: networks, PROXY header, handshakes in time, limits."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.config.doors import UnixAddress
from dualkv.core.rejection import Rejection
from dualkv.errors import ConfigError
from dualkv.net.listener import close_listener, open_unix_listener
from dualkv.resp import encode
from dualkv.serve import ProxyServer
from tests.support.client import Client, connect
from tests.support.fake_backend import echo, running_fake
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.tls import Pems, tls_connect

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ELSEWHERE = (ipaddress.ip_network("192.0.2.0/24"),)
TOO_MANY = b"-ERR max number of clients reached\r\n"


@pytest.fixture(name="pems")
def _pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path)


def serving_for(primary: str, **settings: Any) -> AbstractAsyncContextManager[Proxy]:
    """Run dualkv before one store for the block."""
    return running_proxy(primary, mode=ProxyMode.REDIS_ONLY, **settings)


def header(host: str, port: int = 5000) -> bytes:
    """Return the PROXY header of a client."""
    address = ipaddress.ip_address(host)
    body = address.packed * 2 + struct.pack("!HH", port, 6379)
    family = 0x11 if address.version == 4 else 0x21
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


# --- networks


async def test_client_from_elsewhere_is_closed_at_once_and_counted() -> None:
    """It gets no byte; its bytes reach nobody."""
    async with running_fake() as fake, serving_for(fake.address, allow_networks=ELSEWHERE) as proxy:
        async with connect(proxy.port) as client:
            assert await client.receive_until_closed() == b""

        assert proxy.metrics.rejected_connections == {Rejection.NETWORK: 1}
        assert proxy.metrics.active_connections == 0


async def test_client_from_an_allowed_network_is_served() -> None:
    """One network of several is enough."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, allow_networks=(*ELSEWHERE, *LOOPBACK)) as proxy,
        connect(proxy.port) as client,
    ):
        assert await client.call("GET", "a") == encode.bulk("a")


# --- PROXY protocol


async def test_address_of_the_header_is_shown_and_looked_up() -> None:
    """``CLIENT INFO`` tells the client behind the load balancer; so does the list of networks."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, proxy_protocol=True, allow_networks=ELSEWHERE) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await client.send(header("192.0.2.7", 4711) + b"CLIENT INFO\r\n")
        await other.send(header("198.51.100.1") + b"PING\r\n")

        assert b" addr=192.0.2.7:4711 " in (await client.receive(1))[0]
        assert await other.receive_until_closed() == b""
        assert proxy.metrics.rejected_connections == {Rejection.NETWORK: 1}


async def test_header_may_come_in_pieces() -> None:
    """Byte by byte, and what follows it is the client's."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, proxy_protocol=True) as proxy,
        connect(proxy.port) as client,
    ):
        for byte in header("2001:db8::1") + b"PING\r\n":
            await client.send(bytes([byte]))

        assert await client.receive(1) == [encode.PONG]


async def test_health_check_of_the_load_balancer_has_its_own_address() -> None:
    """A header without a client is followed by commands as any other."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, proxy_protocol=True, allow_networks=LOOPBACK) as proxy,
        connect(proxy.port) as client,
    ):
        await client.send(LOCAL + b"CLIENT INFO\r\n")

        assert b" addr=127.0.0.1:" in (await client.receive(1))[0]


@pytest.mark.parametrize("data", [b"*1\r\n$4\r\nPING\r\nPING\r\n", b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n"])
async def test_client_without_a_header_is_closed_and_counted(data: bytes) -> None:
    """Where a header is due, nothing else is understood."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, proxy_protocol=True) as proxy,
        connect(proxy.port) as client,
    ):
        await client.send(data)

        assert await client.receive_until_closed() == b""
        assert proxy.metrics.rejected_connections == {Rejection.HEADER: 1}


async def test_header_has_a_deadline() -> None:
    """Who connects and says nothing, or half a header, is given up."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, proxy_protocol=True, tls_handshake_timeout_seconds=0.1) as proxy,
        connect(proxy.port) as silent,
        connect(proxy.port) as slow,
    ):
        await slow.send(header("192.0.2.1")[:20])

        assert await silent.receive_until_closed() == b""
        assert await slow.receive_until_closed() == b""
        assert proxy.metrics.rejected_connections == {Rejection.TOO_SLOW: 2}


async def test_who_leaves_during_the_header_is_counted_as_gone() -> None:
    """A port scan is no error."""
    async with running_fake() as fake, serving_for(fake.address, proxy_protocol=True) as proxy:
        async with connect(proxy.port) as client:
            await client.send(b"\r\n")
        await wait_until(lambda: proxy.metrics.rejected_connections == {Rejection.GONE: 1})


# --- TLS


async def test_half_open_handshakes_are_bounded_in_number_and_time(
    pems: Pems, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that never finish take places only for a time, and leave one line in the log."""
    async with (
        running_fake(echo) as fake,
        serving_for(
            fake.address, tls_cert=pems.cert, tls_key=pems.key, max_clients=5,
            tls_handshake_timeout_seconds=0.5,
        ) as proxy,
    ):  # fmt: skip
        silent = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(8)]
        await wait_until(lambda: proxy.metrics.refused_connections == 3)
        assert proxy.server._waiting == 5
        await wait_until(lambda: proxy.metrics.rejected_connections == {Rejection.TOO_SLOW: 5})
        assert proxy.server._waiting == 0
        async with tls_connect(proxy.port, pems.context()) as (client, _):
            assert await client.call("GET", "a") == encode.bulk("a")
        for stream in silent:
            await stream.aclose()

    lines = [record.message for record in caplog.records if record.name == "dualkv.admission"]
    assert lines == ["connection rejected"]


async def test_plain_client_of_a_tls_port_is_closed_and_counted(pems: Pems) -> None:
    """It does not get a Redis reply, and does not wait for the deadline."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, tls_cert=pems.cert, tls_key=pems.key) as proxy,
        connect(proxy.port) as client,
    ):
        await client.send(b"*1\r\n$4\r\nPING\r\n")

        assert b"PONG" not in await client.receive_until_closed()
        assert proxy.metrics.rejected_connections == {Rejection.HANDSHAKE: 1}


async def test_header_comes_before_tls(pems: Pems) -> None:
    """A load balancer that passes TLS on puts the header in front of it."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, tls_cert=pems.cert, tls_key=pems.key, proxy_protocol=True) as proxy,
        tls_connect(proxy.port, pems.context(), header("192.0.2.9", 1)) as (client, _),
    ):
        await client.send(b"CLIENT INFO\r\n")

        assert b" addr=192.0.2.9:1 " in (await client.receive(1))[0]


async def test_shutdown_does_not_wait_for_handshakes(pems: Pems) -> None:
    """Connections that are no clients yet are closed at once."""
    async with (
        running_fake() as fake,
        serving_for(
            fake.address, tls_cert=pems.cert, tls_key=pems.key, tls_handshake_timeout_seconds=60
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await wait_until(lambda: proxy.server._waiting == 1)
        proxy.server.stop()

        assert await client.receive_until_closed() == b""


# --- limits


async def test_client_beyond_the_most_gets_the_words_of_redis() -> None:
    """However many come at once, no more are served; a place that is free again is given away."""
    async with running_fake() as fake, serving_for(fake.address, max_clients=2) as proxy:
        async with connect(proxy.port) as one, connect(proxy.port) as two, connect(proxy.port) as three:
            assert await three.receive_until_closed() == TOO_MANY
            assert await one.call("PING") == await two.call("PING") == encode.PONG
            assert proxy.metrics.refused_connections == 1
        await wait_until(lambda: not proxy.server._sessions)
        async with connect(proxy.port) as again:
            assert await again.call("PING") == encode.PONG


async def test_idle_client_is_disconnected() -> None:
    """Who says nothing for the time is closed without a word; who goes on is not."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, client_idle_timeout_seconds=0.2) as proxy,
        connect(proxy.port) as idle,
        connect(proxy.port) as busy,
    ):
        await idle.call("PING")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_busy, busy)
            assert await idle.receive_until_closed() == b""
            nursery.cancel_scope.cancel("enough")

        assert proxy.metrics.client_disconnects == {"idle": 1}
        assert await busy.call("PING") == encode.PONG


async def _keep_busy(client: Client) -> None:
    while True:
        await client.call("PING")
        await trio.sleep(0.01)


async def test_subscribed_and_waiting_clients_are_not_idle(valkey_port: int) -> None:
    """As with Redis: silence is what they are there for."""
    async with (
        serving_for(f"127.0.0.1:{valkey_port}", client_idle_timeout_seconds=0.1) as proxy,
        connect(proxy.port) as subscriber,
        connect(proxy.port) as blocked,
        connect(proxy.port) as idle,
        connect(proxy.port) as later,
    ):
        assert b"subscribe" in await subscriber.call("SUBSCRIBE", "channel")
        await blocked.send(b"BLPOP nothing-there 60\r\n")
        for client in (idle, later):  # the second one has been connected for as long
            assert await client.receive_until_closed() == b""

        assert proxy.metrics.client_disconnects == {"idle": 2}
        assert len(proxy.server._sessions) == 2


async def _sessions(server: ProxyServer, count: int) -> list[Any]:
    await wait_until(lambda: len(server._sessions) == count)
    return sorted(server._sessions, key=lambda session: session.state.client_id)


async def test_request_that_is_too_large_ends_its_client_only() -> None:
    """What is not complete after so many bytes is not waited for."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, client_request_bytes=100_000) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        assert await client.call("GET", "x" * 90_000) == encode.bulk("x" * 90_000)
        with contextlib.suppress(trio.BrokenResourceError):  # it may be closed before all has left
            await client.send(b"*2\r\n$3\r\nGET\r\n$500000\r\n" + b"x" * 200_000)

        assert await client.receive_until_closed() == b""
        assert proxy.metrics.client_disconnects == {"request limit": 1}
        assert await other.call("GET", "a") == encode.bulk("a")


async def test_sockets_are_tuned_as_is_set() -> None:
    """Keep-alive probes and the time of unacknowledged bytes, for clients and stores."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, tcp_keepalive_seconds=30.0, tcp_user_timeout_seconds=7.5) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("PING")
        (session,) = await _sessions(proxy.server, 1)
        lane = proxy.server.writer.lane._sock
        assert lane is not None
        for sock in (session._sock, lane):
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500


async def test_keepalive_can_be_off() -> None:
    """0 leaves the socket as it is."""
    async with (
        running_fake() as fake,
        serving_for(fake.address, tcp_keepalive_seconds=0.0) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("PING")
        (session,) = await _sessions(proxy.server, 1)
        assert not session._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# --- Unix sockets


def mode_of(path: str) -> int:
    """Return the bits of a file's mode."""
    return stat.S_IMODE(Path(path).stat().st_mode)


def exists(path: str) -> bool:
    """Return whether there is such a file."""
    return Path(path).exists()


@asynccontextmanager
async def serving_at(address: UnixAddress, primary: str) -> AsyncIterator[ProxyServer]:
    """Run dualkv on a Unix socket for the block."""
    config = ProxyConfig(
        mode=ProxyMode.REDIS_ONLY, listen=address, metrics=None, admin=None, primary=primary,
        allow_networks=ELSEWHERE,
    )  # fmt: skip
    server = ProxyServer(config)
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(server.listen_and_serve)
        assert addresses.clients == (address.path, 0)
        yield server
        server.stop()


async def test_both_legs_work_on_unix_sockets(tmp_path: Path) -> None:
    """Clients and store are reached through files; networks do not matter; the file goes with dualkv."""
    address = UnixAddress(str(tmp_path / "front.sock"), 0o600)
    async with running_fake(echo, path=tmp_path / "store.sock") as fake, serving_at(address, fake.address):
        assert mode_of(address.path) == 0o600
        async with await trio.open_unix_socket(address.path) as stream:
            client = Client(stream)
            assert await client.call("GET", "a" * 100_000) == encode.bulk("a" * 100_000)
            assert b" addr=%b:0 " % address.path.encode() in await client.call("CLIENT", "INFO")

    assert not exists(address.path)


def test_file_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """After kill -9 the socket's file is still there, and nobody listens."""
    address = UnixAddress(str(tmp_path / "x.sock"))
    open_unix_listener(address).close()
    assert Path(address.path).exists()

    listener = open_unix_listener(address)
    assert stat.S_IMODE(Path(address.path).stat().st_mode) == 0o660
    close_listener(listener)
    close_listener(listener)
    assert not Path(address.path).exists()


def test_socket_that_is_in_use_is_the_operators_fault(tmp_path: Path) -> None:
    """Nobody is pushed aside."""
    address = UnixAddress(str(tmp_path / "x.sock"))
    listener = open_unix_listener(address)
    with pytest.raises(
        ConfigError, match=rf"^cannot listen on unix://{address.path}: Address already in use$"
    ):
        open_unix_listener(address)
    close_listener(listener)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("file", "there is a file that is no socket"), ("nowhere/x.sock", "No such file or directory"),
     ("x" * 200, "AF_UNIX path too long")],
)  # fmt: skip
def test_path_that_cannot_be_listened_on_is_the_operators_fault(
    tmp_path: Path, path: str, complaint: str
) -> None:
    """A file of somebody else is not removed."""
    (tmp_path / "file").write_text("precious")

    with pytest.raises(ConfigError, match=complaint):
        open_unix_listener(UnixAddress(str(tmp_path / path)))
    assert (tmp_path / "file").read_text() == "precious"
