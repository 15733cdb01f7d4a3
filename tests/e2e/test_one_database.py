"""Stores whose SELECT separates nothing: a canary finds out, and one database is mirrored, not a mixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from dualkv.config import ProxyMode
from dualkv.core.dialect import canary, is_one_database
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
        assert proxy.server.writer.translator.not_holdable["SELECT"] == 5

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
        resync = proxy.server.writer.resync
        assert resync is not None
        resync.request("test")
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


async def test_select_changes_nothing_while_elastickv_answers(pair: Pair, elastickv: Cluster) -> None:
    """Clients of all numbers share its keys, and Redis gets them in the one database that is mirrored."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await client.call("SET", "n", 1)
        assert await other.pipeline([("SELECT", 3), ("INCR", "n"), ("SELECT", -1), ("INCR", "n")]) == [
            b"+OK\r\n",
            b":2\r\n",
            b"-ERR DB index is out of range\r\n",
            b":3\r\n",
        ]
        await proxy.wait_repaired()
        assert contents(pair.primary) == contents(elastickv.server)
        with redis.Redis(port=pair.primary.port) as store:
            assert set(store.info("keyspace")) == {"db0"}
