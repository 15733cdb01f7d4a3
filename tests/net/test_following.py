"""A connection that follows wishes: what is sent when, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from dualkv.core.subscribing import Confirmed, Delivered, Name, Subscribing
from dualkv.core.subscriptions import Kind
from dualkv.errors import ConnectionLost, ReplyProtocolError
from dualkv.net.following import Follower, Said
from dualkv.resp.encode import array, bulk, command, integer
from tests.net.building import options_for, socket_pair
from tests.support.fake_backend import running_fake
from tests.support.proxy import wait_until

CHANNEL = (Kind.CHANNEL, b"c")
CONFIRMATION = array([bulk(b"subscribe"), bulk(b"c"), integer(1)])


class Bench:
    """A follower and the server's end of its connection."""

    def __init__(self, server: trio.SocketStream) -> None:
        self.server = server
        self.wanted: set[Name] = set()
        self.said: list[Said] = []
        self.follower: Follower

    async def receive(self, data: bytes) -> None:
        """Return when the follower has sent *data*, and nothing else."""
        received = b""
        with trio.fail_after(5):  # noqa: ASYNC912 - there is always something to receive
            while len(received) < len(data):
                received += await self.server.receive_some()
        assert received == data


@asynccontextmanager
async def running_follower(read_timeout_seconds: float = 20.0) -> AsyncIterator[Bench]:
    """Run one for the block; its failure is the block's."""
    ours, theirs = socket_pair()
    with ours:
        async with (
            trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as server,
            running_fake() as fake,
        ):
            bench = Bench(server)
            talk = Subscribing(bench.wanted.__contains__, [CHANNEL])
            bench.wanted.add(CHANNEL)
            options = options_for(fake, read_timeout_seconds=read_timeout_seconds)
            bench.follower = Follower(ours, options, talk, bench.said.append)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.follower.run)
                yield bench
                nursery.cancel_scope.cancel("the test is over")


async def test_wishes_are_followed_and_answers_told() -> None:
    """A subscription, its confirmation, a message, the end of the wish."""
    async with running_follower() as bench:
        await bench.receive(command("subscribe", "c"))
        await bench.server.send_all(CONFIRMATION + array([bulk(b"message"), bulk(b"c"), bulk(b"x")]))
        await wait_until(lambda: len(bench.said) == 2)
        bench.wanted.clear()
        bench.follower._talk.look_at(CHANNEL)
        bench.follower.wake()
        await bench.receive(command("unsubscribe", "c"))

    assert [type(said) for said in bench.said] == [Confirmed, Delivered]


async def test_silent_server_is_asked_and_then_given_up() -> None:
    """A PING goes out in good time."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConnectionLost, match=r"silent for 0\.3 s"), flatten_subgroups=True
    ):
        async with running_follower(read_timeout_seconds=0.3) as bench:
            await bench.receive(command("subscribe", "c") + command("PING"))
            await trio.sleep_forever()


async def test_answered_pings_keep_a_quiet_connection() -> None:
    """Nothing is published for a long time, and nothing happens."""
    async with running_follower(read_timeout_seconds=0.3) as bench:
        await bench.receive(command("subscribe", "c"))
        await bench.server.send_all(CONFIRMATION)
        for _ in range(6):
            await bench.receive(command("PING"))
            await bench.server.send_all(array([bulk(b"pong"), bulk(b"")]))

    assert bench.said == [Confirmed(CHANNEL)]


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", ConnectionLost), (b"?\r\n", ReplyProtocolError), (b"+OK\r\n", ReplyProtocolError)],
)
async def test_what_cannot_be_trusted_ends_it(data: bytes, error: type[Exception]) -> None:
    """The end of the connection, bytes that are no RESP, answers to nothing."""
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        async with running_follower() as bench:
            await bench.receive(command("subscribe", "c"))
            if data:
                await bench.server.send_all(data)
            else:
                await bench.server.aclose()
            await trio.sleep_forever()
