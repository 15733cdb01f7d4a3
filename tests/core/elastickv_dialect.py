"""The dialect of an ElasticKV, as it tells it itself."""

from __future__ import annotations

from typing import Final

from dualkv.core.dialect import Dialect, learn
from dualkv.resp import encode

__all__ = ["ELASTICKV"]

_KNOWN: Final = """
    DEL EXISTS EXPIRE PEXPIRE TTL PTTL TYPE RENAME KEYS SCAN DBSIZE FLUSHALL FLUSHDB GET SET SETEX
    SETNX GETDEL INCR HSET HMSET HGET HMGET HGETALL HDEL HLEN HEXISTS HINCRBY LPUSH RPUSH LPOP RPOP
    RPOPLPUSH LREM LSET LTRIM LLEN LINDEX LPOS LRANGE SADD SREM SCARD SISMEMBER SMEMBERS ZADD ZREM
    ZINCRBY ZPOPMIN BZPOPMIN ZCARD ZCOUNT ZSCORE ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE
    ZREMRANGEBYRANK ZREMRANGEBYSCORE ELASTICKV.ZREMFAST XADD XTRIM XLEN XRANGE XREVRANGE XREAD PFADD
    PFCOUNT PUBLISH SUBSCRIBE PUBSUB MULTI EXEC DISCARD EVAL EVALSHA HELLO CLIENT COMMAND INFO PING
    QUIT SELECT
"""
"""The 84 commands in ``elastickv.md``."""


def _row(name: str) -> bytes:
    return encode.array([encode.bulk(name.lower()), *[encode.integer(0)] * 5])


ELASTICKV: Final[Dialect] = learn(
    (
        encode.bulk("# Server\r\nredis_version:7.2.0\r\n\r\n# Replication\r\nraft_leader_redis:a:1\r\n"),
        encode.array(map(_row, _KNOWN.split())),
    )
)
