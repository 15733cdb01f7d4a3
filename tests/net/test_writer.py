"""`DualWriter` without a server: one command at a time, by what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.ledger import DropReason, Queue
from dualkv.errors import BackendUnavailable, ConnectionLost
from dualkv.net.lane import LaneState
from dualkv.net.writer import DualWriter, open_writer
from dualkv.resp import encode
from tests.net.streaming import lines
from tests.support.fake_backend import Args, FakeBackend, echo, ok, running_fake
from tests.support.proxy import wait_until


def echo_without_expiry(args: Args) -> bytes:
    """Answer as `echo`, but for the question when a key expires."""
    return encode.integer(-1) if args[0] == b"PEXPIRETIME" else echo(args)


@attrs.define(eq=False)
class Pair:
    """A writer between two scripted backends."""

    writer: DualWriter
    primary: FakeBackend
    secondary: FakeBackend


@asynccontextmanager
async def writer_between(
    mode: ProxyMode = ProxyMode.DUAL_WRITE_SHADOW, secondary_knows: Iterable[str] = (), **settings: Any
) -> AsyncIterator[Pair]:
    """Run a writer between two backends that answer with the last argument; no key expires."""
    async with running_fake(echo_without_expiry) as primary, running_fake(echo) as secondary:
        if secondary_knows:
            names = [encode.array([encode.bulk(name)]) for name in secondary_knows]
            secondary.tells[b"COMMAND",] = encode.array(names)
        config = ProxyConfig(
            mode=mode, primary=primary.address, secondary=secondary.address, drain_seconds=5.0, **settings
        )
        async with open_writer(config) as writer:
            yield Pair(writer, primary, secondary)
        writer.metrics.check_ledgers()
        total = writer.metrics.total_ledger()
        assert (total.queued, total.in_flight) == (0, 0)


async def test_write_is_executed_and_mirrored() -> None:
    """A write returns the primary's raw reply, and reaches the secondary at the latest with the drain."""
    async with writer_between() as pair:
        assert await pair.writer.write("SET", b"k", 1) == encode.bulk("1")

    assert lines(pair.primary.commands) == ["SET k 1"]
    assert lines(pair.secondary.commands) == ["SET k 1"]
    assert pair.writer.metrics.ledger(Queue.WRITE).applied == 1


async def test_read_is_shadowed() -> None:
    """A read in a shadowing mode is compared with the secondary's reply."""
    async with writer_between() as pair:
        assert await pair.writer.read("GET", "k") == encode.bulk("k")

    assert pair.writer.metrics.shadow_matches == 1


async def test_read_is_not_shadowed_in_a_mode_without_shadows() -> None:
    """In plain dual-write mode reads stay with the primary."""
    async with writer_between(ProxyMode.DUAL_WRITE) as pair:
        await pair.writer.read("GET", "k")

    assert pair.secondary.commands == []


async def test_roles_are_swapped_in_elastickv_modes() -> None:
    """The store called secondary answers, the other one follows."""
    async with writer_between(ProxyMode.ELASTICKV_PRIMARY) as pair:
        pair.secondary.answer = ok
        assert await pair.writer.write("SET", "k", "v") == encode.OK
        await wait_until(lambda: len(pair.primary.commands) == 1)


@pytest.mark.parametrize(
    "answer", [b"+OK\r\n", b"$-1\r\n", b"-NOPERM no\r\n", b"*1\r\n:1\r\n", b"*2\r\n+a\r\n+b\r\n"]
)
async def test_primary_that_does_not_tell_the_time_does_no_harm(answer: bytes) -> None:
    """Whatever it answers to TIME, our own clock will do."""
    async with writer_between() as pair:
        pair.primary.answer = lambda args: answer if args[0] == b"TIME" else echo_without_expiry(args)
        for number in range(3):
            await pair.writer.write("SET", "k", number)
            await trio.sleep(0.06)  # it is asked again as long as it has not told

        assert not pair.writer.time.is_known


async def test_one_store_modes_mirror_nothing() -> None:
    """Without a store that follows there is no stream at all."""
    async with writer_between(ProxyMode.REDIS_ONLY) as pair:
        await pair.writer.write("SET", "k", "v")

        assert pair.writer.stream is None
    assert pair.secondary.connections == []


async def test_script_is_mirrored_as_a_script() -> None:
    """A script counts for the scripts' queue."""
    async with writer_between() as pair:
        assert await pair.writer.script("EVAL", "return 1", 1, "k") == encode.bulk("k")

    assert pair.writer.metrics.ledger(Queue.SCRIPT).applied == 1


async def test_administration_stays_with_the_primary() -> None:
    """What looks at the server is neither mirrored nor shadowed."""
    async with writer_between() as pair:
        assert await pair.writer.admin("CONFIG", "GET", "save") == encode.bulk("save")

    assert pair.secondary.commands == []


async def test_unknown_command_is_a_write() -> None:
    """A command that no table knows may be a write: it is taken for one, and mirrored where it is known."""
    async with writer_between(secondary_knows=("SET", "GET", "MY.COMMAND")) as pair:
        await pair.writer.write("MY.COMMAND", "x")

    assert lines(pair.secondary.commands) == ["MY.COMMAND x"]


