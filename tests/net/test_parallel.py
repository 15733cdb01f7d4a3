"""Many shards towards a store that needs its time for each write, and does many at once."""

from __future__ import annotations

import random
from typing import Any

import trio

from tests.net.streaming import key_of_shard, stream_to
from tests.support.proxy import wait_until
from tests.support.slow_store import SlowStore, slow_store

SECONDS = 0.02
"""For each command: so much that the machine's own pace does not matter."""
SHARDS = 8


async def rate_of(share: float, keys: int = 1000, count: int = 800) -> tuple[float, SlowStore]:
    """Return how many commands a second are executed while enough are waiting, as a share of the ideal.

    Args:
        share: How many of them are over two keys, 0 to 1.
        keys: How many keys there are.
        count: How many commands.
    """
    chance = random.Random(1)
    settings: dict[str, Any] = {"write_concurrency": SHARDS, "write_queue_size": 8192}
    async with slow_store(SECONDS) as store, stream_to(store, timeout_seconds=120.0, **settings) as bench:
        await wait_until(lambda: bench.stream.is_connected)
        began = trio.current_time()
        offered = 0
        while offered < count:
            if bench.ledger().queued < 32 * SHARDS:
                bench.offer(*(_line(chance, share, keys) for _ in range(16)))
                offered += 16
            await trio.sleep(0.001)
        rate = len(store.log) / (trio.current_time() - began)
        await bench.wait_settled()
        assert len(store.log) == bench.ledger().applied == offered
    return rate * SECONDS / SHARDS, store


def _line(chance: random.Random, share: float, keys: int) -> str:
    one, other = chance.randrange(keys), chance.randrange(keys)
    if chance.random() < share:
        return f"MSET key{one} {chance.random()} key{other} {chance.random()}"
    return f"SET key{one} {chance.random()}"


async def test_each_shard_keeps_the_store_busy() -> None:
    """At least 0.8 x shards / the time of a write are executed a second."""
    share, _ = await rate_of(0.0)

    assert share > 0.8


async def test_commands_over_two_keys_do_not_collapse_it() -> None:
    """With a tenth of them, the pace stays what it was: the shards go on while they wait for each other."""
    share, _ = await rate_of(0.1)

    assert share > 0.75


async def test_lonely_shard_does_not_wait_for_the_busy_one() -> None:
    """A rendezvous in a shard that has much to do holds back its own keys elsewhere, and nothing more."""
    async with slow_store(SECONDS) as store, stream_to(store, write_concurrency=2) as bench:
        busy, lonely, other = key_of_shard(0, 2), key_of_shard(1, 2), key_of_shard(1, 2, "other")
        bench.offer(*(f"SET {busy} {number}" for number in range(20)))
        bench.offer(f"MSET {busy} last {lonely} last", f"SET {lonely} 1", f"SET {other} 1")
        await bench.wait_settled()

        order = [b" ".join(args).decode() for args in store.log]
        assert order.index(f"SET {other} 1") < 5
        assert order[-2:] == [f"MSET {busy} last {lonely} last", f"SET {lonely} 1"]
