"""What a lane does when its connection breaks, when the primary is slow, wrong, full or away."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dualkv.core.context import START
from dualkv.net.lane import LaneState
from dualkv.resp import encode
from tests.net.building import Clock, LaneBench, Waiter, in_round, lane_to
from tests.support.fake_backend import FakeBackend, echo, running_fake
from tests.support.proxy import wait_until

GET = encode.command("GET", "k")
REPLY = encode.bulk("k")
LARGE = encode.command("SET", "k", b"x" * 12 * 1024 * 1024)
"""More than the sockets between us and a backend hold, and more than makes a lane congested."""


class Broken(Waiter):
    """Waits on a lane, and fails on what it is told."""

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        """Fail."""
        raise RuntimeError("a bug")


async def check_works(bench: LaneBench) -> None:
    """Check that the lane is up again and answers."""
    await bench.wait_state(LaneState.UP)
    waiter = bench.submit(GET)
    await waiter.wait_over()
    assert (waiter.frames, waiter.losses) == ([REPLY], 0)


async def wait_received(fake: FakeBackend, count: int) -> None:
    """Wait until the newest connection of *fake* has received *count* commands."""
    await wait_until(lambda: len(fake.last.commands) >= count)


# --- loss ---------------------------------------------------------------------------------------------


async def test_loss_is_told_to_every_waiter_once_and_in_order() -> None:
    """Who waits when the connection breaks is told so once, in the lane's order; then it reconnects."""
    log: list[tuple[str, Waiter]] = []
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        fake.close_after = 2
        waiters = [Waiter(count, log) for count in (1, 3, 1)]
        for waiter in waiters:
            bench.lane.submit(GET * waiter.missing, waiter, START)
        await waiters[-1].wait_over()

        assert [event for event in log if event[0] == "lost"] == [("lost", waiters[1]), ("lost", waiters[2])]
        assert [waiter.frames for waiter in waiters] == [[REPLY], [REPLY], []]
        assert [waiter.losses for waiter in waiters] == [0, 1, 1]
        assert bench.counters.pending_requests == 0
        await check_works(bench)
        assert [waiter.losses for waiter in waiters] == [0, 1, 1]
        assert bench.counters.events == {"opened": 2, "lost": 1}


@pytest.mark.parametrize("how", ["reset", "hang_up"])
async def test_idle_lane_that_is_lost_reconnects(how: str) -> None:
    """A connection that breaks while nobody waits is replaced without anybody noticing."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        getattr(fake.last, how)()
        await wait_until(lambda: bench.counters.events["opened"] == 2)

        await check_works(bench)


async def test_loss_reaches_waiters_of_the_other_version_too() -> None:
    """What was submitted in this round and has not been sent is told as well, once."""
    waiters: list[Waiter] = []
    async with running_fake(echo) as fake, lane_to(fake) as bench:

        def submit_and_fail() -> None:
            waiters.extend(bench.submit(GET, protocol=protocol) for protocol in (2, 3, 2, 3))
            bench.lane.on_failure(RuntimeError("a bug"))

        await in_round(bench.hub, submit_and_fail)

        assert [waiter.losses for waiter in waiters] == [1, 1, 1, 1]
        assert bench.counters.pending_requests == 0
        assert bench.lane.is_idle
        await check_works(bench)
        assert fake.last.commands == [(b"GET", b"k")]


async def test_failure_of_a_waiter_breaks_the_lane_and_nothing_else() -> None:
    """A bug in handing out replies makes the lane untrustworthy: all others are told, and it begins anew."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        fake.replies.shut()
        first, broken, last = Waiter(), Broken(), Waiter()
        for waiter in (first, broken, last):
            bench.lane.submit(GET, waiter, START)
        await wait_received(fake, 3)
        fake.replies.open()
        await last.wait_over()

        assert (first.frames, first.losses, last.frames, last.losses) == ([REPLY], 0, [], 1)
        await check_works(bench)