async def test_unknown_command_that_the_secondary_lacks_is_counted() -> None:
    """What it cannot hold is not sent, and seen."""
    async with writer_between() as pair:
        await wait_until(lambda: pair.writer.stream is not None and pair.writer.stream.is_connected)
        await pair.writer.write("MY.COMMAND", "x")

        assert pair.writer.metrics.not_holdable == {"MY.COMMAND": 1}
    assert pair.secondary.commands == []


@pytest.mark.parametrize(
    ("method", "line", "category"),
    [
        ("write", "GET k", "read"),
        ("read", "SET k v", "write"),
        ("admin", "SET k v", "write"),
        ("script", "GET k", "read"),
        ("write", "BLPOP k 0", "blocking"),
        ("write", "EVAL x 0", "script"),
    ],
)
async def test_command_of_another_category_is_refused(method: str, line: str, category: str) -> None:
    """Each method takes its own kind of command only; nothing is sent."""
    async with writer_between() as pair:
        with pytest.raises(ValueError, match=f"another category: {category}"):
            await getattr(pair.writer, method)(*line.split())

    assert pair.primary.commands == []


async def test_command_that_the_lane_cannot_carry_is_refused() -> None:
    """Connection state and dangerous commands are refused, whatever the method."""
    async with writer_between() as pair:
        for line in ("SELECT 1", "SHUTDOWN", "CLIENT REPLY OFF"):
            with pytest.raises(ValueError, match="cannot be sent on the shared lane"):
                await pair.writer.admin(*line.split())

    assert pair.primary.commands == []


async def test_error_reply_is_returned_and_not_mirrored() -> None:
    """An error of the primary is a reply as any other; the secondary never sees the command."""
    async with writer_between() as pair:
        pair.primary.answer = lambda _: b"-WRONGTYPE no\r\n"
        assert await pair.writer.write("INCR", "k") == b"-WRONGTYPE no\r\n"
        assert await pair.writer.read("GET", "k") == b"-WRONGTYPE no\r\n"

        assert pair.writer.metrics.primary_write_errors == 1
        assert pair.writer.metrics.primary_read_errors == 1
    assert pair.secondary.commands == []


async def test_unreachable_primary_raises_before_anything_is_sent() -> None:
    """Nothing was executed, and the reason is told."""
    async with running_fake(is_listening=trio.Event()) as fake:
        config = ProxyConfig(mode=ProxyMode.REDIS_ONLY, primary=fake.address)
        async with open_writer(config) as writer:
            with pytest.raises(BackendUnavailable, match=fake.address):
                await writer.write("SET", "k", "v")


async def test_lost_lane_raises_with_the_outcome_unknown() -> None:
    """A write without a reply may have been executed: the caller is told, and the key is dirty."""
    async with writer_between(repair="manual") as pair:
        pair.primary.answer = lambda _: None
        with pytest.raises(ConnectionLost, match="the outcome is unknown"):
            await pair.writer.write("SET", "k", "v")

        assert pair.writer.metrics.primary_outcomes_unknown == 1
        pair.primary.answer = echo
        await wait_until(lambda: pair.writer.lane.state is LaneState.UP)
        await pair.writer.write("SET", "k", "w")
        await pair.writer.write("SET", "l", "x")
        assert list(pair.writer.dirty) == [(0, b"k")]
    assert lines(pair.secondary.commands) == ["SET l x"]


async def test_many_tasks_write_at_once() -> None:
    """Each caller gets its own reply; the secondary sees the primary's order."""
    async with writer_between() as pair:

        async def write(number: int) -> None:
            assert await pair.writer.write("SET", "k", number) == encode.bulk(str(number))

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(write, number)

    assert len(pair.primary.commands) == 100
    assert pair.secondary.commands == pair.primary.commands


async def test_cancelled_caller_changes_nothing_for_others() -> None:
    """A caller that gives up leaves its reply to nobody; the write is mirrored all the same."""
    async with writer_between() as pair:
        pair.primary.replies.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.writer.write, "SET", "k", "1")
            await wait_until(lambda: len(pair.primary.commands) == 1)
            nursery.cancel_scope.cancel("impatient")
        pair.primary.replies.open()

        assert await pair.writer.write("SET", "k", "2") == encode.bulk("2")
    assert lines(pair.secondary.commands) == ["SET k 1", "SET k 2"]


async def test_close_drains_no_longer_than_it_may() -> None:
    """With a secondary that is away, closing ends at its time, and what is left is counted."""
    async with running_fake() as primary, running_fake(is_listening=trio.Event()) as secondary:
        config = ProxyConfig(primary=primary.address, secondary=secondary.address, drain_seconds=0.05)
        async with open_writer(config) as writer:
            await writer.write("SET", "k", "v")

        assert writer.metrics.ledger(Queue.WRITE).dropped == {DropReason.SHUTDOWN: 1}
        assert writer.lane.state is LaneState.CLOSED


async def test_repr_is_a_status_line() -> None:
    """It tells the mode, the lane and the stream."""
    async with writer_between() as pair:
        await pair.writer.wait_lane()

        assert repr(pair.writer) == (
            "<DualWriter dual-write-shadow <Lanes 1 held=0 <Lane redis up waiting=0>> "
            "<SecondaryStream shards=1 queued=0 in_flight=0>>"
        )
