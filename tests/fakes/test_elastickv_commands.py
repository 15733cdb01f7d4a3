"""What ElasticKV knows, and how it answers: `elastickv.md`, "What it knows"."""

from __future__ import annotations

from typing import Final

import pytest

from dualkv.core.dialect import LEARNING, learn
from dualkv.resp.replies import value_of
from dualkv.servers import EmbeddedServer
from tests.fakes.elastickv import Cluster
from tests.fakes.elastickv.commands import COMMANDS
from tests.fakes.talk import ask, error_of, leader_client, until
from tests.support.client import connect
from tests.support.stores import contents

_KNOWN: Final = """
del exists expire pexpire ttl pttl type rename keys scan dbsize flushall flushdb
get set setex setnx getdel incr
hset hmset hget hmget hgetall hdel hlen hexists hincrby
lpush rpush lpop rpop rpoplpush lrem lset ltrim llen lindex lpos lrange
sadd srem scard sismember smembers
zadd zrem zincrby zpopmin bzpopmin zcard zcount zscore zrange zrevrange zrangebyscore zrevrangebyscore
zremrangebyrank zremrangebyscore elastickv.zremfast
xadd xtrim xlen xrange xrevrange xread pfadd pfcount
publish subscribe pubsub multi exec discard eval evalsha
hello client command info ping quit select
"""

_UNKNOWN: Final = """
MGET MSET INCRBY DECR APPEND STRLEN GETEX UNLINK PERSIST PEXPIREAT DUMP RESTORE OBJECT HKEYS HSCAN LINSERT
LMOVE SPOP SINTER ZRANK ZPOPMAX XDEL XGROUP XREADGROUP XINFO SETBIT GEOADD WATCH AUTH ECHO TIME ROLE WAIT
CONFIG SCRIPT PSUBSCRIBE UNSUBSCRIBE FUNCTION
"""


async def test_it_knows_84_commands(elastickv: Cluster) -> None:
    """The 83 that the page lists, and one of its own that removes keys of former formats."""
    async with leader_client(elastickv) as client:
        assert await ask(client, "COMMAND COUNT") == 84
        assert {name.decode() for name in await ask(client, "COMMAND LIST")} == {
            *_KNOWN.split(),
            "flushlegacy",
        }


async def test_its_dialect_can_be_learnt(elastickv: Cluster) -> None:
    """What is asked at connect says that it is ElasticKV, and what it has."""
    async with leader_client(elastickv) as client:
        dialect = learn(await client.pipeline(LEARNING))

    assert dialect.product == "ElasticKV"
    assert {name for name in dialect.commands if " " not in name} == set(COMMANDS)


async def test_command_info_tells_arity_and_keys_and_nil_for_the_unknown(elastickv: Cluster) -> None:
    """It answers for its own commands only."""
    async with leader_client(elastickv) as client:
        assert await ask(client, "COMMAND INFO set MGET") == [[b"set", -3, [b"write"], 1, 1, 1], None]
        assert await ask(client, "COMMAND GETKEYS BZPOPMIN a b 1") == [b"a", b"b"]
        assert (await ask(client, "COMMAND DOCS get"))[0] == b"get"


@pytest.mark.parametrize(
    "name",
    _UNKNOWN.split(),
)
async def test_any_other_command_is_unsupported(elastickv: Cluster, name: str) -> None:
    """The error names it."""
    async with leader_client(elastickv) as client:
        assert await error_of(client, name, "k", "v") == f"ERR unsupported command '{name}'"


@pytest.mark.parametrize(
    "line",
    [
        "SET k v EX 100", "SET k v PX 100000", "SET k v NX", "SET k v XX", "SET k v GET",
        "EXPIRE k 100 NX", "PEXPIRE k 100000 NX", "XADD s * a b", "XADD s 5-1 a b", "XADD s MAXLEN 3 5-1 a b",
        "XADD s MAXLEN ~ 3 5-1 a b", "XTRIM s MAXLEN 3", "XTRIM s MAXLEN ~ 3", "ZADD z NX 1 a",
        "ZADD z XX GT 1 a", "ZADD z LT 1 a", "ZRANGE z 0 -1 WITHSCORES REV",
        "ZRANGEBYSCORE z 0 1 WITHSCORES LIMIT 0 1",
        "ZREVRANGE z 0 -1 WITHSCORES", "LPOS l a RANK -1 COUNT 0 MAXLEN 5", "ELASTICKV.ZREMFAST z a",
    ],
)  # fmt: skip
async def test_options_that_it_takes(elastickv: Cluster, line: str) -> None:
    """The table's middle column."""
    async with leader_client(elastickv) as client:
        assert not (await client.call(*line.split())).startswith(b"-")


