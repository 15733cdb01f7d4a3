"""TLS to a backend: who is believed, and that everything works encrypted."""

from __future__ import annotations

import datetime as dt
import gc
import re
import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from dualkv.config.tls import TlsFiles
from dualkv.errors import BackendUnavailable, ConfigError
from dualkv.net.connection import Connection
from dualkv.net.tls import server_context
from dualkv.net.transport import close_socket, dial
from dualkv.resp import encode
from tests.net.building import backend_for, lane_to, options_for
from tests.net.streaming import lines, stream_to
from tests.support.fake_backend import FakeBackend, echo, running_fake
from tests.support.tls import Pems, read, write


async def refusal_of(fake: FakeBackend, **options: Any) -> str:
    """Dial *fake* in vain; return the error's text."""
    with trio.fail_after(10), pytest.raises(BackendUnavailable) as error:
        await dial(options_for(fake, **options), "dualkv-test")
    return str(error.value)


def tls_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return a server's TLS context with a certificate for *name*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_with_a_trusted_certificate(authority: trustme.CA) -> None:
    """A certificate of a trusted authority for the right name: we talk, encrypted, in any size."""
    value = b"x" * 300_000
    tls = tls_context(authority, "localhost")
    async with running_fake(echo, tls=tls) as fake:
        sock, greeting = await dial(options_for(fake), "dualkv-test")
        try:
            assert isinstance(sock, ssl.SSLSocket)
            frames = await Connection(sock, greeting).exchange(encode.command("SET", "k", value), 1)
        finally:
            close_socket(sock)

        assert frames == [encode.bulk(value)]


async def test_tls_certificate_for_another_name_is_refused(authority: trustme.CA) -> None:
    """A valid certificate of somebody else is not good enough."""
    async with running_fake(tls=tls_context(authority, "example.org")) as fake:
        assert "certificate verify failed" in await refusal_of(fake)
    gc.collect()


@pytest.mark.usefixtures("authority")
async def test_tls_certificate_of_an_unknown_authority_is_refused() -> None:
    """A certificate that nobody we trust has signed is refused."""
    async with running_fake(tls=tls_context(trustme.CA(), "localhost")) as fake:
        assert "certificate verify failed" in await refusal_of(fake)
    gc.collect()


@pytest.mark.usefixtures("authority")
async def test_tls_to_a_server_that_hangs_up_is_unavailable() -> None:
    """A server that does not answer a TLS greeting with TLS is unavailable."""
    async with running_fake() as fake:
        fake.hangs_up_at_once = True
        assert fake.address in await refusal_of(fake, tls=True)
    gc.collect()


@pytest.mark.usefixtures("authority")
async def test_tls_handshake_is_under_the_deadline_too() -> None:
    """A server that accepts and then says nothing to a TLS client is given up."""
    async with running_fake() as fake:
        fake.accepts.shut()
        backend = backend_for(fake, tls=True, dial_timeout_seconds=0.05)
        with trio.fail_after(10), pytest.raises(BackendUnavailable, match="no answer"):
            await backend.open("lane")
    gc.collect()


async def test_lane_works_over_tls(authority: trustme.CA) -> None:
    """Small and large requests and replies pass the readiness hub encrypted, in order."""
    keys = ["a", "x" * 3_000_000, "b", *[f"k{number}" for number in range(2000)], "y" * 3_000_000, "c"]
    tls = tls_context(authority, "localhost")
    async with running_fake(echo, tls=tls) as fake, lane_to(fake) as bench:
        waiters = [bench.submit(encode.command("GET", key)) for key in keys]
        await waiters[-1].wait_over()

        assert [waiter.frames for waiter in waiters] == [[encode.bulk(key)] for key in keys]
        fake.last.reset()
        await trio.lowlevel.checkpoint()
        await bench.lane._broken.wait()
        await bench.lane.wait_settled()
        again = bench.submit(encode.command("GET", "d"))
        await again.wait_over()
        assert again.frames == [encode.bulk("d")]


async def test_stream_works_over_tls(authority: trustme.CA) -> None:
    """The secondary's connection does not mind TLS either; an idle one is not taken for stale."""
    tls = tls_context(authority, "localhost")
    async with running_fake(echo, tls=tls) as fake, stream_to(fake) as bench:
        bench.offer(*[f"SET k {number}" for number in range(2000)])
        await bench.wait_settled()
        await trio.sleep(0.12)  # idle for long enough to be looked at
        bench.offer("SET k last")
        await bench.wait_settled()

        assert bench.ledger().applied == 2001
        assert lines(fake.commands)[-1] == "SET k last"
        assert len(fake.connections) == 1


# --- what is set


