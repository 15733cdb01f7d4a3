"""The rules against real servers: two products, two versions of RESP, equal data and data that differs."""

from __future__ import annotations

import attrs

from dualkv.core.compare import Reason, Verdict, judge
from dualkv.core.routing import plan_of
from tests.core.building import ask
from tests.support.client import Client, connect
from tests.support.servers import Pair

DATA = """
SET s value PX 100000000
SET n 17
PFADD hll a b c d
RPUSH l c a b a
SADD set a b c d e f g 1 2 3
SADD other a b x
HSET h f 1 g 2 h 3 i 4
ZADD z 0.1 a 1e300 b 3 c 3 d inf e
ZADD y 0.2 a 5 c
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
XADD x 1-1 f v g w
XADD x 2-1 f v
XGROUP CREATE x grp 0
XREADGROUP GROUP grp me COUNT 1 STREAMS x >
"""

READS = """
GET s; GET hll; MGET s n missing; STRLEN s; GETRANGE s 0 2; BITCOUNT s; GETBIT s 1; BITPOS s 1
BITFIELD_RO n GET u8 0; LCS s n; LCS s s IDX; PFCOUNT hll; EXISTS s n; TYPE s
TTL s; PTTL s; EXPIRETIME s; PEXPIRETIME s; TTL missing; TTL n
LRANGE l 0 -1; LINDEX l 0; LLEN l; LPOS l a; LPOS l a COUNT 0; SORT_RO l ALPHA; SORT l ALPHA DESC
SMEMBERS set; SINTER set other; SUNION set other; SDIFF set other; SCARD set; SISMEMBER set a
SMISMEMBER set a zz; SINTERCARD 2 set other; SSCAN set 0 COUNT 1000
HGETALL h; HKEYS h; HVALS h; HLEN h; HGET h f; HMGET h f zz; HEXISTS h f; HSTRLEN h f; HSCAN h 0 COUNT 1000
ZRANGE z 0 -1; ZRANGE z 0 -1 WITHSCORES; ZREVRANGE z 0 2 WITHSCORES; ZRANGEBYSCORE z -inf +inf WITHSCORES
ZRANGE z (1 +inf BYSCORE; ZSCORE z a; ZSCORE z b; ZMSCORE z a zz e; ZRANK z c; ZREVRANK z c; ZCARD z
ZCOUNT z 0 5; ZUNION 2 z y WITHSCORES; ZINTER 2 z y WITHSCORES; ZDIFF 2 z y WITHSCORES; ZSCAN z 0 COUNT 1000
GEOPOS geo Palermo zz; GEODIST geo Palermo Catania km; GEOHASH geo Palermo
GEOSEARCH geo FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHCOORD WITHHASH
GEORADIUS geo 15 37 200 km WITHDIST; GEORADIUSBYMEMBER_RO geo Palermo 200 km
XRANGE x - +; XREVRANGE x + -; XLEN x; XREAD STREAMS x missing 0 0; XPENDING x grp; XPENDING x grp - + 9
XINFO STREAM x; XINFO GROUPS x; XINFO CONSUMERS x grp
EVAL_RO return{redis.call('llen',KEYS[1])} 1 l
GET missing; HGETALL missing; SMEMBERS missing; ZRANGE missing 0 -1; XRANGE missing - +; GET l
XINFO STREAM missing
"""

CHANGES = """
SET s other; INCR n; PFADD hll e f g h i j; RPUSH l z; SREM set a; HSET h f 9; ZADD z 0.5 a; ZREM y c
GEOADD geo 13.4 38.1 Palermo; XADD x 3-1 f v; PEXPIRE s 1000000; XACK x grp 1-1
"""


FOUND = """
GET s; MGET s n missing; GET hll; PFCOUNT hll; TTL s; PTTL s; EXPIRETIME s; PEXPIRETIME s
LRANGE l 0 -1; LLEN l; SORT_RO l ALPHA; SMEMBERS set; SCARD set; SISMEMBER set a; SSCAN set 0 COUNT 1000
HGETALL h; HVALS h; HGET h f; HMGET h f zz; HSCAN h 0 COUNT 1000; ZRANGE z 0 -1 WITHSCORES; ZSCORE z a
ZUNION 2 z y WITHSCORES; ZINTER 2 z y WITHSCORES; GEOPOS geo Palermo zz; GEODIST geo Palermo Catania km
GEOHASH geo Palermo; GEORADIUS geo 15 37 200 km WITHDIST; XRANGE x - +; XREVRANGE x + -; XLEN x
XREAD STREAMS x missing 0 0; XPENDING x grp; XPENDING x grp - + 9; XINFO STREAM x; XINFO GROUPS x
XINFO CONSUMERS x grp; EVAL_RO return{redis.call('llen',KEYS[1])} 1 l
"""
"""What of `READS` sees one of the changes."""


def lines(text: str) -> list[str]:
    """Return the commands of a text."""
    return [line.strip() for row in text.strip().splitlines() for line in row.split(";")]


@attrs.define
class Readers:
    """The primary read in RESP2, the secondary in RESP3."""

    primary: Client
    secondary: Client
    not_understood: set[str] = attrs.field(factory=set)
    """What one of them is too old for."""

    async def differing(self) -> dict[str, Verdict]:
        """Return every read whose replies do not match, with the verdict."""
        found = {}
        for line in lines(READS):
            args = line.split()
            rule = plan_of(ask(*args).args).comparator
            assert rule is not None, line
            expected, actual = await self.primary.call(*args), await self.secondary.call(*args)
            if b"unknown command" in (expected + actual):
                self.not_understood.add(line)
                continue
            verdict = judge(rule, ask(*args).args, expected, actual)
            if not verdict.is_match:
                found[line] = verdict
        return found


async def test_equal_data_matches_and_every_change_is_found(pair: Pair) -> None:
    """Two products say the same in two versions of RESP; after changes, every read that sees one differs."""
    async with connect(pair.primary.port) as primary, connect(pair.secondary.port) as secondary:
        for client in (primary, secondary):
            await client.call("FLUSHALL")
            for line in lines(DATA):
                reply = await client.call(*line.split())
                assert not reply.startswith(b"-"), (line, reply)
        await secondary.call("HELLO", 3)
        readers = Readers(primary, secondary)

        assert await readers.differing() == {}

        for line in lines(CHANGES):
            await secondary.call(*line.split())
        found = await readers.differing()

        assert {verdict.reason for verdict in found.values()} <= {None, Reason.HYPERLOGLOG}
        assert found.keys() >= set(lines(FOUND)) - readers.not_understood
