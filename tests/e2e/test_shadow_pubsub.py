"""Messages are compared: whatever only one store delivers is noticed, and nothing else raises an alarm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from dualkv.core.divergence import DivergenceKind
from dualkv.core.pubsub_matching import PubSubTally
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
    shadow = proxy.server.writer.shadow_subscriptions
    assert shadow is not None
    await wait_until(lambda: shadow.certain == shadow.names > 0)


async def wait_judged(proxy: Proxy) -> PubSubTally:
    """Wait until no message waits for a twin; return what became of them."""
    tally = proxy.metrics.pubsub
    await wait_until(lambda: waiting(tally) == 0)
    return tally


def waiting(tally: PubSubTally) -> int:
    """Return how many messages are not accounted for so far."""
    return tally.heard - 2 * tally.matched - tally.alone - tally.inconclusive.total() - tally.skipped


async def wait_heard(proxy: Proxy, count: int) -> None:
    """Wait until both stores together have delivered so many messages."""
    await wait_until(lambda: proxy.metrics.pubsub.heard >= count)


async def test_messages_match_under_load(pair: Pair) -> None:
    """Many publishers and equal payloads, through a pipeline of other writes: no divergence, none left over."""
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
        published = 8 * 250
        await wait_until(lambda: proxy.metrics.pubsub.matched >= published)
        tally = await wait_judged(proxy)

    assert tally.matched > published
    assert (tally.alone, tally.inconclusive.total()) == (0, 0)
    assert not proxy.metrics.pubsub_divergences
    assert proxy.metrics.pubsub_errors == 0
