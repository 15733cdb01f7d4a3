"""The kill switch where batches are transactions, and slots for them are shared."""

from __future__ import annotations

import pytest

from tests.e2e.elastickv.test_writes import mirroring, unequal
from tests.e2e.test_repair import wait_replies
from tests.fakes.elastickv import Cluster
from tests.support.proxy import wait_until
from tests.support.servers import Pair
from tests.support.workload import under_load

pytestmark = pytest.mark.e2e


async def test_kill_switch_and_back_while_transactions_are_in_flight(pair: Pair, elastickv: Cluster) -> None:
    """Nothing is sent while it is paused, no client sees an error, and the stores are equal afterwards."""
    async with mirroring(pair, elastickv, secondary_write_concurrency=4) as (proxy, _):
        stream = proxy.server.writer.stream
        assert stream is not None
        async with under_load(proxy.port) as load:
            for _ in range(3):
                await wait_replies(load, 300)
                stream.pause()
                await wait_until(lambda: proxy.metrics.total_ledger().in_flight == 0)
                ledger = proxy.metrics.total_ledger()
                await wait_replies(load, 300)
                now = proxy.metrics.total_ledger()
                assert (ledger.applied, ledger.failed) == (now.applied, now.failed)
                stream.resume()
        assert not load.errors
        await proxy.wait_repaired()
    assert unequal(pair, elastickv) == []
