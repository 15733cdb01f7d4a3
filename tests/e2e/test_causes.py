"""Why stores differ, where they have removed something by themselves, or cannot hold it: real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from dualkv.core.divergence import Cause, Divergence, DivergenceKind
from dualkv.core.divergence_ring import DivergenceFilter
from dualkv.servers import EmbeddedServer
from tests.fakes.elastickv import Cluster
from tests.support.client import Args, connect
from tests.support.elastickv import elastickv, elastickv_store  # noqa: F401 - fixtures
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e

GAP, EXTRA, MISMATCH = DivergenceKind.MIGRATION_GAP, DivergenceKind.EXTRA_DATA, DivergenceKind.DATA_MISMATCH

EVICTING = ("--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru")
VALUE = "v" * 4000
KEYS = 500
"""So many of these values are as much as the store holds in all."""


def found(proxy: Proxy) -> list[Divergence]:
    """Return what has been reported, oldest first."""
    return list(proxy.metrics.findings.ring.find(DivergenceFilter(), 1000))


async def wait_asked(proxy: Proxy) -> None:
    """Wait until both stores have said what they have removed by themselves so far."""
    watch = proxy.server.writer.comparing.removals
    assert watch is not None
    await wait_until(lambda: "0 answers" not in f"{watch.primary!r} {watch.secondary!r}")


async def read_until_reported(proxy: Proxy, read: Args) -> Divergence:
    """Read as a client, again and again; return the divergence that comes of it."""
    confirming = proxy.server.writer.comparing.judge.confirming
    async with connect(proxy.port) as client:
        while not proxy.metrics.divergences.total():
            await client.call(*read)  # a reading may come too late on a busy machine
            await proxy.wait_drained()
            await wait_until(lambda: not confirming)
    (divergence,) = found(proxy)
    return divergence


# --- evicted


async def test_key_that_the_secondary_has_evicted(pair: Pair, server_binary: Path) -> None:
    """It had no room for all that the primary holds."""
    with EmbeddedServer(server_binary, *EVICTING) as small:
        async with running_proxy(
            pair.primary.address, small.address, repair_divergences=False, fill_gaps=False
        ) as proxy:
            await wait_asked(proxy)
            async with connect(proxy.port) as client:
                await client.pipeline([("SET", f"k:{number}", VALUE) for number in range(KEYS)])
            await proxy.wait_drained()
            with open_store(small) as store:
                lost = next(number for number in range(KEYS) if not store.exists(f"k:{number}"))
            divergence = await read_until_reported(proxy, ("GET", f"k:{lost}"))

    assert (divergence.kind, divergence.cause) == (GAP, Cause.EVICTED)


async def test_key_that_the_primary_has_evicted(pair: Pair, server_binary: Path) -> None:
    """Its evictions are nobody's writes, so the other store still has the key."""
    with EmbeddedServer(server_binary, *EVICTING) as small:
        async with running_proxy(
            small.address, pair.secondary.address, repair_divergences=False, fill_gaps=False
        ) as proxy:
            await wait_asked(proxy)
            async with connect(proxy.port) as client:
                await client.pipeline([("SET", f"k:{number}", VALUE) for number in range(KEYS)])
            await proxy.wait_drained()
            with open_store(small) as store:
                lost = next(number for number in range(KEYS) if not store.exists(f"k:{number}"))
            divergence = await read_until_reported(proxy, ("GET", f"k:{lost}"))

    assert (divergence.kind, divergence.cause) == (EXTRA, Cause.EVICTED)


async def test_key_that_was_deleted_on_a_store_that_has_evicted_nothing_since(
    pair: Pair, server_binary: Path
) -> None:
    """Evictions before it was written do not explain why it is gone."""
    with EmbeddedServer(server_binary, *EVICTING) as small, open_store(small) as store:
        for number in range(KEYS):
            store.set(f"k:{number}", VALUE)
        assert store.info("stats")["evicted_keys"] > 0
        store.flushall()
        async with running_proxy(pair.primary.address, small.address, repair_divergences=False) as proxy:
            await wait_asked(proxy)
            async with connect(proxy.port) as client:
                await client.call("SET", "k", "v")
            await proxy.wait_drained()
            store.delete("k")
            divergence = await read_until_reported(proxy, ("GET", "k"))

    assert (divergence.kind, divergence.cause) == (GAP, Cause.BYPASSED)


