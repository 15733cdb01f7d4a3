"""A shard accounts for each item of a batch, whatever becomes of its connection."""

from __future__ import annotations

import pytest
import trio

from dualkv.core.context import Context
from dualkv.core.dirty import DirtyReason
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import StreamItem
from dualkv.resp import encode
from tests.core.building import planned
from tests.net.building import Clock
from tests.net.streaming import Holding, StreamBench, key_of_shard, lines, settle_tasks, stream_to
from tests.support.fake_backend import running_fake
from tests.support.proxy import wait_until

A, B, C = (key_of_shard(number, 4) for number in range(3))
"""Keys for three of four shards."""


# --- batches ------------------------------------------------------------------------------------------


async def test_connection_lost_in_flight_fails_the_batch_only() -> None:
    """What has no reply when the connection breaks has failed; what is behind it is delivered, in order.

    Its keys are dirty: later writes to them are left to copies.
    """
    async with running_fake() as fake, stream_to(fake) as bench:
        fake.replies.shut()
        bench.offer("SET a 0", "SET b 1")
        bench.offer_read("GET c", b"+OK\r\n")
        await wait_until(lambda: len(fake.commands) == 3)
        bench.offer("SET d 2", "SET a 3", "SET d 4")
        fake.last.hang_up()
        await wait_until(lambda: len(fake.connections) == 2)
        fake.replies.open()
        await bench.wait_settled()

        assert (bench.ledger().failed, bench.ledger().applied) == (2, 2)
        assert bench.write_errors() == {("SET", "connection_lost"): 2}
        assert bench.metrics.shadow_inconclusive == {"connection_lost": 1}
        assert bench.metrics.shadow_read_errors == 1
        assert lines(fake.last.commands) == ["SET d 2", "SET d 4"]
        assert bench.became_dirty() == {DirtyReason.AMBIGUOUS: 2}
        assert (bench.dirty(), bench.ledger().deferred) == (["a", "b"], 1)


@pytest.mark.parametrize("answer", [b"?garbage\r\n", b"+OK\r\n+OK\r\n"], ids=["garbage", "one too many"])
async def test_wrong_replies_fail_the_batch(answer: bytes) -> None:
    """A secondary that is out of step is not believed: the batch has failed, a new connection is made."""
    async with running_fake(lambda _: answer) as fake, stream_to(fake) as bench:
        bench.offer("SET k 0", "SET l 1")
        await bench.wait_settled()
        fake.answer = lambda _: encode.OK
        bench.offer("SET m 2")
        await bench.wait_settled()

        assert (bench.ledger().failed, bench.ledger().applied) == (2, 1)
        assert bench.write_errors() == {("SET", "connection_lost"): 2}
        assert len(fake.connections) == 2
        assert bench.dirty() == ["k", "l"]


async def test_deadline_ends_a_batch() -> None:
    """What is not answered within its time has failed; the connection is not used again."""
    async with running_fake() as fake, stream_to(fake, timeout_seconds=0.5) as bench:
        fake.replies.shut()
        bench.offer("SET k 0")
        await bench.wait_settled()
        fake.replies.open()
        bench.offer("SET l 1")
        await bench.wait_settled()

        assert bench.write_errors() == {("SET", "deadline_exceeded"): 1}
        assert bench.ledger().applied == 1
        assert lines(fake.last.commands) == ["SET l 1"]
        assert bench.dirty() == ["k"]


async def test_idle_connection_that_was_closed_loses_nothing() -> None:
    """A connection that the secondary closed while idle is noticed before anything is sent on it."""
    clock = Clock()
    async with running_fake() as fake, stream_to(fake, clock) as bench:
        bench.offer("SET k 0")
        await bench.wait_settled()
        fake.last.hang_up()
        clock.now += 1
        await settle_tasks()
        bench.offer("SET k 1")
        await bench.wait_settled()

        assert bench.ledger().applied == 2
        assert [lines(one.commands) for one in fake.connections] == [["SET k 0"], ["SET k 1"]]


async def test_secondary_that_appears_late_gets_everything() -> None:
    """What was offered while nobody listened is delivered when somebody does."""
    appears = trio.Event()
    async with running_fake(is_listening=appears) as fake, stream_to(fake, write_concurrency=4) as bench:
        assert not bench.stream.is_connected
        bench.offer(f"SET {A} 1", f"SET {B} 1", f"MSET {A} 2 {B} 2")
        await wait_until(lambda: bench.metrics.backends["elastickv"].pool.events["dial_failed"] > 4)
        appears.set()
        await bench.wait_settled()
        await wait_until(lambda: bench.stream.is_connected)

        assert bench.ledger().applied == 3
        assert sorted(lines(fake.commands)) == sorted([f"SET {A} 1", f"SET {B} 1", f"MSET {A} 2 {B} 2"])


