"""Several lanes to the primary: for each key they keep the one order that one lane has."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.encode import bulk, integer
from dualkv.resp.replies import is_error, value_of
from tests.support.client import Args, Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.support.workload import run_clients

pytestmark = pytest.mark.e2e

LANES = 8
_ROOM: dict[str, Any] = {
    "lanes": LANES, "secondary_write_queue_size": 100_000, "secondary_script_queue_size": 100_000,
}  # fmt: skip
"""Enough for everything: order can be judged only if nothing is dropped."""


async def wait_lanes(proxy: Proxy, count: int = LANES) -> None:
    """Wait until so many lanes are up."""
    await wait_until(lambda: proxy.server.writer.lanes.up == count)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("batches", [(1,), (1, 5, 20)], ids=["one by one", "pipelined"])
async def test_stores_end_equal_whatever_lanes_the_writes_of_a_key_took(
    pair: Pair, shards: int, batches: tuple[int, ...]
) -> None:
    """50 clients on 10 keys, commands over one and several keys: the same data and types on both sides."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE,
        secondary_write_concurrency=shards, **_ROOM,
    ) as proxy:  # fmt: skip
        await wait_lanes(proxy)
        await run_clients(proxy.port, clients=50, commands=100, batch_sizes=batches)
        await proxy.wait_drained()
        ledger = proxy.metrics.total_ledger()

    assert (ledger.dropped.total(), ledger.failed) == (0, 0)
    primary = contents(pair.primary)
    assert len({kind for kind, _ in primary.values()}) == 5
    assert primary == contents(pair.secondary)


def _any_write(rng: random.Random, client: int, number: int) -> list[Args]:
    """Return commands on few keys: alone, over several keys, as a transaction, or over all."""
    one, other = rng.sample("abcdef", 2)
    value = f"{client}-{number}"
    if rng.random() < 0.01:
        return [(rng.choice(["FLUSHALL", "FLUSHDB"]),)]
    choices: list[list[Args]] = [
        [("APPEND", one, value)],
        [("APPEND", one, value), ("APPEND", other, value)],
        [("MSET", one, value, other, value)],
        [("RENAME", one, other)],
        [("MULTI",), ("APPEND", one, value), ("RPUSH", f"l{other}", value), ("EXEC",)],
        [("RPOPLPUSH", f"l{one}", f"l{other}")],
        [("EVAL", "redis.call('APPEND', 'a', ARGV[1]) redis.call('APPEND', 'b', ARGV[1])", 0, value)],
        [("EVAL", "redis.call('RENAME', KEYS[1], KEYS[2])", 2, one, other)],
        [("MGET", "a", "b", "c")],
        [("SPOP", f"s{one}")],
        [("SADD", f"s{one}", value)],
        [("SCRIPT", "LOAD", f"return {rng.randrange(5)}")],
        [("SET", one, value, "PX", 60_000)],
        [("BLPOP", f"l{one}", f"l{other}", "0.01")],
    ]
    return rng.choice(choices)


async def test_transactions_flushes_and_scripts_keep_their_place_among_the_lanes(pair: Pair) -> None:
    """Whatever clients mix, in the shadowing mode: both stores end equal, and no read differed."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)

        async def one(number: int) -> None:
            rng = random.Random(number)
            async with connect(proxy.port) as client:
                for turn in range(80):
                    await client.pipeline(_any_write(rng, number, turn))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        await proxy.wait_repaired()

        assert contents(pair.primary) == contents(pair.secondary)
        assert not proxy.metrics.findings.recent_divergences()


async def test_optimistic_locks_hold_over_several_lanes(pair: Pair) -> None:
    """WATCH, GET, MULTI, SET, EXEC beside INCRs of others: each EXEC that went through has counted."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)
        done = 0

        async def watching(client: Client) -> None:
            nonlocal done
            for _ in range(30):
                await client.call("WATCH", "n")
                count = value_of(await client.call("GET", "n")) or b"0"
                replies = await client.pipeline([("MULTI",), ("SET", "n", int(count) + 1), ("EXEC",)])
                done += replies[-1] == b"*1\r\n+OK\r\n"

        async def counting(client: Client) -> None:
            nonlocal done
            for _ in range(60):
                await client.call("INCR", "n")
                done += 1

        async with connect(proxy.port) as a, connect(proxy.port) as b, connect(proxy.port) as c:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watching, a)
                nursery.start_soon(watching, b)
                nursery.start_soon(counting, c)
            assert await a.call("GET", "n") == bulk(str(done).encode())
        await proxy.wait_repaired()
        assert contents(pair.primary) == contents(pair.secondary)


async def test_counters_are_exact(pair: Pair) -> None:
    """50 clients count on three keys: nothing is lost, nothing is counted twice."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)

        async def count(number: int) -> None:
            async with connect(proxy.port) as client:
                for turn in range(20):
                    await client.call("INCR", f"n{(number + turn) % 3}")

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(count, number)
        await proxy.wait_drained()

    found = contents(pair.primary)
    assert sum(int(value) for _, value in found.values()) == 1000
    assert found == contents(pair.secondary)


async def test_pipeline_over_many_keys_is_answered_in_order(pair: Pair) -> None:
    """Its commands take several lanes while others write the same keys; replies come as they were asked."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)

        async def disturb() -> None:
            async with connect(proxy.port) as other:
                while True:
                    await other.pipeline([("APPEND", f"k{number}", "x") for number in range(20)])

        async with trio.open_nursery() as nursery, connect(proxy.port) as client:
            for _ in range(4):
                nursery.start_soon(disturb)
            for turn in range(20):
                commands: list[Args] = []
                for number in range(20):
                    commands += [("SET", f"own{number}", f"{turn}-{number}"), ("ECHO", number)]
                    commands += [("APPEND", f"k{number}", "y"), ("GET", f"own{number}")]
                    commands += [("MULTI",), ("INCR", f"n{number}"), ("EXEC",)]
                replies = await client.pipeline(commands)
                assert not any(map(is_error, replies))
                assert replies[1::7] == [bulk(str(number).encode()) for number in range(20)]
                assert replies[3::7] == [bulk(f"{turn}-{number}".encode()) for number in range(20)]
                assert replies[6::7] == [b"*1\r\n" + integer(turn + 1)] * 20
            nursery.cancel_scope.cancel("seen enough")


async def test_wait_counts_the_replicas_of_every_lane(pair: Pair) -> None:
    """Without replicas, none: what each lane tells is taken together."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)
        async with connect(proxy.port) as client:
            await client.call("SET", "k", "v")

            assert await client.call("WAIT", 1, 30) == integer(0)
            assert is_error(await client.call("WAIT", "x", 30))


async def test_repair_and_resync_run_beside_traffic_on_several_lanes(pair: Pair) -> None:
    """A resync under load, what only the secondary has included: equal afterwards."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **_ROOM) as proxy:
        await wait_lanes(proxy)
        async with connect(pair.primary.port) as past, connect(pair.secondary.port) as other:
            await past.pipeline([("RPUSH", f"past{number}", *range(30)) for number in range(500)])
            await other.pipeline([("SET", f"left{number}", number) for number in range(100)])
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_clients, proxy.port, 10, 300, (1, 5))
            mirroring.resync.request("the test wants it")
            await proxy.wait_resynced()
        await proxy.wait_repaired()

        assert contents(pair.primary) == contents(pair.secondary)
