"""Two fresh servers with dualkv between, which must be equal at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import trio

from dualkv.core.ledger import DropReason, Queue
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents

__all__ = ["run_asyncio", "run_blocking", "stage"]

WORKLOAD_SECONDS = 60.0


@asynccontextmanager
async def stage(pair: Pair, **settings: Any) -> AsyncIterator[Proxy]:
    """Run dualkv in ``dual-write-shadow`` for the block; afterwards the stores are equal."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **settings) as proxy:
        with trio.fail_after(WORKLOAD_SECONDS):
            yield proxy
            await proxy.wait_drained()
        assert not proxy.metrics.divergences
        assert proxy.metrics.total_ledger().failed == 0
        # Of a key that is just being copied, since a blocking command took something, no read is compared.
        assert set(proxy.metrics.total_ledger().dropped) <= {DropReason.DIRTY_KEY}
        assert proxy.metrics.ledger(Queue.WRITE).dropped.total() == 0
    assert contents(pair.primary) == contents(pair.secondary)


async def run_blocking(workload: Callable[[int], None], port: int) -> None:
    """Run a workload of a client that blocks, in a thread."""
    await trio.to_thread.run_sync(workload, port)


async def run_asyncio(workload: Callable[[int], Coroutine[Any, Any, None]], port: int) -> None:
    """Run a workload of an asyncio client, in a thread with a loop of its own."""
    await trio.to_thread.run_sync(lambda: asyncio.run(workload(port)))
