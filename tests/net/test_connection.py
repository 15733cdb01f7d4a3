"""A connection that one task uses: a batch out, its replies in, and when it must not be used any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from dualkv.errors import ConnectionLost, ReplyProtocolError
from dualkv.net.connection import Connection
from dualkv.net.transport import dial
from dualkv.resp import encode
from tests.net.building import options_for
from tests.support.fake_backend import FakeBackend, echo, running_fake
from tests.support.proxy import wait_until

TWO = encode.command("GET", "a") + encode.command("GET", "b")


@asynccontextmanager
async def connected(fake: FakeBackend) -> AsyncIterator[Connection]:
    """Connect to *fake* for the block."""
    with trio.fail_after(10):
        connection = Connection(*await dial(options_for(fake), "dualkv-test"))
        try:
            yield connection
        finally:
            connection.close()


async def test_exchange_returns_the_replies_in_order() -> None:
    """A batch goes out in one piece; each request's frame comes back at its place."""
    async with running_fake(echo) as fake, connected(fake) as connection:
        assert await connection.exchange(TWO, 2) == [encode.bulk("a"), encode.bulk("b")]
        assert await connection.exchange(encode.command("GET", "c"), 1) == [encode.bulk("c")]
        assert fake.last.commands == [(b"GET", b"a"), (b"GET", b"b"), (b"GET", b"c")]


async def test_large_batch_goes_both_ways() -> None:
    """More than sockets hold, out and in, is exchanged whole."""
    value = b"x" * 3_000_000
    async with running_fake(echo) as fake, connected(fake) as connection:
        assert await connection.exchange(encode.command("SET", "k", value), 1) == [encode.bulk(value)]


async def test_replies_cut_anywhere_are_put_together() -> None:
    """A reply in pieces is one frame."""
    async with running_fake(lambda _: b"") as fake, connected(fake) as connection:
        frames: list[bytes] = []

        async def exchange() -> None:
            frames.extend(await connection.exchange(TWO, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange)
            await wait_until(lambda: len(fake.last.commands) == 2)
            for piece in (b"*2\r\n$1\r\na", b"\r\n:1\r", b"\n$2\r\nb", b"b\r\n"):
                await fake.last.send(piece)
                await trio.testing.wait_all_tasks_blocked()

        assert frames == [b"*2\r\n$1\r\na\r\n:1\r\n", b"$2\r\nbb\r\n"]


async def test_close_before_the_last_reply_is_a_lost_connection() -> None:
    """If the backend goes in the middle of a batch, the batch has no outcome."""
    async with running_fake(echo) as fake, connected(fake) as connection:
        fake.close_after = 1
        with pytest.raises(ConnectionLost, match="the backend closed the connection"):
            await connection.exchange(TWO, 2)


async def test_close_in_the_middle_of_a_frame_is_a_lost_connection() -> None:
    """Half a reply is no reply."""
    half = running_fake(lambda args: b"$5\r\nhal" if args[1] == b"a" else None)
    async with half as fake, connected(fake) as connection:
        with pytest.raises(ConnectionLost):
            await connection.exchange(TWO, 2)


async def test_reset_is_a_lost_connection() -> None:
    """An error of the socket counts as lost, too."""
    silent = running_fake(lambda _: b"")
    async with silent as fake, connected(fake) as connection, trio.open_nursery() as nursery:

        async def reset() -> None:
            await wait_until(lambda: len(fake.last.commands) == 2)
            fake.last.reset()

        nursery.start_soon(reset)
        with pytest.raises(ConnectionLost, match="reset by peer"):
            await connection.exchange(TWO, 2)


async def test_closing_from_outside_wakes_the_exchange() -> None:
    """A connection closed under a waiting exchange is lost."""
    silent = running_fake(lambda _: b"")
    async with silent as fake, connected(fake) as connection, trio.open_nursery() as nursery:

        async def close() -> None:
            await wait_until(lambda: len(fake.last.commands) == 2)
            connection.close()

        nursery.start_soon(close)
        with pytest.raises(ConnectionLost):
            await connection.exchange(TWO, 2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"+OK\r\n+OK\r\n", "more replies than requests"),
        (b"$x\r\n", "bad length"),
        (b"?\r\n", "unknown reply type"),
    ],
    ids=["one too many", "no length", "not RESP"],
)
async def test_replies_that_are_wrong_are_the_backends_fault(answer: bytes, message: str) -> None:
    """Too many replies, and what is no RESP, are told from a lost connection."""
    async with running_fake(lambda _: answer) as fake, connected(fake) as connection:
        with pytest.raises(ReplyProtocolError, match=message):
            await connection.exchange(encode.command("GET", "a"), 1)


async def test_untouched_connection_is_not_stale() -> None:
    """Looking at a healthy connection finds nothing, and takes nothing from it."""
    async with running_fake(echo) as fake, connected(fake) as connection:
        assert not connection.is_stale()
        assert await connection.exchange(TWO, 2) == [encode.bulk("a"), encode.bulk("b")]
        assert not connection.is_stale()


async def test_closed_connection_is_stale() -> None:
    """A backend that has closed while nobody was looking is noticed before anything is sent."""
    async with running_fake() as fake, connected(fake) as connection:
        fake.last.hang_up()
        await wait_until(connection.is_stale)


async def test_reset_connection_is_stale() -> None:
    """So is a broken one."""
    async with running_fake() as fake, connected(fake) as connection:
        fake.last.reset()
        await wait_until(connection.is_stale)


async def test_unasked_bytes_make_a_connection_stale() -> None:
    """A connection with a reply that nobody asked for would shift all that follow."""
    async with running_fake() as fake, connected(fake) as connection:
        await fake.last.send(b"+surprise\r\n")
        await wait_until(connection.is_stale)


async def test_closing_twice_does_no_harm() -> None:
    """Close is idempotent."""
    async with running_fake() as fake, connected(fake) as connection:
        connection.close()
        connection.close()


async def test_deadline_of_the_caller_ends_an_exchange() -> None:
    """The exchange has no timeout of its own: the caller's scope ends it."""
    async with running_fake(lambda _: b"") as fake, connected(fake) as connection:
        with trio.move_on_after(0.02) as scope:
            await connection.exchange(TWO, 2)

        assert scope.cancelled_caught
