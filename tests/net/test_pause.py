"""A paused stream sends nothing, and everything is accounted for; then it goes on in order."""

from __future__ import annotations

import pytest
import trio

from dualkv.core.dirty import DirtyReason
from dualkv.core.gate import GateState
from dualkv.core.ledger import DropReason, Queue
from dualkv.net import shard
from dualkv.resp import encode
from tests.net.streaming import Holding, key_of_shard, settle_tasks, stream_to
from tests.support.fake_backend import running_fake
from tests.support.proxy import wait_until

A, B, C = (key_of_shard(number, 4) for number in range(3))
"""A key for each of three shards."""


async def test_what_waits_is_left_to_copies_and_nothing_more_is_sent() -> None:
    """Writes make their keys dirty, reads are dropped, what was in flight is answered."""
    async with running_fake() as fake:
        holding = Holding(fake, "SET a 1")
        async with stream_to(fake) as bench:
            bench.offer("SET a 1")
            await holding.wait_for("SET a 1")
            bench.offer("SET a 2", "SET b 1")
            bench.offer_read("GET c", encode.bulk("1"))
            bench.stream.pause()
            assert (bench.ledger().queued, bench.ledger().in_flight) == (0, 1)
            bench.offer("SET d 1")
            bench.offer_read("GET c", encode.bulk("1"))
            await holding.release("SET a 1")
            await bench.wait_settled()
            await settle_tasks()

            assert holding.log == ["SET a 1"]
            assert bench.stream.gate.state is GateState.PAUSED
            assert bench.dirty() == ["a", "b", "d"]
            assert bench.became_dirty() == {DirtyReason.PAUSED: 3}
            assert (bench.ledger().applied, bench.ledger().deferred) == (1, 3)
            assert bench.dropped(Queue.SHADOW) == {DropReason.SUSPENDED: 2}


async def test_writes_flow_again_after_a_pause() -> None:
    """Those of clean keys; dirty ones wait for their copies."""
    async with running_fake() as fake:
        holding = Holding(fake)
        async with stream_to(fake) as bench:
            bench.stream.pause()
            bench.offer("SET a 1")
            bench.stream.resume()
            bench.offer("SET a 2", "SET b 2")
            await bench.wait_settled()

        assert holding.log == ["SET b 2"]
        assert bench.ledger().deferred == 2


async def test_what_is_not_answered_within_a_moment_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outcome is unknown, and the store is not blamed for it: it was given no time."""
    monkeypatch.setattr(shard, "_GRACE_SECONDS", 0.05)
    async with running_fake() as fake:
        holding = Holding(fake, "SET a 1")
        async with stream_to(fake) as bench:
            bench.offer("SET a 1")
            await holding.wait_for("SET a 1")
            bench.stream.pause()
            await bench.wait_settled()
            assert bench.became_dirty() == {DirtyReason.AMBIGUOUS: 1}
            assert bench.ledger().failed == 1
            bench.stream.resume()
            assert bench.stream.gate.state is GateState.FLOWING
            bench.offer("SET b 1")
            await bench.wait_settled()

        assert holding.log == ["SET a 1", "SET b 1"]


async def test_what_names_no_keys_makes_a_resync_necessary() -> None:
    """Whether it waited or came during the pause; it is not sent later, behind newer writes."""
    async with running_fake() as fake:
        holding = Holding(fake, "SET a 1")
        async with stream_to(fake) as bench:
            bench.offer("SET a 1")
            await holding.wait_for("SET a 1")
            bench.offer("FLUSHALL")
            bench.stream.pause()
            assert bench.stream.dirty.needs_resync == "a write that may touch any key: paused"
            assert bench.stream.dirty.has_missed_flush
            await holding.release("SET a 1")
            bench.stream.resume()
            await bench.wait_settled()

        assert holding.log == ["SET a 1"]


async def test_what_another_shard_has_in_flight_keeps_its_place() -> None:
    """Paused and resumed while it is under way: what follows on its other key comes behind it."""
    shared = f"MSET {A} 1 {B} 1"
    async with running_fake() as fake:
        holding = Holding(fake, shared)
        async with stream_to(fake, write_concurrency=4) as bench:
            bench.offer(shared)
            await holding.wait_for(shared)
            bench.stream.pause()
            await settle_tasks()
            bench.stream.resume()
            bench.offer(f"SET {A} 2", f"SET {B} 2", f"SET {C} 2")
            await holding.wait_for(f"SET {C} 2")
            await settle_tasks()
            assert holding.log == [shared, f"SET {C} 2"]
            await holding.release(shared)
            await bench.wait_settled()

        assert sorted(holding.log[2:]) == sorted([f"SET {A} 2", f"SET {B} 2"])
        assert bench.ledger().applied == 4


async def test_what_waits_in_several_shards_is_accounted_for_once() -> None:
    """A command over two shards that neither has sent."""
    held = f"SET {A} 1"
    async with running_fake() as fake:
        holding = Holding(fake, held)
        async with stream_to(fake, write_concurrency=4) as bench:
            bench.offer(held)
            await holding.wait_for(held)
            bench.offer(f"MSET {A} 2 {B} 2", f"SET {B} 3")
            bench.stream.pause()
            await holding.release(held)
            await bench.wait_settled()
            bench.stream.resume()
            bench.offer(f"SET {C} 4")
            await bench.wait_settled()

        assert holding.log == [held, f"SET {C} 4"]
        assert sorted(bench.dirty()) == sorted([A, B])
        assert bench.ledger().deferred == 2


async def test_a_paused_stream_does_not_connect() -> None:
    """A store that is to be left alone is not even dialled; afterwards it is."""
    async with running_fake() as fake:
        fake.hangs_up_at_once = True
        async with stream_to(fake) as bench:
            await wait_until(lambda: len(fake.connections) >= 3)
            bench.stream.pause()
            await trio.sleep(0.3)  # who has begun to dial, or waits to dial again, comes to its end
            before = len(fake.connections)
            await trio.sleep(0.5)
            assert before == len(fake.connections)
            fake.hangs_up_at_once = False
            bench.stream.resume()
            await wait_until(lambda: bench.stream.is_connected)


async def test_a_paused_stream_ends_at_once() -> None:
    """It has nothing to wait for."""
    async with running_fake() as fake:
        with trio.fail_after(2):
            async with stream_to(fake, drain_seconds=30) as bench:
                bench.stream.pause()
                bench.offer("SET a 1")
