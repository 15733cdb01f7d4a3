"""What operators and their tools see over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from dualkv.net.lane import LaneState
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e


def _fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def get(proxy: Proxy, path: str) -> tuple[int, str]:
    """Return status and body of a page."""
    return await trio.to_thread.run_sync(_fetch, f"http://127.0.0.1:{proxy.http_port}{path}")


async def readiness(proxy: Proxy) -> tuple[int, Any]:
    """Return status and content of ``/readyz``."""
    status, body = await get(proxy, "/readyz")
    return status, json.loads(body)


async def test_readyz_tells_each_backends_state(pair: Pair) -> None:
    """Both up: 200. What each is, where, and who answers is in the body."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP and stream.is_connected)
        status, body = await readiness(proxy)

    assert status == 200
    assert (body["ready"], body["draining"], body["mode"]) == (True, False, "dual-write-shadow")
    primary, secondary = body["backends"]["primary"], body["backends"]["secondary"]
    assert (primary["address"], primary["role"], primary["state"]) == (pair.primary.address, "answers", "up")
    assert (secondary["address"], secondary["role"], secondary["state"]) == (
        pair.secondary.address,
        "follows",
        "up",
    )


async def test_unreachable_secondary_is_told_and_does_not_make_it_unready(pair: Pair) -> None:
    """Clients are served without the secondary: still 200, with the reason it is down."""
    async with running_proxy(pair.primary.address, "127.0.0.1:1") as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        await wait_until(lambda: proxy.metrics.backends["elastickv"].pool.events["dial_failed"] > 0)
        status, body = await readiness(proxy)

    assert status == 200
    assert body["backends"]["secondary"]["state"] == "down"
    assert "127.0.0.1:1" in body["backends"]["secondary"]["error"]


async def test_unreachable_primary_makes_it_unready_but_alive() -> None:
    """Without a primary clients should go elsewhere; the process itself is fine."""
    async with running_proxy("127.0.0.1:1", "127.0.0.1:1") as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.DOWN)
        status, body = await readiness(proxy)

        assert (status, body["ready"]) == (503, False)
        assert "127.0.0.1:1" in body["backends"]["primary"]["error"]
        assert (await get(proxy, "/healthz"))[0] == 200


async def test_draining_makes_it_unready(pair: Pair) -> None:
    """From the signal on, and through the lame-duck time, ``/readyz`` sends clients elsewhere."""
    async with running_proxy(pair.primary.address, pair.secondary.address, lame_duck_seconds=30.0) as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        proxy.server.stop()
        status, body = await readiness(proxy)
        async with connect(proxy.port) as client:  # the door is still open
            assert await client.call("PING") == b"+PONG\r\n"

    assert (status, body["draining"]) == (503, True)


async def test_metrics_are_prometheus_text_and_count_what_happened(pair: Pair) -> None:
    """The page parses, and the numbers of commands are those that were sent."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", "k", number) for number in range(7)])
        await client.pipeline([("GET", "k")] * 3)
        await proxy.wait_drained()
        status, page = await get(proxy, "/metrics")

    assert status == 200
    replies = {
        sample.labels["command"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "proxy_command_duration_seconds_count" and sample.labels["backend"] == "redis"
    }
    assert replies == {"set": 7, "get": 3}


async def test_unknown_page_is_404_and_the_index_names_the_pages(pair: Pair) -> None:
    """A person who opens the address finds the way."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        assert (await get(proxy, "/nothing"))[0] == 404
        status, index = await get(proxy, "/")

    assert status == 200
    assert all(path in index for path in ("/metrics", "/healthz", "/readyz"))
