"""Scripts and functions reach the secondary, even one that has forgotten them."""

from __future__ import annotations

import hashlib

import pytest

from tests.support.client import connect
from tests.support.proxy import running_proxy, wait_until
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