# --- expired


EXPIRING: dict[str, tuple[Args, str, Callable[[redis.Redis], object], Args, DivergenceKind]] = {
    "too early on the secondary": (
        ("SET", "k", "v", "EX", 3600), "secondary", lambda store: store.pexpire("k", 1), ("GET", "k"), GAP,
    ),
    "too early on the primary": (
        ("SET", "k", "v", "EX", 3600), "primary", lambda store: store.pexpire("k", 1), ("GET", "k"), EXTRA,
    ),
    "an expiry that only the secondary has": (
        ("SET", "k", "v"), "secondary", lambda store: store.expire("k", 100), ("PTTL", "k"), MISMATCH,
    ),
    "an expiry that only the primary has": (
        ("SET", "k", "v"), "primary", lambda store: store.expire("k", 100), ("TTL", "k"), MISMATCH,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EXPIRING)
async def test_key_that_expires_on_one_store(pair: Pair, what: str) -> None:
    """Before it does on the other, or on that one only."""
    write, which, expire, read, kind = EXPIRING[what]
    async with running_proxy(
        pair.primary.address, pair.secondary.address, repair_divergences=False, fill_gaps=False
    ) as proxy:
        await wait_asked(proxy)
        async with connect(proxy.port) as client:
            await client.call(*write)
        await proxy.wait_drained()
        with open_store(pair.primary if which == "primary" else pair.secondary) as store:
            expire(store)
        divergence = await read_until_reported(proxy, read)

    assert (divergence.kind, divergence.cause) == (kind, Cause.EXPIRED)


async def test_key_with_an_expiry_that_is_deleted_has_not_expired(pair: Pair, server_binary: Path) -> None:
    """The store says that no key's time was over."""
    with EmbeddedServer(server_binary) as secondary, open_store(secondary) as store:
        async with running_proxy(pair.primary.address, secondary.address, repair_divergences=False) as proxy:
            await wait_asked(proxy)
            async with connect(proxy.port) as client:
                await client.call("SET", "k", "v", "EX", 3600)
            await proxy.wait_drained()
            store.delete("k")
            divergence = await read_until_reported(proxy, ("GET", "k"))

    assert (divergence.kind, divergence.cause) == (GAP, Cause.BYPASSED)


# --- unsupported


async def test_key_that_the_secondary_cannot_hold(pair: Pair, elastickv: Cluster) -> None:  # noqa: F811 - a fixture
    """What is made of several HyperLogLogs is in no form on an ElasticKV; the history says so, too."""
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], repair_divergences=False, fill_gaps=False
    ) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: stream.dialect is not None)
        async with connect(proxy.port) as client:
            await client.pipeline([("PFADD", "h", "a", "b"), ("PFMERGE", "merged", "h")])
        await proxy.wait_drained()
        divergence = await read_until_reported(proxy, ("PFCOUNT", "merged"))

    assert divergence.cause is Cause.UNSUPPORTED
    assert [entry.what for entry in divergence.history] == ["unsupported (pfmerge)"]


async def test_key_whose_copy_left_something_out(pair: Pair, elastickv: Cluster) -> None:  # noqa: F811 - a fixture
    """Groups of a stream do not arrive; no read that is compared shows them, so they explain nothing."""
    with open_store(pair.primary) as store:
        store.xadd("stream", {"f": "v"}, id="1-1")
        store.xgroup_create("stream", "group")
    async with running_proxy(
        pair.primary.address, elastickv.addresses[0], backfill=True, repair_divergences=False
    ) as proxy:
        await proxy.wait_resynced()
        with open_store(elastickv.server) as store:
            store.delete("stream")
        divergence = await read_until_reported(proxy, ("XLEN", "stream"))

    assert [entry.what for entry in divergence.history] == ["copied", "unsupported (xgroup|create)"]
    assert divergence.cause is Cause.BYPASSED
