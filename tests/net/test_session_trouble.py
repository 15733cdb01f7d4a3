"""A session when there is too much of something, or the primary or the client goes away."""

from __future__ import annotations

import socket
import struct

import pytest
import trio
import trio.testing

from dualkv.net.lane import LaneState
from dualkv.resp import encode
from tests.net.serving import SessionBench, sessions_with
from tests.support.client import Client
from tests.support.fake_backend import FakeBackend, echo, ok, running_fake
from tests.support.proxy import wait_until

UNKNOWN = encode.OUTCOME_UNKNOWN
UNREACHABLE = encode.PRIMARY_UNREACHABLE
MEBIBYTE = b"x" * 1024 * 1024


def get(*keys: str) -> bytes:
    """Return a GET for each key, in one piece."""
    return b"".join(encode.command("GET", key) for key in keys)


def bulks(*values: str) -> list[bytes]:
    """Return bulk strings."""
    return [encode.bulk(value) for value in values]


def reset(client: Client) -> None:
    """Break a client's connection without a goodbye."""
    client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.stream.socket.close()


async def wait_received(fake: FakeBackend, count: int) -> None:
    """Wait until the newest connection of *fake* has received *count* commands, and no more come."""
    await wait_until(lambda: len(fake.last.commands) >= count)
    await trio.sleep(0.01)
    await trio.testing.wait_all_tasks_blocked()
    assert len(fake.last.commands) == count


# --- too much -----------------------------------------------------------------------------------------


async def test_client_has_only_so_many_commands_outstanding() -> None:
    """Beyond the limit a client's commands wait, local ones too; all are answered in order in the end."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake, client_outstanding=4) as bench,
        bench.client() as client,
        bench.client() as other,
    ):
        fake.replies.shut()
        await client.send(get("0", "1") + b"PING 2\r\n" + get("3", "4", "5", "6", "7") + b"PING 8\r\n")
        await wait_received(fake, 3)  # the local one counts for this step
        await client.send(get("9"))
        await other.send(get("x"))
        await wait_received(fake, 4)
        fake.replies.open()

        assert await client.receive(10) == bulks(*"0123456789")
        assert await other.receive(1) == bulks("x")


async def test_limit_of_one_outstanding_command_works() -> None:
    """Even one at a time gets through."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake, client_outstanding=1) as bench,
        bench.client() as client,
    ):
        await client.send(get(*"abcdef") + b"PING g\r\n")

        assert await client.receive(7) == bulks(*"abcdefg")


async def test_long_pipeline_of_local_commands_is_answered() -> None:
    """More commands in one piece than may be outstanding are answered, even if none goes to the primary."""
    limited = running_fake()
    async with limited as fake, sessions_with(fake, client_outstanding=4) as bench, bench.client() as client:
        await client.send(b"PING\r\n" * 20)
        with trio.fail_after(1):
            assert await client.receive(20) == [encode.PONG] * 20


async def test_protocol_error_behind_commands_that_wait_is_said_once_at_its_place() -> None:
    """The error waits for what is held back before it."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake, client_outstanding=2) as bench,
        bench.client() as client,
    ):
        fake.replies.shut()
        await client.send(get(*"abcde") + b"*x\r\n")
        await wait_received(fake, 2)
        fake.replies.open()

        error = b"-ERR Protocol error: invalid multibulk length\r\n"
        assert await client.receive_until_closed() == b"".join(bulks(*"abcde")) + error


async def test_slow_reader_is_cut_off() -> None:
    """A client that leaves more replies unread than it may is disconnected; others are not affected."""
    async with (
        running_fake(lambda _: encode.bulk(MEBIBYTE)) as fake,
        sessions_with(fake, client_output_bytes=2 * len(MEBIBYTE)) as bench,
        bench.client() as client,
        bench.client() as other,
    ):
        await client.send(get(*map(str, range(40))))
        await bench.wait_ended()

        assert bench.metrics.client_disconnects == {"output limit": 1}
        assert await other.call("GET", "a") == encode.bulk(MEBIBYTE)


async def test_client_that_does_not_read_is_not_read() -> None:
    """While replies are unread, further requests wait; they are executed once the client reads."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        large = "x" * 12 * 1024 * 1024
        await client.send(get(large))
        await wait_until(lambda: bool(bench.sessions[0]._socket.unsent))
        await client.send(get("a") + b"PING b\r\n")
        await wait_received(fake, 1)

        assert await client.receive(3) == bulks(large, "a", "b")
        assert bench.metrics.client_disconnects == {}


