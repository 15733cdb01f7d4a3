"""The secondary stream keeps order and limits, and accounts for everything that was offered to it."""

from __future__ import annotations

from typing import Any

import trio

from dualkv.commands.table import find_command
from dualkv.core.confirming import Suspicion
from dualkv.core.context import START
from dualkv.core.dirty import DirtyReason
from dualkv.core.effects.model import Command
from dualkv.core.gate import GateState
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import ITEM_OVERHEAD_BYTES, StreamItem, commands_item, in_one_piece
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from tests.core.building import planned
from tests.net.building import Clock
from tests.net.streaming import lines, stream_to
from tests.support.fake_backend import Args, echo, running_fake
from tests.support.proxy import wait_until

# --- order --------------------------------------------------------------------------------------------


async def test_items_arrive_in_their_order() -> None:
    """One shard sends everything in the order of the offers, over one connection."""
    offered = [f"SET k{number % 7} {number}" for number in range(200)]
    async with running_fake() as fake, stream_to(fake) as bench:
        for start in range(0, 200, 10):
            bench.offer(*offered[start : start + 10])
            await trio.lowlevel.checkpoint()
        await bench.wait_settled()

        assert lines(fake.commands) == offered
        assert len(fake.connections) == 1
        assert bench.ledger().applied == 200


async def test_key_keeps_its_order_over_several_shards() -> None:
    """With several shards each key has one connection, and its writes stay in order."""
    offered = [f"SET k{number % 20} {number}" for number in range(200)]
    async with running_fake() as fake, stream_to(fake, write_concurrency=4) as bench:
        for start in range(0, 200, 10):
            bench.offer(*offered[start : start + 10])
            await trio.lowlevel.checkpoint()
        await bench.wait_settled()

        assert len(fake.connections) == 4
        assert sorted(lines(fake.commands)) == sorted(offered)
        for number in range(20):
            using = [
                one for one in fake.connections if any(args[1] == b"k%d" % number for args in one.commands)
            ]
            assert len(using) == 1
            sent = [line for line in lines(using[0].commands) if line.split()[1] == f"k{number}"]
            assert sent == offered[number::20]


# --- limits -------------------------------------------------------------------------------------------


async def test_what_finds_no_room_is_dropped_and_its_keys_are_dirty() -> None:
    """Of one step as much enters as there is room for; of the rest the keys are remembered."""
    async with running_fake() as fake, stream_to(fake, write_queue_size=4) as bench:
        fake.replies.shut()
        bench.offer("SET a 1")
        await wait_until(lambda: len(fake.commands) == 1)
        bench.offer("MSET b 1 c 1", "SET d 1", "SET e 1", "SET f 1", "SET g 1", "PUBLISH c m")
        assert bench.dropped() == {DropReason.QUEUE_FULL: 2}
        assert bench.dirty()[0] == "g"
        assert bench.became_dirty()[DirtyReason.DROPPED] == 1
        assert bench.ledger().offered == 7
        fake.replies.open()


async def test_queue_that_is_too_full_is_left_to_copies() -> None:
    """Above the high-water mark no write waits any more: each key is remembered once."""
    appears = trio.Event()
    async with running_fake(is_listening=appears) as fake, stream_to(fake, write_queue_size=8) as bench:
        bench.offer(*[f"SET k{number % 2} {number}" for number in range(6)])
        assert (bench.ledger().queued, bench.dirty()) == (6, [])
        bench.offer("SET k2 6")
        bench.offer("SET k2 7", "SET k3 8")
        await wait_until(lambda: bench.ledger().queued == 0)

        assert bench.ledger().deferred == 9
        assert sorted(bench.dirty()) == ["k0", "k1", "k2", "k3"]
        assert bench.became_dirty() == {DirtyReason.OVERLOAD: 4}
        assert bench.dropped() == {}
        appears.set()


async def test_writes_flow_again_when_there_is_room() -> None:
    """Nobody has to copy anything for that: new keys are written, dirty ones are left to their copies."""
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with away as fake, stream_to(fake, write_queue_size=8, repair="manual") as bench:
        bench.offer(*[f"SET k {number}" for number in range(7)])
        assert bench.stream.gate.state is GateState.OVERLOADED
        await wait_until(lambda: bench.ledger().queued == 0)
        assert bench.stream.gate.is_open
        appears.set()
        bench.offer("SET l 1", "SET k 7")
        await bench.wait_settled()

        assert lines(fake.commands) == ["SET l 1"]
        assert bench.dirty() == ["k"]


