"""A resync while ElasticKV is the primary, which cannot be asked for its keys."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode
from tests.fakes.elastickv import Cluster
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents, open_store
from tests.support.wire import Wire

pytestmark = pytest.mark.e2e


async def test_the_keys_that_the_other_store_has_are_made_equal(pair: Pair, elastickv: Cluster) -> None:
    """They are removed or copied; other databases are left alone, and ElasticKV is not harmed by it."""
    with open_store(pair.primary) as follower, open_store(elastickv.server) as store:
        follower.mset({"old": 1, "stale": 1})
        store.mset({"stale": 2, "unknown": 2})
    with Wire(pair.primary.port) as wire:
        wire.ask("SELECT", 1)
        wire.ask("SET", "other", 1)
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "new", "3")
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        mirroring.resync.request("test")
        await proxy.wait_resynced()
        await proxy.wait_repaired()

    assert elastickv.harmful == 0
    found = {key: value for key, (_, value) in contents(pair.primary).items()}
    assert found == {b"stale": b"2", b"new": b"3"}
    with Wire(pair.primary.port) as wire:
        wire.ask("SELECT", 1)
        assert wire.ask("GET", "other") == b"1"


async def test_it_ends_though_connections_are_lost_faster_than_all_keys_are_read(
    pair: Pair, elastickv: Cluster
) -> None:
    """It goes on where it was: of 300 keys in one go, one in 10,000 attempts would come through."""
    keys = {f"k{number}".encode(): b"%d" % number for number in range(300)}
    with open_store(pair.primary) as follower, open_store(elastickv.server) as store:
        for key, value in keys.items():
            follower.set(key, "stale")
            store.set(key, value)
    async with running_proxy(
        pair.primary.address, ",".join(elastickv.addresses), ProxyMode.ELASTICKV_PRIMARY
    ) as proxy:
        fault = elastickv.faults.cut(probability=0.03)
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        mirroring.resync.request("test")
        await proxy.wait_resynced()
        elastickv.faults.clear()
        await proxy.wait_repaired()

    assert fault.hits > 0
    assert {key: value for key, (_, value) in contents(pair.primary).items()} == keys