async def test_named_authority_is_believed_and_no_other(tmp_path: Path) -> None:
    """With a file of ours, the system's authorities do not count."""
    pems = Pems(tmp_path)
    async with running_fake(tls=tls_context(pems.authority, "localhost")) as fake:
        files = TlsFiles("primary_tls", ca=pems.ca)
        sock, _ = await dial(options_for(fake, tls_files=files), "dualkv-test")
        close_socket(sock)
        text = await refusal_of(fake, tls_files=TlsFiles("primary_tls"))
        assert text == (
            f"{fake.address}: certificate verify failed: unable to get local issuer certificate "
            "(the setting primary_tls_ca names whom to believe)"
        )
    gc.collect()


@pytest.mark.usefixtures("authority")
async def test_verifying_can_be_switched_off() -> None:
    """Then any certificate will do, and the connection is still encrypted."""
    async with running_fake(tls=tls_context(trustme.CA(), "example.org")) as fake:
        sock, _ = await dial(options_for(fake, tls_files=TlsFiles(is_verified=False)), "dualkv-test")
        assert isinstance(sock, ssl.SSLSocket)
        assert sock.cipher() is not None
        close_socket(sock)
    gc.collect()


async def test_name_of_the_certificate_can_be_set_and_is_sent(authority: trustme.CA) -> None:
    """SNI and what is verified are that name, whatever the address is."""
    asked: list[str | None] = []
    tls = tls_context(authority, "store.example.org")
    tls.sni_callback = lambda _sock, name, _context: asked.append(name)
    async with running_fake(tls=tls) as fake:
        files = TlsFiles(server_name="store.example.org")
        sock, _ = await dial(options_for(fake, tls_files=files), "dualkv-test")
        close_socket(sock)

    assert asked == ["store.example.org"]


async def test_store_that_asks_for_a_certificate_gets_it(tmp_path: Path) -> None:
    """It is shown ours; without one it refuses us, and the reason is told."""
    pems = Pems(tmp_path)
    tls = tls_context(pems.authority, "localhost")
    tls.verify_mode = ssl.CERT_REQUIRED
    pems.authority.configure_trust(tls)
    async with running_fake(echo, tls=tls) as fake:
        files = TlsFiles("primary_tls", ca=pems.ca, cert=pems.of_client())
        async with lane_to(fake, tls_files=files) as bench:
            waiter = bench.submit(encode.command("GET", "a"))
            await waiter.wait_over()
            assert waiter.frames == [encode.bulk("a")]
        text = await refusal_of(fake, tls_files=TlsFiles("primary_tls", ca=pems.ca))
        assert re.search("(?i)certificate required|closed|reset|broken pipe", text)
    gc.collect()


async def test_expired_certificate_is_refused(authority: trustme.CA) -> None:
    """It was good once."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_after=yesterday).configure_cert(tls)
    async with running_fake(tls=tls) as fake:
        assert "certificate verify failed: certificate has expired" in await refusal_of(fake)
    gc.collect()


async def test_new_authority_is_read_when_its_file_changes(tmp_path: Path) -> None:
    """The next connection believes it; no restart is needed, and a wrong file changes nothing."""
    (tmp_path / "other").mkdir()
    pems, other = Pems(tmp_path), Pems(tmp_path / "other")
    async with running_fake(tls=tls_context(other.authority, "localhost")) as fake:
        files = TlsFiles("primary_tls", ca=pems.ca)
        assert "certificate verify failed" in await refusal_of(fake, tls_files=files)
        write(pems.ca, read(other.ca))
        for _ in range(2):
            sock, _ = await dial(options_for(fake, tls_files=files), "dualkv-test")
            close_socket(sock)
            write(pems.ca, b"")
    gc.collect()


async def test_wrong_file_makes_the_store_unavailable_with_the_reason(tmp_path: Path) -> None:
    """Files are checked at the start; should they be wrong later all the same, the reason is told."""
    async with running_fake() as fake:
        files = TlsFiles("primary_tls", ca=str(tmp_path / "nowhere.pem"))
        text = await refusal_of(fake, tls=True, tls_files=files)

    assert f"primary_tls_ca: {tmp_path}/nowhere.pem: No such file or directory" in text


def test_encrypted_key_wants_its_password(tmp_path: Path) -> None:
    """With it the key is read; without, there is an error that does not show it, and no question."""
    pems = Pems(tmp_path)
    key = load_pem_private_key(Path(pems.key).read_bytes(), None)
    Path(pems.key).write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"5ecret"))
    )
    files = TlsFiles(cert=pems.cert, key=pems.key, key_password="5ecret")
    server_context(files)

    for wrong in ("", "5ecret-not"):
        with pytest.raises(ConfigError) as caught:
            server_context(attrs.evolve(files, key_password=wrong))
        assert str(caught.value).startswith(f"tls_key: {pems.key}: ")
        assert "5ecret" not in str(caught.value)