async def test_resp3_reads_switch_the_connection() -> None:
    """A shadow read is asked in its client's version; writes do not care and switch nothing."""
    async with running_fake() as fake, stream_to(fake) as bench:
        fake.answer = lambda _: b"+%d\r\n" % fake.last.protocol
        bench.offer_read("GET a", b"+2\r\n")
        bench.offer_read("GET b", b"+3\r\n", protocol=3)
        bench.offer("SET k 1")
        bench.offer_read("GET c", b"+3\r\n", protocol=3)
        bench.offer_read("GET d", b"+2\r\n")
        await bench.wait_settled()

        assert bench.metrics.shadow_matches == 4
        assert bench.compared == []
        assert lines(fake.commands) == ["GET a", "HELLO 3", "GET b", "SET k 1", "GET c", "HELLO 2", "GET d"]


async def test_read_in_a_version_not_spoken_is_dropped() -> None:
    """A RESP2-only secondary is not asked for RESP3 replies: the check is counted as not made."""
    async with running_fake(speaks=(2,)) as fake, stream_to(fake) as bench:
        bench.offer("SET k 1")
        bench.offer_read("GET k", b"+OK\r\n", protocol=3)
        bench.offer_read("GET k", b"+OK\r\n")
        await bench.wait_settled()

        assert bench.dropped(Queue.SHADOW) == {DropReason.NOT_SPOKEN: 1}
        assert bench.metrics.shadow_inconclusive == {"not_spoken": 1}
        assert bench.metrics.shadow_matches == 1
        assert lines(fake.commands) == ["SET k 1", "GET k"]


async def test_script_slots_limit_scripts_only() -> None:
    """With one slot, a second shard's script waits until the first is answered; writes elsewhere do not."""
    first, second = f"EVAL x 1 {A}", f"EVAL x 1 {B}"
    async with running_fake() as fake:
        holding = Holding(fake, first)
        async with stream_to(fake, write_concurrency=4, script_concurrency=1) as bench:
            bench.offer(first)
            await holding.wait_for(first)
            bench.offer(second, f"SET {C} 1")
            await holding.wait_for(f"SET {C} 1")
            await settle_tasks()
            assert second not in holding.log
            await holding.release(first)
            await bench.wait_settled()

        assert holding.log == [first, f"SET {C} 1", second]
        assert bench.ledger(Queue.SCRIPT).applied == 2


async def test_bug_in_comparing_is_reported_and_the_books_add_up() -> None:
    """A bug of ours in judging a reply is handed on; its batch is accounted for, and the shard goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    async with running_fake() as fake, stream_to(fake) as bench:
        bench.stream.settling._compare = fail
        bench.offer("SET k 1")
        bench.offer_read("GET k", b"+differs\r\n")
        bench.offer("SET k 2")
        await wait_until(lambda: bench.failures != [])
        bench.offer("SET k 3")
        await wait_until(lambda: lines(fake.commands)[-1] == "SET k 3")

        assert [str(error) for error in bench.failures] == ["a bug"]
        bench.failures.clear()
        await wait_until(lambda: bench.metrics.total_ledger().in_flight == 0, seconds=1)


# --- deadlines of items that are not of the same patience ---------------------------------------------


TICK_SECONDS = 1e-4


class TickingClock(Clock):
    """Time goes on a little between any two looks at it, as it does."""

    def __call__(self) -> float:
        """Return the time."""
        self.now += TICK_SECONDS
        return self.now


async def offer_late(bench: StreamBench, clock: Clock, appears: trio.Event, write_age: float) -> None:
    """Offer a write, and *write_age* later something else; then let the secondary appear."""
    bench.offer("SET k 1")
    clock.now += write_age
    bench.offer("EVAL x 1 k")
    appears.set()
    await bench.wait_settled()


async def test_item_on_the_verge_of_expiry_does_no_harm() -> None:
    """An item that is just young enough to be taken, and too old a moment later, is accounted for."""
    clock = TickingClock()
    async with running_fake() as fake, stream_to(fake, clock, timeout_seconds=30.0) as bench:
        for ticks in range(1, 10):  # one of them comes between the look at its age and the sending
            fake.replies.shut()
            bench.offer(f"SET k{ticks} 0")
            await wait_until(lambda: bool(fake.commands) and bench.ledger().in_flight == 1)
            last = bench.offer(f"SET l{ticks} 1")[0]
            clock.now = last.offered_at + 30.0 - ticks * TICK_SECONDS
            fake.replies.open()
            await bench.wait_settled()


async def test_scripts_may_be_less_patient_than_writes() -> None:
    """A script with a shorter life than writes may share a batch with an old write."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    settings = {"timeout_seconds": 30.0, "script_timeout_seconds": 1.0}
    async with away as fake, stream_to(fake, clock, drain_seconds=5, **settings) as bench:
        await offer_late(bench, clock, appears, 5.0)

        assert lines(fake.commands) == ["SET k 1", "EVAL x 1 k"]


