"""``MULTI`` and ``EVAL`` of ElasticKV."""

from __future__ import annotations

import pytest

from dualkv.resp.replies import value_of
from tests.fakes.elastickv import Cluster
from tests.fakes.talk import ask, error_of, leader_client
from tests.support.stores import contents


async def test_multi_does_what_it_can(elastickv: Cluster) -> None:
    """The twelve commands."""
    lines = [
        "SET s 1", "INCR s", "GET s", "HSET h f v", "HMSET h g w", "RPUSH l a", "LRANGE l 0 -1", "EXISTS s",
        "ZINCRBY z 1.5 m", "EXPIRE s 100", "PEXPIRE h 100000", "DEL l",
    ]  # fmt: skip
    async with leader_client(elastickv) as client:
        await ask(client, "MULTI")
        queued = [await client.call(*line.split()) for line in lines]
        replies = await ask(client, "EXEC")

    assert queued == [b"+QUEUED\r\n"] * 12
    assert replies == [b"OK", 2, b"2", 1, b"OK", 1, [b"a"], 1, b"1.5", 1, 1, 1]


async def test_another_command_in_multi_is_queued_and_then_nothing_is_applied(elastickv: Cluster) -> None:
    """EXEC names what it cannot do."""
    async with leader_client(elastickv) as client:
        await ask(client, "MULTI")
        await ask(client, "SET k v")
        assert await client.call("SADD", "s", "a") == b"+QUEUED\r\n"
        assert await error_of(client, "EXEC") == "ERR unsupported command 'SADD'"
        assert await ask(client, "EXISTS k") == 0


async def test_an_error_at_queue_time_does_not_abort(elastickv: Cluster) -> None:
    """EXEC applies the rest."""
    async with leader_client(elastickv) as client:
        await ask(client, "MULTI")
        await ask(client, "SET k v")
        assert await error_of(client, "MGET", "k") == "ERR unsupported command 'MGET'"
        assert "wrong number of arguments" in await error_of(client, "GET")
        assert await ask(client, "EXEC") == [b"OK"]


async def test_an_option_that_it_refuses_fails_the_whole_transaction(elastickv: Cluster) -> None:
    """It is found when the transaction runs."""
    async with leader_client(elastickv) as client:
        await ask(client, "MULTI")
        await ask(client, "SET k v")
        assert await client.call("SET", "k", "v", "KEEPTTL") == b"+QUEUED\r\n"
        assert await error_of(client, "EXEC") == "ERR syntax error"
        assert await ask(client, "EXISTS k") == 0


async def test_discard_and_nesting(elastickv: Cluster) -> None:
    """As in Redis."""
    async with leader_client(elastickv) as client:
        assert await error_of(client, "EXEC") == "ERR EXEC without MULTI"
        assert await error_of(client, "DISCARD") == "ERR DISCARD without MULTI"
        await ask(client, "MULTI")
        assert await error_of(client, "MULTI") == "ERR MULTI calls can not be nested"
        await ask(client, "SET k v")
        assert await client.call("DISCARD") == b"+OK\r\n"
        assert await ask(client, "EXISTS k") == 0


async def test_an_error_in_a_script_rolls_back_everything(elastickv: Cluster) -> None:
    """Of any type, what was there before and what was not, with its expiry."""
    setup = [
        "SET s 1", "RPUSH l a b", "HSET h f v", "SADD m a", "ZADD z 1.5 a", "XADD x 1-1 a b",
        "PEXPIRE s 100000",
    ]  # fmt: skip
    script = """
        redis.call('SET', 's', '2') redis.call('LPOP', 'l') redis.call('DEL', 'h')
        redis.call('SREM', 'm', 'a')
        redis.call('ZADD', 'z', 2, 'b') redis.call('XADD', 'x', '2-2', 'c', 'd') redis.call('SET', 'new', 1)
        redis.call('RENAME', 's', 'other') redis.call('LPUSH', 'm2', 'a') redis.call('INCR', 'l')
    """
    async with leader_client(elastickv) as client:
        for line in setup:
            await ask(client, line)
        before = contents(elastickv.server)
        assert "WRONGTYPE" in await error_of(client, "EVAL", script, 0)
        assert 99_000 < await ask(client, "PTTL s") <= 100_000

    assert contents(elastickv.server) == before


async def test_a_flush_in_a_failed_script_is_rolled_back(elastickv: Cluster) -> None:
    """All keys come back."""
    async with leader_client(elastickv) as client:
        await client.pipeline([("SET", f"k{i}", i) for i in range(20)])
        before = contents(elastickv.server)
        await error_of(client, "EVAL", "redis.call('FLUSHALL') error('no')", 0)

    assert contents(elastickv.server) == before


async def test_an_error_that_a_script_catches_rolls_back_nothing(elastickv: Cluster) -> None:
    """``redis.pcall`` returns it."""
    script = "redis.call('SET', 'k', 'v') return redis.pcall('INCR', 'k').err"
    async with leader_client(elastickv) as client:
        assert b"not an integer" in value_of(await client.call("EVAL", script, 0))
        assert await ask(client, "GET k") == b"v"


