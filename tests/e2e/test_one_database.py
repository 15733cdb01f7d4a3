"""Stores whose SELECT separates nothing: a canary finds out, and one database is mirrored, not a mixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from dualkv.config import ProxyMode
from dualkv.core.dialect import canary, is_one_database
from dualkv.resp import encode
from tests.fakes.elastickv import Cluster
from tests.fakes.one_database import one_database
from tests.support.client import connect
from tests.support.elastickv import elastickv, elastickv_store
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents

__all__ = ["elastickv", "elastickv_store"]

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def mirroring(primary: str, secondary: str, **settings: Any) -> AsyncIterator[Proxy]:
    """Run dualkv for the block, which begins when it is known what the secondary is."""
    async with running_proxy(primary, secondary, ProxyMode.DUAL_WRITE, **settings) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: stream.is_connected and stream.dialect is not None)
        yield proxy


async def test_two_databases_are_not_mixed_in_a_store_that_ignores_select(pair: Pair) -> None:
    """Writes, flushes and exchanges of others are counted and left out; the configured one is complete."""
    async with (
        one_database(pair.secondary.port) as address,
        mirroring(pair.primary.address, address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", "k", "home"), ("SET", "only home", 1), ("RPUSH", "l", 1)])
        replies = await client.pipeline(
            [
                ("SELECT", 1), ("SET", "k", "other"), ("SET", "only other", 1), ("MULTI",), ("SET", "k", 2),
                ("EXEC",), ("FLUSHDB",), ("SET", "k", "again"), ("SELECT", 0), ("RPUSH", "l", 2),
            ]
        )  # fmt: skip
        assert not any(reply.startswith(b"-") for reply in replies)
        await proxy.wait_repaired()
        assert contents(pair.secondary) == contents(pair.primary)
        assert set(contents(pair.secondary)) == {b"k", b"only home", b"l"}
        assert proxy.metrics.not_holdable["SELECT"] == 5

        await client.call("SWAPDB", 0, 1)
        await proxy.wait_resynced()
        await proxy.wait_repaired()
        assert contents(pair.secondary) == contents(pair.primary)
        assert set(contents(pair.secondary)) == {b"k"}


async def test_a_resync_lists_the_mirrored_database_only(pair: Pair) -> None:
    """What the store shows under another number are the same keys: none is taken for a surplus one."""
    async with (
        one_database(pair.secondary.port) as address,
        mirroring(pair.primary.address, address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", "k", 1), ("SELECT", 1), ("SET", "other", 1), ("SELECT", 0)])
        with redis.Redis(port=pair.secondary.port) as store:
            store.set("surplus", 1)
        assert proxy.server.writer.mirroring is not None
        proxy.server.writer.mirroring.resync.request("test")
        await proxy.wait_resynced()
        await proxy.wait_repaired()
        assert contents(pair.secondary) == contents(pair.primary)
        assert proxy.metrics.resync.keys_removed == 1


async def test_a_store_that_separates_databases_is_found_to_do_so(pair: Pair) -> None:
    """The canary is gone at once, from either database, and no key takes its place."""
    with redis.Redis(port=pair.secondary.port) as store:
        seen = store.info("commandstats").get("cmdstat_set", {}).get("calls", 0)
        async with mirroring(pair.primary.address, pair.secondary.address) as proxy:
            stream = proxy.server.writer.stream
            assert stream is not None
            assert stream.dialect is not None
            assert stream.dialect.has_databases
        assert store.info("commandstats")["cmdstat_set"]["calls"] == seen + 1
        assert not store.info("keyspace")


async def test_a_canary_finds_out_what_elastickv_is(elastickv: Cluster) -> None:
    """What is known of the product holds for this build; it leaves nothing behind, and does no harm."""
    async with connect(elastickv.nodes[0].port) as client:
        replies = await client.pipeline(list(canary(0, b"token")))
    assert is_one_database(replies)
    assert contents(elastickv.server) == {}
    assert elastickv.harmful == 0


NOT_HERE = (
    b"-ERR dualkv: all databases of the store that answers (ElasticKV) are one, and it holds the keys of "
    b"database 0: those of database 3 are not here (SELECT 0)\r\n"
)


@pytest.mark.parametrize("mode", [ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY])
async def test_no_other_database_can_be_selected_while_elastickv_answers(
    pair: Pair, elastickv: Cluster, mode: ProxyMode
) -> None:
    """It would say OK, and write among the keys of the one that is mirrored; the client stays where it is."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], mode) as proxy,
        connect(proxy.port) as client,
    ):
        assert await client.pipeline(
            [
                ("SET", "n", 1), ("SELECT", 3), ("INCR", "n"), ("SELECT", -1), ("SELECT", "x"), ("SELECT", 0),
                ("INCR", "n"), ("MULTI",), ("SELECT", 3), ("INCR", "n"), ("EXEC",),
            ]
        ) == [
            b"+OK\r\n", NOT_HERE, b":2\r\n", b"-ERR DB index is out of range\r\n",
            b"-ERR value is not an integer or out of range\r\n", b"+OK\r\n",
            b":3\r\n", b"+OK\r\n", NOT_HERE, b"+QUEUED\r\n", b"*1\r\n:4\r\n",
        ]  # fmt: skip
        if mode is ProxyMode.ELASTICKV_PRIMARY:
            await proxy.wait_repaired()
            assert contents(pair.primary) == contents(elastickv.server)