@pytest.mark.parametrize(
    "line",
    [
        "SET k v KEEPTTL", "SET k v EXAT 4102444800", "SET k v PXAT 4102444800000", "SET k v IFEQ a",
        "EXPIRE k 1 XX", "EXPIRE k 1 GT", "PEXPIRE k 1 LT", "XADD s NOMKSTREAM * a b", "XADD s MINID 1 * a b",
        "XTRIM s MINID 1", "XTRIM s MAXLEN ~ 3 LIMIT 1", "ZADD z CH 1 a", "ZADD z INCR 1 a",
        "ZADD z NX CH 1 a", "ZRANGE z 0 1 BYSCORE", "ZRANGE z - + BYLEX",
    ],
)  # fmt: skip
async def test_options_that_it_refuses(elastickv: Cluster, line: str) -> None:
    """The table's last column: a syntax error, and nothing is done."""
    async with leader_client(elastickv) as client:
        assert await error_of(client, *line.split()) == "ERR syntax error"
    assert contents(elastickv.server) == {}


@pytest.mark.parametrize("identifier", ["5", "5-*"])
async def test_xadd_takes_a_full_id_or_none(elastickv: Cluster, identifier: str) -> None:
    """Parts of an id are refused with a text of their own."""
    async with leader_client(elastickv) as client:
        assert "Invalid stream ID" in await error_of(client, "XADD", "s", identifier, "a", "b")


@pytest.mark.parametrize("name", ["lpop", "rpop"])
async def test_a_pop_takes_no_count(elastickv: Cluster, name: str) -> None:
    """One more argument is one too many."""
    async with leader_client(elastickv) as client:
        expected = f"ERR wrong number of arguments for '{name}' command"
        assert await error_of(client, name, "l", 2) == expected


async def test_trimming_roughly_trims_exactly(elastickv: Cluster) -> None:
    """``~`` makes no difference."""
    async with leader_client(elastickv) as client:
        await client.pipeline([("XADD", "s", f"{i + 1}-0", "a", "b") for i in range(10)])
        assert await ask(client, "XTRIM s MAXLEN ~ 4") == 6
        await ask(client, "XADD s MAXLEN ~ 2 20-0 a b")
        assert await ask(client, "XLEN s") == 2


async def test_a_negative_expiry_deletes(elastickv: Cluster) -> None:
    """As in Redis."""
    async with leader_client(elastickv) as client:
        await ask(client, "SET k v")
        assert await ask(client, "PEXPIRE k -1") == 1
        assert await ask(client, "EXISTS k") == 0


async def test_all_databases_are_one(elastickv: Cluster) -> None:
    """``SELECT`` says OK to any index, and changes nothing."""
    async with leader_client(elastickv) as client:
        await ask(client, "SET k v")
        assert await client.call("SELECT", 99) == b"+OK\r\n"
        assert await ask(client, "GET k") == b"v"
        assert await error_of(client, "SELECT", -1) == "ERR invalid DB index"


async def test_it_speaks_resp2_only(elastickv: Cluster) -> None:
    """``HELLO`` and ``HELLO 2`` answer; redis-py's ``HELLO 3`` does not get what it wants."""
    async with leader_client(elastickv) as client:
        assert (await ask(client, "HELLO 2"))[:2] == [b"server", b"redis"]
        assert await ask(client, "HELLO")
        assert await error_of(client, "HELLO", 3) == "NOPROTO unsupported protocol version"


@pytest.mark.parametrize("section", ["", "server", "replication", "keyspace"])
async def test_info_tells_version_role_and_leader_whatever_is_asked(elastickv: Cluster, section: str) -> None:
    """Two sections, always."""
    async with leader_client(elastickv) as client:
        info = (await ask(client, f"INFO {section}")).decode().split("\r\n")
    leader = elastickv.advertised_leader

    assert [line for line in info if line] == [
        "# Server",
        "redis_version:7.2.0",
        "# Replication",
        "role:master",
        f"raft_leader_redis:{leader}",
    ]


async def test_scores_are_written_shortest(elastickv: Cluster) -> None:
    """No noise behind the comma, no exponent, a sign before infinity."""
    async with leader_client(elastickv) as client:
        await ask(client, "ZADD z 1.1 a 1e20 b inf c -inf d 3 e 1.5e-7 f")
        assert await ask(client, "ZRANGE z 0 -1 WITHSCORES") == [
            b"d", b"-Inf", b"f", b"0.00000015", b"a", b"1.1", b"e", b"3", b"b", b"100000000000000000000",
            b"c", b"+Inf",
        ]  # fmt: skip
        assert await ask(client, "ZSCORE z b") == b"100000000000000000000"
        assert await ask(client, "ZINCRBY z 0.1 e") == b"3.1"
        assert await ask(client, "ZPOPMIN z") == [b"d", b"-Inf"]
        assert await ask(client, "BZPOPMIN z 1") == [b"z", b"f", b"0.00000015"]


