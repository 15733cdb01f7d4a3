"""A dualkv that has done some work of every kind, and what Prometheus sees of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
from prometheus_client.parser import text_string_to_metric_families

from dualkv.config.shadow_rules import parse_shadow_rules
from dualkv.servers import EmbeddedServer
from tests.deploy.behind import fetch
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import open_store

__all__ = ["Samples", "at_work", "scrape"]

Samples = dict[str, list[dict[str, str]]]
"""By metric: the labels of each of its samples."""


async def scrape(proxy: Proxy) -> tuple[str, Samples]:
    """Return the page as it came, and its samples; metrics without samples as well."""
    _, body = await trio.to_thread.run_sync(fetch, proxy.http_port, "/metrics")
    text = body.decode()
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        samples.setdefault(name, [])
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    return text, samples


@contextmanager
def _refusing_writes(server: EmbeddedServer) -> Iterator[None]:
    with open_store(server) as store:
        store.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            store.config_set("min-replicas-to-write", 0)


@asynccontextmanager
async def at_work(pair: Pair, folder: Path) -> AsyncIterator[Proxy]:
    """Run dualkv with nearly everything switched on; when it is yielded, each kind of thing has happened."""
    async with (
        running_proxy(
            pair.primary.address,
            pair.secondary.address,
            leader_aware=True,
            journal_dir=str(folder / "journal"),
            divergence_log=str(folder / "divergences.jsonl"),
            confirm_after_seconds=0.05,
            shadow_rules=parse_shadow_rules("ignored* * ignore"),
            repair_divergences=False,
        ) as proxy,
        connect(proxy.port) as client,
        connect(pair.secondary.port) as secondary,
    ):
        await client.pipeline(
            [("SET", "k", 1), ("GET", "k"), ("LPUSH", "k", 1), ("GET", "ignored"), ("TIME",)]
        )
        await proxy.wait_drained()
        await client.call("CLIENT", "NO-EVICT", "on")
        await secondary.pipeline([("SET", "k", 2), ("SET", "extra", 1)])
        await client.pipeline([("GET", "k"), ("GET", "extra"), ("SRANDMEMBER", "none")])
        await wait_until(lambda: proxy.metrics.divergences.total() >= 2)
        async with connect(proxy.port) as victim:
            number = (await victim.call("CLIENT", "ID"))[1:-2]
            await client.call("CLIENT", "KILL", "ID", number)
            await victim.receive_until_closed()
        with _refusing_writes(pair.secondary):
            await client.call("SET", "k", 3)
            await wait_until(lambda: proxy.metrics.secondary_write_errors.total() > 0)
            with trio.fail_after(20):  # reads of a key that is known to differ; repair tries in vain
                while not proxy.metrics.shadow_inconclusive:
                    await client.call("GET", "k")
        await client.call("SET", "gone", 1)
        await proxy.wait_repaired()
        await secondary.call("DEL", "gone")
        await client.call("GET", "gone")
        await wait_until(lambda: proxy.metrics.divergences.total() >= 3)
        yield proxy
