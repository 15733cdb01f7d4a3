"""All five modes, forward and back, with dualkv restarted between: the stores are equal after each step."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest
import trio

from dualkv.config import ProxyMode
from tests.fakes.elastickv import Cluster
from tests.support.client import Args, Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e

_CLIENTS: Final = 4
_PIPELINES: Final = 40
_KEYS: Final = 8
_REPAIRED_WITHIN_SECONDS: Final = 40
_READS: Final[dict[str, tuple[str | int, ...]]] = {
    "s": ("GET",), "n": ("GET",), "h": ("HGETALL",), "l": ("LRANGE", 0, -1), "t": ("SMEMBERS",),
    "z": ("ZRANGE", 0, -1, "WITHSCORES"), "x": ("XRANGE", "-", "+"),
}  # fmt: skip
"""How the keys of a type are read, by the letter in front of them."""
_UNTOLD: Final = ("entries-added", "max-deleted-entry-id", "last-generated-id")

State = dict[tuple[int, bytes], dict[str, Any]]


def _keys(letter: str) -> list[str]:
    return [f"{letter}:{number}" for number in range(_KEYS)]


def _write(rng: random.Random, value: str) -> Args:
    """Return a write that both stores know."""
    s, n, h, l, t, z, x = (rng.choice(_keys(letter)) for letter in _READS)  # noqa: E741
    member, seconds = rng.randrange(9), rng.randrange(200, 20_000)
    choices: list[Args] = [
        ("SET", s, value), ("SET", s, value, "PX", seconds * 1000), ("SET", s, value, "NX"), ("GETDEL", s),
        ("SETEX", s, seconds, value),
        ("RENAME", s, rng.choice(_keys("s"))), ("INCR", n), ("INCR", n), ("DEL", n, s),
        ("HSET", h, f"f{member}", value), ("HDEL", h, f"f{member}"), ("HINCRBY", h, "n", member),
        ("RPUSH", l, value, member), ("LPUSH", l, value), ("LPOP", l), ("LTRIM", l, 0, 20),
        ("RPOPLPUSH", l, rng.choice(_keys("l"))), ("LREM", l, 1, member), ("LSET", l, 0, value),
        ("SADD", t, member, value), ("SREM", t, member), ("ZADD", z, f"{member}.5", f"m{member}"),
        ("ZINCRBY", z, "1.5", f"m{member}"), ("ZREM", z, f"m{member}"), ("ZPOPMIN", z),
        ("XADD", x, "*", "f", value), ("XADD", x, "MAXLEN", 5, "*", "f", value),
        ("PEXPIRE", rng.choice((h, l, t)), seconds * 1000),
        ("EVAL", "return redis.call('RPUSH', KEYS[1], redis.call('LLEN', KEYS[1]))", 1, l),
    ]  # fmt: skip
    return rng.choice(choices)


def _read(key: str) -> Args:
    name, *rest = _READS[key[0]]
    return (name, key, *rest)


async def _light_load(port: int, step: int) -> None:
    """Let some clients write and read the same few keys."""

    async def one(number: int) -> None:
        rng = random.Random(f"{step}/{number}")
        async with connect(port) as client:
            for count in range(_PIPELINES):
                value = f"v{step}-{number}-{count}"
                writes = [_write(rng, value) for _ in range(rng.randint(1, 5))]
                replies = await client.pipeline([*writes, _read(rng.choice(_keys(rng.choice("snhltzx"))))])
                assert not any(b"dualkv" in reply for reply in replies), replies
                await trio.sleep(rng.random() / 50)

    async with trio.open_nursery() as nursery:
        for number in range(_CLIENTS):
            nursery.start_soon(one, number)


def _state(port: int) -> State:
    state = state_of(port)
    for aspects in state.values():
        for name in _UNTOLD:
            aspects.pop(name, None)
    return state


def _difference(pair: Pair, cluster: Cluster) -> list[str]:
    return differences(_state(pair.primary.port), _state(cluster.server.port))


def _steps() -> Iterator[tuple[int, ProxyMode, dict[str, Any]]]:
    forward = list(ProxyMode)
    for number, mode in enumerate([*forward, *forward[-2::-1]]):
        settings: dict[str, Any] = {}
        if number == forward.index(ProxyMode.DUAL_WRITE):
            settings = {"backfill": True}
        elif number == len(forward):  # Redis has not been written to: what is read and differs is brought
            settings = {"repair_divergences": True, "fill_gaps": True}
        yield number, mode, settings


def _knows_dialect(proxy: Proxy) -> bool:
    stream = proxy.server.writer.stream
    return stream is not None and stream.dialect is not None


async def _read_until_equal(client: Client, proxy: Proxy, pair: Pair, cluster: Cluster) -> None:
    """Read all keys, as applications do sooner or later, while anything differs; confirming takes a while."""
    deadline = trio.current_time() + _REPAIRED_WITHIN_SECONDS
    while _difference(pair, cluster) and trio.current_time() < deadline:
        for letter in _READS:
            await client.pipeline([read for key in _keys(letter) for read in (_read(key), ("PTTL", key))])
        await trio.sleep(1)
        await proxy.wait_repaired()


async def test_the_stores_are_equal_after_each_step_forward_and_back(pair: Pair, elastickv: Cluster) -> None:
    """A back-fill brings the first half; what only ElasticKV got is brought back when it is read."""
    cluster = elastickv
    untouched = {
        ProxyMode.REDIS_ONLY: cluster.server.port,
        ProxyMode.ELASTICKV_ONLY: pair.primary.port,
    }
    for step, mode, settings in _steps():
        before = {port: _state(port) for port in untouched.values()}
        async with (
            running_proxy(pair.primary.address, ",".join(cluster.addresses), mode, **settings) as proxy,
            connect(proxy.port) as client,
        ):
            if mode not in untouched:
                await wait_until(partial(_knows_dialect, proxy))
            await _light_load(proxy.port, step)
            if mode in untouched:
                port = untouched[mode]
                assert differences(before[port], _state(port)) == [], (step, mode)
                continue
            if "backfill" in settings:
                await proxy.wait_resynced()
            await proxy.wait_repaired()
            if "fill_gaps" in settings:
                await _read_until_equal(client, proxy, pair, cluster)
            assert _difference(pair, cluster) == [], (step, mode)
            if mode is ProxyMode.DUAL_WRITE_SHADOW:
                assert proxy.metrics.shadow_matches
    assert cluster.harmful == 0
