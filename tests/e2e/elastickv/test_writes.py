"""What plain commands of ElasticKV cannot say reaches it all the same: expiry, parts of values, databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from dualkv.resp.replies import is_error
from tests.fakes.elastickv import PROMPT, Cluster, Pace
from tests.support.client import Args, Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.wire import Wire

pytestmark = pytest.mark.e2e

EACH_TYPE: tuple[Args, ...] = (
    ("SET", "string", "v" * 3000),
    ("RPUSH", "list", *range(1200)),
    ("SADD", "set", *range(1200)),
    ("HSET", "hash", *range(2400)),
    ("ZADD", "zset", *[word for number in range(1200) for word in (f"{number}.25", f"m{number}")]),
    ("XADD", "stream", "1-1", "f", "v"),
    ("XADD", "stream", "2-1", "f", "v", "g", ""),
)


@asynccontextmanager
async def mirroring(pair: Pair, cluster: Cluster, **settings: Any) -> AsyncIterator[tuple[Proxy, Client]]:
    """Run dualkv from a server to the cluster, with a client, for the block."""
    async with (
        running_proxy(pair.primary.address, cluster.addresses[0], ProxyMode.DUAL_WRITE, **settings) as proxy,
        connect(proxy.port) as client,
    ):
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: stream.dialect is not None)
        yield proxy, client


async def send(client: Client, proxy: Proxy, commands: Sequence[Args]) -> None:
    """Execute commands without errors, and wait until they have arrived."""
    replies = await client.pipeline(commands)
    assert [(one, reply) for one, reply in zip(commands, replies, strict=True) if is_error(reply)] == []
    await proxy.wait_drained()


def unequal(pair: Pair, cluster: Cluster) -> list[str]:
    """Return how the states of the two stores differ, but for counters of streams."""
    expected, actual = state_of(pair.primary.port), state_of(cluster.server.port)
    for aspects in [*expected.values(), *actual.values()]:
        aspects.pop("entries-added", None)
        aspects.pop("max-deleted-entry-id", None)
    assert expected
    return differences(expected, actual)


def assert_clean(proxy: Proxy) -> None:
    """Nothing differed, failed, was dropped, or cannot be held; keys are copied when first written to."""
    marked = {reason for reason, count in proxy.metrics.dirty.marked.items() if count}
    ledger = proxy.metrics.total_ledger()
    assert (marked - {DirtyReason.NOT_REPLAYABLE}, ledger.failed, ledger.dropped.total()) == (set(), 0, 0)
    assert not proxy.metrics.not_holdable


async def test_an_expiry_is_taken_from_keys_of_each_type(pair: Pair, elastickv: Cluster) -> None:
    """PERSIST is a script that writes the key again, whole, with nothing lost of it."""
    async with mirroring(pair, elastickv) as (proxy, client):
        keys = dict.fromkeys(str(one[1]) for one in EACH_TYPE)
        await send(client, proxy, [*EACH_TYPE, *[("EXPIRE", key, 100) for key in keys]])
        assert unequal(pair, elastickv) == []
        await send(client, proxy, [("PERSIST", key) for key in keys])
        assert unequal(pair, elastickv) == []
        with Wire(elastickv.server.port) as store:
            assert [store.ask("PTTL", key) for key in keys] == [-1] * len(keys)
        assert_clean(proxy)


async def test_an_expiry_survives_what_is_written_by_scripts(pair: Pair, elastickv: Cluster) -> None:
    """Values are written whole, streams are made again: the time that is left stays."""
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(
            client, proxy,
            [
                ("SET", "s", "abc", "EX", 100), ("APPEND", "s", "def"), ("SETRANGE", "s", 9, "\0x"),
                ("SETBIT", "s", 100, 1), ("SETBIT", "s", 1, 0), ("SET", "n", 5, "PX", 90_000),
                ("INCRBY", "n", 7), ("INCRBYFLOAT", "n", "0.5"), ("SET", "n2", 5),
                ("SET", "n2", 6, "KEEPTTL"), ("DECR", "n2"),
                ("RPUSH", "l", "a", "b", "c"), ("EXPIRE", "l", 80), ("LINSERT", "l", "BEFORE", "a", "first"),
                ("LINSERT", "l", "AFTER", "c", "last"), ("LINSERT", "l", "BEFORE", "b", "x"),
                ("LINSERT", "l", "AFTER", "b", "y"), ("LINSERT", "l", "AFTER", "none", "y"),
                *[("XADD", "x", f"{number}-1", "f", number) for number in range(1, 9)], ("EXPIRE", "x", 70),
                ("XDEL", "x", "3-1", "5-1"), ("XTRIM", "x", "MINID", "2-1"),
                ("XADD", "x", "MINID", 4, "9-1", "f", 9),
                ("XADD", "gone", "1-1", "f", 1), ("XDEL", "gone", "1-1"),
            ],
        )  # fmt: skip
        assert unequal(pair, elastickv) == []
        assert_clean(proxy)


async def test_an_expiry_does_not_depend_on_how_long_an_effect_has_waited(
    pair: Pair, elastickv: Cluster
) -> None:
    """What is left is counted when it is sent: behind slow writes no key lives longer."""
    async with mirroring(pair, elastickv, secondary_write_concurrency=1) as (proxy, client):
        await send(client, proxy, [("SET", "first", 1)])
        elastickv.pipeline.pace = Pace(transaction_seconds=0.6)
        await client.call("SET", "slow", 1)
        await wait_until(lambda: bool(elastickv.pipeline.committing))
        elastickv.pipeline.pace = PROMPT
        await client.pipeline(
            [("SET", "k", 1, "PX", 60_000), ("HSET", "h", "f", 1), ("PEXPIRE", "h", 60_000)]
        )
        await proxy.wait_drained()

        expected, actual = state_of(pair.primary.port), state_of(elastickv.server.port)
        assert differences(expected, actual, tolerance_ms=300) == []
        assert_clean(proxy)


async def test_transactions_arrive_whole(pair: Pair, elastickv: Cluster) -> None:
    """As one script, whatever they hold; an empty one, and one that pushes into what it has removed."""
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(
            client, proxy,
            [
                ("MULTI",), ("SET", "a", 1), ("INCR", "a"), ("APPEND", "a", "x"), ("EXPIRE", "a", 100),
                ("EXEC",), ("MULTI",), ("RPUSH", "l", 1, 2), ("LPOP", "l"), ("DEL", "l"), ("RPUSH", "l", 3),
                ("EXEC",), ("MULTI",), ("EXEC",), ("MULTI",), ("MSET", "x", 1, "y", 2), ("RENAME", "x", "z"),
                ("EXEC",),
            ],
        )  # fmt: skip
        assert unequal(pair, elastickv) == []
        assert elastickv.received["MULTI"] == 0
        assert elastickv.harmful == 0


async def test_only_the_configured_database_is_mirrored(pair: Pair, elastickv: Cluster) -> None:
    """All are one there: writes elsewhere are counted, never mixed in, and what reaches all still does."""
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(
            client, proxy,
            [
                ("SET", "k", "here"), ("SET", "moves", 1), ("SELECT", 3), ("SET", "k", "there"),
                ("INCR", "n"), ("SADD", "s", 1), ("SET", "comes", 1), ("MOVE", "comes", 0), ("MULTI",),
                ("SET", "k", "there too"), ("SELECT", 0), ("SET", "back", 1), ("EXEC",), ("MOVE", "moves", 5),
                ("COPY", "k", "away", "DB", 5), ("SELECT", 5), ("COPY", "moves", "copied", "DB", 0),
                ("FLUSHDB",),
            ],
        )  # fmt: skip
        await proxy.wait_repaired()
        assert unequal(pair, elastickv) == []
        with Wire(elastickv.server.port) as store:
            assert sorted(store.ask("KEYS", "*")) == [b"back", b"comes", b"copied", b"k"]
            assert store.ask("GET", "k") == b"here"
        assert set(proxy.metrics.not_holdable) == {"SELECT"}

        await send(client, proxy, [("FLUSHALL",), ("SELECT", 0), ("SET", "last", 1)])
        with Wire(elastickv.server.port) as store:
            assert store.ask("KEYS", "*") == [b"last"]
        assert elastickv.harmful == 0


async def test_databases_that_are_exchanged_are_copied_anew(pair: Pair, elastickv: Cluster) -> None:
    """What was in the mirrored one is not there any more; what is in it now is."""
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(client, proxy, [("SET", "old", 1), ("SELECT", 1), ("SET", "new", 1), ("SWAPDB", 0, 1)])
        await proxy.wait_repaired()
        with Wire(elastickv.server.port) as store:
            assert store.ask("KEYS", "*") == [b"new"]
        assert elastickv.harmful == 0


async def test_a_follower_is_as_good_as_the_leader(pair: Pair, elastickv: Cluster) -> None:
    """It says OK in another form, which is no difference."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[1], ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await send(client, proxy, [("SET", "k", 1), ("EVAL", "redis.call('SET', KEYS[1], 2)", 1, "k")])
        await proxy.wait_repaired()
        assert unequal(pair, elastickv) == []
        assert proxy.metrics.total_ledger().failed == 0


