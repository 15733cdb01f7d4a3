"""A resync: everything is copied beside live traffic, and what only the secondary has is removed."""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error
from tests.support.client import Args, Client, connect
from tests.support.process import serving
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.workload import run_clients, under_load

pytestmark = pytest.mark.e2e

DATABASES = (0, 1, 5)


def unequal(pair: Pair, databases: Sequence[int] = DATABASES) -> list[str]:
    """Return what differs between the stores."""
    return differences(state_of(pair.primary.port, databases), state_of(pair.secondary.port, databases))


async def fill(client: Client, db: int, count: int) -> None:
    """Make keys of every type in a database, some with an expiry."""
    commands: list[Args] = [("SELECT", db)]
    for number in range(count):
        commands += [
            ("SET", f"old:s{number}", f"v{number}" * (number % 50)),
            ("HSET", f"old:h{number}", "f", number, "g", "x" * (number % 100)),
            ("RPUSH", f"old:l{number}", *range(number % 20 + 1)),
            ("SADD", f"old:set{number}", *range(number % 20 + 1)),
            ("ZADD", f"old:z{number}", number, "a", "1.5", "b"),
        ]
        if number % 5 == 0:
            commands += [("EXPIRE", f"old:h{number}", 1000 + number), ("PEXPIRE", f"old:s{number}", 100)]
        if number % 20 == 0:
            commands += [
                ("XADD", f"old:x{number}", "1-1", "f", "v"),
                ("XADD", f"old:x{number}", "1-2", "f", "v"),
                ("XGROUP", "CREATE", f"old:x{number}", "g", "0"),
                ("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", f"old:x{number}", ">"),
                ("PFADD", f"old:hll{number}", *range(number)),
            ]
    replies = await client.pipeline(commands)
    assert not any(map(is_error, replies))


async def test_empty_secondary_is_filled_beside_live_traffic(pair: Pair) -> None:
    """Keys of all types in several databases, written to meanwhile: equal at the end, groups too."""
    async with connect(pair.primary.port) as client:
        for db in DATABASES:
            await fill(client, db, 300)
    async with connect(pair.secondary.port) as client:
        await client.pipeline([("SET", "old:l1", "another type"), ("SET", "strange", 1), ("SELECT", 5)])
        await client.pipeline([("SET", "strange", 1), ("SELECT", 7), ("SET", "strange", 1)])
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, backfill=True
    ) as proxy:
        progress = proxy.metrics.resync

        async def write_to_old_keys(number: int) -> None:
            """Write to keys that may or may not have been copied yet, until the resync is over."""
            rng = random.Random(number)
            async with connect(proxy.port) as client:
                await client.call("SELECT", rng.choice(DATABASES))
                while not progress.completed:
                    key = rng.randrange(300)
                    commands: list[Args] = [
                        ("APPEND", f"old:s{key}", "x"),
                        ("HSET", f"old:h{key}", f"f{number}", key),
                        ("LPOP", f"old:l{key}"),
                        ("SPOP", f"old:set{key}"),
                        ("ZINCRBY", f"old:z{key}", 1, "a"),
                        ("RENAME", f"old:l{key}", f"old:l{rng.randrange(300)}"),
                        ("DEL", f"old:z{rng.randrange(300)}"),
                        ("COPY", f"old:h{key}", f"new:h{key}", "REPLACE"),
                        ("SUNIONSTORE", f"new:set{key}", f"old:set{key}", f"old:set{rng.randrange(300)}"),
                    ]
                    await client.pipeline(rng.sample(commands, 4))

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(write_to_old_keys, number)
            async with under_load(proxy.port) as load:
                await proxy.wait_resynced()
        assert not load.errors
        await proxy.wait_repaired()
        assert progress.keys_removed >= 3
        assert progress.keys_done > 3000
        assert progress.bytes_done > 100_000
    assert unequal(pair, (*DATABASES, 7)) == []