async def test_room_appears_as_items_leave() -> None:
    """A queue takes items again once some have left it for the secondary."""
    async with running_fake() as fake, stream_to(fake, write_queue_size=3) as bench:
        for number in range(3):
            bench.offer(f"SET k {number}", f"SET l {number}")
            await bench.wait_settled()

        assert bench.ledger().applied == 6
        assert bench.dirty() == []


async def test_queue_is_bounded_in_bytes() -> None:
    """Bytes are limited over all queues; small items still find the room that a big one did not."""
    appears = trio.Event()
    small = ITEM_OVERHEAD_BYTES + len(encode.command("SET", "k", "1"))
    async with running_fake(is_listening=appears) as fake, stream_to(fake, queue_bytes=4 * small) as bench:
        bench.offer("SET k 1", "SET l " + "x" * 1000, "SET k 2")
        assert bench.stream.waiting_bytes == 2 * small
        bench.offer_read("GET " + "y" * 1000, b"$-1\r\n")
        bench.offer("SET k 3")
        bench.offer("SET l 4")

        assert bench.dropped() == {DropReason.QUEUE_FULL: 1}
        assert bench.dropped(Queue.SHADOW) == {DropReason.QUEUE_FULL: 1}
        assert bench.dirty() == ["l"]
        appears.set()
        await bench.wait_settled()
        assert lines(fake.commands) == ["SET k 1", "SET k 2", "SET k 3"]


async def test_queues_are_full_one_by_one() -> None:
    """Scripts and shadow reads that fill their queues leave the room of writes alone."""
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with (
        away as fake,
        stream_to(fake, write_queue_size=4, script_queue_size=1, shadow_queue_size=1) as bench,
    ):
        bench.offer("EVAL x 1 k", "EVAL y 1 l")
        bench.offer_read("GET k", b"+OK\r\n")
        bench.offer_read("GET m", b"+OK\r\n")
        bench.offer("SET k 1", "SET m 1")

        assert [bench.ledger(queue).queued for queue in (Queue.WRITE, Queue.SCRIPT, Queue.SHADOW)] == [
            2,
            1,
            1,
        ]
        assert bench.dropped(Queue.SCRIPT) == {DropReason.QUEUE_FULL: 1}
        assert bench.metrics.shadow_inconclusive == {"queue_full": 1}
        assert bench.dirty() == ["l"]
        appears.set()
        await bench.wait_settled()
        assert lines(fake.commands) == ["EVAL x 1 k", "GET k", "SET k 1", "SET m 1"]


async def test_any_number_of_items_can_be_refused() -> None:
    """However long there is no room, an offer counts and remembers, and never raises."""
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    sizes: dict[str, Any] = dict.fromkeys(
        ("write_queue_size", "script_queue_size", "blocking_replay_queue_size", "shadow_queue_size"), 1
    )
    async with away as fake, stream_to(fake, **sizes) as bench:
        for number in range(50):
            bench.offer(f"SET k{number} 1")
        await wait_until(lambda: bench.ledger().queued == 0)

        assert bench.ledger().deferred == 50
        assert len(bench.dirty()) == 50
        appears.set()


async def test_what_is_queued_before_a_copy_is_not_exact_any_more() -> None:
    """A write before it may be missing there: what makes other keys of this one is left to their copies.

    What is behind the copy meets the primary's state again.
    """
    appears = trio.Event()
    async with running_fake(is_listening=appears) as fake, stream_to(fake) as bench:
        dirty = bench.stream.dirty
        bench.offer("SET a 1", "RENAME a b", "SET c 1")
        bench.stream.mark_keys([(0, b"a")], DirtyReason.DIVERGED)
        dirty.take(1, 1, bench.clock())
        assert dirty.reached((0, b"a"))
        copy = commands_item(Queue.COPY, [Command((b"DEL", b"a"))], bench.clock(), START)
        copy.mends = True
        bench.offer_items(copy)
        bench.offer("SET a 2", "INCR a")
        appears.set()
        await bench.wait_settled()

        assert lines(fake.commands) == ["SET c 1", "DEL a", "SET a 2", "INCR a"]
        assert bench.ledger().deferred == 2
        assert bench.dirty() == ["b"]
        assert not bench.stream.doubtful.mending


async def test_shadow_reads_of_what_is_known_to_differ_are_not_made() -> None:
    """Of a dirty key, and of all keys while writes do not flow, a comparison would tell nothing."""
    appears = trio.Event()
    async with running_fake(is_listening=appears) as fake, stream_to(fake, write_queue_size=4) as bench:
        bench.stream.mark_keys([(0, b"k")], DirtyReason.DIVERGED)
        bench.offer_read("GET k", b"+OK\r\n")
        bench.offer_read("GET l", b"+OK\r\n")
        bench.offer("SET a 1", "SET b 1", "SET c 1", "SET d 1")
        bench.offer_read("GET l", b"+OK\r\n")
        await wait_until(lambda: bench.ledger(Queue.SHADOW).queued == 0)

        assert bench.metrics.shadow_inconclusive == {"dirty_key": 1, "suspended": 2}
        appears.set()


