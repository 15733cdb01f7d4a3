"""Scripts and functions reach the secondary, even one that has forgotten them."""

from __future__ import annotations

import hashlib

import pytest

from dualkv.config import ProxyMode
from dualkv.servers import EmbeddedServer
from tests.core.building import planned
from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents, open_store

pytestmark = pytest.mark.e2e

BODY = "return redis.call('RPUSH', KEYS[1], ARGV[1])"
DIGEST = hashlib.sha1(BODY.encode()).hexdigest()


async def test_secondary_that_forgot_a_script_still_executes_it(pair: Pair) -> None:
    """EVALSHA works in the secondary after its cache was emptied behind dualkv's back, alone and in MULTI."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SCRIPT", "LOAD", BODY)
        await client.call("EVALSHA", DIGEST, 1, "k", "a")
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            store.script_flush()
        await client.call("EVALSHA", DIGEST, 1, "k", "b")
        await proxy.wait_drained()
        await client.pipeline([("MULTI",), ("EVALSHA", DIGEST, 1, "k", "c"), ("EXEC",)])
        await proxy.wait_drained()
        failed = proxy.metrics.total_ledger().failed

    assert contents(pair.secondary) == contents(pair.primary) == {b"k": (b"list", [b"a", b"b", b"c"])}
    assert failed == 0


READING = "return redis.call('GET', KEYS[1])"
READING_DIGEST = hashlib.sha1(READING.encode()).hexdigest()


def forget_scripts(server: EmbeddedServer) -> None:
    """Let a store know no script any more, behind dualkv's back."""
    with open_store(server) as store:
        store.script_flush()


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("source", [("EVAL_RO", READING, 1, "k"), ("SCRIPT", "LOAD", READING)])
async def test_a_script_that_reads_is_compared_by_its_hash(pair: Pair, source: Args, share: float) -> None:
    """The secondary gets the text with the first of each connection, and again if it has forgotten it.

    What differs is judged by the text.
    """
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE_SHADOW,
            confirm_after_seconds=0.01, secondary_write_concurrency=1, shadow_sample=share,
            repair_divergences=False,
        ) as proxy,
        connect(proxy.port) as client,
    ):  # fmt: skip
        metrics = proxy.metrics
        digest = READING_DIGEST.upper()
        key = next(
            key for key in map("k{}".format, range(40)) if _is_compared(proxy, "EVALSHA_RO", digest, 1, key)
        )
        await client.call("SET", key, "v")
        await client.call(*source)

        async def read() -> None:
            before = metrics.shadow_matches + metrics.shadow_inconclusive.total()
            assert await client.call("EVALSHA_RO", digest, 1, key) == b"$1\r\nv\r\n"
            await wait_until(lambda: metrics.shadow_matches + metrics.shadow_inconclusive.total() > before)

        await proxy.wait_drained()
        matches = metrics.shadow_matches
        for _ in range(2):
            forget_scripts(pair.secondary)
            await read()
        await read()
        assert metrics.shadow_matches == matches + 2
        assert dict(metrics.shadow_inconclusive) == {"no_script": 1}  # nobody could know of the second time

        with open_store(pair.secondary) as store:
            store.set(key, "other")
        await client.call("EVALSHA_RO", digest, 1, key)
        await wait_until(lambda: metrics.divergences.total() == 1)
        assert {kind.value for _, kind in metrics.divergences} == {"data_mismatch"}


def _is_compared(proxy: Proxy, *words: str | int) -> bool:
    plan, request = planned(*words)
    return proxy.server.writer.comparing.filter.admits(plan, request.args)


async def test_a_script_whose_text_nobody_has_seen_is_not_judged(pair: Pair) -> None:
    """The secondary does not know it: that is counted, and no difference."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE_SHADOW) as proxy,
        connect(proxy.port) as client,
    ):
        with open_store(pair.primary) as store:
            store.script_load(READING)
            store.set("k", "v")
        assert await client.call("EVALSHA_RO", READING_DIGEST, 1, "k") == b"$1\r\nv\r\n"
        await wait_until(lambda: proxy.metrics.shadow_inconclusive["no_script"] == 1)
        assert not proxy.metrics.divergences


async def test_restarted_secondary_gets_the_body(pair: Pair) -> None:
    """The first EVALSHA on a new connection carries the body."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("EVAL", BODY, 1, "k", "a")
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            store.script_flush()
            store.client_kill_filter(_type="normal", skipme=True)
        events = proxy.metrics.backends["elastickv"].pool.events
        await wait_until(lambda: events["lost"] == 1)
        for value in "bcd":
            await client.call("EVALSHA", DIGEST.upper(), 1, "k", value)
        await proxy.wait_drained()

    assert contents(pair.secondary) == contents(pair.primary) == {b"k": (b"list", [b"a", b"b", b"c", b"d"])}


async def test_unknown_script_is_the_primarys_error(pair: Pair) -> None:
    """NOSCRIPT reaches the client, who then sends the body; nothing is mirrored for the failure."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("EVAL", BODY, 1, "k", "a")
        replies = await client.pipeline(
            [("SCRIPT", "EXISTS", DIGEST), ("SCRIPT", "FLUSH"), ("EVALSHA", DIGEST, 1, "k", "b")]
        )
        await proxy.wait_drained()
        offered = proxy.metrics.total_ledger().offered

    assert replies[:2] == [b"*1\r\n:1\r\n", b"+OK\r\n"]
    assert replies[2].startswith(b"-NOSCRIPT ")
    assert offered == 2


async def test_functions_are_mirrored(pair: Pair) -> None:
    """FUNCTION LOAD and FCALL do the same in both stores."""
    library = (
        "#!lua name=lib\n"
        "redis.register_function('f', function(keys, args) return redis.call('SET', keys[1], args[1]) end)"
    )
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [("FUNCTION", "LOAD", library), ("FCALL", "f", 1, "k", "v"), ("FUNCTION", "FLUSH")]
        )
        await proxy.wait_drained()

    assert replies == [b"$3\r\nlib\r\n", b"+OK\r\n", b"+OK\r\n"]
    assert contents(pair.secondary) == contents(pair.primary) == {b"k": (b"string", b"v")}


async def test_script_kill_is_heard_beside_the_lane(pair: Pair) -> None:
    """SCRIPT KILL goes on a connection of its own; without a running script it says so."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        assert (await client.call("SCRIPT", "KILL")).startswith(b"-NOTBUSY ")
        assert (await client.call("FUNCTION", "KILL")).startswith(b"-NOTBUSY ")