async def test_live_traffic_on_hot_keys_is_exact_while_everything_is_copied(pair: Pair) -> None:
    """Writes that do not commute, over one and several keys, during one resync after the other."""
    async with running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy:
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        is_over = False

        async def resync_again_and_again() -> None:
            while not is_over:
                mirroring.resync.request("again")
                await proxy.wait_resynced(proxy.metrics.resync.completed + 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(resync_again_and_again)
            await run_clients(proxy.port, clients=20, commands=400, batch_sizes=(1, 5, 20))
            is_over = True
        await proxy.wait_repaired()
        assert proxy.metrics.resync.completed >= 2
    assert unequal(pair) == []


@pytest.mark.parametrize("kind", ["hash", "set", "zset"])
async def test_large_key_is_copied_in_pieces_beside_its_writers(pair: Pair, kind: str) -> None:
    """Elements that come, change and go while it is copied are right at the end, and so is what stays."""
    elements = 40_000
    add: dict[str, Args] = {"hash": ("HSET", "big"), "set": ("SADD", "big"), "zset": ("ZADD", "big")}

    def words(number: int, value: int) -> tuple[str | int, ...]:
        name = f"element:{number}:with:a:name:that:takes:some:room"
        return {"hash": (name, value), "set": (name,), "zset": (value, name)}[kind]

    async with connect(pair.primary.port) as client:
        for start in range(0, elements, 1000):
            batch = [word for number in range(start, start + 1000) for word in words(number, number)]
            await client.call(*add[kind], *batch)
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, backfill=True
    ) as proxy:

        async def write(seed: int) -> None:
            """Change elements all over the key until it has been copied."""
            rng = random.Random(seed)
            async with connect(proxy.port) as client:
                while not proxy.metrics.resync.completed:
                    commands: list[Args] = []
                    for _ in range(5):
                        number = rng.randrange(elements + 1000)
                        name = words(number, 0)[-1 if kind == "zset" else 0]
                        remove = {"hash": "HDEL", "set": "SREM", "zset": "ZREM"}[kind]
                        commands += [(*add[kind], *words(number, rng.randrange(100)))]
                        commands += [
                            (remove, "big", words(rng.randrange(elements), 0)[-1 if kind == "zset" else 0])
                        ]
                        if kind != "set":
                            change = {"hash": "HINCRBY", "zset": "ZINCRBY"}[kind]
                            commands += [(change, "big", *((name, 1) if kind == "hash" else (1, name)))]
                    assert not any(map(is_error, await client.pipeline(commands)))

        async with trio.open_nursery() as nursery:
            for seed in range(4):
                nursery.start_soon(write, seed)
            await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert unequal(pair) == []


@pytest.mark.parametrize("disturbance", ["RENAME", "DEL", "EXPIRE", "SWAPDB", "SET"])
async def test_large_key_that_is_moved_or_removed_while_it_is_copied(pair: Pair, disturbance: str) -> None:
    """Its copy is begun anew where that is needed; no part of it stays where it does not belong."""
    async with connect(pair.primary.port) as client:
        for start in range(0, 60_000, 1000):
            fields = [
                word for number in range(start, start + 1000) for word in (f"field:{number}" * 3, number)
            ]
            await client.call("HSET", "big", *fields)
        await client.call("SET", "small", 1)
    commands: dict[str, Sequence[Args]] = {
        "RENAME": [("RENAME", "big", "bigger"), ("SET", "big", 1)],
        "DEL": [("DEL", "big"), ("HSET", "big", "f", 1)],
        "EXPIRE": [("EXPIRE", "big", 1000)],
        "SWAPDB": [("SWAPDB", 0, 1), ("HSET", "big", "f", 1)],
        "SET": [("SET", "big", "small now")],
    }
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, backfill=True
        ) as proxy,
        connect(proxy.port) as client,
    ):
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: bool(stream.doubtful.under_way) or proxy.metrics.resync.completed > 0)
        replies = await client.pipeline(commands[disturbance])
        assert not any(map(is_error, replies))
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert unequal(pair) == []


async def test_signal_begins_a_resync(pair: Pair) -> None:
    """SIGUSR2 to the process, on a primary full of data and a secondary with data of its own."""
    async with connect(pair.primary.port) as client:
        await fill(client, 0, 200)
    async with connect(pair.secondary.port) as client:
        await client.call("SET", "strange", 1)
    async with serving(pair) as process:
        assert unequal(pair) != []
        process.popen.send_signal(signal.SIGUSR2)
        await wait_until(lambda: unequal(pair) == [], 20)
        process.popen.send_signal(signal.SIGTERM)
        code, log = await process.wait()

    assert code == 0
    assert {"resync begins", "resync has ended"} <= {str(line["message"]) for line in log}
    assert {str(line["why"]) for line in log if line["message"] == "resync begins"} == {"SIGUSR2"}


async def test_key_that_is_created_meanwhile_does_not_meet_what_was_left_of_an_older_one(pair: Pair) -> None:
    """The secondary has keys that the primary lost long ago; clients make new ones of these names."""
    count = 3000
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, backfill=True
        ) as proxy,
        connect(proxy.port) as client,
        connect(pair.secondary.port) as past_dualkv,
    ):
        await proxy.wait_resynced(1)
        await client.pipeline([("SET", f"other{number}", number) for number in range(20_000)])
        await proxy.wait_drained()
        await past_dualkv.pipeline([("HSET", f"k{number}", "stale", "v") for number in range(count)])
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        mirroring.resync.request("stale keys")
        for start in range(0, count, 50):
            await client.pipeline([("HSET", f"k{number}", "f", "v") for number in range(start, start + 50)])
            await trio.sleep(0.005)
        await proxy.wait_resynced(2)

    assert unequal(pair, (0,)) == []


async def test_key_that_expires_before_it_is_copied_does_not_stay(pair: Pair) -> None:
    """The secondary has it without expiry; on the primary it is gone before the resync comes to it."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair_rate=10_000
        ) as proxy,
        connect(proxy.port) as client,
        connect(pair.primary.port) as on_primary,
    ):
        await client.pipeline([("SET", f"k{number}", number) for number in range(10_000)])
        await proxy.wait_drained()
        await on_primary.pipeline([("PEXPIRE", f"k{number}", 300) for number in range(3000)])
        mirroring = proxy.server.writer.mirroring
        assert mirroring is not None
        mirroring.resync.request("lost expiry")
        await proxy.wait_resynced(1)

    assert unequal(pair, (0,)) == []
