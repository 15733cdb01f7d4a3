"""What is random, relative or generated on the primary is the same on the secondary, by effects alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from dualkv.resp.replies import elements_of, is_error, is_null
from tests.support.client import Args, Client, connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e

RANDOM_SCRIPT = "local m = redis.call('SPOP', KEYS[1])\nreturn redis.call('SET', KEYS[2], m)"
TIME_SCRIPT = "local t = redis.call('TIME')\nreturn redis.call('SET', KEYS[1], t[1] .. t[2], 'EX', 100)"


def commands_of(text: str) -> list[Args]:
    """Return commands, one of each line without comments, words between blanks."""
    scripts = {"RANDOM_SCRIPT": RANDOM_SCRIPT, "TIME_SCRIPT": TIME_SCRIPT}
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return [tuple(scripts.get(word, word) for word in words) for words in lines if words]


SETUP = commands_of(
    """
    SADD s a b c d e f g h
    SADD s2 a x
    RPUSH l a b c d e f g h
    HSET h f 1 g 2
    ZADD z 1 a 2 b 3 c 4 d
    XADD x 1-1 f v
    XADD x 2-1 f v
    XGROUP CREATE x g 0
    SET n 10
    SET text once
    SET old 1
    SET gone 1
    GEOADD geo 13.36 38.11 Palermo
    PFADD hll a
    """
)

COMMANDS = commands_of(
    """
    # by chance
    SPOP s
    SPOP s 2
    EVAL RANDOM_SCRIPT 2 s drawn
    # relative expiry
    SET k v EX 100
    SETEX k2 100 v
    PSETEX k3 100000 v
    EXPIRE l 200
    PEXPIRE h 200000 NX
    GETEX n EX 300
    EXPIRE gone -1
    EXPIRE z 500 GT
    SET k w KEEPTTL
    GETEX k2 PERSIST
    EVAL TIME_SCRIPT 1 clock
    # ids that the primary makes
    XADD x 3-* f v
    XADD x * f v
    XADD x MAXLEN ~ 3 * f v
    XTRIM x MAXLEN 4
    XDEL x 1-1
    # floating point
    INCRBYFLOAT float 0.1
    INCRBYFLOAT float 0.2
    HINCRBYFLOAT h f 1e-3
    ZINCRBY z 0.1 a
    # groups of streams
    XREADGROUP GROUP g c COUNT 1 STREAMS x >
    XREADGROUP GROUP g d COUNT 1 NOACK STREAMS x >
    XREADGROUP GROUP g c STREAMS x 0
    XAUTOCLAIM x g e 0 0
    XCLAIM x g f 0 2-1
    XACK x g 2-1
    XGROUP CREATECONSUMER x g idle
    # what was taken, and where it went
    LPOP l
    RPOP l 2
    LMPOP 2 none l RIGHT
    LMOVE l m LEFT RIGHT
    RPOPLPUSH l m
    BLPOP none l 1
    BLMOVE l m LEFT LEFT 1
    ZPOPMIN z
    ZMPOP 1 z MAX
    BZPOPMAX z 1
    GETDEL old
    SMOVE s2 s x
    # counters, pieces of strings
    INCR n
    INCRBY n 5
    APPEND text upon
    APPEND new a
    SETRANGE text 2 XY
    SETBIT bits 7 1
    BITFIELD bits INCRBY u8 8 200 OVERFLOW FAIL INCRBY u8 8 200
    PFADD hll b
    # what is computed from other keys
    BITOP NOT inverted bits
    PFMERGE hll2 hll
    SORT m ALPHA STORE sorted
    SUNIONSTORE s3 s s2
    SINTERSTORE nothing s none
    ZRANGESTORE z2 z 0 -1
    GEOSEARCHSTORE near geo FROMMEMBER Palermo BYRADIUS 200 km
    COPY text text2
    RENAME text2 text3
    # conditions
    GETSET text3 set
    MSETNX m1 1 m2 2
    MSETNX m1 2 m3 3
    SET text x NX
    SET text x XX GET
    SETNX once 1
    HSETNX h f 9
    LINSERT m BEFORE nobody x
    LTRIM m 0 1
    LSET m 0 first
    LREM m 0 no
    LPUSHX none 1
    HDEL h g no
    SREM s no
    ZADD z GT CH 9 a
    ZADD z INCR 1 b
    DEL m1 none
    UNLINK m2
    """
)

SINCE_7_0 = {("LMPOP", "2"), ("ZMPOP", "1"), ("XADD", "x", "3-*"), ("PEXPIRE", "h"), ("EXPIRE", "z")}
"""How commands begin that are newer than Redis 6.2, or have newer options."""

ERRORS: Sequence[Args] = (("LPUSH", "n", 1), ("INCR", "text"), ("HINCRBY", "h", "f", "x"))
"""They have no effect, alone or in a transaction."""


async def _one_by_one(client: Client, commands: Sequence[Args]) -> list[bytes]:
    return [await client.call(*command) for command in commands]


async def _pipelined(client: Client, commands: Sequence[Args]) -> list[bytes]:
    return await client.pipeline(commands)


async def _in_transaction(client: Client, commands: Sequence[Args]) -> list[bytes]:
    *_, result = await client.pipeline([("MULTI",), *commands, ("EXEC",)])
    return elements_of(result)


async def _watching(client: Client, commands: Sequence[Args]) -> list[bytes]:
    await client.call("WATCH", "n", "unwritten")
    await client.call("GET", "n")
    return await _in_transaction(client, commands)


async def _in_small_transactions(client: Client, commands: Sequence[Args]) -> list[bytes]:
    return [
        reply
        for start in range(0, len(commands), 3)
        for reply in await _in_transaction(client, commands[start : start + 3])
    ]


@pytest.mark.parametrize("protocol", [2, 3], ids=["RESP2", "RESP3"])
@pytest.mark.parametrize(
    "send",
    [_one_by_one, _pipelined, _in_transaction, _in_small_transactions, _watching],
    ids=lambda send: send.__name__[1:],
)
async def test_secondary_holds_what_the_primary_holds(pair: Pair, send: object, protocol: int) -> None:
    """Every kind of effect, alone, pipelined and in transactions: equal by value, expiry and groups too.

    Nothing is repaired, and no reply of the secondary tells that the states differed on the way.
    """
    assert callable(send)
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair="off"
    ) as proxy:
        async with connect(proxy.port) as client:
            await client.call("HELLO", protocol)
            *_, first = await client.pipeline([*SETUP, ("COMMAND", "INFO", "LMPOP")])
            is_old = is_null(elements_of(first)[0])
            commands = [one for one in COMMANDS if not (is_old and {one[:2], one[:3]} & SINCE_7_0)]
            replies = await send(client, [*commands, *ERRORS])
        assert len(replies) == len(commands) + len(ERRORS)
        assert [one for one, reply in zip(commands, replies, strict=False) if is_error(reply)] == []
        assert all(map(is_error, replies[len(commands) :]))
        await proxy.wait_drained()
        ledger = proxy.metrics.total_ledger()
        marked = {reason: count for reason, count in proxy.metrics.dirty.marked.items() if count}
        assert set(marked) <= {DirtyReason.NOT_REPLAYABLE}
        assert list(proxy.metrics.dirty) == []

    primary, secondary = state_of(pair.primary.port), state_of(pair.secondary.port)
    assert differences(primary, secondary) == []
    assert len(primary) > 20
    assert (ledger.failed, ledger.dropped.total()) == (0, 0)


async def test_databases_keep_their_keys_apart(pair: Pair) -> None:
    """SELECT, MOVE, COPY into another database and SWAPDB, inside transactions too."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair="off"
        ) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [
                ("SET", "a", 1), ("SET", "b", 1), ("MOVE", "a", 3), ("COPY", "b", "c", "DB", 4), ("SELECT",
                3), ("INCR", "a"), ("MULTI",), ("INCR", "a"), ("SELECT", 4), ("INCR", "c"), ("SPOP", "none"),
                ("EXEC",), ("SWAPDB", 3, 4), ("APPEND", "a", "0"), ("SELECT", 3), ("EXPIRE", "c", 100),
                ("INCR", "c"),
            ]
        )  # fmt: skip
        assert not any(map(is_error, replies))
        await proxy.wait_drained()
        assert not proxy.metrics.dirty

    databases = (0, 3, 4)
    primary = state_of(pair.primary.port, databases)
    assert differences(primary, state_of(pair.secondary.port, databases)) == []
    assert set(primary) == {(0, b"b"), (3, b"c"), (4, b"a")}


async def test_stream_remembers_what_was_deleted_beside_a_rough_limit(pair: Pair) -> None:
    """In one transaction: what the limit did is asked for behind it, where the entry is gone already."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair="off"
        ) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("XADD", "x", f"{number}-1", "f", "v") for number in range(1, 4)])
        deleting = [("XADD", "x", "MAXLEN", "~", "100", "9-1", "f", "v"), ("XDEL", "x", "1-1")]
        assert len(await _in_transaction(client, deleting)) == 2
        await proxy.wait_drained()

    told = []
    for server in (pair.primary, pair.secondary):
        with open_store(server) as store:
            facts = store.execute_command("XINFO", "STREAM", "x")
            told.append(dict(zip(facts[::2], facts[1::2], strict=True)))
    assert [one[b"max-deleted-entry-id"] for one in told] == [b"1-1", b"1-1"]
    assert [one[b"entries-added"] for one in told] == [4, 4]
