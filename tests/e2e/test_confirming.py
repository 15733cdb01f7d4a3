"""What is reported is there, and what is there is reported: confirmation between real servers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
import redis
import trio

from dualkv.core.confirming import READINGS
from dualkv.core.divergence import Cause, Divergence, DivergenceKind
from dualkv.core.divergence_ring import DivergenceFilter
from dualkv.core.ledger import Queue
from tests.support.client import Args, connect
from tests.support.limited import limited_store
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e

LARGE_SET = [f"member:{number}" for number in range(3000)]


def found(proxy: Proxy) -> Sequence[Divergence]:
    """Return what has been reported, oldest first."""
    return list(proxy.metrics.findings.ring.find(DivergenceFilter(), 1000))


def _expire_sooner(store: redis.Redis) -> None:
    store.pexpire("wrong-ttl", 60_000)


def _remove_member(store: redis.Redis) -> None:
    store.srem("large-set", LARGE_SET[1234])


def _other_type(store: redis.Redis) -> None:
    store.delete("wrong-type")
    store.rpush("wrong-type", "v")


INJECTED: dict[str, tuple[list[Args], Callable[[redis.Redis], object], Args, DivergenceKind]] = {
    "changed": (
        [("SET", "changed", "v")],
        lambda store: store.set("changed", "w"),
        ("GET", "changed"),
        DivergenceKind.DATA_MISMATCH,
    ),
    "missing": (
        [("HSET", "missing", "f", "v")],
        lambda store: store.delete("missing"),
        ("HGETALL", "missing"),
        DivergenceKind.MIGRATION_GAP,
    ),
    "extra": (
        [("SET", "extra", "v"), ("DEL", "extra")],
        lambda store: store.set("extra", "w"),
        ("GET", "extra"),
        DivergenceKind.EXTRA_DATA,
    ),
    "wrong TTL": (
        [("SET", "wrong-ttl", "v", "EX", 3600)],
        _expire_sooner,
        ("PTTL", "wrong-ttl"),
        DivergenceKind.DATA_MISMATCH,
    ),
    "wrong type": (
        [("SET", "wrong-type", "v")],
        _other_type,
        ("GET", "wrong-type"),
        DivergenceKind.DATA_MISMATCH,
    ),
    "one element of a large set": (
        [("SADD", "large-set", *LARGE_SET)],
        _remove_member,
        ("SMEMBERS", "large-set"),
        DivergenceKind.DATA_MISMATCH,
    ),
}


@pytest.mark.parametrize("what", INJECTED)
async def test_difference_is_reported_within_five_seconds(pair: Pair, what: str) -> None:
    """One read that could see it is enough; it is reported once, with what this proxy knows."""
    before, inject, read, kind = INJECTED[what]
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, repair_divergences=False) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline(before)
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            inject(store)
        began = trio.current_time()
        await client.call(*read)
        await wait_until(lambda: proxy.metrics.divergences.total() > 0)

        assert trio.current_time() - began < 5
        (divergence,) = found(proxy)
        assert (divergence.kind, divergence.args[0]) == (kind, str(read[0]).encode())
        assert (divergence.readings, divergence.cause) == (READINGS, Cause.BYPASSED)
        assert divergence.confirmed_over_seconds >= 2
        assert divergence.position > len(before)
        assert [entry.args[0].decode() for entry in divergence.history] == [one[0] for one in before]


async def test_what_was_dropped_is_told_as_the_cause(pair: Pair) -> None:
    """A write that found no room is in the history of the divergence that came of it."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, repair="off", secondary_timeout_seconds=0.2
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "old")
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            store.client_pause(600, all=True)
        await client.call("SET", "k", "new")
        await wait_until(lambda: bool(proxy.server.writer.dirty))
        proxy.server.writer.dirty.clear(1000)  # as an operator may who takes the difference for harmless
        await trio.sleep(0.6)
        await client.call("GET", "k")
        await wait_until(lambda: proxy.metrics.divergences.total() > 0)

        (divergence,) = found(proxy)
        assert divergence.cause in (Cause.DROPPED, Cause.FAILED)