async def test_shadow_reads_may_be_more_patient_than_writes() -> None:
    """A shadow read that may wait longer than writes is sent when it is older than they may be."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    settings = {"timeout_seconds": 5.0, "shadow_timeout_seconds": 10.0}
    async with away as fake, stream_to(fake, clock, drain_seconds=5, **settings) as bench:
        bench.offer_read("GET k", b"+OK\r\n")
        clock.now += 7
        appears.set()
        await bench.wait_settled()

        assert bench.metrics.shadow_matches == 1


async def test_old_item_does_not_end_the_time_of_young_ones() -> None:
    """What was offered just now is not failed because an old item stands before it."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with away as fake, stream_to(fake, clock, timeout_seconds=30.0) as bench:
        bench.offer("SET k 1")
        clock.now += 5.0
        bench.offer("SET k 2", "SET k 3")
        clock.now += 24.95
        fake.replies.shut()
        appears.set()
        await wait_until(lambda: len(fake.commands) == 3)
        await trio.sleep(0.1)
        fake.replies.open()
        await bench.wait_settled()

        assert bench.write_errors() in ({}, {("SET", "deadline_exceeded"): 1})


async def test_old_write_behind_a_patient_script_expires() -> None:
    """Past its time an item is dropped, also if what stands before it has more time."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    settings = {"timeout_seconds": 30.0, "script_timeout_seconds": 300.0}
    async with away as fake, stream_to(fake, clock, **settings) as bench:
        bench.offer("EVAL x 1 k", "SET k 1")
        clock.now += 31
        appears.set()
        await bench.wait_settled()

        assert lines(fake.commands) == ["EVAL x 1 k"]
        assert bench.dropped() == {DropReason.EXPIRED: 1}


async def test_shadow_reads_make_room_when_the_stream_is_behind() -> None:
    """After a third of their time reads are left out while writes wait; the writes are delivered."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with away as fake, stream_to(fake, clock, shadow_timeout_seconds=3.0) as bench:
        bench.offer_read("GET old", b"+OK\r\n")
        clock.now += 1.1
        bench.offer("SET k 1")
        bench.offer_read("GET new", b"+OK\r\n")
        appears.set()
        await bench.wait_settled()

        assert lines(fake.commands) == ["SET k 1", "GET new"]
        assert bench.dropped(Queue.SHADOW) == {DropReason.SHED: 1}
        assert bench.metrics.shadow_inconclusive == {"shed": 1}


async def test_reads_of_both_versions_and_writes_between_get_their_version() -> None:
    """A write keeps the version that is set; the read behind it still gets its own."""
    async with running_fake() as fake, stream_to(fake) as bench:
        fake.answer = lambda _: b"+%d\r\n" % fake.last.protocol
        plan, request = planned("SET", "k", "v")
        two, three = Context(2), Context(3)
        read = planned("GET", "k")
        items = [
            StreamItem(read[0], Queue.SHADOW, read[1], bench.clock(), three, b"+3\r\n"),
            StreamItem(plan, Queue.WRITE, request, bench.clock(), two),
            StreamItem(read[0], Queue.SHADOW, read[1], bench.clock(), two, b"+2\r\n"),
            StreamItem(read[0], Queue.SHADOW, read[1], bench.clock(), three, b"+3\r\n"),
        ]
        bench.offer_items(*items)
        await bench.wait_settled()

        assert bench.compared == []
        assert bench.metrics.shadow_matches == 3
