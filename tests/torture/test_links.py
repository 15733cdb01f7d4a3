"""The TCP proxy between dualkv and a store."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from dualkv.torture.links import REFUSALS, Behaviour, Link
from dualkv.torture.stores import Stores
from tests.support.client import Args, Client, connect
from tests.torture.conftest import Twins


@asynccontextmanager
async def running_link(stores: Stores, seed: int = 1) -> AsyncIterator[Link]:
    """Run a link in front of the primary for the block."""
    link = Link(stores.primary.host, stores.primary.port, random.Random(seed))
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield link
        nursery.cancel_scope.cancel()


async def talk(client: Client, *commands: Args) -> list[bytes]:
    """Send commands in one piece; return the replies."""
    return await client.pipeline(commands)


async def test_it_passes_everything_on(stores: Stores, twins: Twins) -> None:
    """In order, long values too."""
    async with running_link(stores) as link, connect(link.port) as client:
        big = b"x" * 300_000
        replies = await talk(client, ("SET", "k", big), ("GET", "k"), ("INCR", "n"))

    assert replies == [b"+OK\r\n", b"$300000\r\n" + big + b"\r\n", b":1\r\n"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_cut_connection_ends_in_the_middle(stores: Stores, twins: Twins, seed: int) -> None:
    """The next one is whole again; what had been sent may have been executed."""
    async with running_link(stores, seed) as link:
        async with connect(link.port) as client:
            await client.call("PING")
            assert link.cut() == 1
            await client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 100)
            received = await client.receive_until_closed()
        assert len(received) < 100 * len(b":100\r\n")
        async with connect(link.port) as client:
            assert await client.call("PING") == b"+PONG\r\n"
            assert 0 <= int(await twins.primary.call("GET", "n") or 0) <= 100


async def test_cuts_fall_before_and_after_execution(stores: Stores, twins: Twins) -> None:
    """Over many of them: sometimes the store has executed what nobody heard of, sometimes not all of it."""
    executed = []
    async with running_link(stores) as link:
        for number in range(20):
            async with connect(link.port) as client:
                await client.call("PING")
                link.cut()
                await client.send(b"*2\r\n$4\r\nINCR\r\n$2\r\nn%d\r\n" % (number % 10) * 10)
                await client.receive_until_closed()
            executed.append(int(await twins.primary.call("GETDEL", f"n{number % 10}") or 0))

    assert max(executed) == 10
    assert min(executed) < 10


async def test_delay(stores: Stores, twins: Twins) -> None:
    """Replies come later, and all of them."""
    async with running_link(stores) as link, connect(link.port) as client:
        link.behave(Behaviour(delay_seconds=0.2))
        started = trio.current_time()
        await talk(client, ("PING",))
        assert trio.current_time() - started >= 0.2
        link.behave()
        assert await client.call("PING") == b"+PONG\r\n"


async def test_silence_ends(stores: Stores, twins: Twins) -> None:
    """Nothing comes meanwhile; afterwards everything does."""
    async with running_link(stores) as link, connect(link.port) as client:
        link.behave(Behaviour(is_silent=True))
        with trio.move_on_after(0.2) as scope:
            await client.call("INCR", "n")
        assert scope.cancelled_caught
        assert await twins.primary.call("GET", "n") is None
        link.behave()
        assert await client.receive(1) == [b":1\r\n"]


async def test_closing(stores: Stores, twins: Twins) -> None:
    """Connections end, and new ones do at once."""
    async with running_link(stores) as link:
        async with connect(link.port) as client:
            await client.call("PING")
            link.behave(Behaviour(is_closed=True))
            assert await client.receive_until_closed() == b""
        async with connect(link.port) as client:
            assert await client.receive_until_closed() == b""


async def test_garbage(stores: Stores, twins: Twins) -> None:
    """What comes is not what the store said."""
    async with running_link(stores) as link, connect(link.port) as client:
        link.behave(Behaviour(garbles=True))
        await client.send(b"*1\r\n$4\r\nPING\r\n")
        with trio.fail_after(5):
            assert not bytes(await client.stream.receive_some()).startswith(b"+PONG")


_SET: Args = ("SET", "k", "v")


@pytest.mark.parametrize(
    ("name", "commands", "expected"),
    [
        ("busy", [("GET", "k"), _SET], [b"-BUSY", b"-BUSY"]),
        ("loading", [("GET", "k"), ("CLIENT", "ID"), _SET], [b"-LOADING", b":", b"-LOADING"]),
        (
            "oom",
            [("GET", "k"), _SET, ("DEL", "k"), ("EVAL", "return 1", 0)],
            [b"$-1", b"-OOM", b":0", b"-OOM"],
        ),
        ("readonly", [("GET", "k"), _SET, ("DEL", "k")], [b"$-1", b"-READONLY", b"-READONLY"]),
        (
            "readonly",
            [("MULTI",), ("GET", "k"), _SET, ("EXEC",), ("GET", "k")],
            [b"+OK", b"+QUEUED", b"-READONLY", b"-EXECABORT", b"$-1"],
        ),
        ("oom", [("MULTI",), ("GET", "k"), ("EXEC",), _SET], [b"+OK", b"+QUEUED", b"*1", b"-OOM"]),
        ("oom", [("MULTI",), _SET, ("DISCARD",), ("PING",)], [b"+OK", b"-OOM", b"+OK", b"+PONG"]),
    ],
)
async def test_refusals(
    stores: Stores, twins: Twins, name: str, commands: Sequence[Args], expected: Sequence[bytes]
) -> None:
    """As Redis does it: only what cannot be done is refused, and a transaction fails as a whole."""
    async with running_link(stores) as link, connect(link.port) as client:
        link.behave(REFUSALS[name])
        replies = await client.pipeline(commands)
        assert await twins.primary.call("EXISTS", "k") == 0
        link.behave()
        assert await client.call(*_SET) == b"+OK\r\n"

    assert [reply[: len(start)] for reply, start in zip(replies, expected, strict=True)] == expected


async def test_a_refusal_does_not_overtake_replies(stores: Stores, twins: Twins) -> None:
    """What was asked before is answered first."""
    async with running_link(stores) as link, connect(link.port) as client:
        link.behave(Behaviour(delay_seconds=0.1))
        await client.send(b"*1\r\n$4\r\nPING\r\n")
        await trio.sleep(0.02)
        link.behave(REFUSALS["busy"])
        await client.send(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
        replies = await client.receive(2)

    assert replies[0] == b"+PONG\r\n"
    assert replies[1].startswith(b"-BUSY")


async def test_a_store_that_is_away_closes_the_connection() -> None:
    """As a refused connection would."""
    link = Link("127.0.0.1", 1, random.Random(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        async with connect(link.port) as client:
            assert await client.receive_until_closed() == b""
        nursery.cancel_scope.cancel()
