"""WATCH … EXEC: on a connection of the client's own, in the order of the lane."""

from __future__ import annotations

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.net.lane import LaneState
from tests.support.client import Client, connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents, open_store

pytestmark = pytest.mark.e2e


async def test_exec_fails_if_a_watched_key_was_written(pair: Pair) -> None:
    """Nil, no effect, nothing mirrored; the next EXEC, which watches nothing, succeeds."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        watched = await client.pipeline([("SET", "k", 1), ("WATCH", "k"), ("GET", "k")])
        await other.call("SET", "k", 2)
        failed = await client.pipeline([("MULTI",), ("SET", "k", 3), ("EXEC",)])
        value = await client.call("GET", "k")
        succeeded = await client.pipeline([("MULTI",), ("SET", "k", 4), ("EXEC",)])
        await proxy.wait_drained()

    assert watched == [b"+OK\r\n", b"+OK\r\n", b"$1\r\n1\r\n"]
    assert failed == [b"+OK\r\n", b"+QUEUED\r\n", b"*-1\r\n"]
    assert (value, succeeded[-1]) == (b"$1\r\n2\r\n", b"*1\r\n+OK\r\n")
    assert contents(pair.primary) == contents(pair.secondary) == {b"k": (b"string", b"4")}


@pytest.mark.parametrize("end", ["UNWATCH", "DISCARD", "RESET", "EXEC"])
async def test_watch_ends(pair: Pair, end: str) -> None:
    """What ends a WATCH lets a later EXEC succeed, on whatever connection."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await client.call("WATCH", "k")
        if end in ("DISCARD", "EXEC"):
            await client.call("MULTI")
        await client.call(end)
        await client.call("WATCH", "unrelated")
        await other.call("SET", "k", 2)
        replies = await client.pipeline([("MULTI",), ("INCR", "n"), ("EXEC",)])

    assert replies[-1] == b"*1\r\n:1\r\n"


async def test_connection_for_watching_is_used_again(pair: Pair) -> None:
    """A hundred optimistic transactions of one client need one connection beside the lane."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        for _ in range(100):
            await client.pipeline([("WATCH", "n"), ("MULTI",), ("INCR", "n"), ("EXEC",)])
        opened = proxy.metrics.backends["redis"].pool.events["opened"]
        value = await client.call("GET", "n")

    assert (value, opened) == (b"$3\r\n100\r\n", 2)


async def count_up(port: int, times: int) -> None:
    """Add to a counter with optimistic locking; try again when somebody else was faster."""
    async with connect(port) as client:
        for _ in range(times):
            while not await try_to_add(client):
                pass


async def try_to_add(client: Client) -> bool:
    """Add one, unless somebody else writes meanwhile."""
    await client.call("WATCH", "counter")
    value = await client.call("GET", "counter")
    number = 0 if value == b"$-1\r\n" else int(value.split()[1])
    replies = await client.pipeline([("MULTI",), ("SET", "counter", number + 1), ("EXEC",)])
    return replies[-1] != b"*-1\r\n"


async def test_optimistic_counter_is_exact(pair: Pair) -> None:
    """Twenty clients that add with WATCH lose nothing, and both stores agree although others write beside."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(count_up, proxy.port, 10)
        await proxy.wait_drained()
        divergences = proxy.metrics.divergences

    assert contents(pair.primary) == contents(pair.secondary) == {b"counter": (b"string", b"200")}
    assert not divergences


async def test_watched_transaction_keeps_the_order_of_a_key(pair: Pair) -> None:
    """Appends on the lane and in watched transactions reach the secondary in the primary's order."""

    async def append(port: int, word: str) -> None:
        async with connect(port) as client:
            for number in range(100):
                line = ("RPUSH", "list", f"{word}{number}")
                if word.startswith("watching"):
                    await client.pipeline([("WATCH", "else"), ("MULTI",), line, ("EXEC",)])
                else:
                    await client.pipeline([line, line])

    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(append, proxy.port, f"watching{number}-")
                    nursery.start_soon(append, proxy.port, f"on the lane{number}-")
        await proxy.wait_drained()

    assert contents(pair.primary) == contents(pair.secondary)


async def test_transaction_with_what_concerns_the_connection(pair: Pair) -> None:
    """Names, ids and PING inside a transaction are answered in place, and take effect with EXEC."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [
                ("MULTI",), ("CLIENT", "SETNAME", "me"), ("SET", "k", 1), ("CLIENT", "GETNAME"), ("PING",),
                ("ECHO", "x"), ("UNWATCH",), ("EXEC",), ("CLIENT", "GETNAME"),
            ]
        )  # fmt: skip

    assert replies[-2:] == [
        b"*6\r\n+OK\r\n+OK\r\n$2\r\nme\r\n+PONG\r\n$1\r\nx\r\n+OK\r\n", b"$2\r\nme\r\n",
    ]  # fmt: skip


async def test_lost_watch_fails_the_transaction(pair: Pair) -> None:
    """If the watching connection breaks, nobody knows what was written meanwhile: EXEC answers nil."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("WATCH", "a")
        with open_store(pair.primary) as store:
            store.client_kill_filter(_type="normal", skipme=True)
        again = await client.call("WATCH", "b")
        replies = await client.pipeline([("MULTI",), ("SET", "k", 1), ("EXEC",)])
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        later = await client.pipeline([("MULTI",), ("SET", "k", 2), ("EXEC",)])

    assert again.startswith(b"-ERR dualkv lost its connection")
    assert replies[-1] == b"*-1\r\n"
    assert later[-1] == b"*1\r\n+OK\r\n"