# --- time ---------------------------------------------------------------------------------------------


async def test_items_expire_while_the_secondary_is_away() -> None:
    """Past its time an item is dropped and counted, even while nothing can be sent; its key is dirty."""
    clock = Clock()
    away = running_fake(is_listening=trio.Event())
    async with (
        away as fake,
        stream_to(fake, clock, timeout_seconds=30.0, shadow_timeout_seconds=3.0) as bench,
    ):
        bench.offer("SET k 1")
        bench.offer_read("GET k", b"+OK\r\n")
        clock.now += 10
        await wait_until(lambda: bool(bench.dropped(Queue.SHADOW)))
        assert bench.stream.oldest_age_seconds() == 10.0
        clock.now += 20.5
        await wait_until(lambda: bool(bench.dropped()))

        assert bench.dropped() == {DropReason.EXPIRED: 1}
        assert bench.metrics.shadow_inconclusive == {"expired": 1}
        assert bench.stream.oldest_age_seconds() == 0.0
        assert bench.became_dirty() == {DirtyReason.DROPPED: 1}


async def test_what_has_waited_long_is_left_to_copies() -> None:
    """When new writes find old ones waiting, the secondary is too slow: none of them is sent."""
    clock = Clock()
    appears = trio.Event()
    away = running_fake(is_listening=appears)
    async with away as fake, stream_to(fake, clock, timeout_seconds=30.0, repair="off") as bench:
        bench.offer("SET a 1", "SET b 2")
        clock.now += 7
        bench.offer("SET c 3")
        await wait_until(lambda: bench.ledger().queued == 0)
        assert bench.ledger().deferred == 3
        assert bench.dropped() == {}
        appears.set()
        bench.offer("SET d 4")
        await bench.wait_settled()

        assert lines(fake.commands) == ["SET d 4"]
        assert bench.dirty() == ["a", "b", "c"]


# --- outcomes -----------------------------------------------------------------------------------------


async def test_error_of_the_secondary_is_a_failure_with_a_reason() -> None:
    """A write that the secondary refuses is failed, by class of error; the others are applied."""
    errors = {b"1": b"-ERR write conflict\r\n", b"2": b"-BUSY server overloaded\r\n", b"3": b"-ERR no\r\n"}
    async with running_fake(lambda args: errors.get(args[2], encode.OK)) as fake, stream_to(fake) as bench:
        bench.offer(*[f"SET k {number}" for number in range(5)])
        await bench.wait_settled()

        assert (bench.ledger().applied, bench.ledger().failed) == (2, 3)
        assert bench.write_errors().keys() >= {("SET", "write_conflict"), ("SET", "other")}
        counters = bench.metrics.backends["elastickv"].by_command[find_command(b"SET").index]
        assert (sum(counters.counts), counters.errors) == (5, 3)


async def test_shadow_reads_are_compared() -> None:
    """Equal bytes match at once; what differs, or confirms an earlier difference, goes to be judged."""
    async with running_fake(echo) as fake, stream_to(fake) as bench:
        bench.offer_read("GET a", encode.bulk("a"))
        differing = bench.offer_read("GET b", encode.bulk("x"))
        confirming = bench.offer_read("GET c", encode.bulk("c"))
        confirming.suspicion = Suspicion(confirming, 0.0, ())
        await bench.wait_settled()

        assert bench.metrics.shadow_matches == 1
        assert bench.compared == [(differing, encode.bulk("b")), (confirming, encode.bulk("c"))]
        assert bench.ledger(Queue.SHADOW).applied == 3


async def test_transaction_is_one_item_whose_outcome_is_that_of_exec() -> None:
    """The frames of MULTI and the queued commands are passed over; EXEC's tells."""

    def answer(args: Args) -> bytes:
        if args[0] == b"EXEC":
            return encode.EXECABORT
        return encode.QUEUED if args[0] == b"INCR" else encode.OK

    async with running_fake(answer) as fake, stream_to(fake) as bench:
        queued = [planned("INCR", "a"), planned("INCR", "b")]
        item = in_one_piece(plan_of((b"EXEC",)), Queue.WRITE, queued, bench.clock(), START, (None, None))
        before, after = planned("SET", "x", "1"), planned("SET", "x", "2")
        bench.offer_items(
            StreamItem(before[0], Queue.WRITE, before[1], bench.clock()),
            item,
            StreamItem(after[0], Queue.WRITE, after[1], bench.clock()),
        )
        await bench.wait_settled()

        assert lines(fake.commands) == ["SET x 1", "MULTI", "INCR a", "INCR b", "EXEC", "SET x 2"]
        assert (bench.ledger().applied, bench.ledger().failed) == (2, 1)
        assert bench.write_errors() == {("EXEC", "other"): 1}


