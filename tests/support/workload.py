"""Traffic for end-to-end tests: seeded, so that a failure can be repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from dualkv.resp.replies import is_error
from tests.support.client import Args, Client, connect

__all__ = ["Load", "in_order_matters", "run_clients", "under_load"]

KEYS = [f"key:{number}" for number in range(10)]
"""Few, so that clients meet on them all the time."""


def in_order_matters(rng: random.Random, client: int, number: int) -> Args:
    """Return a write whose outcome depends on what came before it: strings, lists, counters, several keys."""
    key, other = rng.sample(KEYS, 2)
    value = f"{client}-{number}"
    choices: list[Args] = [
        ("SET", key, value),
        ("APPEND", key, value),
        ("LPUSH", f"l:{key}", value),
        ("RPUSH", f"l:{key}", value),
        ("LSET", f"l:{key}", 0, value),
        ("LTRIM", f"l:{key}", 0, 20),
        ("INCR", f"n:{key}"),
        ("RENAME", key, other),
        ("RENAME", f"l:{key}", f"l:{other}"),
        ("MSET", key, value, other, value, f"n:{key}", number),
        ("DEL", key, f"l:{other}"),
        ("HSET", f"h:{key}", f"f{number % 5}", value),
        ("SMOVE", f"s:{key}", f"s:{other}", number % 7),
        ("SADD", f"s:{key}", number % 7),
        ("LMOVE", f"l:{key}", f"l:{other}", "LEFT", "RIGHT"),
        ("ZADD", f"z:{key}", number, f"m{number % 5}"),
        ("EVAL", "return redis.call('APPEND', KEYS[1], ARGV[1])", 1, key, value),
    ]
    return rng.choice(choices)


async def run_clients(port: int, clients: int, commands: int, batch_sizes: Sequence[int]) -> None:
    """Let *clients* send *commands* writes each, in pipelines of the given sizes, in turn by client."""

    async def one(client: int, connection: Client, batch: int) -> None:
        rng = random.Random(client)
        for start in range(0, commands, batch):
            await connection.pipeline(
                [in_order_matters(rng, client, number) for number in range(start, start + batch)]
            )

    async def connected(client: int) -> None:
        async with connect(port) as connection:
            await one(client, connection, batch_sizes[client % len(batch_sizes)])

    async with trio.open_nursery() as nursery:
        for client in range(clients):
            nursery.start_soon(connected, client)


@attrs.define
class Load:
    """What clients under load have seen."""

    replies: int = 0
    errors: Counter[bytes] = attrs.field(factory=Counter)
    """Error replies, by their text."""
    slowest_seconds: float = 0.0
    acknowledged: dict[str, int] = attrs.field(factory=dict)
    """The number that each client's counter must at least have reached."""


@asynccontextmanager
async def under_load(port: int, clients: int = 10) -> AsyncIterator[Load]:
    """Let *clients* write and read for the block, each waiting for its replies.

    Each client counts up ``count:N`` of its own, reads it, and writes to keys of all.
    """
    load = Load()
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(_write_and_read, port, number, load)
        yield load
        nursery.cancel_scope.cancel("the block is over")


async def _write_and_read(port: int, number: int, load: Load) -> None:
    rng = random.Random(number)
    key = f"count:{number}"
    turn = 0
    async with connect(port) as client:
        while True:
            turn += 1
            started = trio.current_time()
            replies = await client.pipeline(
                [("INCR", key), ("GET", key), in_order_matters(rng, number, turn)]
            )
            load.slowest_seconds = max(load.slowest_seconds, trio.current_time() - started)
            load.replies += len(replies)
            load.errors.update(reply for reply in replies[:2] if is_error(reply))
            if not is_error(replies[0]):
                load.acknowledged[key] = int(replies[0][1:])
