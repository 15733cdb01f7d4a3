"""Commands over several shards keep the order of all of them."""

from __future__ import annotations

import pytest
import trio

from dualkv.core.ledger import DropReason, Queue
from dualkv.resp import encode
from tests.core.building import scored
from tests.net.building import Clock
from tests.net.streaming import Holding, key_of_shard, lines, settle_tasks, stream_to
from tests.support.fake_backend import running_fake
from tests.support.proxy import wait_until

A, B, C, D = (key_of_shard(number, 4) for number in range(4))
"""A key for each of four shards."""
OTHER_A, OTHER_B = (key_of_shard(number, 4, "other") for number in range(2))
"""Neighbours of two of them."""


@pytest.mark.parametrize("shared", [f"MSET {A} 2 {B} 2", f"RENAME {A} {B}", f"PFMERGE {B} {A}"])
async def test_command_over_two_shards_keeps_the_order_of_both(shared: str) -> None:
    """It follows what came before it on either shard, and precedes what comes behind; others go their way."""
    async with running_fake() as fake:
        holding = Holding(fake, f"SET {A} 1", shared)
        async with stream_to(fake, write_concurrency=4) as bench:
            bench.offer(f"SET {A} 1", f"SET {B} 1", shared, f"SET {A} 3", f"SET {B} 3", f"SET {C} 3")
            await holding.wait_for(f"SET {A} 1")
            await holding.wait_for(f"SET {C} 3")
            await settle_tasks()
            assert sorted(holding.log) == sorted([f"SET {A} 1", f"SET {B} 1", f"SET {C} 3"])
            await holding.release(f"SET {A} 1")
            await holding.wait_for(shared)
            bench.offer(f"SET {D} 4")
            await holding.wait_for(f"SET {D} 4")
            await settle_tasks()
            assert f"SET {A} 3" not in holding.log
            assert f"SET {B} 3" not in holding.log
            await holding.release(shared)
            await bench.wait_settled()

        assert holding.log.count(shared) == 1
        assert sorted(holding.log[-2:]) == sorted([f"SET {A} 3", f"SET {B} 3"])
        assert bench.ledger().applied == 7


async def test_command_without_keys_meets_all_shards() -> None:
    """FLUSHALL stands between all before and all behind it, on every shard, and is sent once."""
    before = [f"SET {key} 1" for key in (A, B, C, D)]
    behind = [f"SET {key} 2" for key in (A, B, C, D)]
    async with running_fake() as fake:
        holding = Holding(fake, before[2])
        async with stream_to(fake, write_concurrency=4) as bench:
            bench.offer(*before, "FLUSHALL", *behind)
            for line in before:
                await holding.wait_for(line)
            await settle_tasks()
            assert len(holding.log) == 4
            await holding.release(before[2])
            await bench.wait_settled()

        assert sorted(holding.log[:4]) == sorted(before)
        assert holding.log[4] == "FLUSHALL"
        assert sorted(holding.log[5:]) == sorted(behind)


async def test_many_meetings_in_a_row_never_block() -> None:
    """Commands over changing pairs of shards, mixed with others, all get through, in every key's order."""
    keys = (A, B, C, D)
    offered: list[str] = []
    for number in range(60):
        offered += [
            f"SET {keys[number % 4]} {number}",
            f"MSET {keys[number % 4]} {number} {keys[number % 3]} x",
        ]
        offered += ["FLUSHALL"] * (number % 20 == 0)
    async with running_fake() as fake:
        holding = Holding(fake)
        async with stream_to(fake, write_concurrency=4) as bench:
            for start in range(0, len(offered), 7):
                bench.offer(*offered[start : start + 7])
                await trio.lowlevel.checkpoint()
            await bench.wait_settled()

        for key in keys:
            wanted = [line for line in offered if key in line.split() or line == "FLUSHALL"]
            assert [line for line in holding.log if key in line.split() or line == "FLUSHALL"] == wanted


async def test_connection_lost_in_a_meeting_fails_one_item() -> None:
    """If the connection breaks on the shared item it has failed, once, and all shards go on."""
    shared = f"MSET {A} 2 {B} 2"
    async with running_fake() as fake, stream_to(fake, write_concurrency=4) as bench:
        fake.answer = lambda args: None if args[0] == b"MSET" else encode.OK
        bench.offer(f"SET {A} 1", shared, f"SET {OTHER_A} 3", f"SET {OTHER_B} 3")
        await bench.wait_settled()

        assert (bench.ledger().applied, bench.ledger().failed) == (3, 1)
        assert bench.dirty() == [A, B]
        assert bench.write_errors() == {("MSET", "connection_lost"): 1}


async def test_old_meeting_expires_once() -> None:
    """A shared item past its time is dropped once, and all shards go on."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with away as fake, stream_to(fake, clock, write_concurrency=4, timeout_seconds=30.0) as bench:
        bench.offer(f"MSET {A} 2 {B} 2")
        clock.now += 31
        await wait_until(lambda: bool(bench.dropped()) and bench.stream.oldest_age_seconds() == 0.0)
        appears.set()
        await wait_until(lambda: bench.stream.is_connected and bench.stream.gate.is_open)
        bench.offer(f"SET {OTHER_A} 3", f"SET {OTHER_B} 3")
        await bench.wait_settled()

        assert bench.dropped() == {DropReason.EXPIRED: 1}
        assert sorted(lines(fake.commands)) == sorted([f"SET {OTHER_A} 3", f"SET {OTHER_B} 3"])
        assert bench.dirty() == [A, B]


@pytest.mark.parametrize("held", ["before", "in flight", "everywhere"])
async def test_meetings_are_accounted_for_once_when_the_drain_is_over(held: str) -> None:
    """Wherever a shared item is when the time is over, it is counted once."""
    first, shared = f"SET {A} 1", f"MSET {A} 2 {B} 2"
    async with running_fake() as fake:
        holding = Holding(fake, *{"before": [first], "in flight": [shared], "everywhere": []}[held])
        if held == "everywhere":
            fake.is_mute = True
        async with stream_to(fake, write_concurrency=4, drain_seconds=0) as bench:
            bench.offer(first, shared, f"SET {B} 3", "FLUSHALL")
            if held == "before":
                await holding.wait_for(first)
            elif held == "in flight":
                await holding.wait_for(shared)

        expected = {"before": (0, 1, 3), "in flight": (1, 1, 2), "everywhere": (0, 0, 4)}[held]
        ledger = bench.ledger()
        assert (ledger.applied, ledger.failed, ledger.dropped[DropReason.SHUTDOWN]) == expected


async def test_read_over_two_shards_in_a_version_not_spoken_is_dropped() -> None:
    """A RESP2-only secondary is not asked for RESP3 replies over several shards: no false difference."""
    line = f"ZUNION 2 {A} {B} WITHSCORES"
    async with running_fake(speaks=(2,)) as fake, stream_to(fake, write_concurrency=4) as bench:
        fake.answer = lambda _: b"*2\r\n$1\r\nm\r\n$1\r\n1\r\n"
        bench.offer_read(line, scored("m 1"), protocol=3)
        await bench.wait_settled()

        assert bench.compared == []
        assert bench.dropped(Queue.SHADOW) == {DropReason.NOT_SPOKEN: 1}
