"""Pub/Sub while ElasticKV answers: it knows SUBSCRIBE, and no way back, and a node dies of its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp import encode
from tests.fakes.elastickv import Cluster
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

MODES: Final = [ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY]


@asynccontextmanager
async def answering(cluster: Cluster, pair: Pair, mode: ProxyMode) -> AsyncIterator[Proxy]:
    """Run dualkv with the cluster as the one that answers; it must not be harmed in the block."""
    async with running_proxy(pair.primary.address, ",".join(cluster.addresses), mode) as proxy:
        yield proxy
        assert cluster.harmful == 0
        assert not proxy.metrics.pubsub_divergences


def frame(*parts: str | int, head: bytes = b"*") -> bytes:
    """Return a message or confirmation."""
    pieces = [encode.integer(part) if isinstance(part, int) else encode.bulk(part) for part in parts]
    return head + b"%d\r\n" % len(parts) + b"".join(pieces)


async def talk(client: Client, count: int, *args: str | int) -> list[bytes]:
    """Send a command and return *count* frames."""
    await client.send(encode.command(*args))
    return await client.receive(count)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("protocol", "head"), [(2, b"*"), (3, b">")])
async def test_subscribers_hear_what_is_published(
    pair: Pair, elastickv: Cluster, mode: ProxyMode, protocol: int, head: bytes
) -> None:
    """In the frames of the client's RESP version, though ElasticKV writes one only."""
    async with answering(elastickv, pair, mode) as proxy, connect(proxy.port) as client:
        await client.call("HELLO", protocol)
        assert await talk(client, 2, "SUBSCRIBE", "a", "b") == [
            frame("subscribe", "a", 1, head=head),
            frame("subscribe", "b", 2, head=head),
        ]
        async with connect(proxy.port) as other:
            assert await other.call("PUBLISH", "a", "hi") == b":1\r\n"
            assert await other.call("PUBSUB", "NUMSUB", "a") == encode.array([encode.bulk("a"), b":1\r\n"])
        assert await client.receive(1) == [frame("message", "a", "hi", head=head)]


async def test_a_subscription_of_the_store_survives_its_clients(pair: Pair, elastickv: Cluster) -> None:
    """Clients unsubscribe, go, and come again; nobody hears or counts what is nobody's any more."""
    async with answering(elastickv, pair, ProxyMode.ELASTICKV_PRIMARY) as proxy, connect(proxy.port) as other:
        for round_number in range(3):
            async with connect(proxy.port) as client, connect(proxy.port) as second:
                await talk(client, 1, "SUBSCRIBE", "a")
                await talk(second, 1, "SUBSCRIBE", "a")
                assert await other.call("PUBLISH", "a", f"{round_number}") == b":2\r\n"
                for one in (client, second):
                    assert await one.receive(1) == [frame("message", "a", f"{round_number}")]
                assert await talk(client, 1, "UNSUBSCRIBE", "a") == [frame("unsubscribe", "a", 0)]
                assert await other.call("PUBLISH", "a", "for one") == b":1\r\n"
                assert await client.call("PING") == b"+PONG\r\n"
            with trio.fail_after(5):
                # The store is asked, and refuses, beside the lane.
                while await other.call("PUBLISH", "a", "for nobody") != b":0\r\n":  # noqa: ASYNC110
                    await trio.sleep(0.005)
            assert await other.call("PUBSUB", "NUMSUB", "a") == encode.array([encode.bulk("a"), b":0\r\n"])
        assert proxy.metrics.backends["elastickv"].pool.connections["pubsub"] == 1
        assert elastickv.received["AUTH"] == 0


async def test_only_the_end_of_dualkv_ends_a_connection_that_subscribed(
    pair: Pair, elastickv: Cluster
) -> None:
    """That kills a node: it happens once, however many clients have come and gone."""
    async with answering(elastickv, pair, ProxyMode.ELASTICKV_ONLY) as proxy:
        for _ in range(5):
            async with connect(proxy.port) as client:
                await talk(client, 1, "SUBSCRIBE", "a")
    await wait_until(lambda: bool(elastickv.harms))
    assert elastickv.harms == ["the end of a connection that had subscribed"]


async def test_patterns_are_refused_with_what_to_use_instead(pair: Pair, elastickv: Cluster) -> None:
    """The client gets a clear error, is subscribed to nothing, and goes on; the store is not asked."""
    async with (
        answering(elastickv, pair, ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(proxy.port) as client,
    ):
        (reply,) = await talk(client, 1, "PSUBSCRIBE", "a*")
        assert reply == (
            b"-ERR dualkv: the store that answers (ElasticKV) has no PSUBSCRIBE: subscribe to each channel "
            b"by its name (SUBSCRIBE)\r\n"
        )
        assert elastickv.received["PSUBSCRIBE"] == 0
        assert await client.call("SET", "k", "v") == b"+OK\r\n"
        await talk(client, 1, "SUBSCRIBE", "a")
        (reply,) = await talk(client, 1, "PSUBSCRIBE", "a*")
        assert b"has no PSUBSCRIBE" in reply


async def test_messages_reach_redis_as_well(pair: Pair, elastickv: Cluster) -> None:
    """While Redis follows, who is still subscribed there hears what is published here."""
    async with (
        answering(elastickv, pair, ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(pair.primary.port) as direct,
        connect(proxy.port) as client,
    ):
        await talk(direct, 1, "SUBSCRIBE", "a")
        assert await client.call("PUBLISH", "a", "hi") == b":0\r\n"
        assert await direct.receive(1) == [frame("message", "a", "hi")]
