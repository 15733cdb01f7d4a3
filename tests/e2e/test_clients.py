"""Bad clients: whatever one of them does, nobody else notices."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from dualkv.resp.encode import command
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.support.workload import Load, under_load

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def neighbours(pair: Pair, **settings: Any) -> AsyncIterator[tuple[Proxy, Load]]:
    """Run dualkv with well-behaved clients beside what the block does; they must not notice anything."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **settings) as proxy:
        async with under_load(proxy.port, clients=4) as load:
            await wait_until(lambda: load.replies > 100)
            yield proxy, load
            seen = load.replies
            await wait_until(lambda: load.replies > seen + 100)
        assert load.errors == Counter()
        assert proxy.metrics.client_disconnects["internal error"] == 0
        await proxy.wait_drained()
        assert proxy.metrics.divergences.total() == 0
    assert contents(pair.primary) == contents(pair.secondary)


async def test_random_bytes_end_their_own_connection_only(pair: Pair) -> None:
    """200 clients that send random bytes get an error or nothing, and are closed when they close."""
    rng = random.Random(7)
    alphabet = b"*$+-:\r\n0123456789 PINGSETabc\x00\xff\"'"
    async with neighbours(pair) as (proxy, _):
        for number in range(200):
            async with connect(proxy.port) as client:
                data = rng.randbytes(2000) if number % 2 else bytes(rng.choices(alphabet, k=2000))
                await client.send(data.replace(b"FLUSH", b"flux"))
                await client.stream.send_eof()
                await client.receive_until_closed()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*99999999999\r\n", b"invalid multibulk length"),
        (b"*1\r\n$-5\r\n", b"invalid bulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n:1\r\n", b"expected '$', got ':'"),
        (b"*1\r\n$4\r\nPINGxx", b"invalid CRLF in request"),
        (b"x" * 70_000, b"too big inline request"),
        (b'SET k "open\r\n', b"unbalanced quotes in request"),
    ],
)
async def test_protocol_error_is_answered_behind_earlier_replies_and_closes(
    pair: Pair, sent: bytes, error: bytes
) -> None:
    """What came before the error is executed and answered; then the error, then the end."""
    async with neighbours(pair) as (proxy, _), connect(proxy.port) as client:
        await client.send(command("SET", "mine", 1) + command("GET", "mine") + sent)
        answer = await client.receive_until_closed()

        assert answer == b"+OK\r\n$1\r\n1\r\n-ERR Protocol error: " + error + b"\r\n"


async def test_half_a_command_waits_for_the_other_half(pair: Pair) -> None:
    """A command that arrives byte by byte is executed once it is whole."""
    async with neighbours(pair) as (proxy, _), connect(proxy.port) as client:
        for byte in command("SET", "slow", "v" * 100):
            await client.send(bytes([byte]))
        assert await client.receive(1) == [b"+OK\r\n"]


async def test_clients_that_vanish_in_a_pipeline_disturb_nobody(pair: Pair) -> None:
    """100 clients send half a pipeline and reset the connection: what was whole is mirrored all the same."""
    wire = b"".join(command("RPUSH", "vanish", number) for number in range(50))
    async with neighbours(pair) as (proxy, _):
        for _ in range(100):
            async with connect(proxy.port) as client:
                await client.send(wire[:-7])
                client.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: closing resets
        await wait_until(lambda: proxy.metrics.active_connections == 4)


async def test_client_that_does_not_read_is_disconnected_at_its_limit(pair: Pair) -> None:
    """Replies that nobody reads are kept up to the limit; then this client is gone, and no other."""
    async with neighbours(pair, client_output_bytes=1_000_000) as (proxy, _), connect(proxy.port) as client:
        await client.call("SET", "big", "x" * 500_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, command("GET", "big") * 200)
            await wait_until(lambda: proxy.metrics.client_disconnects["output limit"] == 1)
            nursery.cancel_scope.cancel("the rest cannot be sent")


async def test_slow_reader_below_its_limit_gets_everything(pair: Pair) -> None:
    """A client that reads late gets every reply; meanwhile it is not read, and holds up nobody."""
    async with neighbours(pair) as (proxy, load), connect(proxy.port) as client:
        await client.call("SET", "big", "x" * 100_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, command("GET", "big") * 200)
            seen = load.replies
            await wait_until(lambda: load.replies > seen + 200)
            replies = await client.receive(200)
        assert set(replies) == {b"$100000\r\n" + b"x" * 100_000 + b"\r\n"}


async def test_too_many_clients_are_told_so(pair: Pair) -> None:
    """Beyond the limit a client gets Redis's own words; when another one leaves, there is room again."""
    async with running_proxy(pair.primary.address, pair.secondary.address, max_clients=2) as proxy:
        async with connect(proxy.port) as one, connect(proxy.port) as two:
            await one.call("PING")
            await two.call("PING")
            async with connect(proxy.port) as three:
                assert await three.receive_until_closed() == b"-ERR max number of clients reached\r\n"
        await wait_until(lambda: proxy.metrics.active_connections == 0)
        async with connect(proxy.port) as four:
            assert await four.call("PING") == b"+PONG\r\n"
        assert proxy.metrics.refused_connections == 1


async def test_http_client_is_hung_up_on(pair: Pair) -> None:
    """A browser that was tricked into talking to dualkv gets nothing, and nothing of it is executed."""
    async with neighbours(pair) as (proxy, _), connect(proxy.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET hacked 1\r\n")
        assert await client.receive_until_closed() == b""
    assert b"hacked" not in contents(pair.primary)


async def test_quit_answers_and_ignores_what_follows(pair: Pair) -> None:
    """QUIT closes behind its OK; commands after it are not executed."""
    async with neighbours(pair) as (proxy, _), connect(proxy.port) as client:
        await client.send(command("SET", "before", 1) + command("QUIT") + command("SET", "after", 1))
        assert await client.receive_until_closed() == b"+OK\r\n+OK\r\n"
    assert b"before" in contents(pair.primary)
    assert b"after" not in contents(pair.primary)