async def test_scores_in_scripts_are_written_so_too(elastickv: Cluster) -> None:
    """What ``redis.call`` returns is what a client would read."""
    script = "return {redis.call('ZSCORE', 'z', 'b'), redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')}"
    async with leader_client(elastickv) as client:
        await ask(client, "ZADD z 1.1 a 1e20 b inf c 1.5e-7 f 12345678.9 g 2.5e21 h")
        scores = [
            "f 0.00000015",
            "a 1.1",
            "g 12345678.9",
            "b 100000000000000000000",
            "h 2500000000000000000000",
        ]
        assert value_of(await client.call("EVAL", script, 0)) == [
            b"100000000000000000000",
            " ".join([*scores, "c +Inf"]).encode().split(),
        ]


async def test_nan_is_a_score(elastickv: Cluster) -> None:
    """Redis would refuse it."""
    async with leader_client(elastickv) as client:
        assert await ask(client, "ZADD z nan a 1 nan") == 2
        assert await ask(client, "ZSCORE z a") == b"NaN"
        assert await ask(client, "ZSCORE z nan") == b"1"


async def test_pfadd_keeps_a_plain_set(elastickv: Cluster) -> None:
    """So it counts exactly, any number of elements."""
    async with leader_client(elastickv) as client:
        assert value_of(await client.call("PFADD", "p", *range(5000))) == 1
        assert await ask(client, "PFADD p 1 2") == 0
        assert await ask(client, "PFADD q 1 x") == 1
        assert await ask(client, "PFCOUNT p q") == 5001
        assert "wrong number of arguments" in await error_of(client, "PFADD", "p")


async def test_errors_of_the_data_are_those_of_redis(elastickv: Cluster) -> None:
    """WRONGTYPE, overflow, small ids."""
    async with leader_client(elastickv) as client:
        await ask(client, "SET k 9223372036854775807")
        await ask(client, "XADD s 5-1 a b")
        assert (await error_of(client, "LPUSH", "k", "a")).startswith("WRONGTYPE")
        assert "overflow" in await error_of(client, "INCR", "k")
        assert "equal or smaller" in await error_of(client, "XADD", "s", "5-0", "a", "b")


async def test_xread_of_a_missing_stream_does_not_answer(elastickv: Cluster) -> None:
    """Not until somebody writes to it; of a stream that is there it answers at once."""
    async with leader_client(elastickv) as client, leader_client(elastickv) as other:
        await ask(client, "XADD there 1-1 a b")
        assert await ask(client, "XREAD STREAMS there 1-1") is None
        assert await ask(client, "XREAD COUNT 1 STREAMS there 0") == [[b"there", [[b"1-1", [b"a", b"b"]]]]]
        await client.send(b"XREAD STREAMS missing 0\r\n")
        await ask(other, "XADD missing 2-2 c d")
        assert value_of((await client.receive(1))[0]) == [[b"missing", [[b"2-2", [b"c", b"d"]]]]]


async def test_a_client_that_gives_up_does_not_block_for_ever(elastickv: Cluster) -> None:
    """Its blocked command goes with it, and pops nothing."""
    async with leader_client(elastickv) as client:
        await client.send(b"BZPOPMIN z 0\r\n")
    await until(lambda: not elastickv.nodes[0].client_count)
    async with leader_client(elastickv) as client:
        await ask(client, "ZADD z 1 a")
        assert await ask(client, "ZCARD z") == 1


async def test_data_is_in_the_real_store(elastickv: Cluster, elastickv_store: EmbeddedServer) -> None:
    """So it can be compared with any other."""
    async with connect(elastickv.followers[0].port) as client:
        await ask(client, "RPUSH l a b c")
    assert contents(elastickv_store) == {b"l": (b"list", [b"a", b"b", b"c"])}


async def test_client_names_are_kept_and_other_subcommands_refused(elastickv: Cluster) -> None:
    """What client libraries send at connect works."""
    async with leader_client(elastickv) as client:
        assert await client.call("CLIENT", "SETNAME", "me") == b"+OK\r\n"
        assert await ask(client, "CLIENT GETNAME") == b"me"
        assert await client.call("CLIENT", "SETINFO", "lib-name", "x") == b"+OK\r\n"
        assert await error_of(client, "CLIENT", "LIST") == "ERR unsupported CLIENT subcommand 'LIST'"