def _any_command(rng: random.Random, own: str, keys: int = 12) -> Args:
    """Return a write of an own key, mostly one that will expire soon, or a read of anybody's."""
    key = f"{own}:{rng.randrange(keys)}"
    if rng.random() < 0.4:
        choices: list[Args] = [
            ("PSETEX", key, rng.randrange(1, 120), rng.randrange(1000)),
            ("SET", key, rng.randrange(1000), "PX", rng.randrange(1, 2000)),
            ("SET", key, rng.randrange(1000)),
            ("INCR", key),
            ("PEXPIRE", key, rng.randrange(1, 200)),
            ("PERSIST", key),
            ("DEL", key),
            ("HSET", f"{key}:h", rng.randrange(5), rng.randrange(100)),
            ("PEXPIRE", f"{key}:h", rng.randrange(1, 100)),
            ("RPUSH", f"{key}:l", rng.randrange(100)),
            ("LPOP", f"{key}:l"),
        ]
        return rng.choice(choices)
    key = f"{rng.choice('ab')}:{rng.randrange(keys)}"
    reads: list[Args] = [
        ("GET", key), ("PTTL", key), ("EXISTS", key), ("TTL", f"{key}:h"), ("HGETALL", f"{key}:h"),
        ("LRANGE", f"{key}:l", 0, -1), ("MGET", "a:1", "b:1", key), ("STRLEN", key),
    ]  # fmt: skip
    return rng.choice(reads)


async def _write_and_read(proxy: Proxy, own: str, seconds: float, clients: int = 8) -> None:
    end = trio.current_time() + seconds

    async def one(seed: int) -> None:
        rng = random.Random(f"{own}{seed}")
        async with connect(proxy.port) as client:
            while trio.current_time() < end:
                await client.pipeline([_any_command(rng, own) for _ in range(10)])

    async with trio.open_nursery() as nursery:
        for seed in range(clients):
            nursery.start_soon(one, seed)


async def test_keys_that_expire_under_load_raise_no_alarm(running_pair: Pair) -> None:
    """Reads beside writes of few keys that expire all the time: matches, and nothing is reported."""
    pair = running_pair
    async with running_proxy(pair.primary.address, pair.secondary.address, repair="off") as proxy:
        await _write_and_read(proxy, "a", seconds=6)
        await wait_until(lambda: len(proxy.server.writer.comparing.judge.confirming) == 0)

        assert proxy.metrics.shadow_matches > 1000
        assert found(proxy) == []


async def test_two_proxies_of_the_same_stores_raise_no_alarm(running_pair: Pair) -> None:
    """Each reads what the other one writes, and sees it before or after the secondary has it."""
    pair = running_pair
    stores = (pair.primary.address, pair.secondary.address)
    async with running_proxy(*stores) as one, running_proxy(*stores) as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_and_read, one, "a", 6.0)
            nursery.start_soon(_write_and_read, other, "b", 6.0)
        for proxy in (one, other):
            await wait_until(lambda: len(proxy.server.writer.comparing.judge.confirming) == 0)  # noqa: B023
            assert proxy.metrics.shadow_matches > 1000
            assert found(proxy) == []


async def test_reads_do_not_slow_the_writes_of_a_secondary_that_cannot_answer_them(pair: Pair) -> None:
    """Twenty times as many reads as it answers: most are not made, and writes arrive all the same."""
    async with (
        limited_store(pair.secondary.port, math.inf, reads_per_second=100) as turnstile,
        running_proxy(pair.primary.address, f"127.0.0.1:{turnstile.port}") as proxy,
    ):
        waits: list[float] = []
        stream = proxy.server.writer.stream
        assert stream is not None

        async def read(number: int) -> None:
            async with connect(proxy.port) as client:
                for _ in range(70):
                    await client.pipeline([("GET", f"r:{number}:{n}") for n in range(20)])
                    await trio.sleep(0.1)

        async def write() -> None:
            async with connect(proxy.port) as client:
                for number in range(350):
                    await client.call("SET", "w", number)
                    waits.append(stream.oldest_age_seconds())
                    await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for number in range(10):
                nursery.start_soon(read, number)
        await proxy.wait_drained()

    assert proxy.metrics.shadow_budget.shed > 500
    assert proxy.metrics.ledger(Queue.WRITE).dropped.total() == 0
    later = sorted(waits[len(waits) // 2 :])
    assert later[len(later) // 2] < 2
    assert max(waits) < 10


async def test_shed_shadow_reads_raise_no_alarm(running_pair: Pair) -> None:
    """What is not compared for lack of room is counted, and what is compared is right."""
    pair = running_pair
    async with running_proxy(
        pair.primary.address, pair.secondary.address, shadow_queue_size=8, shadow_timeout_seconds=0.05
    ) as proxy:
        await _write_and_read(proxy, "a", seconds=4, clients=20)
        await wait_until(lambda: len(proxy.server.writer.comparing.judge.confirming) == 0)

        assert proxy.metrics.shadow_inconclusive.total() > 0
        assert found(proxy) == []
