"""SCAN, KEYS and DBSIZE, of which a node goes down, do not reach an ElasticKV that answers."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.net.lane import LaneState
from tests.fakes.elastickv import Cluster
from tests.support.client import Args, connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.e2e

LISTING: Final[tuple[Args, ...]] = (("SCAN", 0), ("scan", 0, "MATCH", "k*"), ("KEYS", "*"), ("DBSIZE",))


@pytest.mark.parametrize("mode", [ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY])
async def test_what_kills_a_node_is_refused(pair: Pair, elastickv: Cluster, mode: ProxyMode) -> None:
    """With a clear error, alone, in a pipeline, and in a transaction, which is discarded then."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], mode) as proxy,
        connect(proxy.port) as client,
    ):
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        replies = await client.pipeline([("SET", "k", 1), *LISTING, ("GET", "k")])
        assert replies[0] == b"+OK\r\n"
        assert replies[-1] == b"$1\r\n1\r\n"
        for reply in replies[1:-1]:
            assert reply.startswith(b"-NOPERM dualkv refuses "), reply
            assert b"allow_listing" in reply
        replies = await client.pipeline([("MULTI",), ("SET", "k", 2), ("KEYS", "*"), ("EXEC",)])
        assert replies[2].startswith(b"-NOPERM dualkv refuses KEYS")
        assert replies[3].startswith(b"-EXECABORT")
        assert await client.call("GET", "k") == b"$1\r\n1\r\n"
        reply = await proxy.server.writer.read("DBSIZE")
        assert reply.startswith(b"-NOPERM")
        assert elastickv.harmful == 0


@pytest.mark.parametrize("mode", [ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY])
async def test_a_script_whose_text_shows_it_is_refused(
    pair: Pair, elastickv: Cluster, mode: ProxyMode
) -> None:
    """Alone, by its hash, in a pipeline, and in a transaction; other scripts run as ever."""
    listing = "local c = redis.call return c('KEYS', '*')"
    harmless = "return redis.call('INCR', KEYS[1])"
    digest = hashlib.sha1(listing.encode()).hexdigest()
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], mode) as proxy,
        connect(proxy.port) as client,
    ):
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        replies = await client.pipeline(
            [
                ("EVAL", harmless, 1, "n"), ("EVAL", listing, 0), ("EVALSHA", digest, 0),
                ("EVAL", harmless, 1, "n"), ("MULTI",), ("EVAL", listing, 0), ("EXEC",),
                ("EVAL", "return redis.call('DBSIZE')"),
            ]
        )  # fmt: skip
        refusal = b"-NOPERM dualkv refuses a script that calls KEYS: a node of this store goes down of it"
        assert [replies[at] for at in (0, 3, 4)] == [b":1\r\n", b":2\r\n", b"+OK\r\n"]
        assert all(replies[at].startswith(refusal) for at in (1, 2, 5)), replies
        assert replies[6].startswith(b"-EXECABORT")
        assert replies[7].startswith(b"-ERR wrong number of arguments")
        reply = await proxy.server.writer.script("EVAL", listing, 0)
        assert reply.startswith(refusal)
        assert elastickv.harmful == 0


async def test_a_transaction_that_was_queued_at_redis_does_not_list_elastickv(
    pair: Pair, elastickv: Cluster
) -> None:
    """The mode has changed between KEYS and EXEC: the client hears why its transaction is discarded."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", "k", 1), ("MULTI",), ("SET", "k", 2), ("KEYS", "*")])
        await proxy.wait_repaired()
        await proxy.server.modes.change_mode(ProxyMode.ELASTICKV_PRIMARY, force=True)

        reply = await client.call("EXEC")
        assert reply.startswith(b"-EXECABORT Transaction discarded because of: NOPERM dualkv refuses KEYS")
        assert await client.call("GET", "k") == b"$1\r\n1\r\n"
        assert elastickv.harmful == 0


SCRIPTS: Final = (
    "return redis.call('DBSIZE')",
    "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) end redis.call('SET', KEYS[1], 'v')",
    "local c = redis.call c('SET', KEYS[1], #c('KE' .. 'YS', '*'))",
    "redis.call('SET', KEYS[1], redis.call(ARGV[1]))",
    "redis.call('SET', KEYS[1], #redis.call('SCAN', 0)[2]) return redis.call('TIME')",
)  # fmt: skip


@pytest.mark.parametrize("mode", [ProxyMode.DUAL_WRITE, ProxyMode.DUAL_WRITE_SHADOW])
async def test_a_script_of_a_client_of_redis_does_not_list_elastickv(
    pair: Pair, elastickv: Cluster, mode: ProxyMode
) -> None:
    """Not by its text, its hash, or in MULTI, from the first moment on: its keys are copied instead."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], mode) as proxy,
        connect(proxy.port) as client,
    ):
        for number, script in enumerate(SCRIPTS):
            digest = hashlib.sha1(script.encode()).hexdigest()
            replies = await client.pipeline(
                [
                    ("SET", "other", 1), ("EVAL", script, 1, f"k{number}", "DBSIZE"),
                    ("EVALSHA", digest, 1, f"h{number}", "DBSIZE"),
                    ("MULTI",), ("EVAL", script, 1, f"m{number}", "DBSIZE"), ("SET", f"x{number}", 1),
                    ("EXEC",),
                ]
            )  # fmt: skip
            assert not any(reply.startswith(b"-") for reply in replies), replies
        await proxy.wait_repaired()
        there, here = contents(elastickv.server), contents(pair.primary)
        assert {key: there[key] for key in here} == here
        assert elastickv.harmful == 0
        assert proxy.metrics.not_holdable["EVAL"] > 0


async def test_a_setting_lets_it_through(pair: Pair, elastickv: Cluster) -> None:
    """Whoever has a build that survives it may say so."""
    elastickv.panics = False
    async with (
        running_proxy(
            pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_ONLY, allow_listing=True
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        await client.call("SET", "k", 1)
        assert await client.call("DBSIZE") == b":1\r\n"
        assert await client.call("KEYS", "*") == b"*1\r\n$1\r\nk\r\n"
    assert elastickv.harms == ["DBSIZE", "KEYS"]


async def test_redis_is_listed_as_ever(pair: Pair, elastickv: Cluster) -> None:
    """While Redis answers, only ElasticKV is spared: nothing of it is compared there."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE_SHADOW) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", 1)
        assert await client.pipeline([("DBSIZE",), ("KEYS", "*"), ("SCAN", 0)]) == [
            b":1\r\n",
            b"*1\r\n$1\r\nk\r\n",
            b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
        ]
        await proxy.wait_drained()
        assert elastickv.harmful == 0


@pytest.mark.parametrize("mode", [ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY])
async def test_a_read_of_a_missing_stream_holds_nobody_up(
    pair: Pair, elastickv: Cluster, mode: ProxyMode
) -> None:
    """ElasticKV does not answer it at once; others go on, and its client gets what Redis says: nothing."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], mode) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        await client.send(b"XREAD STREAMS missing 0\r\n")
        with trio.fail_after(2):
            for number in range(20):
                assert await other.call("SET", "k", number) == b"+OK\r\n"
        assert await client.receive(1) == [b"*-1\r\n"]
        assert await client.call("XADD", "s", "1-1", "f", "v") == b"$3\r\n1-1\r\n"
        assert (await client.call("XREAD", "STREAMS", "s", 0)).startswith(b"*1\r\n")
        assert proxy.metrics.backends["elastickv"].pool.events["lost"] == 0