async def test_clients_wait_while_the_lane_is_congested() -> None:
    """A primary that does not read holds its clients back; when it reads again, all are answered in order."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
        bench.client() as other,
    ):
        await client.call("GET", "a")
        await other.call("GET", "a")
        fake.reads.shut()
        large = "x" * 24 * 1024 * 1024
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, get(large))
            await wait_until(lambda: bench.writer.lane.is_congested)
        await other.send(get("b") + b"PING c\r\n")
        await wait_until(lambda: bool(bench.sessions[1]._held_back))
        fake.reads.open()

        assert await other.receive(2) == bulks("b", "c")
        assert await client.receive(1) == bulks(large)


async def test_protocol_error_on_a_congested_lane_is_said_once() -> None:
    """However often a session tries to go on while the lane is full, it answers a protocol error once."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
        bench.client() as other,
    ):
        await client.call("GET", "x")
        fake.replies.shut()
        await other.send(get("a"))
        await wait_received(fake, 2)
        fake.reads.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, get("x" * 24 * 1024 * 1024))
            await wait_until(lambda: bench.writer.lane.is_congested)
        await other.send(get("b") + b"*x\r\n")
        await wait_until(lambda: bool(bench.sessions[1]._held_back))
        fake.replies.open()
        assert await other.receive(1) == bulks("a")
        fake.reads.open()

        error = b"-ERR Protocol error: invalid multibulk length\r\n"
        assert await other.receive_until_closed() == encode.bulk("b") + error


# --- the client goes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_client_that_vanishes_disturbs_nobody(how: str) -> None:
    """Replies to a client that has gone in the middle of a pipeline reach nobody else."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as other:
        fake.replies.shut()
        async with bench.client() as client:
            await client.send(get(*"abc"))
            await wait_received(fake, 3)
            await other.send(get("x") + b"PING y\r\n")
            await wait_received(fake, 4)
            if how == "resets":
                reset(client)
                await bench.wait_ended()
        fake.replies.open()

        assert await other.receive(2) == bulks("x", "y")
        await bench.wait_ended()
        assert how == "closes" or bench.metrics.client_disconnects == {"gone": 1}


async def test_client_that_vanishes_in_a_transaction_executes_nothing() -> None:
    """Commands that are queued when the client goes are forgotten."""
    async with running_fake() as fake, sessions_with(fake) as bench:
        client = await trio.open_tcp_stream("127.0.0.1", bench.port)
        async with client:
            await Client(client).pipeline([("MULTI",), ("SET", "a", 1)])
        await bench.wait_ended()

        assert fake.last.commands == []


# --- the primary goes ---------------------------------------------------------------------------------


async def test_lost_lane_answers_exactly_what_was_in_flight() -> None:
    """Commands without a reply get an error at their place among the others; those answered before do not."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.replies.shut()
        await client.send(get("a") + b"PING b\r\n" + get("c") + b"PING d\r\n" + get("e", "f") + b"PING g\r\n")
        await wait_received(fake, 4)
        await fake.last.send(encode.bulk("a"))
        await fake.last.send(encode.bulk("c"))
        assert await client.receive(4) == bulks("a", "b", "c", "d")
        fake.last.hang_up()

        assert await client.receive(3) == [UNKNOWN, UNKNOWN, encode.bulk("g")]
        assert bench.metrics.primary_outcomes_unknown == 2
        fake.replies.open()
        await wait_until(lambda: bench.writer.lane.state is LaneState.UP)
        assert await client.call("GET", "h") == encode.bulk("h")