async def test_both_numbers_of_a_paired_database_mean_it(pair: Pair, elastickv: Cluster) -> None:
    """Clients go on saying the number that they know from Redis."""
    async with (
        running_proxy(
            pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_PRIMARY,
            primary_db=3, secondary_db=0,
        ) as proxy,
        connect(proxy.port) as client,
    ):  # fmt: skip
        replies = await client.pipeline(
            [("SELECT", 3), ("INCR", "n"), ("SELECT", 0), ("INCR", "n"), ("SELECT", 1)]
        )
        assert replies[:4] == [b"+OK\r\n", b":1\r\n", b"+OK\r\n", b":2\r\n"]
        assert b"those of database 1 are not here (SELECT 3)" in replies[4]


async def test_who_sits_in_another_database_does_not_write_into_the_mirrored_one(
    pair: Pair, elastickv: Cluster
) -> None:
    """The mode changes under clients that have selected one, queue and wait; on the way back they go on."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as home,
        connect(proxy.port) as client,
        connect(proxy.port) as queuing,
        connect(proxy.port) as waiting,
    ):
        await home.call("SET", "k", "home")
        for one in (client, queuing, waiting):
            assert await one.call("SELECT", 3) == b"+OK\r\n"
        await client.call("SET", "k", "other")
        await queuing.pipeline([("MULTI",), ("SET", "k", "queued")])
        await waiting.send(encode.command("BLPOP", "l", 0))
        await wait_until(lambda: any(one.state.is_blocked for one in proxy.server.writer.clients.values()))
        await proxy.wait_repaired()
        await proxy.server.modes.change_mode(ProxyMode.ELASTICKV_PRIMARY, force=True)

        assert await client.pipeline([("GET", "k"), ("SET", "k", 1), ("PING",), ("WATCH", "k")]) == [
            NOT_HERE, NOT_HERE, b"+PONG\r\n", NOT_HERE,
        ]  # fmt: skip
        assert (await queuing.call("EXEC")).startswith(b"-EXECABORT Transaction discarded because of: ")
        assert await waiting.receive(1) == [NOT_HERE]
        assert await waiting.pipeline([("SELECT", 0), ("GET", "k")]) == [b"+OK\r\n", b"$4\r\nhome\r\n"]
        assert await queuing.pipeline([("RESET",), ("GET", "k")]) == [b"+RESET\r\n", b"$4\r\nhome\r\n"]
        await proxy.wait_repaired()
        await proxy.server.modes.change_mode(ProxyMode.DUAL_WRITE, force=True)

        assert await client.call("GET", "k") == b"$5\r\nother\r\n"
        assert await home.call("GET", "k") == b"$4\r\nhome\r\n"
        await proxy.wait_repaired()
        assert contents(elastickv.server) == contents(pair.primary) == {b"k": (b"string", b"home")}
        assert elastickv.harmful == 0
