"""``/status``: what is going on, at a glance."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
import redis
import trio

from dualkv.config import ProxyMode
from tests.support.asking import ask
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.workload import under_load

pytestmark = pytest.mark.e2e


def _fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.loads(response.read())


async def status(proxy: Proxy) -> Any:
    """Return the content of ``/status``."""
    return await trio.to_thread.run_sync(_fetch, f"http://127.0.0.1:{proxy.http_port}/status")


async def test_a_quiet_proxy_is_well(pair: Pair) -> None:
    """Both stores up, nothing queued, no rates yet."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "v")
        await proxy.wait_drained()
        told = await status(proxy)

    assert told["headline"] == {
        "condition": "well",
        "title": "All is well",
        "reasons": ["redis serves the clients, and elastickv follows."],
    }
    assert (told["mode"], told["clients"]["connected"], told["draining"]) == ("dual-write-shadow", 1, False)
    assert (told["ledger"]["offered"], told["ledger"]["applied"]) == (1, 1)
    assert 0 <= told["mode_seconds"] <= told["uptime_seconds"] < 60


async def test_rates_and_latencies_are_told_by_class_and_store(pair: Pair) -> None:
    """Once two samples have been taken: what clients see, and what the other store does."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        under_load(proxy.port, clients=4),
    ):
        await wait_until(lambda: len(proxy.server.sampler.series.points) > 0)
        told = await status(proxy)

    classes = {(one["backend"], one["class"]): one for one in told["traffic"]["classes"]}
    assert {("redis", "read"), ("redis", "write"), ("elastickv", "write")} <= classes.keys()
    assert all(0 < one["p50_ms"] <= one["p99_ms"] for one in classes.values())
    total = sum(one["ops_per_second"] for one in classes.values() if one["backend"] == "redis")
    assert told["traffic"]["backends"]["redis"]["ops_per_second"] == pytest.approx(total, abs=1)
    assert 4.9 < told["traffic"]["over_seconds"] < 30  # a busy machine is late


async def test_what_has_been_compared_is_counted_also_after_a_change_of_the_mode(pair: Pair) -> None:
    """After the stores have changed roles, the other one has to prove itself."""
    compared = []
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        for reads, mode in ((10, ProxyMode.ELASTICKV_PRIMARY), (3, ProxyMode.DUAL_WRITE_SHADOW)):
            await client.pipeline([("SET", "user:1", "v"), *[("GET", "user:1")] * reads])
            await proxy.wait_drained()
            compared.append((await status(proxy))["comparing"]["coverage"]["compared"])
            await proxy.server.modes.change_mode(mode, force=True)

    assert compared == [10, 3]


async def test_an_absent_store_is_told_in_the_headline(pair: Pair) -> None:
    """Clients are served all the same: somebody should look at it, at daytime."""
    async with running_proxy(pair.primary.address, "127.0.0.1:1", drain_seconds=0.1) as proxy:
        writer = proxy.server.writer
        await wait_until(lambda: writer.secondary is not None and writer.secondary.last_error is not None)
        headline = (await status(proxy))["headline"]

    assert headline["condition"] == "attention"
    assert "127.0.0.1:1" in headline["reasons"][0]


async def test_divergences_are_counted_by_kind_without_their_keys(pair: Pair) -> None:
    """Lately and so far; what they are about is told elsewhere."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, confirm_after_seconds=0.05, repair_divergences=False
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "the-key", "one")
        await proxy.wait_drained()
        with redis.Redis(port=pair.secondary.port) as beside:
            beside.set("the-key", "another")
        await client.call("GET", "the-key")
        await wait_until(lambda: proxy.metrics.divergences.total() == 1)
        told = await status(proxy)

    kinds = {"migration_gap": 0, "data_mismatch": 1, "extra_data": 0}
    assert told["comparing"]["divergences"]["recent"] == told["comparing"]["divergences"]["so_far"] == kinds
    assert told["headline"]["reasons"] == ["1 divergence in the last 10 min: the stores differ."]
    assert "the-key" not in json.dumps(told)


async def test_a_paused_stream_tells_for_how_long(pair: Pair) -> None:
    """From the moment it was paused until it is resumed."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        assert (await status(proxy))["stream"]["paused_seconds"] is None
        stream.pause()
        assert stream.paused_at is not None
        stream.paused_at -= 60
        told = (await status(proxy))["stream"]
        stream.resume()
        assert (await status(proxy))["stream"]["paused_seconds"] is None

    assert told["state"] == "paused"
    assert 60 <= told["paused_seconds"] < 90


async def test_where_nothing_is_mirrored_there_is_no_stream(pair: Pair) -> None:
    """What does not exist is null, and nothing to worry about."""
    async with (
        running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("PING")
        told = await status(proxy)

    assert (told["stream"], told["convergence"], told["comparing"]["is_on"]) == (None, None, False)
    assert told["headline"]["condition"] == "well"


async def test_the_admin_address_tells_the_same(pair: Pair) -> None:
    """Whoever controls dualkv need not know the other address."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        answer = await ask(proxy.admin_port, "GET", "/status")
        told = await status(proxy)

    assert (answer.status, answer.json.keys()) == (200, told.keys())
    assert answer.json["instance"] == told["instance"]
