"""Each mode does what it says, between two real servers."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents, open_store

pytestmark = pytest.mark.e2e

_EXPECTED = {
    # mode: (who answers, is the other one written to, are reads compared)
    ProxyMode.REDIS_ONLY: ("primary", False, False),
    ProxyMode.DUAL_WRITE: ("primary", True, False),
    ProxyMode.DUAL_WRITE_SHADOW: ("primary", True, True),
    ProxyMode.ELASTICKV_PRIMARY: ("secondary", True, True),
    ProxyMode.ELASTICKV_ONLY: ("secondary", False, False),
}


@pytest.mark.parametrize("mode", ProxyMode)
async def test_mode_answers_mirrors_and_shadows_as_it_says(pair: Pair, mode: ProxyMode) -> None:
    """A write reaches the stores that the mode names; a read is answered by one, compared with the other."""
    answers, mirrors, shadows = _EXPECTED[mode]
    with open_store(getattr(pair, answers)) as store:
        store.set("who", answers)
    async with running_proxy(pair.primary.address, pair.secondary.address, mode) as proxy:
        async with connect(proxy.port) as client:
            assert await client.call("SET", "k", "v") == b"+OK\r\n"
            assert await client.call("GET", "who") == b"$%d\r\n%b\r\n" % (len(answers), answers.encode())
            assert await client.call("GET", "k") == b"$1\r\nv\r\n"
        await proxy.wait_drained()
        matches = proxy.metrics.shadow_matches

    written = {which: b"k" in contents(getattr(pair, which)) for which in ("primary", "secondary")}

    assert {answers: True, "primary" if answers == "secondary" else "secondary": mirrors} == written
    assert (1 if shadows else 0) == matches


async def test_reply_bytes_are_the_primarys(pair: Pair) -> None:
    """The bytes of a reply are those of the primary, whatever their form."""
    commands = [
        ("SET", "s", "line\r\nend"), ("GET", "s"), ("GET", "missing"), ("INCR", "n"), ("INCR", "s"),
        ("RPUSH", "l", "a", "", "b\r\n"), ("LRANGE", "l", 0, -1), ("LRANGE", "none", 0, -1),
        ("NOSUCH", "x"),
        ("HSET", "h", "f", "v"), ("HGETALL", "h"), ("XADD", "st", "1-1", "f", "v"),
        ("XRANGE", "st", "-", "+"),
        ("EVAL", "return {1, {2, 'x'}, false}", 0), ("GET",), ("SET", "big", "x" * 200_000), ("GET", "big"),
    ]  # fmt: skip
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        through_proxy = await client.pipeline(commands)
    with open_store(pair.primary) as store:
        store.flushall()
    async with connect(pair.primary.port) as client:
        direct = await client.pipeline(commands)

    assert direct == through_proxy


async def test_resp2_and_resp3_clients_share_the_lane(pair: Pair) -> None:
    """Clients of both RESP versions get replies in their own version, interleaved on one connection."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        async with connect(proxy.port) as old, connect(proxy.port) as new:
            hello = await new.call("HELLO", 3)
            assert hello.startswith(b"%7\r\n")
            await old.call("HSET", "h", "f", "v")
            for _ in range(50):
                await old.send(b"*2\r\n$7\r\nHGETALL\r\n$1\r\nh\r\n")
                await new.send(b"*2\r\n$7\r\nHGETALL\r\n$1\r\nh\r\n")
                assert await old.receive(1) == [b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"]
                assert await new.receive(1) == [b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"]
        await proxy.wait_drained()

        assert proxy.metrics.shadow_matches == 100
        assert proxy.metrics.shadow_inconclusive.total() == 0


async def test_local_answers_keep_their_place_in_a_pipeline(pair: Pair) -> None:
    """Answers of dualkv itself stand between the primary's replies where their commands stood."""
    commands = [
        ("SET", "k", "1"), ("PING",), ("INCR", "k"), ("ECHO", "x"), ("MULTI",), ("INCR", "k"), ("GET", "k"),
        ("EXEC",), ("CLIENT", "GETNAME"), ("GET", "k"), ("PING", "y"),
    ]  # fmt: skip
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(commands)

    assert replies == [
        b"+OK\r\n", b"+PONG\r\n", b":2\r\n", b"$1\r\nx\r\n", b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n",
        b"*2\r\n:3\r\n$1\r\n3\r\n", b"$-1\r\n", b"$1\r\n3\r\n", b"$1\r\ny\r\n",
    ]  # fmt: skip


async def test_transaction_is_mirrored_without_its_failed_commands(pair: Pair) -> None:
    """The secondary gets the writes of a transaction that succeeded, and nothing of a discarded one."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        async with connect(proxy.port) as client:
            await client.pipeline(
                [
                    ("SET", "s", "text"),
                    ("MULTI",),
                    ("SET", "a", 1),
                    ("INCR", "s"),
                    ("RPUSH", "l", 1),
                    ("EXEC",),
                ]
            )
            await client.pipeline([("MULTI",), ("SET", "b", 1), ("DISCARD",)])
            replies = await client.pipeline([("MULTI",), ("NOSUCH", "b", 1), ("GET",), ("EXEC",)])

            assert replies[-1].startswith(b"-EXECABORT")
        await proxy.wait_drained()

    assert contents(pair.secondary) == {
        b"s": (b"string", b"text"),
        b"a": (b"string", b"1"),
        b"l": (b"list", [b"1"]),
    }
    assert contents(pair.primary) == contents(pair.secondary)


async def test_errors_of_the_primary_are_not_mirrored(pair: Pair) -> None:
    """What the primary refused never reaches the secondary, even if that would have taken it."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        async with connect(proxy.port) as client:
            await client.call("SET", "s", "text")
            await client.call("LPUSH", "s", "x")
            await client.call("SET", "s")
        await proxy.wait_drained()

        assert proxy.metrics.total_ledger().offered == 1
        assert proxy.metrics.primary_write_errors == 2


async def test_scripts_are_mirrored(pair: Pair) -> None:
    """EVAL and EVALSHA run on both stores."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        async with connect(proxy.port) as client:
            sha = (await client.call("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"))[5:45]
            for _ in range(3):
                await client.call("EVALSHA", sha, 1, "n")
            await client.call("EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", 1, "e", "v")
        await proxy.wait_drained()

    assert contents(pair.secondary) == {b"n": (b"string", b"3"), b"e": (b"string", b"v")}
