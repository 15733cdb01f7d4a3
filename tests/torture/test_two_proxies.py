"""Two dualkv in front of the same pair: each keeps its own order, and what differs is found and repaired."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio

from dualkv.torture.child import Child
from dualkv.torture.clients import Client, Tally
from dualkv.torture.compare import Comparison, compare_stores
from dualkv.torture.generate import Generator, choose_templates
from dualkv.torture.history import History
from dualkv.torture.stores import Store, Stores, open_store
from dualkv.torture.words import Memory
from tests.torture.conftest import Twins

pytestmark = pytest.mark.e2e

OPERATIONS = 4000
EQUAL_WITHIN_SECONDS = 30
READS: Mapping[str, Sequence[str | int]] = {
    "string": ("GET",), "list": ("LRANGE", 0, -1), "set": ("SMEMBERS",), "hash": ("HGETALL",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
}  # fmt: skip
COMMANDS = (
    "SET", "APPEND", "INCR", "SETRANGE", "LPUSH", "RPUSH", "LPOP", "LTRIM", "LSET", "HSET", "HDEL", "SADD",
    "SREM", "SPOP", "ZADD", "ZINCRBY", "ZREM", "DEL", "RENAME", "COPY",
)  # fmt: skip


async def write(children: list[Child], known: frozenset[str]) -> None:
    """Let clients of both proxies write to the same keys."""
    tally, memory, history = Tally(), Memory(), History(5)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            rng = random.Random(number)
            generator = Generator(
                rng, lambda: time.time_ns() // 1_000_000, memory, choose_templates(known, known, COMMANDS),
                watches=False, databases=1,
            )  # fmt: skip
            client = Client(
                number, children[number % 2].options, generator, rng, memory, tally, history,
                lambda: tally.operations >= OPERATIONS, lambda: 0.0, lambda: trio.current_time() - started,
            )  # fmt: skip
            nursery.start_soon(client.run)


async def read_all(through: Store, stores: Sequence[Store]) -> None:
    """Read every key of any store through dualkv, as applications do sooner or later."""
    kinds: dict[bytes, bytes] = {}
    for store in stores:
        keys = await store.call("KEYS", "*")
        kinds |= dict(zip(keys, await store.ask([("TYPE", key) for key in keys]), strict=True))
    for key, kind in kinds.items():
        if kind != b"none":
            name, *rest = READS[kind.decode()]
            await through.call(name, key, *rest)


async def test_what_two_proxies_do_to_one_another_is_repaired(
    stores: Stores, twins: Twins, tmp_path: Path
) -> None:
    """With repair and shadow reads, both stores are equal soon after the load has ended."""
    settings = {
        "mode": "dual-write-shadow", "primary": stores.primary.address, "secondary": stores.secondary.address,
    }  # fmt: skip
    (tmp_path / "other").mkdir()
    with Child(settings, tmp_path) as one, Child(settings, tmp_path / "other") as other:
        for child in (one, other):
            await child.start()
        await write([one, other], twins.primary.commands)
        deadline = trio.current_time() + EQUAL_WITHIN_SECONDS
        found: Comparison | None = None
        while found is None or not found.is_equal:
            assert trio.current_time() < deadline, found
            for child in (one, other):
                async with open_store(child.options) as through:
                    await read_all(through, [twins.secondary, twins.primary])
            found = await compare_stores(twins.primary, twins.secondary, 1, 1000, settle_seconds=1)
        assert one.faults() + other.faults() == []