async def test_failing_waiter_itself_is_told() -> None:
    """A waiter that fails on its replies is told that they are lost: its client must not wait for ever."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        broken = Broken()
        bench.lane.submit(GET, broken, START)
        await wait_until(lambda: len(fake.connections) == 2)

        assert broken.losses == 1


# --- wrong --------------------------------------------------------------------------------------------


async def test_garbage_breaks_the_lane() -> None:
    """Bytes that are not RESP make the connection useless: the waiters are told, a new one is made."""
    async with running_fake(lambda _: b"HTTP/1.1 200 OK\r\n") as fake, lane_to(fake) as bench:
        waiters = [bench.submit(GET), bench.submit(GET)]
        await waiters[1].wait_over()
        fake.answer = echo

        assert [(waiter.frames, waiter.losses) for waiter in waiters] == [([], 1), ([], 1)]
        assert bench.counters.pending_requests == 0
        await check_works(bench)


async def test_one_reply_too_many_breaks_the_lane() -> None:
    """A reply too many would shift all that follow; who was answered before keeps its answer."""
    async with running_fake(lambda _: REPLY + b"+surprise\r\n") as fake, lane_to(fake) as bench:
        waiter = bench.submit(GET)
        await wait_until(lambda: bench.counters.events["lost"] == 1)
        fake.answer = echo

        assert (waiter.frames, waiter.losses) == ([REPLY], 0)
        await check_works(bench)


async def test_unasked_reply_does_not_shift_the_gauge() -> None:
    """Requests pending are never less than none, whatever a backend sends."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        await fake.last.send(b"+surprise\r\n")
        await wait_until(lambda: bench.counters.events["lost"] == 1)
        await check_works(bench)

        assert bench.counters.pending_requests == 0


# --- slow ---------------------------------------------------------------------------------------------


async def test_silence_beyond_the_read_timeout_breaks_the_lane() -> None:
    """A primary that owes a reply for longer than the read timeout is given up, and dialled again."""
    async with running_fake(echo) as fake, lane_to(fake, read_timeout_seconds=0.1) as bench:
        fake.replies.shut()
        waiters = [bench.submit(GET), bench.submit(GET)]
        await waiters[1].wait_over()
        fake.replies.open()

        assert [waiter.losses for waiter in waiters] == [1, 1]
        await check_works(bench)


async def test_idle_lane_is_not_timed_out() -> None:
    """Silence counts only while a reply is owed, and from then on."""
    clock = Clock()
    async with running_fake(echo) as fake, lane_to(fake, clock, read_timeout_seconds=0.02) as bench:
        clock.now += 1000
        await trio.sleep(0.03)  # the lane looks at the clock meanwhile
        assert bench.lane.state is LaneState.UP

        fake.replies.shut()
        waiter = bench.submit(GET)
        await wait_received(fake, 1)
        await trio.sleep(0.03)
        fake.replies.open()
        await waiter.wait_over()

        assert (waiter.frames, waiter.losses) == ([REPLY], 0)


async def test_progress_puts_the_timeout_off() -> None:
    """A primary that answers slowly, even a part of a frame, is not silent."""
    clock = Clock()
    async with running_fake(lambda _: b"") as fake, lane_to(fake, clock, read_timeout_seconds=0.02) as bench:
        waiter = bench.submit(GET, 2)
        await wait_received(fake, 1)
        for piece in (b"+1\r\n", b"$5", b"\r\nhal", b"ve\r\n"):
            clock.now += 0.015
            await trio.sleep(0.015)  # the lane looks at the clock meanwhile
            await fake.last.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        await waiter.wait_over()

        assert (waiter.frames, waiter.losses) == ([b"+1\r\n", b"$5\r\nhalve\r\n"], 0)


# --- full ---------------------------------------------------------------------------------------------


async def test_congestion_is_told_and_resolved() -> None:
    """While the primary does not read, the lane says so; when there is room again, who asked is told once."""
    resumed: list[str] = []
    async with running_fake() as fake, lane_to(fake) as bench:
        fake.reads.shut()
        waiters = [bench.submit(LARGE), bench.submit(LARGE)]
        assert (bench.lane.is_congested, bench.lane.is_open) == (True, False)
        bench.lane.when_uncongested(lambda: resumed.append("one"))
        bench.lane.when_uncongested(lambda: resumed.append("two"))
        await trio.testing.wait_all_tasks_blocked()
        assert resumed == []

        fake.reads.open()
        await waiters[1].wait_over()

        assert resumed == ["one", "two"]
        assert (bench.lane.is_congested, bench.lane.is_open) == (False, True)
        assert [waiter.frames for waiter in waiters] == [[encode.OK], [encode.OK]]


