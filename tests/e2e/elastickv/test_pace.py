"""Transactions of many effects: in order, with faults, and more writes than the store can take."""

from __future__ import annotations

import random

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from tests.fakes.elastickv import Cluster, Pace
from tests.fakes.elastickv.texts import BUSY, DEADLINE, INVALID_REQUEST
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.workload import run_clients

pytestmark = pytest.mark.e2e


def unequal(pair: Pair, cluster: Cluster) -> list[str]:
    """Return how the states of the two stores differ."""
    expected = state_of(pair.primary.port)
    assert expected
    return differences(expected, state_of(cluster.server.port))


async def wait_introduced(proxy: Proxy) -> None:
    """Wait until the secondary has said what it is."""
    stream = proxy.server.writer.stream
    assert stream is not None
    await wait_until(lambda: stream.dialect is not None and stream.is_connected)


@pytest.mark.parametrize("shards", [1, 4])
async def test_order_is_kept_in_transactions(pair: Pair, elastickv: Cluster, shards: int) -> None:
    """Whatever clients do to ten hot keys, several at once included: equal, in far fewer commits."""
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE,
        secondary_write_concurrency=shards, secondary_write_queue_size=8192,
    ) as proxy:  # fmt: skip
        await wait_introduced(proxy)
        await run_clients(proxy.port, 8, 240, [1, 8, 40])
        await proxy.wait_repaired()

        assert unequal(pair, elastickv) == []
        assert elastickv.harmful == 0
        assert set(proxy.metrics.dirty.marked) <= {DirtyReason.NOT_REPLAYABLE}
        assert elastickv.pipeline.committed < proxy.metrics.total_ledger().offered


@pytest.mark.parametrize("seed", range(3))
async def test_faults_end_in_equality(pair: Pair, elastickv: Cluster, seed: int) -> None:
    """Refusals are sent again, what was perhaps applied is copied: both stores end equal."""
    elastickv.faults.add(BUSY, probability=0.05)
    elastickv.faults.add(INVALID_REQUEST, commands={"EVAL", "EVALSHA"}, probability=0.05)
    elastickv.faults.cut(probability=0.02)
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE,
        secondary_write_concurrency=1 + seed, secondary_write_queue_size=8192,
    ) as proxy:  # fmt: skip
        await wait_introduced(proxy)
        await run_clients(proxy.port, 8, 160, [1, 8, 40])
        await proxy.wait_repaired()

        assert unequal(pair, elastickv) == []
        assert elastickv.harmful == 0


async def test_burst_becomes_copies_in_transactions(pair: Pair, elastickv: Cluster) -> None:
    """More writes than the store takes are coalesced; copies of many keys share a commit."""
    elastickv.pipeline.pace = Pace(commit_seconds=0.003, key_seconds=0.0011)
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE
    ) as proxy, connect(proxy.port) as client:  # fmt: skip
        await wait_introduced(proxy)
        chance = random.Random(1)
        for start in range(0, 8000, 100):
            await client.pipeline([("SET", f"k{chance.randrange(1500)}", start + n) for n in range(100)])
        written = trio.current_time()
        await proxy.wait_repaired()

        assert trio.current_time() - written < 1500 * 0.0011 * 2 + 2
        assert unequal(pair, elastickv) == []
        assert elastickv.pipeline.committed < 300
        assert proxy.metrics.total_ledger().dropped.total() == 0
        assert elastickv.harmful == 0


@pytest.mark.parametrize("is_applied", [True, False])
@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB"])
async def test_flush_that_may_not_have_been_applied_is_made_up_for(
    pair: Pair, elastickv: Cluster, flush: str, is_applied: bool
) -> None:
    """The keys of this store cannot be listed: it is flushed again, and everything is copied behind that."""
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE
    ) as proxy, connect(proxy.port) as client:  # fmt: skip
        await wait_introduced(proxy)
        await client.pipeline([("SET", f"old{number}", number) for number in range(50)])
        await proxy.wait_drained()
        elastickv.faults.add(DEADLINE, commands={"FLUSHALL", "FLUSHDB"}, count=1, is_applied=is_applied)
        await client.call(flush)
        await client.pipeline([("RPUSH", f"new{number}", number) for number in range(50)])
        await proxy.wait_repaired()

        assert unequal(pair, elastickv) == []
        assert elastickv.harmful == 0
