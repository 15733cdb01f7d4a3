"""Whatever went wrong on the way to the secondary is repaired, or it is said that it cannot be."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from dualkv.core.ledger import Queue
from dualkv.servers import EmbeddedServer
from dualkv.torture.links import Link
from tests.e2e.test_http import get
from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.workload import Load, under_load

pytestmark = pytest.mark.e2e

DUAL_WRITE = ProxyMode.DUAL_WRITE


def assert_equal(pair: Pair) -> None:
    """Assert that both stores hold the same in the databases that are used here."""
    databases = (0, 2)
    primary = state_of(pair.primary.port, databases)
    assert differences(primary, state_of(pair.secondary.port, databases)) == []
    assert primary


async def write_many(proxy: Proxy, count: int, *, value: str = "v") -> None:
    """Write keys of several types, some with an expiry, in two databases."""
    async with connect(proxy.port) as client:
        for db in (0, 2):
            commands: list[Args] = [("SELECT", db)]
            for number in range(count):
                commands += [
                    ("SET", f"s{number}", value),
                    ("EXPIRE", f"s{number}", 1000),
                    ("HSET", f"h{number}", value, number),
                    ("RPUSH", f"l{number}", value),
                    ("ZADD", f"z{number}", number, value),
                    ("SADD", f"set{number % 9}", number),
                    ("XADD", "stream", "*", value, number),
                    ("INCR", "counter"),
                ]
            await client.pipeline(commands)


async def wait_replies(load: Load, count: int) -> None:
    """Wait until clients have got so many more replies."""
    wanted = load.replies + count
    await wait_until(lambda: load.replies >= wanted)


async def readiness(proxy: Proxy) -> dict[str, Any]:
    """Return what ``/readyz`` says about convergence."""
    _, body = await get(proxy, "/readyz")
    found: dict[str, Any] = json.loads(body)["convergence"]
    return found


async def gauge(proxy: Proxy, name: str) -> float:
    """Return the value of a metric without labels."""
    _, body = await get(proxy, "/metrics")
    (line,) = [line for line in body.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


@pytest.mark.parametrize("shards", [1, 4])
async def test_what_found_no_room_is_repaired(pair: Pair, shards: int) -> None:
    """A queue of a few places, and a secondary that is stopped for a while: equal soon after it goes on."""
    async with running_proxy(
        pair.primary.address,
        pair.secondary.address,
        DUAL_WRITE,
        secondary_write_queue_size=20,
        secondary_write_concurrency=shards,
    ) as proxy:
        await write_many(proxy, 20)
        pair.secondary.pause()
        try:
            await write_many(proxy, 200, value="w")
        finally:
            pair.secondary.resume()
        writes = proxy.metrics.ledger(Queue.WRITE)
        assert writes.deferred + writes.dropped.total() > 500
        assert proxy.metrics.dirty
        await proxy.wait_repaired()
        assert (await readiness(proxy))["dirty_keys"] == 0
        assert proxy.metrics.dirty.repaired > 500
    assert_equal(pair)


@pytest.mark.parametrize("appends", [False, True], ids=["empty", "with its data"])
async def test_secondary_that_was_killed_is_brought_up_to_date(
    pair: Pair, server_binary: Path, appends: bool
) -> None:
    """Killed under load and started again, twice: with what it had logged, or empty."""
    options = ("--appendonly", "yes", "--appendfsync", "everysec") if appends else ()
    with EmbeddedServer(server_binary, *options) as secondary:
        async with running_proxy(pair.primary.address, secondary.address, DUAL_WRITE) as proxy:
            await write_many(proxy, 100)
            async with under_load(proxy.port) as load:
                for _ in range(2):
                    await wait_replies(load, 500)
                    secondary.kill()
                    await wait_replies(load, 500)
                    secondary.restart()
            assert not load.errors
            await proxy.wait_repaired()
            completed = proxy.metrics.resync.completed
            assert appends or completed > 0
            marked = proxy.metrics.dirty.marked
            assert marked[DirtyReason.UNREACHABLE] + marked[DirtyReason.AMBIGUOUS] > 0
        assert_equal(attrs.evolve(pair, secondary=secondary))


async def test_secondary_that_forgets_what_was_repaired_gets_it_again(
    pair: Pair, server_binary: Path
) -> None:
    """The write is long ago, its repair is not: a store that comes back without its last moments lacks it."""
    with EmbeddedServer(server_binary, "--appendonly", "yes", "--appendfsync", "always") as secondary:
        async with (
            running_proxy(
                pair.primary.address, secondary.address, DUAL_WRITE, recent_window_seconds=1
            ) as proxy,
            connect(proxy.port) as client,
        ):
            await client.call("SET", "before", "v")
            await proxy.wait_repaired()
            (log,) = [path for path in secondary.directory.rglob("*.aof") if ".incr." in path.name]
            size = log.stat().st_size
            await client.call("SET", "k", "v")
            await trio.sleep(4)  # more than three windows
            stream = proxy.server.writer.stream
            assert stream is not None
            stream.mark_keys([(0, b"k")], DirtyReason.DROPPED)
            await proxy.wait_repaired()
            secondary.kill()
            with log.open("rb+") as file:
                file.truncate(size)
            secondary.restart()
            stores = pair.primary.port, secondary.port
            await wait_until(lambda: differences(state_of(stores[0]), state_of(stores[1])) == [])


@pytest.mark.parametrize("shards", [1, 4])
async def test_connections_that_are_cut_leave_nothing_unequal(pair: Pair, shards: int) -> None:
    """In the middle of requests and replies, so that nobody knows what was executed."""
    link = Link("127.0.0.1", pair.secondary.port, random.Random(shards))
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        async with running_proxy(
            pair.primary.address, f"127.0.0.1:{link.port}", DUAL_WRITE, secondary_write_concurrency=shards
        ) as proxy:
            cuts = 0
            async with under_load(proxy.port) as load:
                while cuts < 60:
                    cuts += link.cut(min_replies=10)
                    await trio.sleep(0.01)
            assert not load.errors
            await proxy.wait_repaired()
            assert proxy.metrics.ledger(Queue.WRITE).failed > 0
            assert proxy.metrics.dirty.marked[DirtyReason.AMBIGUOUS] > 0
            assert proxy.metrics.resync.completed == 0
        nursery.cancel_scope.cancel("the test is over")
    assert_equal(pair)


async def test_wrong_value_that_a_read_finds_is_repaired_if_wanted(pair: Pair) -> None:
    """With repair_divergences; somebody has written to the secondary past dualkv."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE_SHADOW, repair_divergences=True
        ) as proxy,
        connect(proxy.port) as client,
        connect(pair.secondary.port) as vandal,
    ):
        await client.pipeline([("SET", "a", 1), ("HSET", "h", "f", 1), ("SET", "same", 1)])
        await proxy.wait_drained()
        await vandal.pipeline([("SET", "a", 2), ("HSET", "h", "g", 2), ("SADD", "extra", "m")])
        await client.pipeline([("GET", "a"), ("HGETALL", "h"), ("GET", "same"), ("SMEMBERS", "extra")])
        await wait_until(lambda: proxy.metrics.dirty.marked[DirtyReason.DIVERGED] == 3)
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_repair_that_is_off_only_remembers(pair: Pair) -> None:
    """Keys stay dirty, and are told; nothing is copied."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, repair="off", secondary_write_queue_size=8
    ) as proxy:
        pair.secondary.pause()
        try:
            await write_many(proxy, 50)
        finally:
            pair.secondary.resume()
        await proxy.wait_drained()
        found = await readiness(proxy)
        dirty = len(proxy.metrics.dirty)
        await trio.sleep(0.2)

        assert dirty > 50
        assert len(proxy.metrics.dirty) == dirty
        assert found["dirty_keys"] == sum(found["dirty_by_reason"].values()) == dirty
        assert proxy.metrics.ledger(Queue.COPY).offered == 0


async def test_repair_by_hand_waits_for_the_word(pair: Pair) -> None:
    """With repair=manual keys wait until somebody asks for a resync."""
    async with running_proxy(
        pair.primary.address,
        pair.secondary.address,
        DUAL_WRITE,
        repair="manual",
        secondary_write_queue_size=8,
    ) as proxy:
        pair.secondary.pause()
        try:
            await write_many(proxy, 50)
        finally:
            pair.secondary.resume()
        await proxy.wait_drained()
        assert proxy.metrics.dirty
        assert proxy.metrics.ledger(Queue.COPY).offered == 0
        assert proxy.server.writer.mirroring is not None
        proxy.server.writer.mirroring.resync.request("the test")
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert_equal(pair)


@pytest.mark.parametrize("resync", ["manual", "auto"])
async def test_more_dirty_keys_than_fit_make_a_resync_necessary(
    pair: Pair, server_binary: Path, caplog: pytest.LogCaptureFixture, resync: str
) -> None:
    """It is told by a gauge, in the log and on /readyz, and it runs by itself if it may."""
    caplog.set_level(logging.WARNING, "dualkv")
    with EmbeddedServer(server_binary) as secondary:
        async with running_proxy(
            pair.primary.address, secondary.address, DUAL_WRITE, dirty_keys=10, resync=resync
        ) as proxy:
            await write_many(proxy, 5)
            await proxy.wait_repaired()
            assert await gauge(proxy, "proxy_resync_required") == 0
            secondary.pause()
            try:
                await write_many(proxy, 200, value="w")
                stream = proxy.server.writer.stream
                assert stream is not None
                stream.gate.pause(True)  # from here on keys are remembered
                await write_many(proxy, 20, value="x")
                assert len(proxy.metrics.dirty) <= 10
                assert await gauge(proxy, "proxy_resync_required") == 1
                told = await readiness(proxy)
                assert "too many dirty keys" in (told["resync_required"] or told["resync"]["why"])
                stream.gate.pause(False)
            finally:
                secondary.resume()
            if resync == "manual":
                await wait_until(lambda: "resync required" in caplog.messages)
                assert proxy.metrics.resync.completed == 0
                assert proxy.server.writer.mirroring is not None
                proxy.server.writer.mirroring.resync.request("the test")
            await proxy.wait_resynced()
            await proxy.wait_repaired()
            assert await gauge(proxy, "proxy_resync_required") == 0
        assert_equal(attrs.evolve(pair, secondary=secondary))
