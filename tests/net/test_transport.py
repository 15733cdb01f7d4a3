"""Dialling a backend: who we are, what it says, and everything that can go wrong before the first command."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable
from dualkv.net.transport import Greeting, close_socket, dial, receive_some, send_all
from dualkv.resp import encode
from tests.net.building import backend_for, options_for, socket_pair
from tests.support.fake_backend import Args, FakeBackend, running_fake


@asynccontextmanager
async def dialled(fake: FakeBackend, **options: Any) -> AsyncIterator[tuple[socket.socket, Greeting]]:
    """Dial *fake* for the block."""
    with trio.fail_after(10):
        sock, greeting = await dial(options_for(fake, **options), "dualkv-test")
    try:
        yield sock, greeting
    finally:
        close_socket(sock)


async def refusal_of(fake: FakeBackend, **options: Any) -> str:
    """Dial *fake* in vain; return the error's text."""
    with trio.fail_after(10), pytest.raises(BackendUnavailable) as error:
        await dial(options_for(fake, **options), "dualkv-test")
    return str(error.value)


# --- introducing ourselves ----------------------------------------------------------------------------


async def test_introduction_names_us_and_asks_for_both_versions() -> None:
    """Without settings of its own a connection gives its name and learns both greetings; it speaks RESP2."""
    async with running_fake() as fake, dialled(fake) as (_, greeting):
        assert fake.last.introduction == [
            (b"CLIENT", b"SETNAME", b"dualkv-test"),
            (b"HELLO", b"3"),
            (b"HELLO", b"2"),
        ]
        assert greeting.protocols == {2, 3}
        assert greeting.hello[2]["server"] == b"$4\r\nfake\r\n"
        assert greeting.hello[3]["proto"] == b":3\r\n"
        assert fake.last.protocol == 2


async def test_password_and_database_come_first() -> None:
    """AUTH and SELECT go before everything else."""
    async with running_fake(password="secret") as fake, dialled(fake, password="secret", db=3):
        assert fake.last.introduction[:3] == [
            (b"AUTH", b"secret"),
            (b"SELECT", b"3"),
            (b"CLIENT", b"SETNAME", b"dualkv-test"),
        ]


async def test_user_is_named_with_the_password() -> None:
    """With a user name AUTH has two arguments."""
    demanding = running_fake(username="bob", password="secret")
    async with demanding as fake, dialled(fake, username="bob", password="secret"):
        assert fake.last.introduction[0] == (b"AUTH", b"bob", b"secret")


async def test_socket_has_no_delay_and_keeps_alive() -> None:
    """TCP sockets send at once and notice a dead peer; both are non-blocking."""
    async with running_fake() as fake, dialled(fake) as (sock, _):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not sock.getblocking()


async def test_unix_socket_is_dialled(tmp_path: Path) -> None:
    """A backend behind a Unix socket is reached by its path."""
    async with running_fake(path=tmp_path / "redis.sock") as fake, dialled(fake) as (_, greeting):
        assert greeting.protocols == {2, 3}
        assert len(fake.connections) == 1


@pytest.mark.parametrize("speaks", [(2,), ()], ids=["refuses HELLO 3", "knows no HELLO"])
async def test_server_that_speaks_only_resp2_says_so(speaks: tuple[int, ...]) -> None:
    """What the server does not speak is not among the greeting's versions; RESP2 always is."""
    async with running_fake(speaks=speaks) as fake, dialled(fake) as (_, greeting):
        assert greeting.protocols == {2}


async def test_client_name_that_is_refused_does_no_harm() -> None:
    """A server without CLIENT SETNAME is a server nonetheless."""

    def refuse_client(args: Args) -> bytes:
        return encode.error("ERR unknown command") if args[0] == b"CLIENT" else b"*2\r\n+version\r\n+1\r\n"

    async with running_fake() as fake:
        fake.introduction_answer = refuse_client
        async with dialled(fake) as (_, greeting):
            assert greeting.hello[3] == {"version": b"+1\r\n"}


# --- refused ------------------------------------------------------------------------------------------


async def test_wrong_password_is_told() -> None:
    """The server's words on a wrong password reach the operator, the password does not."""
    async with running_fake(password="secret") as fake:
        text = await refusal_of(fake, password="guess")

        assert text.startswith(f"{fake.address}: AUTH: WRONGPASS")
        assert "guess" not in text


async def test_missing_password_is_told() -> None:
    """A server that wants a password and gets none refuses the introduction."""
    async with running_fake(password="secret") as fake:
        assert "NOAUTH" in await refusal_of(fake)


