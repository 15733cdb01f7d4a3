"""The secondary goes through the states of the primary: no write overtakes another one of its key."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from dualkv.config import ProxyMode
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.support.workload import run_clients

pytestmark = pytest.mark.e2e

_ROOM: dict[str, Any] = {"secondary_write_queue_size": 100_000, "secondary_script_queue_size": 100_000}
"""Enough for everything: order can be judged only if nothing is dropped."""


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("batches", [(1,), (1, 5, 20)], ids=["one by one", "pipelined"])
async def test_both_stores_end_equal_after_writes_that_do_not_commute(
    pair: Pair, shards: int, batches: tuple[int, ...]
) -> None:
    """50 clients on 10 keys, commands over one and several keys: the same data and types on both sides."""
    async with running_proxy(
        pair.primary.address,
        pair.secondary.address,
        ProxyMode.DUAL_WRITE,
        secondary_write_concurrency=shards,
        **_ROOM,
    ) as proxy:
        await run_clients(proxy.port, clients=50, commands=200, batch_sizes=batches)
        await proxy.wait_drained()
        ledger = proxy.metrics.total_ledger()

    assert (ledger.dropped.total(), ledger.failed) == (0, 0)
    assert ledger.applied > 5000
    primary = contents(pair.primary)
    assert len({kind for kind, _ in primary.values()}) == 5
    assert primary == contents(pair.secondary)


async def test_two_proxies_of_one_client_each_keep_their_own_order(pair: Pair) -> None:
    """Two proxies between the same stores do not disturb each other on keys of their own."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as one,
        running_proxy(pair.primary.address, pair.secondary.address) as other,
        connect(one.port) as first,
        connect(other.port) as second,
    ):
        async with trio.open_nursery() as nursery:
            for client, key in ((first, "a"), (second, "b")):
                commands = [("APPEND", key, number) for number in range(1000)]
                nursery.start_soon(client.pipeline, commands)
        await one.wait_drained()
        await other.wait_drained()

    assert contents(pair.primary) == contents(pair.secondary)
