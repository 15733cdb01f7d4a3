"""Reads are compared at their exact position: no false alarm, and no difference missed."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.sentry import RecordingSentry
from tests.support.servers import Pair
from tests.support.stores import open_store
from tests.support.workload import KEYS

pytestmark = pytest.mark.e2e

_ROOM: dict[str, Any] = {
    "secondary_write_queue_size": 100_000,
    "shadow_queue_size": 200_000,
    "shadow_timeout_seconds": 60.0,
    "shadow_budget_age_seconds": 60.0,
}


def _read_or_write(rng: random.Random, number: int) -> Args:
    key = rng.choice(KEYS)
    choices: list[Args] = [
        ("GET", key),
        ("MGET", *KEYS[:5]),
        ("HGETALL", f"h:{key}"),
        ("LRANGE", f"l:{key}", 0, -1),
        ("SMEMBERS", f"s:{key}"),
        ("ZRANGE", f"z:{key}", 0, -1, "WITHSCORES"),
        ("EXISTS", key, f"h:{key}"),
        ("STRLEN", key),
    ]
    if number % 4:
        return rng.choice(choices)
    choices = [
        ("SET", key, number),
        ("DEL", key),
        ("HSET", f"h:{key}", number % 10, number),
        ("LPUSH", f"l:{key}", number),
        ("LTRIM", f"l:{key}", 0, 5),
        ("SADD", f"s:{key}", number % 20),
        ("SREM", f"s:{key}", number % 20),
        ("ZINCRBY", f"z:{key}", "0.1", number % 8),
    ]
    return rng.choice(choices)


async def _read_and_write(proxy: Proxy, clients: int, rounds: int) -> None:
    async def one(seed: int) -> None:
        rng = random.Random(seed)
        async with connect(proxy.port) as client:
            if seed % 2:
                await client.call("HELLO", 3)
            for start in range(0, rounds, 20):
                await client.pipeline([_read_or_write(rng, number) for number in range(start, start + 20)])

    async with trio.open_nursery() as nursery:
        for seed in range(clients):
            nursery.start_soon(one, seed)


@pytest.mark.parametrize(("shards", "reads"), [(1, 100_000), (4, 4_000)])
async def test_hot_keys_cause_no_false_divergence_and_real_ones_are_found(
    pair: Pair, shards: int, reads: int
) -> None:
    """Reads among a third as many writes to 10 keys: nothing; three values changed: these three."""
    sentry = RecordingSentry()
    async with running_proxy(
        pair.primary.address,
        pair.secondary.address,
        reporter=sentry.reporter,
        secondary_write_concurrency=shards,
        **_ROOM,
    ) as proxy:
        metrics = proxy.metrics
        await _read_and_write(proxy, clients=40, rounds=reads // 40 * 4 // 3 + 20)
        await proxy.wait_drained()

        assert metrics.shadow_matches >= reads
        assert metrics.divergences.total() == 0
        assert metrics.shadow_transient == 0
        assert metrics.shadow_inconclusive.total() == 0

        async with connect(proxy.port) as client:
            written: list[Args] = [("SET", f"value:{number}", number) for number in range(100)]
            await client.pipeline(written)
            await proxy.wait_drained()
            with open_store(pair.secondary) as store:
                store.set("value:17", "changed")
                store.delete("value:42")
                store.rpush("value:63x", "extra")
            await client.pipeline([("GET", f"value:{number}") for number in range(100)])
            await client.call("LRANGE", "value:63x", 0, -1)
            await wait_until(lambda: metrics.divergences.total() >= 3)
            await proxy.wait_drained()

    assert metrics.divergences.total() == 3
    assert sentry.divergences() == {
        ("value:17", "data_mismatch"),
        ("value:42", "migration_gap"),
        ("value:63x", "extra_data"),
    }


async def test_difference_that_heals_is_not_reported(pair: Pair) -> None:
    """A value that is right again when it is read again is counted as unconfirmed only."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "v")
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            store.set("k", "other")
            await client.call("GET", "k")
            await proxy.wait_drained()
            store.set("k", "v")
        await wait_until(lambda: proxy.metrics.shadow_transient == 1)

        assert proxy.metrics.divergences.total() == 0