async def test_hyperloglogs_are_counted_by_their_own_commands(pair: Pair, elastickv: Cluster) -> None:
    """Elements arrive; what is made of several does not, and is counted."""
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(
            client, proxy,
            [("PFADD", "h", "a", "b"), ("EXPIRE", "h", 100), ("PFADD", "h", "c"), ("PFMERGE", "m", "h")],
        )  # fmt: skip
        with Wire(elastickv.server.port) as store:
            assert store.ask("SCARD", "h") == 3
            assert store.ask("PTTL", "h") > 0
            assert store.ask("EXISTS", "m") == 0
        assert dict(proxy.metrics.not_holdable) == {"PFMERGE": 1}


async def test_old_keys_are_copied_when_they_are_first_written(pair: Pair, elastickv: Cluster) -> None:
    """Of each type, big ones in pieces, with their expiry: whole, as they were before dualkv came."""
    many = range(12_000)
    with Wire(pair.primary.port) as store:
        store.call("HSET", "hash", *[word for number in many for word in (number, "v" * 60)])
        store.call("SADD", "set", *[f"{number}{'m' * 60}" for number in many])
        store.call(
            "ZADD", "zset", *[word for number in many for word in (f"{number / 8}", f"{number}{'m' * 60}")]
        )
        store.call("RPUSH", "list", *many)
        store.call("SET", "string", "v" * 2_000_000)
        for number in range(1200):
            store.send(("XADD", "stream", f"{number + 1}-1", "f", number))
        store.receive(1200)
        for key in ("hash", "set", "list", "stream"):
            store.call("EXPIRE", key, 1000)
    async with mirroring(pair, elastickv) as (proxy, client):
        await send(
            client, proxy,
            [
                ("HSET", "hash", "new", 1), ("SADD", "set", "new"), ("ZADD", "zset", 1, "new"),
                ("RPUSH", "list", "new"), ("APPEND", "string", "new"),
                ("XADD", "stream", "9999-1", "f", "new"),
            ],
        )  # fmt: skip
        await proxy.wait_repaired()
        assert unequal(pair, elastickv) == []
        assert proxy.metrics.total_ledger().failed == 0
        assert not proxy.metrics.not_holdable
        assert elastickv.harmful == 0
