"""Several lanes: which command goes where, what is held, what becomes of a lane that is lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from dualkv.core.context import START
from dualkv.core.fence import KeyFence
from dualkv.errors import ConnectionLost
from dualkv.net.lane import Lane, LaneState
from dualkv.net.lanes import Lanes
from dualkv.observe.metrics import PoolCounters
from dualkv.resp.encode import command
from tests.net.building import Waiter, backend_for, running_hub
from tests.support.fake_backend import FakeBackend, FakeConnection, echo, running_fake
from tests.support.proxy import wait_until


@attrs.define(eq=False)
class LanesBench:
    """Running lanes, and the fake that they lead to."""

    lanes: Lanes
    fake: FakeBackend
    fence: KeyFence
    counters: PoolCounters
    log: list[tuple[str, Waiter]] = attrs.field(factory=list)

    def submit(self, words: str, *keys: bytes, everything: bool = False) -> Waiter:
        """Send a command on *keys*."""
        waiter = Waiter(log=self.log)
        self.lanes.submit(command(*words.split()), waiter, START, None if everything else keys)
        return waiter

    def order(self, *waiters: Waiter) -> list[int]:
        """Return in which order waiters, by their place among the arguments, were answered."""
        return [waiters.index(waiter) for _, waiter in self.log if waiter in waiters]

    async def connection_of(self, words: str) -> FakeConnection:
        """Return the connection that a command came on."""
        args = tuple(words.encode().split())
        await wait_until(lambda: args in self.fake.commands)
        return next(one for one in self.fake.connections if args in one.commands)

    async def wait_over(self, waiters: Sequence[Waiter]) -> None:
        """Wait for all."""
        for waiter in waiters:
            await waiter.wait_over()


@asynccontextmanager
async def lanes_to(
    fake: FakeBackend, count: int = 3, *, keeps_order: bool = True
) -> AsyncIterator[LanesBench]:
    """Run lanes to *fake* for the block; when it begins, all are up."""
    counters, fence = PoolCounters(), KeyFence()
    backend = backend_for(fake, counters)
    async with running_hub() as hub:

        def first_connected(_: list[bytes]) -> None:
            lanes.primary_connected(commits_each_write=False)

        def make(behind: Lane | None) -> Lane:
            if behind is not None:
                return Lane(backend, hub, counters, time.perf_counter, behind=behind)
            return Lane(backend, hub, counters, time.perf_counter, on_connected=first_connected)

        lanes = Lanes(make, fence, count, count, keeps_order=keeps_order)
        bench = LanesBench(lanes, fake, fence, counters)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lanes.run)
            await wait_until(lambda: lanes.up == count)
            yield bench
            nursery.cancel_scope.cancel("the test is over")


async def test_key_keeps_its_lane_while_something_is_in_flight_on_it() -> None:
    """The next command of a key follows the last one; other keys go where nothing waits."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        waiters = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b"), bench.submit("GET a", b"a")]
        first, other = await bench.connection_of("SET a 1"), await bench.connection_of("SET b 2")

        assert first is not other
        assert await bench.connection_of("GET a") is first
        fake.replies.open()
        await bench.wait_over(waiters)
        assert bench.counters.pending_requests == 0


async def test_command_over_keys_of_several_lanes_is_held_until_they_have_come_together() -> None:
    """It is not sent before; what comes for its keys afterwards follows it; other keys do not wait."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        before = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")]
        both = bench.submit("MSET a 3 b 4", b"a", b"b")
        after = [bench.submit("GET a", b"a"), bench.submit("GET b", b"b")]
        stranger = bench.submit("GET c", b"c")
        await bench.connection_of("GET c")

        assert (b"MSET", b"a", b"3", b"b", b"4") not in fake.commands
        assert (b"GET", b"a") not in fake.commands
        fake.replies.open()
        await bench.wait_over([*before, both, *after, stranger])
        assert bench.order(before[0], both, *after) == [0, 1, 2, 3]
        assert bench.order(before[1], both) == [0, 1]
        assert not bench.fence.is_up


async def test_what_may_touch_any_key_waits_for_all_and_lets_nothing_overtake() -> None:
    """FLUSHALL leaves when nothing is in flight; whatever has keys comes behind it."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        before = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")]
        flush = bench.submit("FLUSHALL", everything=True)
        after = [bench.submit("SET c 3", b"c"), bench.submit("SET a 4", b"a")]
        ping = bench.submit("PING x")
        await bench.connection_of("PING x")

        assert (b"FLUSHALL",) not in fake.commands
        fake.replies.open()
        await bench.wait_over([*before, flush, *after, ping])
        assert bench.order(*before, flush, *after)[2] == 2


