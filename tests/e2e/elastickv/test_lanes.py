"""Several lanes to an ElasticKV that answers: as fast as without dualkv, and in order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.replies import value_of
from tests.fakes.elastickv import Cluster, Pace
from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e

_CLIENTS = 50
_COMMIT_SECONDS = 0.2
"""Far more than dualkv needs for a command, so that it is the store that is measured."""
_SECONDS = 2
_ENOUGH = 0.7
"""Of what the clients get without dualkv. One lane is good for a fiftieth."""

Command = Callable[[random.Random], Args]


async def writes_per_second(port: int, make: Command) -> float:
    """Return how many commands 50 clients get answered, each waiting for its reply."""
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        rng = random.Random(number)
        async with connect(port) as client:
            while True:
                reply = await client.call(*make(rng))
                assert reply[:1] in b"+:"
                done += 1

    with trio.move_on_after(_SECONDS):
        async with trio.open_nursery() as nursery:
            for number in range(_CLIENTS):
                nursery.start_soon(one, number)
    return done / _SECONDS


async def wait_lanes(proxy: Proxy) -> None:
    """Wait until there are many lanes, and all are up."""
    lanes = proxy.server.writer.lanes
    await wait_until(lambda: lanes.up == len(lanes) > _CLIENTS)


@pytest.mark.parametrize("mode", [ProxyMode.ELASTICKV_ONLY, ProxyMode.ELASTICKV_PRIMARY])
@pytest.mark.parametrize(
    "make",
    [lambda rng: ("SET", f"k{rng.randrange(100_000)}", "v"), lambda rng: ("INCR", f"n{rng.randrange(5000)}")],
    ids=["SET on many keys", "INCR on some"],
)
async def test_clients_write_as_fast_as_without_dualkv(
    pair: Pair, elastickv: Cluster, mode: ProxyMode, make: Command
) -> None:
    """A commit takes its time and many go at once: 50 clients get at least 0.7 of what they get directly."""
    elastickv.pipeline.pace = Pace(commit_seconds=_COMMIT_SECONDS)
    leader = elastickv.leader
    assert leader is not None
    async with running_proxy(pair.primary.address, ",".join(elastickv.addresses), mode) as proxy:
        await wait_lanes(proxy)
        direct = await writes_per_second(int(leader.address.rpartition(":")[2]), make)
        assert await writes_per_second(proxy.port, make) >= _ENOUGH * direct

    assert elastickv.harmful == 0


async def test_counters_are_exact_while_the_leader_moves(pair: Pair, elastickv: Cluster) -> None:
    """50 clients count on three keys: what was acknowledged is there, on both sides, however lanes went."""
    elastickv.pipeline.pace = Pace(commit_seconds=0.003)
    acknowledged, unknown = 0, 0
    async with running_proxy(
        pair.primary.address, ",".join(elastickv.addresses), ProxyMode.ELASTICKV_PRIMARY
    ) as proxy:
        await wait_lanes(proxy)

        async def count(number: int) -> None:
            nonlocal acknowledged, unknown
            async with connect(proxy.port) as client:
                for turn in range(20):
                    reply = await client.call("INCR", f"n{(number + turn) % 3}")
                    acknowledged += reply[:1] == b":"
                    unknown += b"unknown" in reply

        async with trio.open_nursery() as nursery:
            for number in range(_CLIENTS):
                nursery.start_soon(count, number)
            for _ in range(3):
                await wait_until(lambda: proxy.server.writer.lanes.up > 1)
                await elastickv.move_leader()
        await proxy.wait_repaired()
        async with connect(proxy.port) as client:
            counts = await client.pipeline([("GET", f"n{number}") for number in range(3)])
            total = sum(int(value_of(count)) for count in counts)

    assert acknowledged <= total <= acknowledged + unknown
    assert acknowledged > 500
    assert differences(state_of(elastickv.server.port), state_of(pair.primary.port)) == []
    assert elastickv.harmful == 0


async def test_writes_over_several_keys_keep_their_order(pair: Pair, elastickv: Cluster) -> None:
    """Single keys, RENAME, RPOPLPUSH, scripts, transactions, FLUSHALL on few keys: both stores end equal."""
    elastickv.pipeline.pace = Pace(commit_seconds=0.003)
    async with running_proxy(
        pair.primary.address, ",".join(elastickv.addresses), ProxyMode.ELASTICKV_PRIMARY
    ) as proxy:
        await wait_lanes(proxy)

        async def one(number: int) -> None:
            rng = random.Random(number)
            async with connect(proxy.port) as client:
                for turn in range(40):
                    await client.pipeline(_any_write(rng, f"{number}-{turn}"))

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(one, number)
        await proxy.wait_repaired()

        assert differences(state_of(elastickv.server.port), state_of(pair.primary.port)) == []
        assert not proxy.metrics.findings.recent_divergences()
    assert elastickv.harmful == 0


def _any_write(rng: random.Random, value: str) -> list[Args]:
    one, other = rng.sample("abcdef", 2)
    if rng.random() < 0.01:
        return [("FLUSHALL",)]
    choices: list[list[Args]] = [
        [("SET", one, value), ("GET", one)],
        [("SET", one, value), ("SET", other, value)],
        [("RENAME", one, other)],
        [("DEL", one, other)],
        [("INCR", f"n{one}"), ("INCR", f"n{one}"), ("INCR", f"n{other}")],
        [("RPUSH", f"l{one}", value)],
        [("RPOPLPUSH", f"l{one}", f"l{other}")],
        [("MULTI",), ("SET", one, value), ("RPUSH", f"l{other}", value), ("EXEC",)],
        [("EVAL", "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1])", 2,
          f"l{one}", other, value)],
        [("EXISTS", one, other)],
    ]  # fmt: skip
    return rng.choice(choices)
