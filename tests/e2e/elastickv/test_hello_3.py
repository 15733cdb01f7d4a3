"""Clients that begin with ``HELLO 3`` in front of ElasticKV, which knows only RESP2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import redis
import trio

from dualkv.config import ProxyMode
from dualkv.net.lane import LaneState
from dualkv.resp import encode
from tests.clients.stage import run_blocking
from tests.fakes.elastickv import Cluster
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

MODES: Final = [ProxyMode.REDIS_ONLY, ProxyMode.ELASTICKV_ONLY, ProxyMode.ELASTICKV_PRIMARY]

Words = tuple[bytes | str | int, ...]

ASKED: Final[tuple[Words, ...]] = tuple(
    tuple(line.split())
    for line in """
    SET s value
    SET s other NX
    GET s
    GET none
    HSET h f 1 g two
    HGETALL h
    HGETALL none
    HMGET h f none
    SADD one x
    SMEMBERS one
    SMEMBERS none
    ZADD z 1.1 a -inf b 2 c
    ZSCORE z a
    ZSCORE z b
    ZSCORE z none
    ZINCRBY z 0.25 c
    ZINCRBY z +inf d
    ZRANGE z 0 -1
    ZRANGE z 0 -1 WITHSCORES
    ZREVRANGE z 0 1 WITHSCORES
    ZRANGEBYSCORE z 1 +inf WITHSCORES
    ZRANGE none 0 -1 WITHSCORES
    ZPOPMIN z
    ZPOPMIN z 2
    ZPOPMIN none
    BZPOPMIN z 1
    BZPOPMIN z 0.01
    RPUSH l a b c
    LPOP l
    LPOP none
    LRANGE l 0 -1
    LPOS l none
    LINDEX l 9
    RPOPLPUSH none l
    XADD x 1-1 f v
    XADD y 1-1 f v
    XRANGE x - +
    XREAD COUNT 1 STREAMS x y 0 0
    XREAD BLOCK 10 STREAMS x 1-1
    EVAL return{redis.call('GET',KEYS[1]),false,1} 1 none
    TYPE s
    GET h
    """.strip().splitlines()
)
"""What Redis answers with the very same bytes."""

TRANSACTION: Final[tuple[Words, ...]] = tuple(
    tuple(line.split())
    for line in """
    MULTI
    SET t 1
    GET t
    GET none
    HSET th f v
    EXISTS th none
    ZINCRBY tz 1.5 m
    LRANGE none 0 -1
    EXEC
    """.strip().splitlines()
)


@asynccontextmanager
async def in_front_of(cluster: Cluster, pair: Pair, mode: ProxyMode, **settings: Any) -> AsyncIterator[Proxy]:
    """Run dualkv with the cluster as the one that answers; afterwards nothing has differed."""
    addresses = ",".join(cluster.addresses)
    stores = (
        (addresses, pair.primary.address)
        if mode is ProxyMode.REDIS_ONLY
        else (pair.primary.address, addresses)
    )
    async with running_proxy(*stores, mode, **settings) as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        yield proxy
        await proxy.wait_drained()
    assert not proxy.metrics.divergences
    assert not proxy.metrics.primary_outcomes_unknown
    assert cluster.harmful == 0


async def as_redis(pair: Pair, commands: tuple[Words, ...]) -> list[bytes]:
    """Return what Valkey answers to a client that has said ``HELLO 3``."""
    async with connect(pair.secondary.port) as client:
        await client.call("HELLO", 3)
        return [await client.call(*words) for words in commands]


@pytest.mark.parametrize("mode", MODES)
async def test_replies_are_those_of_redis_in_resp3(pair: Pair, elastickv: Cluster, mode: ProxyMode) -> None:
    """Byte for byte, one by one and in one piece, outside and inside of transactions."""
    expected = await as_redis(pair, ASKED + TRANSACTION)
    async with in_front_of(elastickv, pair, mode) as proxy, connect(proxy.port) as client:
        assert (await client.call("HELLO", 3)).startswith(b"%")
        for words, reply in zip(ASKED, expected, strict=False):
            assert await client.call(*words) == reply, words
        for words, reply in zip(TRANSACTION, expected[len(ASKED) :], strict=True):
            assert await client.call(*words) == reply, words
        await client.call("DEL", "tz")
        assert await client.pipeline(TRANSACTION) == expected[len(ASKED) :][:3] + [encode.QUEUED] * 5 + [
            expected[-1].replace(b":1\r\n", b":0\r\n", 1)
        ]


async def test_client_goes_back_to_resp2_and_returns(pair: Pair, elastickv: Cluster) -> None:
    """``HELLO 2`` and ``RESET`` bring the store's own bytes; another ``HELLO 3`` the raised ones."""
    async with in_front_of(elastickv, pair, ProxyMode.ELASTICKV_ONLY) as proxy, connect(proxy.port) as client:
        await client.call("ZADD", "z", 1, "a")
        own, raised = b"*2\r\n$1\r\na\r\n$1\r\n1\r\n", b"*1\r\n*2\r\n$1\r\na\r\n,1\r\n"
        steps: list[tuple[Words, bytes]] = [
            (("HELLO",), own), (("HELLO", 3), raised), (("HELLO",), raised), (("HELLO", 2), own),
            (("HELLO", 3), raised), (("RESET",), own), (("HELLO", 3), raised), (("HELLO", 4), raised),
        ]  # fmt: skip
        for step, expected in steps:
            replies = await client.pipeline([step, ("ZRANGE", "z", 0, -1, "WITHSCORES"), ("GET", "none")])
            assert replies[1:] == [expected, b"_\r\n" if expected == raised else b"$-1\r\n"], step


