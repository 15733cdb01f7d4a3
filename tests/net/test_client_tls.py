"""TLS with clients: who gets in, everything that plain clients may do, certificates that change."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.rejection import Rejection
from dualkv.errors import ConfigError
from dualkv.resp import encode
from dualkv.serve import ProxyServer
from tests.support.fake_backend import FakeBackend, echo, running_fake
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.tls import Pems, read, talk_in_vain, tls_connect, write

MEBIBYTE = b"x" * 1024 * 1024


@pytest.fixture(name="pems")
def _pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path)


def serving_for(primary: str, **settings: Any) -> AbstractAsyncContextManager[Proxy]:
    """Run dualkv before one store for the block."""
    return running_proxy(primary, mode=ProxyMode.REDIS_ONLY, **settings)


@asynccontextmanager
async def tls_proxy(pems: Pems, **settings: Any) -> AsyncIterator[tuple[FakeBackend, Proxy]]:
    """Run dualkv with a TLS listener before an echoing store for the block."""
    async with (
        running_fake(echo) as fake,
        serving_for(fake.address, tls_cert=pems.cert, tls_key=pems.key, **settings) as proxy,
    ):
        yield fake, proxy


def refused_by(proxy: Proxy) -> dict[str, int]:
    """Return who was rejected, by reason."""
    return dict(proxy.metrics.rejected_connections)


# --- talking


async def test_pipeline_of_many_records_is_answered_in_order(pems: Pems) -> None:
    """Requests and replies that are cut anywhere by records arrive whole."""
    keys = [f"{number}".rjust(number % 700, "x") for number in range(3000)]
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, pems.context()) as (client, _):
        replies = await client.pipeline([("GET", key) for key in keys])

        assert replies == [encode.bulk(key) for key in keys]


async def test_large_requests_and_replies_pass(pems: Pems) -> None:
    """Values of many records, with small ones between them; nothing waits for what is there."""
    values = [b"a", 3 * MEBIBYTE, b"b", MEBIBYTE[:16384], MEBIBYTE[:16370], MEBIBYTE[:65536], b"c"]
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, pems.context()) as (client, _):
        for value in values:
            assert await client.call("GET", value) == encode.bulk(value)
        assert await client.pipeline([("GET", value) for value in values]) == [*map(encode.bulk, values)]


async def test_client_that_reads_late_gets_everything(pems: Pems) -> None:
    """A socket that is full is written to again, from where it stopped."""
    async with (
        tls_proxy(pems) as (_, proxy),
        tls_connect(proxy.port, pems.context()) as (client, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.send, encode.command("GET", 12 * MEBIBYTE) + b"PING\r\n")
        await wait_until(lambda: any(session._socket.unsent for session in proxy.server._sessions))
        assert await client.receive(2) == [encode.bulk(12 * MEBIBYTE), encode.PONG]


async def test_many_clients_talk_at_once(pems: Pems) -> None:
    """Each gets its own replies."""

    async def talk(number: int) -> None:
        async with tls_connect(proxy.port, pems.context()) as (client, _):
            for step in range(20):
                key = f"{number}:{step}"
                assert await client.call("GET", key) == encode.bulk(key)

    async with tls_proxy(pems) as (_, proxy), trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(talk, number)
    assert refused_by(proxy) == {}


async def test_goodbyes_are_polite(pems: Pems) -> None:
    """QUIT is answered, then TLS is closed as it should be, not cut."""
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, pems.context()) as (client, stream):
        await client.send(b"PING\r\nQUIT\r\n")

        assert await client.receive(2) == [encode.PONG, encode.OK]
        with trio.fail_after(5):
            assert await stream.receive_some() == b""


async def test_shutdown_answers_what_has_arrived(pems: Pems) -> None:
    """With commands in flight, a client gets its replies, encrypted, before it is closed."""
    async with (
        tls_proxy(pems) as (fake, proxy),
        tls_connect(proxy.port, pems.context()) as (client, _),
    ):
        assert await client.call("GET", "a") == encode.bulk("a")
        fake.replies.shut()
        await client.send(encode.command("GET", "b"))
        await wait_until(lambda: (b"GET", b"b") in fake.commands)
        proxy.server.stop()
        await wait_until(lambda: all(one._has_ended for one in proxy.server._sessions))
        fake.replies.open()

        assert await client.receive(1) == [encode.bulk("b")]
        assert await client.receive_until_closed() == b""


async def test_client_that_hangs_up_half_way_is_answered(pems: Pems) -> None:
    """Without TLS's goodbye, too: replies to what it has sent still come."""
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, pems.context()) as (client, stream):
        await client.send(encode.command("GET", "a"))
        await stream.transport_stream.send_eof()

        assert await client.receive(1) == [encode.bulk("a")]


# --- who gets in


async def test_client_with_its_certificate_gets_in(pems: Pems) -> None:
    """One of the named authority is let in."""
    context = pems.context(pems.of_client())
    async with (
        tls_proxy(pems, tls_client_ca=pems.ca) as (_, proxy),
        tls_connect(proxy.port, context) as (client, _),
    ):
        assert await client.call("GET", "a") == encode.bulk("a")