async def test_lost_lane_answers_every_client_once() -> None:
    """All clients with commands in flight are told, those without are not."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake) as bench,
        bench.client() as one,
        bench.client() as two,
        bench.client() as idle,
    ):
        fake.replies.shut()
        await one.send(get("a", "b"))
        await two.send(get("c") + b"PING\r\n")
        await wait_received(fake, 3)
        fake.last.reset()
        fake.replies.open()

        assert await one.receive(2) == [UNKNOWN, UNKNOWN]
        assert await two.receive(2) == [UNKNOWN, encode.PONG]
        for client in (one, two, idle):
            assert await client.call("PING", "x") == encode.bulk("x")


async def test_lost_transaction_is_one_unknown_outcome() -> None:
    """EXEC without a reply is one error; what followed it keeps its place."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.answer = lambda args: None if args[0] == b"EXEC" else encode.QUEUED
        await client.send(b"MULTI\r\nSET a 1\r\nSET b 1\r\nEXEC\r\nPING\r\n")

        assert await client.receive(5) == [encode.OK, encode.QUEUED, encode.QUEUED, UNKNOWN, encode.PONG]
        assert bench.metrics.primary_outcomes_unknown == 1


async def test_held_back_commands_survive_a_lost_lane() -> None:
    """What had not been sent when the lane was lost is executed on the next one."""
    async with (
        running_fake(echo) as fake,
        sessions_with(fake, client_outstanding=2) as bench,
        bench.client() as client,
    ):
        fake.replies.shut()
        await client.send(get(*"abcde"))
        await wait_received(fake, 2)
        fake.last.hang_up()
        fake.replies.open()

        assert await client.receive(5) == [UNKNOWN, UNKNOWN, *bulks(*"cde")]


async def check_unreachable(bench: SessionBench) -> None:
    """Check what a client gets while the primary is down."""
    async with bench.client() as client:
        await client.send(b"PING a\r\n" + get("b", "c") + b"PING d\r\nMULTI\r\nSET e 1\r\nEXEC\r\nPING f\r\n")
        assert await client.receive(8) == [
            encode.bulk("a"), UNREACHABLE, UNREACHABLE, encode.bulk("d"), encode.OK, encode.QUEUED,
            UNREACHABLE, encode.bulk("f"),
        ]  # fmt: skip


async def test_unreachable_primary_is_told_at_once() -> None:
    """While the primary is down its commands are answered with an error; our own answers go on."""
    async with running_fake(is_listening=trio.Event()) as fake, sessions_with(fake) as bench:
        await check_unreachable(bench)

        assert bench.metrics.primary_outcomes_unknown == 0


async def test_client_goes_on_when_the_primary_appears() -> None:
    """The same connection works as soon as the primary does."""
    appears = trio.Event()
    async with (
        running_fake(is_listening=appears) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
    ):
        assert await client.call("GET", "a") == UNREACHABLE
        appears.set()
        await wait_until(lambda: bench.writer.lane.is_open)

        assert await client.call("GET", "a") == encode.OK


async def test_commands_wait_while_the_lane_reconnects() -> None:
    """Between a loss and the outcome of the next attempt commands wait, in order, and are executed then."""
    async with running_fake(echo) as fake, sessions_with(fake) as bench, bench.client() as client:
        await client.call("PING")
        fake.accepts.shut()
        fake.last.hang_up()
        await wait_until(lambda: bench.writer.lane.state is LaneState.CONNECTING)
        await trio.testing.wait_all_tasks_blocked()
        await client.send(get("a") + b"PING b\r\n" + get("c"))
        await wait_until(lambda: bool(bench.sessions[0]._held_back))
        fake.accepts.open()

        assert await client.receive(3) == bulks("a", "b", "c")


async def test_commands_that_waited_in_vain_are_unreachable() -> None:
    """If the attempt fails, what waited for it was not executed, and is told so."""
    async with (
        running_fake(ok) as fake,
        sessions_with(fake, dial_timeout_seconds=0.1) as bench,
        bench.client() as client,
    ):
        await client.call("PING")
        fake.is_mute = True
        fake.last.hang_up()
        await wait_until(lambda: bench.writer.lane.state is LaneState.CONNECTING)
        await client.send(get("a") + b"PING b\r\n")

        assert await client.receive(2) == [UNREACHABLE, encode.bulk("b")]