@pytest.mark.parametrize(
    "name", ["EXPIRE", "TTL", "ZINCRBY", "PFADD", "PFCOUNT", "PUBLISH", "TIME", "MGET", "EVAL"]
)
async def test_commands_that_scripts_cannot_call(elastickv: Cluster, name: str) -> None:
    """The error is on one line, with a trace."""
    async with leader_client(elastickv) as client:
        text = await error_of(client, "EVAL", f"return redis.call('{name}', 'k', 1, 1)", 0)

    assert text.startswith(f"<string>:1: ERR unsupported command '{name}'")
    assert " stack traceback: " in text


async def test_options_are_refused_in_scripts_too(elastickv: Cluster) -> None:
    """The same table holds."""
    async with leader_client(elastickv) as client:
        for call in (
            "'SET', 'k', 'v', 'KEEPTTL'", "'PEXPIRE', 'k', 1, 'GT'", "'ZADD', 'z', 'CH', 1, 'a'",
            "'XTRIM', 's', 'MINID', 1", "'XADD', 's', 'NOMKSTREAM', '*', 'a', 'b'",
            "'ZRANGE', 'z', 0, 1, 'BYLEX'",
        ):  # fmt: skip
            assert "ERR syntax error" in await error_of(client, "EVAL", f"redis.call({call})", 0)
        assert "wrong number" in await error_of(client, "EVAL", "redis.call('LPOP', 'l', 1)", 0)
        assert "Invalid stream ID" in await error_of(
            client, "EVAL", "redis.call('XADD', 's', '5', 'a', 'b')", 0
        )


async def test_scripts_take_what_clients_may_send(elastickv: Cluster) -> None:
    """Rough trimming, its own ``ZREMFAST``, ``PEXPIRE``."""
    script = """
        redis.call('XADD', 's', '1-1', 'a', 'b') redis.call('XADD', 's', 'MAXLEN', '~', 1, '2-2', 'a', 'b')
        redis.call('ZADD', 'z', 'NX', 1, 'a', 2, 'b')
        return {redis.call('XLEN', 's'),
            redis.call('ELASTICKV.ZREMFAST', 'z', 'a'), redis.call('PEXPIRE', 'z', 100000)}
    """
    async with leader_client(elastickv) as client:
        assert value_of(await client.call("EVAL", script, 0)) == [1, 1, 1]


async def test_scripts_have_cjson_and_sha1hex_and_binary_arguments(elastickv: Cluster) -> None:
    """Any keys, also those that are not named, and any bytes."""
    script = """
        redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', 'unnamed', cjson.encode({1, 2}))
        return {redis.call('GET', KEYS[1]), redis.sha1hex('a'), redis.call('GET', 'missing'),
            redis.status_reply('FINE')}
    """
    value = bytes(range(256))
    async with leader_client(elastickv) as client:
        reply = value_of(await client.call("EVAL", script, 1, b"\r\n\0", value))
        assert reply == [value, b"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", None, b"FINE"]
        assert await ask(client, "GET unnamed") == b"[1,2]"


async def test_evalsha_knows_a_script_that_an_eval_has_brought(elastickv: Cluster) -> None:
    """To the node that leads; the next leader has not seen it."""
    sha = "4ca238f611c9d0ae4e9a75a5dbac22aedc1e44f4"
    async with leader_client(elastickv) as client:
        assert await error_of(client, "EVALSHA", sha, 0) == "NOSCRIPT No matching script. Please use EVAL."
        await client.call("EVAL", "return 7", 0)
        digest = next(iter(elastickv.nodes[0].scripts))
        assert value_of(await client.call("EVALSHA", digest.upper(), 0)) == 7
        await elastickv.move_leader()
        assert (await error_of(client, "EVALSHA", digest, 0)).startswith("NOSCRIPT")
        assert await error_of(client, "SCRIPT", "LOAD", "return 1") == "ERR unsupported command 'SCRIPT'"


async def test_a_script_that_does_not_compile_or_raises_is_an_error(elastickv: Cluster) -> None:
    """On one line each."""
    async with leader_client(elastickv) as client:
        assert (await error_of(client, "EVAL", "return (", 0)).startswith("<string> line:1")
        assert (await error_of(client, "EVAL", "error({err='MINE no'})", 0)).startswith("<string>:1: MINE no")
        assert "greater than number of args" in await error_of(client, "EVAL", "return 1", 2, "k")


@pytest.mark.parametrize("value", ["nil", "false", "true", "3.7", "'x'", "{1, {'a', {}}}"])
async def test_values_of_scripts_are_converted_as_in_redis(elastickv: Cluster, value: str) -> None:
    """Byte by byte what the real store says."""
    async with leader_client(elastickv) as client:
        expected = {
            "nil": b"$-1\r\n", "false": b"$-1\r\n", "true": b":1\r\n", "3.7": b":3\r\n",
            "'x'": b"$1\r\nx\r\n",
            "{1, {'a', {}}}": b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n",
        }  # fmt: skip
        assert await client.call("EVAL", f"return {value}", 0) == expected[value]
