"""TLS to a backend: who is believed, and that everything works encrypted."""

from __future__ import annotations

import gc
import ssl
from typing import Any

import pytest
import trio
import trio.lowlevel
import trustme

from dualkv.errors import BackendUnavailable
from dualkv.net.connection import Connection
from dualkv.net.transport import close_socket, dial
from dualkv.resp import encode
from tests.net.building import backend_for, lane_to, options_for
from tests.net.streaming import lines, stream_to
from tests.support.fake_backend import FakeBackend, echo, running_fake


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