async def test_transaction_with_a_refused_command_has_failed() -> None:
    """If the secondary refuses a part of a transaction, the stores differ: that is not applied."""
    replies = {b"MULTI": encode.OK, b"EXEC": b"*2\r\n:1\r\n-WRONGTYPE no\r\n"}
    async with (
        running_fake(lambda args: replies.get(args[0], encode.QUEUED)) as fake,
        stream_to(fake) as bench,
    ):
        queued = [planned("INCR", "a"), planned("INCR", "b")]
        item = in_one_piece(plan_of((b"EXEC",)), Queue.WRITE, queued, bench.clock(), START, (None, None))
        bench.offer_items(item)
        await bench.wait_settled()

        assert (bench.ledger().applied, bench.ledger().failed) == (0, 1)
        assert bench.write_errors() == {("EXEC", "other"): 1}


# --- the end ------------------------------------------------------------------------------------------


async def test_close_delivers_what_is_queued() -> None:
    """A stream that is closed takes nothing more, and sends everything that it has."""
    async with running_fake() as fake:
        fake.replies.shut()
        async with stream_to(fake) as bench:
            bench.offer("SET k 0")
            await wait_until(lambda: len(fake.commands) == 1)
            bench.offer(*[f"SET k {number}" for number in range(1, 100)])
            bench.stream.close(10)
            assert bench.stream.is_closing
            fake.replies.open()

        assert lines(fake.commands) == [f"SET k {number}" for number in range(100)]
        assert bench.ledger().applied == 100


async def test_when_the_drains_time_is_over_the_rest_is_dropped() -> None:
    """What is queued then is dropped as shutdown; what is in flight has failed."""
    async with running_fake() as fake:
        fake.replies.shut()
        async with stream_to(fake, drain_seconds=0.02) as bench:
            bench.offer("SET k 0")
            await wait_until(lambda: len(fake.commands) == 1)
            bench.offer("SET k 1", "SET k 2")
            bench.offer_read("GET k", b"+OK\r\n")

        assert bench.dropped() == {DropReason.SHUTDOWN: 2}
        assert bench.metrics.shadow_inconclusive == {"shutdown": 1}
        assert bench.ledger().failed == 1
        assert bench.write_errors() == {("SET", "shutdown"): 1}


async def test_closing_again_can_only_shorten_the_time() -> None:
    """A second close with less patience counts; one with more does not."""
    async with running_fake() as fake:
        fake.replies.shut()
        async with stream_to(fake, drain_seconds=1000) as bench:
            bench.offer("SET k 0")
            await wait_until(lambda: len(fake.commands) == 1)
            bench.stream.close(1000)
            bench.stream.close(0)

        assert bench.ledger().failed == 1


async def test_close_of_an_unreachable_secondary_ends_with_the_drain() -> None:
    """With nobody to deliver to, the drain ends at its time and everything is counted."""
    away = running_fake(is_listening=trio.Event())
    async with away as fake, stream_to(fake, drain_seconds=0.05) as bench:
        bench.offer("SET k 0", "SET k 1")

    assert bench.dropped() == {DropReason.SHUTDOWN: 2}


async def test_close_with_nothing_queued_ends_at_once() -> None:
    """Nothing to deliver: no waiting, whether the secondary is there or not."""
    away = running_fake(is_listening=trio.Event())
    with trio.fail_after(5):
        async with away as fake, stream_to(fake, drain_seconds=1000):
            pass
        async with running_fake() as fake, stream_to(fake, drain_seconds=1000) as bench:
            bench.offer("SET k 0")
            await bench.wait_settled()


async def test_offer_after_close_is_dropped() -> None:
    """What comes after the close, a re-read for instance, is dropped and counted."""
    async with running_fake() as fake:
        async with stream_to(fake) as bench:
            bench.stream.close(10)
            bench.offer("SET k 1")
            bench.offer_read("GET l", b"+OK\r\n")

        assert bench.dropped() == {DropReason.SHUTDOWN: 1}
        assert bench.metrics.shadow_inconclusive == {"shutdown": 1}
