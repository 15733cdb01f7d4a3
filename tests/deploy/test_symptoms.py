"""What alerts ask for is what a scrape shows when stores really go away."""

from __future__ import annotations

from pathlib import Path

import trio
from prometheus_client.parser import text_string_to_metric_families

from dualkv.servers import EmbeddedServer
from tests.deploy.scraping import scrape
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy

PATIENCE_SECONDS = 20


async def values(proxy: Proxy, metric: str, **labels: str) -> list[float]:
    """Return the values of a metric's samples that have these labels."""
    text, _ = await scrape(proxy)
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]


async def wait_for(expected: float, proxy: Proxy, metric: str, **labels: str) -> None:
    """Scrape until the sum of the samples is as expected."""
    with trio.fail_after(PATIENCE_SECONDS):
        while sum(await values(proxy, metric, **labels)) != expected:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.05)


async def test_primary_that_goes_away_has_no_lane(server_binary: Path) -> None:
    """And one again when it is back: `DualkvPrimaryUnreachable`."""
    with EmbeddedServer(server_binary) as primary, EmbeddedServer(server_binary) as secondary:
        async with running_proxy(primary.address, secondary.address) as proxy:
            lanes = ("proxy_backend_pool_connections", {"state": "lane"})
            await wait_for(1, proxy, lanes[0], **lanes[1])
            primary.kill()
            await wait_for(0, proxy, lanes[0], **lanes[1])
            primary.restart()
            await wait_for(1, proxy, lanes[0], **lanes[1])


async def test_primary_that_was_never_there_has_no_lane_but_there_is_a_scrape(server_binary: Path) -> None:
    """The other half of the same alert: connections are told of, though there is no lane."""
    with EmbeddedServer(server_binary) as secondary:
        async with running_proxy("127.0.0.1:1", secondary.address) as proxy:
            await wait_for(0, proxy, "proxy_backend_pool_connections", state="lane")
            assert await values(proxy, "proxy_active_connections") == [0]


async def test_secondary_that_goes_away_opens_the_breaker(server_binary: Path) -> None:
    """And its keys are dirty, until it is back: `DualkvBreakerOpen`, `DualkvDirtyKeysStay`."""
    with EmbeddedServer(server_binary) as primary, EmbeddedServer(server_binary) as secondary:
        async with (
            running_proxy(primary.address, secondary.address) as proxy,
            connect(proxy.port) as client,
        ):
            await wait_for(1, proxy, "proxy_stream_gate", state="flowing")
            secondary.kill()
            await client.call("SET", "k", 1)
            await wait_for(1, proxy, "proxy_stream_gate", state="unreachable")
            await client.call("SET", "k", 2)
            await wait_for(1, proxy, "proxy_dirty_keys")
            secondary.restart()
            await wait_for(1, proxy, "proxy_stream_gate", state="flowing")
            await wait_for(0, proxy, "proxy_dirty_keys")