async def test_loss_resolves_congestion() -> None:
    """Who waits for room on a lane that is lost is told too: there is nothing to wait for."""
    resumed: list[LaneState] = []
    async with running_fake() as fake, lane_to(fake, read_timeout_seconds=0.1) as bench:
        fake.reads.shut()
        waiter = bench.submit(LARGE)
        bench.lane.when_uncongested(lambda: resumed.append(bench.lane.state))
        await waiter.wait_over()
        await wait_until(lambda: bool(resumed))

        assert resumed == [LaneState.CONNECTING]
        assert not bench.lane.is_congested


async def test_lane_that_broke_while_it_was_full_sends_again() -> None:
    """After a loss with bytes unsent the new connection works as any."""
    async with running_fake(echo) as fake, lane_to(fake, read_timeout_seconds=0.2) as bench:
        fake.reads.shut()
        await bench.submit(LARGE).wait_over()
        fake.reads.open()

        await check_works(bench)


async def test_lane_that_broke_while_it_was_full_can_be_full_again() -> None:
    """After a loss with bytes unsent the new connection waits for room as any."""
    async with running_fake() as fake, lane_to(fake, read_timeout_seconds=0.2) as bench:
        fake.reads.shut()
        await bench.submit(LARGE).wait_over()
        await bench.wait_state(LaneState.UP)
        waiter = bench.submit(LARGE)
        fake.reads.open()
        await waiter.wait_over()

        assert (waiter.frames, waiter.losses) == ([encode.OK], 0)


# --- away ---------------------------------------------------------------------------------------------


async def test_unreachable_primary_is_down_until_it_appears() -> None:
    """A lane to nowhere is down after the first attempt; it keeps trying, and is up when somebody listens."""
    appears = trio.Event()
    async with running_fake(echo, is_listening=appears) as fake, lane_to(fake) as bench:
        assert bench.lane.state is LaneState.DOWN
        assert not bench.lane.is_open
        await wait_until(lambda: bench.counters.events["dial_failed"] > 1)
        assert bench.lane.state is LaneState.DOWN
        assert await bench.lane.wait_settled() is LaneState.DOWN

        appears.set()

        await check_works(bench)


async def test_lost_primary_that_does_not_come_back_is_down() -> None:
    """After a loss the lane is connecting, so that clients wait a little; if that fails, it is down."""
    async with running_fake(echo) as fake, lane_to(fake, dial_timeout_seconds=0.05) as bench:
        fake.is_mute = True
        fake.last.hang_up()
        await bench.wait_state(LaneState.CONNECTING)

        assert await bench.lane.wait_settled() is LaneState.DOWN
        fake.is_mute = False
        await bench.wait_state(LaneState.UP)


async def test_cancelled_lane_is_closed() -> None:
    """Ending the lane tells who waits, closes the connection on purpose, and is final."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        fake.replies.shut()
        waiter = bench.submit(GET)
        bench.scope.cancel("enough")
        await bench.ended.wait()

        assert bench.lane.state is LaneState.CLOSED
        assert not bench.lane.is_open
        assert waiter.losses == 1
        assert await bench.lane.wait_settled() is LaneState.CLOSED
        assert bench.counters.events == {"opened": 1, "closed": 1}
        assert bench.counters.pending_requests == 0


async def test_lane_cancelled_while_down_is_closed() -> None:
    """A lane that never got a connection ends as well."""
    async with running_fake(is_listening=trio.Event()) as fake, lane_to(fake) as bench:
        bench.scope.cancel("enough")
        await bench.ended.wait()

        assert bench.lane.state is LaneState.CLOSED
        assert bench.counters.connections.total() == 0
