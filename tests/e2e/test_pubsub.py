"""Pub/Sub: many subscribers, one connection to the primary."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from dualkv.resp.encode import command
from dualkv.servers import EmbeddedServer
from tests.support.client import Client, connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e


def frame(*parts: str | int | None, head: bytes = b"*") -> bytes:
    """Return a message or confirmation."""
    pieces = [
        b"$-1\r\n"
        if part is None
        else b":%d\r\n" % part
        if isinstance(part, int)
        else b"$%d\r\n%b\r\n" % (len(part), part.encode())
        for part in parts
    ]
    return head + b"%d\r\n" % len(parts) + b"".join(pieces)


async def talk(client: Client, count: int, *args: str | int) -> list[bytes]:
    """Send a command and return *count* frames."""
    await client.send(command(*args))
    return await client.receive(count)


async def test_subscriber_gets_confirmations_and_messages_like_from_redis(pair: Pair) -> None:
    """Counts and frames of channels, patterns and unsubscribing are the server's own."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        assert await talk(client, 2, "SUBSCRIBE", "a", "b") == [
            frame("subscribe", "a", 1),
            frame("subscribe", "b", 2),
        ]
        assert await talk(client, 1, "PSUBSCRIBE", "a*") == [frame("psubscribe", "a*", 3)]
        assert await talk(client, 1, "SSUBSCRIBE", "s") == [frame("ssubscribe", "s", 1)]
        assert await other.call("PUBLISH", "a", "hi") == b":2\r\n"
        assert await client.receive(2) == [frame("message", "a", "hi"), frame("pmessage", "a*", "a", "hi")]
        assert await other.call("SPUBLISH", "s", "shard") == b":1\r\n"
        assert await client.receive(1) == [frame("smessage", "s", "shard")]
        assert await talk(client, 1, "PING", "x") == [frame("pong", "x")]
        assert await talk(client, 1, "GET", "k") == [
            (
                b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
                b"are allowed in this context\r\n"
            )
        ]
        assert await talk(client, 1, "UNSUBSCRIBE", "a") == [frame("unsubscribe", "a", 2)]
        assert await talk(client, 1, "UNSUBSCRIBE") == [frame("unsubscribe", "b", 1)]
        assert await talk(client, 1, "UNSUBSCRIBE") == [frame("unsubscribe", None, 1)]
        assert await talk(client, 1, "PUNSUBSCRIBE") == [frame("punsubscribe", "a*", 0)]
        assert await talk(client, 1, "SUNSUBSCRIBE", "s") == [frame("sunsubscribe", "s", 0)]
        assert await client.call("GET", "k") == b"$-1\r\n"
        assert await other.call("PUBLISH", "a", "hi") == b":0\r\n"


async def test_resp3_subscriber_goes_on_with_commands(pair: Pair) -> None:
    """Messages are pushes between ordinary replies."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await client.call("HELLO", 3)
        assert await talk(client, 1, "SUBSCRIBE", "c") == [frame("subscribe", "c", 1, head=b">")]
        assert await client.call("SET", "k", "v") == b"+OK\r\n"
        await other.call("PUBLISH", "c", "hi")
        assert await client.receive(1) == [frame("message", "c", "hi", head=b">")]
        assert await client.call("GET", "k") == b"$1\r\nv\r\n"


async def test_subscribers_share_one_connection_and_are_counted_one_by_one(pair: Pair) -> None:
    """A hundred subscribers cost one connection; PUBLISH and NUMSUB answer as if each had its own."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as other,
        trio.open_nursery() as nursery,
    ):
        received: list[bytes] = []

        async def subscribe() -> None:
            async with connect(proxy.port) as client:
                await talk(client, 1, "SUBSCRIBE", "news")
                received.extend(await client.receive(1))

        for _ in range(100):
            nursery.start_soon(subscribe)
        subscriptions = proxy.server.writer.subscriptions
        await wait_until(lambda: subscriptions.subscribers == 100)
        assert (
            await other.call("PUBSUB", "NUMSUB", "news", "none")
            == b"*4\r\n$4\r\nnews\r\n:100\r\n$4\r\nnone\r\n:0\r\n"
        )
        pool = proxy.metrics.backends["redis"].pool
        assert pool.connections["pubsub"] == 1
        assert await other.call("PUBLISH", "news", "x") == b":100\r\n"
        await wait_until(lambda: len(received) == 100)
        await wait_until(lambda: not subscriptions)
        assert await other.call("PUBLISH", "news", "x") == b":0\r\n"

    assert set(received) == {frame("message", "news", "x")}


async def test_slow_subscriber_is_disconnected(pair: Pair) -> None:
    """Who does not read its messages is cut off at the limit; others get all of them."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, client_output_bytes=100_000) as proxy,
        connect(proxy.port) as slow,
        connect(proxy.port) as quick,
        connect(proxy.port) as other,
    ):
        for client in (slow, quick):
            await talk(client, 1, "SUBSCRIBE", "c")
        reasons = proxy.metrics.client_disconnects
        sent = 0
        while not reasons:
            await other.call("PUBLISH", "c", "x" * 50_000)
            sent += 1
            assert len((await quick.receive(1))[0]) > 50_000
            assert sent < 1000
        assert reasons == {"output limit": 1}


async def test_loss_of_the_primary_closes_subscribers(server_binary: Path, pair: Pair) -> None:
    """When the shared connection breaks, subscribers are closed as by a server that dies."""
    with EmbeddedServer(server_binary) as primary:
        async with (
            running_proxy(primary.address, pair.secondary.address) as proxy,
            connect(proxy.port) as client,
        ):
            await talk(client, 1, "SUBSCRIBE", "c")
            primary.stop()
            assert await client.receive_until_closed() == b""
            assert proxy.metrics.client_disconnects == {"subscriptions lost": 1}


async def test_drain_closes_subscribers(pair: Pair) -> None:
    """At the shutdown subscribers are closed at once."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await talk(client, 1, "SUBSCRIBE", "c")
        proxy.server.stop()
        with trio.fail_after(5):
            assert await client.receive_until_closed() == b""


async def test_reset_ends_subscriptions(pair: Pair) -> None:
    """RESET leads back to an ordinary connection."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await talk(client, 1, "SUBSCRIBE", "c")
        assert await client.call("RESET") == b"+RESET\r\n"
        assert await client.call("PUBLISH", "c", "x") == b":0\r\n"


async def test_reply_off_and_skip(pair: Pair) -> None:
    """What is not to be answered is executed all the same, and what is comes at its place."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        lines: list[tuple[str | int, ...]] = [
                    ("CLIENT", "REPLY", "SKIP"), ("SET", "k", 1), ("INCR", "k"),
                    ("CLIENT", "REPLY", "OFF"), ("INCR", "k"), ("PING",), ("NOSUCH",), ("SELECT", 1),
                    ("SELECT", 0),
                    ("CLIENT", "REPLY", "ON"), ("INCR", "k"), ("CLIENT", "REPLY", "SKIP"), ("PING",),
                    ("GET", "k"),
        ]  # fmt: skip
        await client.send(b"".join(command(*line) for line in lines))
        replies = await client.receive(4)

    assert replies == [b":2\r\n", b"+OK\r\n", b":4\r\n", b"$1\r\n4\r\n"]
