"""A secondary that is slower than the writers: their keys are copied, each once, at its pace."""

from __future__ import annotations

import random
from typing import Final

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from dualkv.resp.encode import OK
from tests.support.client import connect
from tests.support.limited import limited_store
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.e2e

_WRITES_PER_SECOND: Final = 1500
_KEYS: Final = 3000
_WRITES: Final = 15_000
_CLIENTS: Final = 10
_MAX_SHARE: Final = 1.3
"""Of the time that one copy of each key takes."""


async def _burst(port: int, number: int) -> None:
    rng = random.Random(number)
    async with connect(port) as client:
        for _ in range(_WRITES // _CLIENTS // 50):
            commands = [("SET", f"key:{rng.randrange(_KEYS)}", rng.randrange(10**9)) for _ in range(50)]
            assert set(await client.pipeline(commands)) == {OK}


async def test_burst_is_coalesced_into_one_copy_of_each_key(pair: Pair) -> None:
    """Clients are not held up, nothing is dropped, the stores are equal as soon as copies can be there."""
    async with (
        limited_store(pair.secondary.port, _WRITES_PER_SECOND) as turnstile,
        running_proxy(
            pair.primary.address,
            f"127.0.0.1:{turnstile.port}",
            ProxyMode.DUAL_WRITE,
            secondary_write_queue_size=600,
        ) as proxy,
    ):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(_CLIENTS):
                nursery.start_soon(_burst, proxy.port, number)
        burst_seconds = trio.current_time() - began
        await wait_until(lambda: proxy.metrics.dirty.marked[DirtyReason.OVERLOAD] > _KEYS // 4)
        await proxy.wait_drained()
        seconds = trio.current_time() - began
        ledger = proxy.metrics.total_ledger()

    assert contents(pair.primary) == contents(pair.secondary)
    assert ledger.dropped.total() == 0
    assert burst_seconds < 0.5 * _WRITES / _WRITES_PER_SECOND
    assert seconds < _MAX_SHARE * _KEYS / _WRITES_PER_SECOND + burst_seconds
