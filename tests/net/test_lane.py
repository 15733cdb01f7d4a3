"""A lane hands each reply to who waits for it, and tells everybody once when it breaks."""

from __future__ import annotations

import trio
import trio.testing

from dualkv.net.lane import LaneState
from dualkv.resp import encode
from tests.net.building import Waiter, in_round, lane_to
from tests.support.fake_backend import FakeBackend, echo, running_fake
from tests.support.proxy import wait_until


def get(*keys: str) -> bytes:
    """Return a GET for each key, in one piece."""
    return b"".join(encode.command("GET", key) for key in keys)


def bulks(*values: str) -> list[bytes]:
    """Return bulk strings."""
    return [encode.bulk(value) for value in values]


async def wait_received(fake: FakeBackend, count: int) -> None:
    """Wait until the newest connection of *fake* has received *count* commands."""
    await wait_until(lambda: bool(fake.connections) and len(fake.last.commands) >= count)


# --- order --------------------------------------------------------------------------------------------


async def test_replies_go_to_their_waiters_in_order() -> None:
    """Each waiter gets as many replies as it misses, the waiters in the order of their sending."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        one, two, three = bench.submit(get("a")), bench.submit(get("b", "c", "d"), 3), bench.submit(get("e"))
        await three.wait_over()

        assert [one.frames, two.frames, three.frames] == [bulks("a"), bulks("b", "c", "d"), bulks("e")]
        assert fake.last.commands == [(b"GET", key) for key in (b"a", b"b", b"c", b"d", b"e")]
        assert bench.lane.is_idle


async def test_waiter_gets_its_replies_as_they_arrive() -> None:
    """Replies are handed out at once, not when all of a waiter's are there."""
    async with running_fake(lambda _: b"") as fake, lane_to(fake) as bench:
        waiter, other = bench.submit(get("a", "b", "c"), 3), bench.submit(get("d"))
        await wait_received(fake, 4)
        await fake.last.send(b"+1\r\n+2\r\n")
        await wait_until(lambda: len(waiter.frames) == 2)
        assert (waiter.missing, other.missing) == (1, 1)

        await fake.last.send(b"+3\r\n+4\r\n")
        await other.wait_over()

        assert (waiter.frames, other.frames) == ([b"+1\r\n", b"+2\r\n", b"+3\r\n"], [b"+4\r\n"])


async def test_frames_cut_anywhere_are_put_together() -> None:
    """Replies in pieces, cut inside a length, a value and a line end, are whole for their waiters."""
    replies = b"*2\r\n$3\r\nfoo\r\n:12\r\n$4\r\na\r\nb\r\n-ERR no\r\n"
    async with running_fake(lambda _: b"") as fake, lane_to(fake) as bench:
        waiters = [bench.submit(get("k")) for _ in range(3)]
        await wait_received(fake, 3)
        for position in range(0, len(replies), 3):
            await fake.last.send(replies[position : position + 3])
            await trio.testing.wait_all_tasks_blocked()
        await waiters[-1].wait_over()

    assert [waiter.frames for waiter in waiters] == [
        [b"*2\r\n$3\r\nfoo\r\n:12\r\n"],
        [b"$4\r\na\r\nb\r\n"],
        [b"-ERR no\r\n"],
    ]


async def test_large_requests_and_replies_pass() -> None:
    """Values beyond every buffer go through, in order, with small ones between."""
    large = "x" * 3_000_000
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        waiters = [bench.submit(get(key)) for key in ("a", large, "b", large, "c")]
        await waiters[-1].wait_over()

        assert [waiter.frames for waiter in waiters] == [
            [frame] for frame in bulks("a", large, "b", large, "c")
        ]
        assert not bench.lane.is_congested


async def test_pending_requests_are_counted() -> None:
    """The gauge shows how many replies are owed."""
    async with running_fake(echo) as fake, lane_to(fake) as bench:
        fake.replies.shut()
        waiter = bench.submit(get("a", "b", "c"), 3)
        assert bench.counters.pending_requests == 3
        assert not bench.lane.is_idle
        fake.replies.open()
        await waiter.wait_over()

        assert bench.counters.pending_requests == 0


# --- both versions of RESP ----------------------------------------------------------------------------


def answer_by_version(fake: FakeBackend) -> None:
    """Let *fake* answer the version that the connection speaks, and the key."""
    fake.answer = lambda args: b"+%d%b\r\n" % (fake.last.protocol, args[1])


async def test_versions_share_a_round_with_one_switch() -> None:
    """Commands of both versions in one round cost one switch, and each is answered in its version."""
    async with running_fake() as fake, lane_to(fake) as bench:
        answer_by_version(fake)
        waiters: list[Waiter] = []

        def submit() -> None:
            waiters.extend(bench.submit(get(f"k{number}"), protocol=2 + number % 2) for number in range(6))

        await in_round(bench.hub, submit)
        await wait_until(lambda: len(waiters) == 6 and not any(waiter.missing for waiter in waiters))

        assert [waiter.frames for waiter in waiters] == [[b"+%dk%d\r\n" % (2 + n % 2, n)] for n in range(6)]
        assert fake.last.commands == [
            (b"GET", b"k0"), (b"GET", b"k2"), (b"GET", b"k4"), (b"HELLO", b"3"),
            (b"GET", b"k1"), (b"GET", b"k3"), (b"GET", b"k5"),
        ]  # fmt: skip


async def test_lane_stays_in_the_version_it_was_switched_to() -> None:
    """The next round goes on in the version of the last, and switches back only when asked."""
    async with running_fake() as fake, lane_to(fake) as bench:
        answer_by_version(fake)
        for protocol in (3, 3, 2, 2):
            waiter = bench.submit(get("k"), protocol=protocol)
            await waiter.wait_over()
            assert waiter.frames == [b"+%dk\r\n" % protocol]

        switches = [args for args in fake.last.commands if args[0] == b"HELLO"]
        assert switches == [(b"HELLO", b"3"), (b"HELLO", b"2")]


async def test_new_connection_begins_in_resp2() -> None:
    """After a loss in RESP3 the lane knows that the new connection speaks RESP2."""
    async with running_fake() as fake, lane_to(fake) as bench:
        answer_by_version(fake)
        await bench.submit(get("k"), protocol=3).wait_over()
        fake.last.hang_up()
        await wait_until(lambda: len(fake.connections) == 2 and bench.lane.is_open)
        waiters = [bench.submit(get("k"), protocol=protocol) for protocol in (2, 3)]
        await waiters[1].wait_over()

        assert [waiter.frames for waiter in waiters] == [[b"+2k\r\n"], [b"+3k\r\n"]]


async def test_refused_switch_breaks_the_lane() -> None:
    """A primary that forgot RESP3 would answer in the wrong version: all are told, none is answered."""
    async with running_fake() as fake, lane_to(fake) as bench:
        fake.speaks = (2,)
        waiter = bench.submit(get("k"), protocol=3)
        await waiter.wait_over()

        assert (waiter.frames, waiter.losses) == ([], 1)
        await bench.wait_state(LaneState.UP)
        assert bench.lane.greeting.protocols == {2}
