"""Keys that expire on both stores on their own, while the secondary is behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error
from tests.support.client import Args, connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.stores import contents

pytestmark = pytest.mark.e2e

_WRITES: dict[str, tuple[Args, Args]] = {
    "incr": (("SET", "incr", 5), ("INCR", "incr")),
    "incrbyfloat": (("SET", "incrbyfloat", 5), ("INCRBYFLOAT", "incrbyfloat", "0.5")),
    "append": (("SET", "append", "abc"), ("APPEND", "append", "d")),
    "setrange": (("SET", "setrange", "abc"), ("SETRANGE", "setrange", 1, "x")),
    "setbit": (("SET", "setbit", "abc"), ("SETBIT", "setbit", 0, 1)),
    "hset": (("HSET", "hset", "f", 1), ("HSET", "hset", "g", 2)),
    "hincrby": (("HSET", "hincrby", "f", 1), ("HINCRBY", "hincrby", "f", 2)),
    "rpush": (("RPUSH", "rpush", "a"), ("RPUSH", "rpush", "b")),
    "lmove": (("RPUSH", "lmove", "a"), ("LMOVE", "source", "lmove", "LEFT", "RIGHT")),
    "sadd": (("SADD", "sadd", "a"), ("SADD", "sadd", "b")),
    "smove": (("SADD", "smove", "a"), ("SMOVE", "members", "smove", "m")),
    "zadd": (("ZADD", "zadd", 1, "a"), ("ZADD", "zadd", 2, "b")),
    "zincrby": (("ZADD", "zincrby", 1, "a"), ("ZINCRBY", "zincrby", 2, "a")),
    "pfadd": (("PFADD", "pfadd", "a"), ("PFADD", "pfadd", "b")),
    "xadd": (("XADD", "xadd", "1-1", "f", "v"), ("XADD", "xadd", "2-1", "f", "v")),
    "mkstream": (
        ("XADD", "mkstream", "1-1", "f", "v"),
        ("XGROUP", "CREATE", "mkstream", "g", "0", "MKSTREAM"),
    ),
    "keepttl": (("SET", "keepttl", "a"), ("SET", "keepttl", "b", "KEEPTTL")),
    "eval": (("SET", "eval", 1), ("EVAL", "return redis.call('INCR', KEYS[1])", 1, "eval")),
}
"""By key: how it is made, and a write into it that leaves its expiry as it is."""

_SOURCES: Sequence[Args] = (("RPUSH", "source", "s"), ("SADD", "members", "m"))


async def _assert_equal(pair: Pair) -> None:
    """Assert that both stores hold the same, expiry too; what ends this moment may end a moment later."""
    found = differences(state_of(pair.primary.port), state_of(pair.secondary.port))
    if found:
        await trio.sleep(0.3)
        found = differences(state_of(pair.primary.port), state_of(pair.secondary.port))
    assert found == []


@pytest.mark.parametrize("repair", ["auto", "off"])
async def test_write_that_arrives_after_the_end_of_its_key_brings_nothing_back(
    pair: Pair, repair: str
) -> None:
    """Written shortly before it expires, while the secondary is stopped: nothing is left there for ever."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair=repair
        ) as proxy,
        connect(proxy.port) as client,
    ):
        for made, _ in _WRITES.values():
            await client.pipeline([made, ("PEXPIRE", made[1], 600)])
        await client.pipeline(_SOURCES)
        await proxy.wait_drained()
        pair.secondary.pause()
        try:
            replies = await client.pipeline([write for _, write in _WRITES.values()])
            assert not any(map(is_error, replies))
            await wait_until(lambda: not contents(pair.primary))
            await trio.sleep(0.3)
        finally:
            pair.secondary.resume()
        await proxy.wait_drained()
        await wait_until(lambda: not contents(pair.secondary))


@pytest.mark.parametrize("pause", [True, False], ids=["stopped", "in step"])
@pytest.mark.parametrize("repair", ["auto", "off"])
async def test_key_that_is_created_anew_inherits_nothing(pair: Pair, repair: str, pause: bool) -> None:
    """The old key expires on the primary, a new one by its name does not: it inherits nothing."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair=repair
        ) as proxy,
        connect(proxy.port) as client,
    ):
        for made, _ in _WRITES.values():
            await client.pipeline([made, ("PEXPIRE", made[1], 300)])
        await proxy.wait_drained()
        if pause:
            pair.secondary.pause()
        try:
            await wait_until(lambda: not contents(pair.primary))
            await client.pipeline(_SOURCES)
            replies = await client.pipeline([write for _, write in _WRITES.values()])
            assert not any(map(is_error, replies))
        finally:
            pair.secondary.resume()
        await proxy.wait_drained()
        assert len(contents(pair.primary)) == len(_WRITES)
        await _assert_equal(pair)
        await trio.sleep(0.4)
        await _assert_equal(pair)
    assert all("expires" not in aspects for aspects in state_of(pair.secondary.port).values())


async def test_sliding_expiry_survives_a_stop(pair: Pair) -> None:
    """Keys that live for a second since their last write, in use while the secondary is stopped for two."""
    names = [name for name in _WRITES if name not in ("eval", "mkstream")]  # a group is created once
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        for made, _ in _WRITES.values():
            await client.pipeline([made, ("PEXPIRE", made[1], 1000)])

        async def use(seconds: float) -> None:
            """Write and extend all keys, again and again."""
            end = trio.current_time() + seconds
            turn = 0
            while trio.current_time() < end:
                turn += 1
                commands: list[Args] = [*_SOURCES]
                for name in names:
                    write = ("XADD", name, "*", "f", "v") if name == "xadd" else _WRITES[name][1]
                    commands += [write, ("PEXPIRE", name, 1000)]
                assert not any(map(is_error, await client.pipeline(commands)))
                await trio.sleep(0.05)

        await use(0.3)
        pair.secondary.pause()
        try:
            await use(2.0)
        finally:
            pair.secondary.resume()
        await use(0.2)
        await proxy.wait_repaired()
        await use(0.3)
        await proxy.wait_drained()
        await _assert_equal(pair)
        left = {b"source", b"members"} & contents(pair.primary).keys()
        await wait_until(lambda: contents(pair.primary).keys() == left)
        await wait_until(lambda: contents(pair.secondary).keys() == left)


async def test_key_that_is_written_around_its_end_is_equal(pair: Pair) -> None:
    """Keys that live for some milliseconds, written all the time: sometimes found, sometimes created anew."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        for turn in range(150):
            commands: list[Args] = []
            for number in range(20):
                commands.append(("INCR", f"n{number}"))
                commands.append(("HINCRBY", f"h{number}", f"f{turn % 7}", 1))
                if (turn + number) % 3 == 0:
                    commands += [("PEXPIRE", f"n{number}", 5 + number), ("PEXPIRE", f"h{number}", 5 + number)]
            assert not any(map(is_error, await client.pipeline(commands)))
            await trio.sleep(0.003)
        for number in range(20):
            await client.pipeline([("PERSIST", f"n{number}"), ("PERSIST", f"h{number}")])
        await proxy.wait_repaired()
        await _assert_equal(pair)
