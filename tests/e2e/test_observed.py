"""What clients use is seen on every path that a command can take, and told over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from dualkv.config import ProxyMode
from tests.e2e.test_http import get
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

SECRET = "5ecret"


async def observed(proxy: Proxy) -> tuple[dict[str, dict[str, Any]], list[dict[str, int]]]:
    """Return commands by label, and databases."""
    status, body = await get(proxy, "/observed")
    assert status == 200
    assert SECRET not in body
    told = json.loads(body)
    return {use["command"]: use for use in told["commands"]}, told["databases"]


def options_of(use: dict[str, Any]) -> set[tuple[str, ...]]:
    """Return the sets of options."""
    return {tuple(seen["names"]) for seen in use["options"]}


@pytest.mark.parametrize("mode", [ProxyMode.REDIS_ONLY, ProxyMode.DUAL_WRITE_SHADOW])
async def test_each_path_is_seen(pair: Pair, mode: ProxyMode) -> None:
    """Batches, single commands, transactions whole and in parts, watched ones, blocking ones, our own."""
    async with running_proxy(pair.primary.address, pair.secondary.address, mode) as proxy:
        async with connect(proxy.port) as client:
            await client.pipeline(
                [("SET", SECRET, 1, "EX", 100), ("GET", SECRET), ("ZADD", "z", "CH", 1, SECRET)]
            )
            await client.pipeline([("MULTI",), ("SADD", "s", SECRET), ("EXEC",)])
            await client.call("WATCH", SECRET)
            await client.call("MULTI")
            await client.call("HSET", "h", "f", SECRET)
            await client.call("EXEC")
            await client.pipeline([("BLPOP", "list", "0.01"), ("CLIENT", "SETNAME", SECRET), ("SELECT", 3)])
            await client.call("LPUSH", "list", SECRET)
            await client.call("LPOP", "list", 2)
            await client.pipeline([("INCR", "z"), ("NOSUCH" + SECRET, SECRET), ("SUBSCRIBE", "c")])
        commands, databases = await observed(proxy)

    expected = {
        "set", "get", "zadd", "exec", "sadd", "watch", "multi", "hset", "blpop", "client|setname", "select",
        "lpush", "lpop", "incr", "subscribe",
    }  # fmt: skip
    assert expected <= set(commands)
    assert options_of(commands["set"]) == {("EX",)}
    assert options_of(commands["zadd"]) == {("CH",)}
    assert options_of(commands["lpop"]) == {("COUNT",)}
    assert {told["db"] for told in databases} == {0, 3}


async def test_refused_requests_do_not_count(pair: Pair) -> None:
    """An option that the primary does not take is not used."""
    async with running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy:
        async with connect(proxy.port) as client:
            await client.pipeline(
                [("SET", "k", "v"), ("SET", "k", "v", "NX", "XX"), ("GETEX", "k", "EX", "x")]
            )
        commands, _ = await observed(proxy)

    assert options_of(commands["set"]) == {()}
    assert "getex" not in commands


async def test_many_requests_are_sampled(pair: Pair) -> None:
    """All are counted, few are looked at; a rare command is seen at once."""
    async with running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy:
        async with connect(proxy.port) as client:
            for _ in range(30):
                await client.pipeline([("SET", "k", "v")] * 100)
            await client.pipeline([("SET", "k", "v"), ("SETNX", "k", "v")])
        commands, _ = await observed(proxy)

    assert commands["set"]["requests"] == 3001
    assert 1000 <= commands["set"]["looked_at"] < 1500
    assert commands["setnx"]["looked_at"] == 1


async def test_python_program_is_seen_too(pair: Pair) -> None:
    """`DualWriter` without the server."""
    async with running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy:
        with trio.fail_after(10):
            await proxy.server.writer.write("SET", "k", "v", "PX", 1000)
        commands, _ = await observed(proxy)

    assert options_of(commands["set"]) == {("PX",)}
