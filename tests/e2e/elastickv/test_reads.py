"""Shadow reads of what ElasticKV lacks are made of what it has, and compared."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
import redis

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error
from tests.fakes.elastickv import Cluster
from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

WRITES: Final = tuple(
    tuple(line.split())
    for line in """
    SET s value
    SET t 100 EX 1000
    HSET h f 1 g two
    SADD a x y z
    SADD b y z q
    ZADD z 1 a 1 b 2 c 3.1 d
    ZADD lex 0 aa 0 ab 0 b 0 c
    RPUSH l a b c
    XADD x 1-1 f v
    XADD x 2-5 f w
    PFADD n a b c
    """.strip().splitlines()
)

READS: Final = tuple(
    tuple(line.split())
    for line in """
    MGET s none h t
    STRLEN s
    STRLEN none
    GETRANGE s 1 -2
    GETRANGE s -3 -1
    GETRANGE none 0 9
    SUBSTR s 0 0
    GETBIT s 1
    GETBIT s 10000
    BITCOUNT s
    HKEYS h
    HVALS h
    HSTRLEN h g
    HSTRLEN h none
    SMISMEMBER a x q
    SMISMEMBER none x
    ZMSCORE z a none d
    ZRANK z c
    ZRANK z none
    ZREVRANK z c
    EXPIRETIME t
    PEXPIRETIME t
    PEXPIRETIME s
    PEXPIRETIME none
    SINTER a b
    SUNION a b none
    SDIFF a b
    SINTERCARD 2 a b LIMIT 1
    ZRANGE z 1 2 BYSCORE
    ZRANGE z (1 +inf BYSCORE WITHSCORES
    ZRANGE z +inf -inf BYSCORE REV LIMIT 1 2
    ZRANGE lex [aa (c BYLEX
    ZRANGE lex + - BYLEX REV LIMIT 0 2
    ZRANGEBYLEX lex - [b
    ZREVRANGEBYLEX lex [b (aa
    ZLEXCOUNT lex (aa +
    XREAD COUNT 1 STREAMS x 0
    XREAD STREAMS x none 1-1 0
    XREAD STREAMS none 0
    GET s
    TTL t
    PTTL t
    TYPE z
    EXISTS s none h
    HGETALL h
    HMGET h f none
    HLEN h
    SMEMBERS a
    SISMEMBER a x
    SCARD a
    LRANGE l 0 -1
    LPOS l b
    LINDEX l -1
    LLEN l
    ZSCORE z d
    ZRANGE z 0 -1 WITHSCORES
    ZREVRANGE z 0 1
    ZRANGEBYSCORE z 1 2 LIMIT 1 1
    ZCOUNT z 1 2
    XRANGE x - +
    XLEN x
    PFCOUNT n
    """.strip().splitlines()
)

UNSUPPORTED: Final = tuple(
    tuple(line.split())
    for line in """
    LCS s t
    GEOPOS z a
    XINFO STREAM x
    OBJECT ENCODING s
    """.strip().splitlines()
)

HARMFUL: Final = (("SCAN", 0), ("KEYS", "*"), ("DBSIZE",), ("HSCAN", "h", 0), ("RANDOMKEY",))


async def knows_dialect(proxy: Proxy) -> None:
    """Wait until it is known what the store has."""
    stream = proxy.server.writer.stream
    assert stream is not None
    await wait_until(lambda: stream.dialect is not None)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_reads_are_compared_through_what_the_store_has(
    pair: Pair, elastickv: Cluster, protocol: int
) -> None:
    """All of the list match, for clients of either RESP version; others are skipped; none does harm."""
    async with (
        running_proxy(
            pair.primary.address,
            elastickv.addresses[0],
            ProxyMode.DUAL_WRITE_SHADOW,
            confirm_after_seconds=0.05,
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await knows_dialect(proxy)
        await client.call("HELLO", protocol)
        assert not any(map(is_error, await client.pipeline(WRITES)))
        await proxy.wait_repaired()
        assert not any(map(is_error, await client.pipeline(READS)))
        await client.pipeline([*UNSUPPORTED, *HARMFUL])
        await proxy.wait_drained()

        metrics = proxy.metrics
        assert metrics.shadow_matches == len(READS)
        assert (dict(metrics.shadow_inconclusive), dict(metrics.shadow_errors)) == ({}, {})
        assert set(metrics.shadow_skipped) <= {"unsupported", "cursor", "moment"}
        assert elastickv.harmful == 0


@pytest.mark.parametrize(
    ("change", "reads"),
    [
        (("SET", "s", "other!"), ("MGET s t", "STRLEN s", "GETRANGE s 0 1", "GETBIT s 4", "BITCOUNT s")),
        (("HSET", "h", "g", "three", "new", "1"), ("HKEYS h", "HVALS h", "HSTRLEN h g")),
        (
            ("SREM", "a", "y"),
            ("SMISMEMBER a x y", "SINTER a b", "SUNION a none", "SDIFF a none", "SINTERCARD 1 a"),
        ),
        (("ZADD", "z", "9", "a"), ("ZMSCORE z a b", "ZRANK z a", "ZREVRANK z a", "ZRANGE z 0 5 BYSCORE")),
        (("ZREM", "lex", "ab"), ("ZRANGE lex - + BYLEX", "ZRANGEBYLEX lex - +", "ZLEXCOUNT lex - +")),
        (("PEXPIRE", "t", "50000"), ("EXPIRETIME t", "PEXPIRETIME t", "TTL t")),
        (("XADD", "x", "3-1", "f", "v"), ("XREAD STREAMS x 0", "XLEN x")),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) and len(value) > 2 else "",
)
async def test_a_difference_is_found_by_each_read(
    pair: Pair, elastickv: Cluster, change: tuple[str, ...], reads: tuple[str, ...]
) -> None:
    """What somebody changed in the store behind dualkv's back is seen in whatever is made of it."""
    async with (
        running_proxy(
            pair.primary.address,
            elastickv.addresses[0],
            ProxyMode.DUAL_WRITE_SHADOW,
            confirm_after_seconds=0.05,
            repair_divergences=False,
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await knows_dialect(proxy)
        await client.pipeline(WRITES)
        await proxy.wait_repaired()
        with redis.Redis(port=elastickv.server.port) as store:
            store.execute_command(*change)
        for number, read in enumerate(reads, 1):
            await client.call(*read.split())
            await wait_until(lambda: proxy.metrics.divergences.total() >= number)  # noqa: B023 - at once


async def test_scripts_that_read_are_not_sent(pair: Pair, elastickv: Cluster) -> None:
    """ElasticKV knows none of their commands: that is counted. While it answers, clients get its error."""
    body = "return redis.call('GET', KEYS[1])"
    digest = hashlib.sha1(body.encode()).hexdigest()
    reads: tuple[Args, ...] = (("EVAL_RO", body, 1, "k"), ("EVALSHA_RO", digest, 1, "k"))
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE_SHADOW) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "v")
        assert await client.pipeline(list(reads)) == [b"$1\r\nv\r\n"] * 2
        await wait_until(lambda: proxy.metrics.shadow_skipped["unsupported"] == 2)
        assert not {"EVAL_RO", "EVALSHA_RO", "EVAL", "EVALSHA"} & elastickv.received.keys()
        await proxy.wait_repaired()
        await proxy.server.modes.change_mode(ProxyMode.ELASTICKV_PRIMARY, force=True)

        replies = await client.pipeline([*reads, ("FCALL_RO", "f", 0)])
        assert [reply.split()[1:3] for reply in replies] == [[b"unsupported", b"command"]] * 3
