"""Messages are compared: whatever only one store delivers is noticed, and nothing else raises an alarm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from dualkv.commands.table import COMMANDS
from dualkv.config import ProxyMode
from dualkv.core.divergence import DivergenceKind
from dualkv.core.pubsub_matching import Doubt, PubSubTally
from dualkv.resp.encode import command
from dualkv.servers import EmbeddedServer
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.sentry import RecordingSentry
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

MISMATCH, EXTRA = DivergenceKind.DATA_MISMATCH, DivergenceKind.EXTRA_DATA


@asynccontextmanager
async def comparing_proxy(
    primary: str, secondary: str, *, window_seconds: float = 0.3, **settings: Any
) -> AsyncIterator[Proxy]:
    """Run dualkv for the block, with a window that is short enough to wait for."""
    async with running_proxy(
        primary,
        secondary,
        pubsub_compare_window_seconds=window_seconds,
        pubsub_sweep_seconds=window_seconds / 10,
        **settings,
    ) as proxy:
        yield proxy


async def subscribe(proxy: Proxy, client: Client, *args: str) -> None:
    """Subscribe, and wait until every message must have a twin."""
    await client.send(command(*args))
    await client.receive(len(args) - 1)
    await wait_certain(proxy)


async def wait_certain(proxy: Proxy) -> None:
    """Wait until every message must have a twin, whatever is subscribed to."""
    shadow = proxy.server.writer.comparing.subscriptions
    assert shadow is not None
    await wait_until(lambda: shadow.certain == shadow.names > 0)


async def published(proxy: Proxy, client: Client, *args: str, count: int = 1) -> None:
    """Publish through dualkv, and wait until both stores have delivered it *count* times."""
    expected = proxy.metrics.pubsub.matched + count
    await client.call(*args)
    await wait_until(lambda: proxy.metrics.pubsub.matched >= expected)


async def wait_judged(proxy: Proxy) -> PubSubTally:
    """Wait until no message waits for a twin; return what became of them."""
    tally = proxy.metrics.pubsub
    await wait_until(lambda: waiting(tally) == 0)
    return tally


def waiting(tally: PubSubTally) -> int:
    """Return how many messages are not accounted for so far."""
    return tally.heard - 2 * tally.matched - tally.alone - tally.inconclusive.total() - tally.skipped


@asynccontextmanager
async def past_the_proxy(server: EmbeddedServer) -> AsyncIterator[Client]:
    """Connect to a store itself for the block."""
    async with connect(server.port) as client:
        yield client


async def test_messages_match_under_load(pair: Pair) -> None:
    """Many publishers and equal payloads, between other writes: no divergence, none left over."""
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address, window_seconds=1.0) as proxy,
        connect(proxy.port) as subscriber,
    ):
        await subscribe(proxy, subscriber, "SUBSCRIBE", "c0", "c1")
        await subscribe(proxy, subscriber, "PSUBSCRIBE", "c*")

        async def publish(number: int) -> None:
            async with connect(proxy.port) as client:
                for start in range(0, 500, 50):
                    await client.pipeline(
                        [
                            ("PUBLISH", f"c{index % 3}", index % 7) if index % 2 else ("INCR", f"k{number}")
                            for index in range(start, start + 50)
                        ]
                    )

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(publish, number)
        channels = [index % 3 for index in range(500) if index % 2]
        deliveries = 8 * (channels.count(0) + channels.count(1) + len(channels))
        await wait_until(lambda: proxy.metrics.pubsub.heard == 2 * deliveries)
        tally = await wait_judged(proxy)

    assert tally.matched == deliveries
    assert (tally.alone, tally.inconclusive.total()) == (0, 0)
    assert not proxy.metrics.pubsub_divergences
    assert proxy.metrics.pubsub_errors == 0


@pytest.mark.parametrize(
    ("mode", "by_answering", "by_following"),
    [
        (ProxyMode.DUAL_WRITE_SHADOW, MISMATCH, EXTRA),
        (ProxyMode.ELASTICKV_PRIMARY, EXTRA, MISMATCH),
    ],
)
@pytest.mark.parametrize("is_on_primary", [True, False])
async def test_message_that_only_one_store_has_is_reported_once(
    pair: Pair,
    mode: ProxyMode,
    by_answering: DivergenceKind,
    by_following: DivergenceKind,
    *,
    is_on_primary: bool,
) -> None:
    """Missing on the following store, or extra there; whoever follows. The report names the channel."""
    sentry = RecordingSentry()
    server = pair.primary if is_on_primary else pair.secondary
    expected = by_answering if is_on_primary else by_following
    async with (
        comparing_proxy(
            pair.primary.address, pair.secondary.address, mode=mode, reporter=sentry.reporter
        ) as proxy,
        connect(proxy.port) as subscriber,
        past_the_proxy(server) as stranger,
    ):
        await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
        await published(proxy, stranger, "PUBLISH", "c", "secret", count=0)
        await wait_until(lambda: proxy.metrics.pubsub.heard == 1)
        tally = await wait_judged(proxy)
        async with connect(proxy.port) as publisher:
            await published(proxy, publisher, "PUBLISH", "c", "secret")
        await wait_judged(proxy)

    assert (tally.alone, tally.matched, tally.inconclusive.total()) == (1, 1, 0)
    assert proxy.metrics.pubsub_divergences == {expected: 1}
    assert [kind for _, kind in proxy.metrics.divergences] == [expected]
    assert sentry.divergences() == {("c", expected.value)}


async def test_equal_messages_are_counted_one_by_one(pair: Pair) -> None:
    """Two surplus ones among five equal ones are two divergences."""
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as subscriber,
        connect(proxy.port) as publisher,
        past_the_proxy(pair.primary) as stranger,
    ):
        await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
        await publisher.pipeline([("PUBLISH", "c", "x")] * 2)
        await stranger.pipeline([("PUBLISH", "c", "x")] * 2)
        await published(proxy, publisher, "PUBLISH", "c", "x")
        await wait_until(lambda: proxy.metrics.pubsub.heard == 8)
        tally = await wait_judged(proxy)

    assert (tally.matched, tally.alone) == (3, 2)
    assert proxy.metrics.pubsub_divergences == {MISMATCH: 2}


async def test_channels_and_patterns_are_compared_apart(pair: Pair) -> None:
    """A message is looked for by each subscription that it comes by."""
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as subscriber,
        connect(proxy.port) as publisher,
        past_the_proxy(pair.primary) as stranger,
    ):
        await subscribe(proxy, subscriber, "SUBSCRIBE", "c", "d")
        await subscribe(proxy, subscriber, "PSUBSCRIBE", "c*", "[cd]")
        await published(proxy, publisher, "PUBLISH", "c", "x", count=3)
        await stranger.call("PUBLISH", "d", "y")
        await wait_until(lambda: proxy.metrics.pubsub.heard == 8)
        tally = await wait_judged(proxy)

    assert (tally.matched, tally.alone, tally.inconclusive.total()) == (3, 2, 0)
    assert proxy.metrics.pubsub_divergences == {MISMATCH: 2}
    assert sorted(proxy.metrics.divergences.values()) == [1, 1]


async def test_shard_channels_are_compared_apart(server_binary: Path) -> None:
    """A channel of the same name has nothing to do with them."""
    with EmbeddedServer(server_binary) as primary, EmbeddedServer(server_binary) as secondary:
        async with (
            comparing_proxy(primary.address, secondary.address) as proxy,
            connect(proxy.port) as subscriber,
            connect(proxy.port) as publisher,
            past_the_proxy(primary) as stranger,
        ):
            await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
            await subscribe(proxy, subscriber, "SSUBSCRIBE", "c")
            await published(proxy, publisher, "SPUBLISH", "c", "x")
            await published(proxy, publisher, "PUBLISH", "c", "x")
            await stranger.call("SPUBLISH", "c", "y")
            await wait_until(lambda: proxy.metrics.pubsub.heard == 5)
            tally = await wait_judged(proxy)
            commands = {COMMANDS[index].name for index, _ in proxy.metrics.divergences}

    assert (tally.matched, tally.alone, tally.inconclusive.total()) == (2, 1, 0)
    assert commands == {"SSUBSCRIBE"}


async def test_report_names_the_pattern(pair: Pair) -> None:
    """And the channel, and the payload."""
    sentry = RecordingSentry()
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address, reporter=sentry.reporter) as proxy,
        connect(proxy.port) as subscriber,
        past_the_proxy(pair.secondary) as stranger,
    ):
        await subscribe(proxy, subscriber, "PSUBSCRIBE", "c*")
        await stranger.call("PUBLISH", "c1", "x" * 1000)
        await wait_until(lambda: proxy.metrics.pubsub.alone == 1)
    (event,) = sentry.events
    told = event["contexts"]["divergence"]

    assert event["tags"] == {"kind": "extra_data", "command": "psubscribe"}
    assert (told["key"], told["pattern"], told["primary"]) == ("c1", "c*", "")
    assert told["secondary"] == "x" * 256


async def test_notifications_of_keys_are_not_compared(server_binary: Path) -> None:
    """Each store makes its own."""
    options = ("--notify-keyspace-events", "KEA")
    with (
        EmbeddedServer(server_binary, *options) as primary,
        EmbeddedServer(server_binary, *options) as secondary,
    ):
        async with (
            comparing_proxy(primary.address, secondary.address) as proxy,
            connect(proxy.port) as subscriber,
            past_the_proxy(primary) as stranger,
        ):
            await subscribe(proxy, subscriber, "PSUBSCRIBE", "*")
            await stranger.call("SET", "k", "v")
            await wait_until(lambda: proxy.metrics.pubsub.skipped == 2)
            tally = await wait_judged(proxy)

    assert (tally.skipped, tally.alone) == (2, 0)


async def test_subscribers_do_not_notice_that_the_secondary_dies(pair: Pair, server_binary: Path) -> None:
    """They get every message; nothing is reported; once it is back, messages are compared again."""
    with EmbeddedServer(server_binary) as secondary:
        async with (
            comparing_proxy(pair.primary.address, secondary.address) as proxy,
            connect(proxy.port) as subscriber,
            connect(proxy.port) as publisher,
        ):
            await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
            await published(proxy, publisher, "PUBLISH", "c", "before")
            secondary.kill()
            for number in range(50):
                await publisher.call("PUBLISH", "c", number)
            assert len(await subscriber.receive(51)) == 51
            await wait_until(lambda: proxy.metrics.pubsub_errors > 0)
            secondary.restart()
            await wait_certain(proxy)
            await wait_until(
                lambda: proxy.server.writer.stream is not None and proxy.server.writer.stream.gate.is_open
            )
            matched = proxy.metrics.pubsub.matched
            await published(proxy, publisher, "PUBLISH", "c", "after")
            tally = await wait_judged(proxy)
            pool = proxy.metrics.backends["elastickv"].pool

    assert tally.matched == matched + 1
    assert tally.alone == 0
    assert tally.inconclusive.total() >= 40
    assert pool.connections["pubsub"] == 0


async def test_secondary_that_stands_still_delays_no_message(pair: Pair, server_binary: Path) -> None:
    """Subscribers get theirs while it is stopped; what it delivers late is matched."""
    with EmbeddedServer(server_binary) as secondary:
        async with (
            comparing_proxy(pair.primary.address, secondary.address) as proxy,
            connect(proxy.port) as subscriber,
            connect(proxy.port) as publisher,
        ):
            await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
            secondary.pause()
            try:
                await publisher.pipeline([("PUBLISH", "c", number) for number in range(20)])
                assert len(await subscriber.receive(20)) == 20
                window_ends = (
                    trio.current_time() + 2 * proxy.server.writer.config.pubsub_compare_window_seconds
                )
                await wait_until(lambda: trio.current_time() > window_ends)
            finally:
                secondary.resume()
            tally = await wait_judged(proxy)

    assert (tally.matched, tally.alone, tally.inconclusive.total()) == (20, 0, 0)


async def test_messages_that_are_not_mirrored_raise_no_alarm(pair: Pair) -> None:
    """The proxy knows that it did not send them."""
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as subscriber,
        connect(proxy.port) as publisher,
    ):
        stream = proxy.server.writer.stream
        assert stream is not None
        await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
        stream.gate.pause(True)
        await publisher.call("PUBLISH", "c", "x")
        stream.gate.pause(False)
        await wait_until(lambda: proxy.metrics.pubsub.heard == 1)
        tally = await wait_judged(proxy)

    assert tally.inconclusive == {Doubt.NOT_MIRRORED: 1}
    assert tally.alone == 0


async def test_coming_and_going_raises_no_alarm(pair: Pair) -> None:
    """Subscribers come and go while messages are published, each on its own and on a common channel."""
    async with comparing_proxy(pair.primary.address, pair.secondary.address) as proxy:

        async def come_and_go(number: int) -> None:
            async with connect(proxy.port) as client, connect(proxy.port) as publisher:
                for turn in range(30):
                    own = f"own{(number + turn) % 3}"
                    await client.send(command("SUBSCRIBE", own, "common"))
                    await publisher.pipeline([("PUBLISH", "common", "x"), ("PUBLISH", own, "x")] * 3)
                    await client.send(command("UNSUBSCRIBE"))
                await client.send(command("RESET"))
                await client.receive(1)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(come_and_go, number)
        await proxy.wait_drained()
        tally = await wait_judged(proxy)
        shadow = proxy.server.writer.comparing.subscriptions
        assert shadow is not None
        await wait_until(lambda: shadow.names == 0)

    assert tally.heard > 0
    assert tally.alone == 0


async def test_subscription_that_the_secondary_does_not_know_is_inconclusive(
    pair: Pair, server_binary: Path
) -> None:
    """A store without PSUBSCRIBE is not asked; what comes by channel is compared all the same."""
    with EmbeddedServer(server_binary, "--rename-command", "PSUBSCRIBE", "") as secondary:
        async with (
            comparing_proxy(pair.primary.address, secondary.address) as proxy,
            connect(proxy.port) as subscriber,
            connect(proxy.port) as publisher,
        ):
            await subscribe(proxy, subscriber, "SUBSCRIBE", "c")
            await subscriber.send(command("PSUBSCRIBE", "c*"))
            await subscriber.receive(1)
            await published(proxy, publisher, "PUBLISH", "c", "x")
            await wait_until(lambda: proxy.metrics.pubsub.heard == 3)
            tally = await wait_judged(proxy)

    assert tally.inconclusive == {Doubt.REFUSED: 1}
    assert (tally.matched, tally.alone, proxy.metrics.pubsub_errors) == (1, 0, 0)


@pytest.mark.parametrize(
    "settings",
    [{"shadow_pubsub": "off"}, {"mode": ProxyMode.DUAL_WRITE}, {"mode": ProxyMode.REDIS_ONLY}],
    ids=["off", "dual-write", "redis-only"],
)
async def test_nobody_is_subscribed_on_the_secondary_unless_messages_are_compared(
    pair: Pair, settings: dict[str, Any]
) -> None:
    """Only the shadowing modes compare, and only if the settings say so."""
    async with (
        comparing_proxy(pair.primary.address, pair.secondary.address, **settings) as proxy,
        connect(proxy.port) as subscriber,
        past_the_proxy(pair.primary) as stranger,
    ):
        await subscriber.send(command("SUBSCRIBE", "c"))
        await subscriber.receive(1)
        await stranger.call("PUBLISH", "c", "x")
        await subscriber.receive(1)
        writer = proxy.server.writer

    assert (writer.comparing.subscriptions, writer.shadow_pubsub_backend) == (None, None)
    assert writer.pubsub_backend is writer.primary
    assert proxy.metrics.pubsub.heard == 0