async def test_clients_of_both_versions_share_the_lane(pair: Pair, elastickv: Cluster) -> None:
    """Each gets replies of its own version, whatever the others read."""

    async def ask(client: Client, expected: bytes) -> None:
        for _ in range(20):
            assert await client.pipeline([("HGETALL", "h")] * 20) == [expected] * 20

    async with (
        in_front_of(elastickv, pair, ProxyMode.ELASTICKV_ONLY) as proxy,
        connect(proxy.port) as two,
        connect(proxy.port) as three,
    ):
        await three.call("HELLO", 3)
        await two.call("HSET", "h", "f", "v")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, two, b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
            nursery.start_soon(ask, three, b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n")


async def test_blocking_command_gets_what_comes(pair: Pair, elastickv: Cluster) -> None:
    """What somebody else adds meanwhile arrives with a double for a score."""
    async with (
        in_front_of(elastickv, pair, ProxyMode.ELASTICKV_ONLY) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        await client.call("HELLO", 3)
        await client.send(b"BZPOPMIN queue 10\r\n")
        await wait_until(lambda: _waits(proxy))
        await other.call("ZADD", "queue", "2.5", "m")
        assert await client.receive(1) == [b"*3\r\n$5\r\nqueue\r\n$1\r\nm\r\n,2.5\r\n"]


def _waits(proxy: Proxy) -> bool:
    return any(one.state.is_blocked for one in proxy.server.writer.clients.values())


def use_redis_py(port: int) -> None:
    """Do with redis-py what applications do."""
    with redis.Redis(port=port, protocol=3, decode_responses=True) as client:
        client.set("s", "v")
        assert client.get("s") == "v"
        assert client.get("none") is None
        client.hset("h", mapping={"a": 1, "b": 2})
        assert client.hgetall("h") == {"a": "1", "b": "2"}
        client.sadd("set", "x", "y")
        assert set(client.smembers("set")) == {"x", "y"}
        client.zadd("z", {"one": 1, "two": 2.5})
        assert client.zscore("z", "two") == 2.5
        assert client.zincrby("z", 0.5, "one") == 1.5
        assert [[name, score] for name, score in client.zrange("z", 0, -1, withscores=True)] == [
            ["one", 1.5], ["two", 2.5],
        ]  # fmt: skip
        client.rpush("l", *"abc")
        assert client.lrange("l", 0, -1) == ["a", "b", "c"]
        with client.pipeline(transaction=False) as pipeline:
            for number in range(100):
                pipeline.set(f"k{number}", number).hgetall("h")
            assert pipeline.execute()[-1] == {"a": "1", "b": "2"}
        with client.pipeline() as pipeline:
            pipeline.set("t", 1).execute_command("INCR", "t")
            pipeline.get("t").zincrby("tz", 1, "m").hset("th", "f", "v")
            assert pipeline.execute() == [True, 2, "2", 1.0, 1]
        assert list(client.bzpopmin("z", 1)) == ["z", "one", 1.5]
        assert client.bzpopmin("none", 0.01) is None
        client.xadd("x", {"f": "v"}, id="1-1")
        assert client.xread({"x": "0"}) == {"x": [[("1-1", {"f": "v"})]]}
        assert client.eval("return redis.call('GET', KEYS[1])", 1, "none") is None


@pytest.mark.parametrize("mode", MODES)
async def test_redis_py_begins_with_hello_3(pair: Pair, elastickv: Cluster, mode: ProxyMode) -> None:
    """redis-py asks for RESP3 unless told otherwise, and works."""
    async with in_front_of(elastickv, pair, mode) as proxy:
        with trio.fail_after(30):
            await run_blocking(use_redis_py, proxy.port)
