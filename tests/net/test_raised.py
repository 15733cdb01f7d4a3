"""Sessions of clients that read RESP3, from a primary that writes RESP2."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from dualkv.core.ledger import Queue
from dualkv.resp import encode
from tests.net.serving import SessionBench, sessions_with
from tests.support.fake_backend import FakeBackend, running_fake
from tests.support.proxy import wait_until

UNSUPPORTED = encode.error("ERR unsupported command 'MGET'")
MEMBERS = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"


def has_lane_of(bench: SessionBench, fake: FakeBackend) -> Callable[[], bool]:
    """Return whether the lane speaks what the primary speaks now."""
    return lambda: bench.writer.lane.greeting.protocols == frozenset(fake.speaks)


async def test_clients_keep_their_version_when_the_primary_becomes_another_one() -> None:
    """It may come back with RESP2 only, or with RESP3 again: who has said HELLO 3 sees no difference."""
    async with running_fake() as fake, sessions_with(fake) as bench, bench.client() as client:
        fake.answer = lambda _: encode.null(fake.last.protocol)
        await client.call("HELLO", 3)
        for speaks, version in [((2,), 2), ((2, 3), 3), ((2,), 2)]:
            fake.speaks = speaks
            fake.last.hang_up()
            await wait_until(has_lane_of(bench, fake))

            assert await client.call("GET", "k") == encode.null(3)
            assert fake.last.protocol == version


@pytest.mark.parametrize("speaks", [(2,), (2, 3)])
async def test_version_may_be_chosen_before_the_primary_is_there(speaks: tuple[int, ...]) -> None:
    """HELLO 3 is answered while nobody knows what the primary speaks; it turns out before the first reply."""
    appears = trio.Event()
    async with (
        running_fake(speaks=speaks, is_listening=appears) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
    ):
        fake.answer = lambda _: encode.null(fake.last.protocol)
        assert (await client.call("HELLO", 3)).startswith(b"%")
        assert await client.call("GET", "k") == encode.PRIMARY_UNREACHABLE
        appears.set()
        await wait_until(lambda: bench.writer.lane.is_open)

        assert await client.call("GET", "k") == encode.null(3)
        assert fake.last.protocol == max(speaks)


async def test_messages_are_pushed_though_the_primary_does_not_push() -> None:
    """A subscriber that has said HELLO 3 may ask for other things meanwhile."""

    def answer(args: tuple[bytes, ...]) -> bytes:
        if args[0] == b"SUBSCRIBE":
            return encode.array([encode.bulk("subscribe"), encode.bulk(args[1]), b":1\r\n"])
        return b"$-1\r\n" if args[0] == b"GET" else encode.OK

    async with (
        running_fake(answer, speaks=(2,)) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
    ):
        await client.call("HELLO", 3)
        assert await client.call("SUBSCRIBE", "news") == b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
        await fake.last.send(encode.array(map(encode.bulk, ("message", "news", "x"))))
        assert await client.receive(1) == [b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"]
        assert await client.call("GET", "k") == encode.null(3)


async def test_shadow_read_expects_what_the_primary_has_written() -> None:
    """The other store is asked in RESP2, and compared with the primary's own bytes."""
    async with (
        running_fake(lambda _: MEMBERS, speaks=(2,)) as fake,
        running_fake(lambda _: MEMBERS) as secondary,
        sessions_with(fake, secondary) as bench,
        bench.client() as client,
    ):
        await client.call("HELLO", 3)
        assert await client.call("SMEMBERS", "s") == b"~" + MEMBERS[1:]
        await wait_until(lambda: bench.metrics.ledger(Queue.SHADOW).applied == 1)
        assert bench.metrics.shadow_matches == 1
        assert secondary.last.protocol == 2


async def test_results_are_raised_by_their_commands() -> None:
    """Also where the primary leaves out what it has not queued, as ElasticKV does."""

    def answer(args: tuple[bytes, ...]) -> bytes:
        if args[0] == b"EXEC":
            return encode.array([MEMBERS, b"$-1\r\n"])
        return UNSUPPORTED if args[0] == b"MGET" else encode.QUEUED

    async with (
        running_fake(answer, speaks=(2,)) as fake,
        sessions_with(fake) as bench,
        bench.client() as client,
    ):
        await client.call("HELLO", 3)
        for sent_at_once in (True, False):
            requests = [b"MULTI", b"MGET a b", b"HGETALL h", b"GET k", b"EXEC"]
            if sent_at_once:
                await client.send(b"\r\n".join([*requests, b""]))
                replies = await client.receive(5)
            else:
                replies = [await client.call(*request.split()) for request in requests]
            assert replies[-1] == encode.array([UNSUPPORTED, b"%1" + MEMBERS[2:], b"_\r\n"])