@pytest.mark.parametrize("has_one", [False, True], ids=["without one", "of another authority"])
async def test_client_without_the_right_certificate_is_refused(
    pems: Pems, has_one: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets no reply, is counted, and the log tells why."""
    context = pems.context(pems.of_client("stranger", trustme.CA()) if has_one else None)
    async with tls_proxy(pems, tls_client_ca=pems.ca) as (fake, proxy):
        await talk_in_vain(proxy.port, context)
        await wait_until(lambda: refused_by(proxy) == {Rejection.HANDSHAKE: 1})
        assert (b"GET", b"forbidden") not in fake.commands

    (why,) = [record.__dict__["why"] for record in caplog.records if record.name == "dualkv.admission"]
    assert ("certificate verify failed" if has_one else "peer did not return a certificate") in why


async def test_old_versions_are_refused(pems: Pems) -> None:
    """Below the oldest version that is set there is no handshake."""
    context = pems.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with tls_proxy(pems, tls_min_version="1.3") as (_, proxy):
        with pytest.raises(trio.BrokenResourceError):
            async with tls_connect(proxy.port, context):
                pass
        await wait_until(lambda: refused_by(proxy) == {Rejection.HANDSHAKE: 1})
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, context) as (client, stream):
        assert await client.call("PING") == encode.PONG
        assert stream.version() == "TLSv1.2"


# --- certificates that change


def serial_of(stream: Any) -> str:
    """Return the serial number of the certificate that the server shows."""
    return str(stream.getpeercert()["serialNumber"])


async def test_new_certificate_counts_from_the_next_handshake_on(pems: Pems) -> None:
    """Who is connected stays, and goes on; who connects sees the new one. Nobody has to say so."""
    async with tls_proxy(pems) as (_, proxy), tls_connect(proxy.port, pems.context()) as (old, old_stream):
        before = serial_of(old_stream)
        pems.issue()
        async with tls_connect(proxy.port, pems.context()) as (new, new_stream):
            assert serial_of(new_stream) != before
            assert await new.call("GET", "new") == encode.bulk("new")
        assert await old.call("GET", "old") == encode.bulk("old")
        assert proxy.metrics.tls_reloads == {"loaded": 1}


async def test_wrong_files_leave_the_old_certificate(pems: Pems, caplog: pytest.LogCaptureFixture) -> None:
    """Between the writing of certificate and key, they do not fit: the old pair stays until they do."""
    old_key = read(pems.key)
    async with tls_proxy(pems) as (_, proxy):
        async with tls_connect(proxy.port, pems.context()) as (_, stream):
            before = serial_of(stream)
        pems.issue()
        new_key = read(pems.key)
        write(pems.key, old_key)
        async with tls_connect(proxy.port, pems.context()) as (_, stream):
            assert serial_of(stream) == before
        assert proxy.metrics.tls_reloads == {"failed": 1}
        write(pems.key, new_key + b"\n")
        async with tls_connect(proxy.port, pems.context()) as (_, stream):
            assert serial_of(stream) != before

    errors = [record.__dict__["why"] for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [f"tls_key: {pems.key}: the key does not belong to the certificate"]


async def test_reload_reads_the_files_though_they_look_unchanged(pems: Pems) -> None:
    """SIGHUP does not trust times of files."""
    async with tls_proxy(pems) as (_, proxy):
        async with tls_connect(proxy.port, pems.context()) as (_, stream):
            before = serial_of(stream)
        admission = proxy.server._admission
        assert admission is not None
        assert admission.tls is not None
        seen = admission.tls._seen
        pems.issue()
        for path in (pems.cert, pems.key):
            os.utime(path, ns=(0, 0))
        admission.tls._seen = seen
        proxy.server.reload_tls()
        async with tls_connect(proxy.port, pems.context()) as (_, stream):
            assert serial_of(stream) != before


async def test_new_authority_of_clients_counts_too(pems: Pems, tmp_path: Path) -> None:
    """Who was believed before is not any more; sessions are not resumed around that."""
    (tmp_path / "other").mkdir()
    other = Pems(tmp_path / "other")
    mine, theirs = pems.context(pems.of_client()), pems.context(other.of_client())
    async with tls_proxy(pems, tls_client_ca=pems.ca) as (_, proxy):
        async with tls_connect(proxy.port, mine) as (client, _):
            assert await client.call("PING") == encode.PONG
        write(pems.ca, read(other.ca))
        async with tls_connect(proxy.port, theirs) as (client, _):
            assert await client.call("PING") == encode.PONG
        await talk_in_vain(proxy.port, mine)
        assert refused_by(proxy) == {Rejection.HANDSHAKE: 1}


# --- wrong files at the start


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"tls_cert": "nowhere.pem"}, "tls_cert: nowhere.pem: No such file or directory"),
        ({"tls_key": "nowhere.pem"}, "tls_key: nowhere.pem: No such file or directory"),
        ({"tls_client_ca": "nowhere.pem"}, "tls_client_ca: nowhere.pem: No such file or directory"),
    ],
)
async def test_missing_file_is_one_clear_line(pems: Pems, settings: dict[str, str], complaint: str) -> None:
    """The start fails, and says which setting is wrong."""
    assert await start_failure({"tls_cert": pems.cert, "tls_key": pems.key, **settings}) == complaint


async def test_wrong_file_is_one_clear_line(pems: Pems, tmp_path: Path) -> None:
    """The same for what is no certificate, or does not fit."""
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    other_key = pems.of_client()

    assert await start_failure({"tls_cert": str(rubbish), "tls_key": pems.key}) == (
        f"tls_key: {pems.key}: not a PEM file, or its password is wrong"
    )
    assert await start_failure({"tls_cert": pems.cert, "tls_key": other_key}) == (
        f"tls_key: {other_key}: the key does not belong to the certificate"
    )
    assert await start_failure(
        {"tls_cert": pems.cert, "tls_key": pems.key, "tls_client_ca": str(rubbish)}
    ) == (f"tls_client_ca: {rubbish}: there is no certificate in it")


async def start_failure(settings: dict[str, Any]) -> str:
    """Return why dualkv does not start."""
    server = ProxyServer(
        ProxyConfig(mode=ProxyMode.REDIS_ONLY, listen=("127.0.0.1", 0), metrics=None, admin=None, **settings)
    )
    with pytest.raises(ConfigError) as caught:
        await server.listen()
    return str(caught.value)