async def test_flush_is_not_starved_by_commands_that_go_on_coming() -> None:
    """Held commands leave in the order of their coming, though their keys never rest."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        waiters = [bench.submit(f"SET {key} 1", key.encode()) for key in "abc"]
        waiters += [bench.submit("MSET a 1 b 1", b"a", b"b"), bench.submit("MSET b 1 c 1", b"b", b"c")]
        waiters.append(bench.submit("FLUSHALL", everything=True))
        waiters += [bench.submit("MSET a 2 b 2", b"a", b"b"), bench.submit("SET c 3", b"c")]
        fake.replies.open()
        await bench.wait_over(waiters)

        assert bench.order(*waiters)[3:6] == [3, 4, 5]


async def test_without_a_follower_a_key_has_no_lane() -> None:
    """Nobody needs its order: commands on one key go side by side, and nothing is held."""
    async with running_fake(echo) as fake, lanes_to(fake, keeps_order=False) as bench:
        fake.replies.shut()
        waiters = [bench.submit("INCR a", b"a"), bench.submit("DECR a", b"a")]
        waiters.append(bench.submit("FLUSHALL", everything=True))
        connections = {await bench.connection_of(words) for words in ("INCR a", "DECR a", "FLUSHALL")}

        assert len(connections) == 3
        fake.replies.open()
        await bench.wait_over(waiters)


async def test_barrier_waits_for_what_is_held_too() -> None:
    """What has been submitted so far is answered when it passes, on whichever lane and however late."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        waiters = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")]
        waiters.append(bench.submit("MSET a 3 b 4", b"a", b"b"))
        passed: list[int] = []
        bench.lanes.when_settled(lambda: passed.append(sum(len(waiter.frames) for waiter in waiters)))
        fake.replies.open()
        await wait_until(lambda: bool(passed))

        assert passed == [3]


async def test_lost_lane_loses_its_own_commands_only() -> None:
    """The others go on; the keys of what was lost are free, and the lane comes back."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        lost, kept = bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")
        both = bench.submit("MSET a 3 b 4", b"a", b"b")
        connection = await bench.connection_of("SET b 2")
        lost, kept = kept, lost  # the lane of b is not the first one
        connection.reset()
        await lost.wait_over()
        fake.replies.open()
        await bench.wait_over([kept, both])

        assert [(one.losses, len(one.frames)) for one in (lost, kept, both)] == [(1, 0), (0, 1), (0, 1)]
        await wait_until(lambda: bench.lanes.up == 3)


async def test_when_the_first_lane_connects_anew_so_do_the_others() -> None:
    """It may lead to another node now; what the others owe is answered first."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        before = list(fake.connections)
        fake.connections[0].reset()
        await wait_until(lambda: len(fake.connections) == 2 * len(before))
        await wait_until(lambda: bench.lanes.up == 3)

        assert all(connection.is_gone.is_set() for connection in before)


async def test_nothing_is_sent_on_a_lane_that_is_gone() -> None:
    """What was held while the primary went away has an unknown outcome, and leaves no fence behind."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        waiters = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")]
        waiters.append(bench.submit("MSET a 3 b 4", b"a", b"b"))
        await bench.connection_of("SET b 2")
        fake.accepts.shut()
        for connection in list(fake.connections):
            connection.reset()
        await bench.wait_over(waiters)

        assert [waiter.losses for waiter in waiters] == [1, 1, 1]
        assert not bench.fence.is_up
        fake.replies.open()
        fake.accepts.open()
        await wait_until(lambda: bench.lanes.up == 3)
        again = bench.submit("GET a", b"a")
        await again.wait_over()
        assert again.frames


async def test_each_lane_is_asked_what_it_alone_knows() -> None:
    """One reply per lane; a lane that breaks is an error."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        assert await bench.lanes.ask_each(command("WAIT", "x"), START) == [b"$1\r\nx\r\n"] * 3
        fake.close_after = 0
        with pytest.raises(ConnectionLost):
            await bench.lanes.ask_each(command("WAIT", "x"), START)


async def test_items_are_cut_by_the_lanes_of_their_keys() -> None:
    """What is free goes together; what is fenced goes alone, and waits alone."""
    async with running_fake(echo) as fake, lanes_to(fake) as bench:
        fake.replies.shut()
        waiters = [bench.submit("SET a 1", b"a"), bench.submit("SET b 2", b"b")]
        waiters.append(bench.submit("MSET a 3 b 4", b"a", b"b"))
        waiters.append(bench.submit("SET c 1", b"c"))

        parts = bench.lanes.split([b"a", b"c", b"d", b"e"], lambda key: key)
        assert sorted(parts) in ([[b"a"], [b"c"], [b"d", b"e"]], [[b"a"], [b"c", b"d", b"e"]])
        fake.replies.open()
        await bench.wait_over(waiters)


async def test_one_lane_asks_nobody() -> None:
    """Fences are the affair of those who send; there is one part and one order."""
    async with running_fake(echo) as fake, lanes_to(fake, count=1) as bench:
        bench.fence.claim((b"a",), lambda _: None)
        waiter = bench.submit("SET a 1", b"a")
        await waiter.wait_over()

        assert waiter.frames
        assert bench.lanes.is_single
        assert bench.lanes.split([b"a", b"b"], lambda key: key) == [[b"a", b"b"]]
        assert bench.lanes.first.state is LaneState.UP
        passed = partial(bench.log.append, ("passed", waiter))
        bench.lanes.when_settled(passed)
        assert bench.log[-1] == ("passed", waiter)