async def test_database_that_does_not_exist_is_told() -> None:
    """A refused SELECT makes the backend unavailable: the wrong database must not be written to."""

    def refuse_select(args: Args) -> bytes:
        return encode.error("ERR DB index is out of range") if args[0] == b"SELECT" else encode.array([])

    async with running_fake() as fake:
        fake.introduction_answer = refuse_select
        assert await refusal_of(fake, db=99) == f"{fake.address}: SELECT: ERR DB index is out of range"


async def test_refused_connection_is_told() -> None:
    """Nobody listens: unavailable."""
    async with running_fake(is_listening=trio.Event()) as fake:
        assert fake.address in await refusal_of(fake)


async def test_missing_unix_socket_is_told(tmp_path: Path) -> None:
    """A path where no socket is: unavailable."""
    options = BackendOptions(name="fake", unix_path=str(tmp_path / "none.sock"))
    with pytest.raises(BackendUnavailable, match="No such file"):
        await dial(options, "dualkv-test")


async def test_host_that_cannot_be_a_name_is_unavailable() -> None:
    """A host that DNS cannot even be asked for is an unreachable backend, not a crash."""
    with pytest.raises(BackendUnavailable):
        await dial(BackendOptions(name="fake", host="x" * 64, port=1), "dualkv-test")


async def test_server_that_closes_in_the_handshake_is_unavailable() -> None:
    """A connection that is closed before the greeting is of no use."""
    async with running_fake() as fake:
        fake.hangs_up_at_once = True
        assert fake.address in await refusal_of(fake)


async def test_server_that_hangs_up_within_the_introduction_is_unavailable() -> None:
    """Half an introduction is none."""
    async with running_fake() as fake:
        fake.introduction_answer = lambda args: None if args[0] == b"HELLO" else encode.OK
        assert "closed during the handshake" in await refusal_of(fake)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="not RESP"),
        pytest.param(b"+OK\r\n", id="no map"),
        pytest.param(b"*1\r\n+alone\r\n", id="half a pair"),
        pytest.param(b"*2\r\n:1\r\n:2\r\n", id="keys that are numbers"),
        pytest.param(b"*2\r\n*0\r\n+x\r\n", id="keys that are arrays"),
    ],
)
async def test_greeting_that_makes_no_sense_is_unavailable(answer: bytes) -> None:
    """A server that answers HELLO with nonsense is not one we can use, and nothing worse."""
    async with running_fake() as fake:
        fake.introduction_answer = lambda args: answer if args[0] == b"HELLO" else encode.OK
        assert fake.address in await refusal_of(fake)


async def test_one_reply_too_many_in_the_introduction_is_unavailable() -> None:
    """A server that answers more than it was asked is out of step: it is not used."""
    async with running_fake() as fake:
        fake.introduction_answer = lambda _: b"*0\r\n*0\r\n"
        assert fake.address in await refusal_of(fake)


@pytest.mark.parametrize("silence", ["accepts late", "answers nothing"])
async def test_server_that_never_answers_is_given_up_at_the_deadline(silence: str) -> None:
    """Connecting takes no longer than the dial timeout, however the server keeps silent."""
    async with running_fake() as fake:
        if silence == "accepts late":
            fake.accepts.shut()
        fake.is_mute = True
        backend = backend_for(fake, dial_timeout_seconds=0.05)
        with trio.fail_after(10), pytest.raises(BackendUnavailable, match=r"no answer in 0\.05 s"):
            await backend.open("lane")


# --- plain sockets ------------------------------------------------------------------------------------


def test_receive_some_tells_nothing_from_the_end() -> None:
    """None: nothing is there; empty bytes: the end."""
    ours, theirs = socket_pair()
    with ours:
        with theirs:
            assert receive_some(ours) is None
            theirs.send(b"x")
            assert receive_some(ours) == b"x"
        assert receive_some(ours) == b""


async def test_send_all_waits_for_room() -> None:
    """More than the kernel takes at once is sent as room appears, and arrives whole."""
    ours, theirs = socket_pair()
    data = bytes(range(256)) * 8192
    received = bytearray()

    async def read() -> None:
        while len(received) < len(data):
            await trio.lowlevel.wait_readable(theirs)
            received.extend(receive_some(theirs) or b"")

    with ours, theirs, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, ours, data)
            nursery.start_soon(read)

    assert received == data


async def test_close_socket_wakes_who_waits_for_it() -> None:
    """A task that waits for a socket learns that it was closed."""
    ours, theirs = socket_pair()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(ours)

    with theirs, trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            close_socket(ours)
