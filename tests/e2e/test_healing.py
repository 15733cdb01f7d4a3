"""A secondary that did not have the data: keys that are half there are healed on their first write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error
from tests.support.client import Args, connect
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents, open_store

pytestmark = pytest.mark.e2e

OLD: Sequence[Args] = (
    ("SET", "counter", 41), ("HSET", "hash", "old", 1), ("RPUSH", "list", "a", "b"), ("SADD", "set", "a",
    "b"), ("ZADD", "zset", 1, "a", 2, "b"), ("SET", "text", "once "), ("SET", "session", "s"), ("RPUSH",
    "queue", 1, 2), ("XADD", "stream", "1-1", "f", "v"), ("PFADD", "hll", "a", "b"), ("SET", "bits", "abc"),
)  # fmt: skip
"""What the primary has before dualkv comes."""

WRITES: Sequence[Args] = (
    ("INCR", "counter"), ("HSET", "hash", "new", 2), ("LPUSH", "list", "c"), ("SADD", "set", "c"),
    ("ZADD", "zset", 3, "c"), ("APPEND", "text", "upon a time"), ("EXPIRE", "session", 1000),
    ("RPOP", "queue"), ("XADD", "stream", "*", "f", "w"), ("SETBIT", "bits", 7, 1),
)  # fmt: skip


async def _fill(pair: Pair) -> None:
    async with connect(pair.primary.port) as client:
        await client.pipeline(OLD)


async def _write(proxy: Proxy, commands: Sequence[Args]) -> None:
    async with connect(proxy.port) as client:
        assert not any(map(is_error, await client.pipeline(commands)))
    await proxy.wait_drained()


@pytest.mark.parametrize("command", WRITES, ids=lambda command: command[0])
async def test_first_write_to_an_old_key_heals_it(pair: Pair, command: Args) -> None:
    """Whatever the write, the key is equal on both stores afterwards, its expiry too."""
    await _fill(pair)
    async with running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy:
        await _write(proxy, [command])

    key = str(command[1]).encode()
    assert contents(pair.secondary) == {key: contents(pair.primary)[key]}
    with open_store(pair.primary) as primary, open_store(pair.secondary) as secondary:
        assert abs(primary.pttl(key) - secondary.pttl(key)) < 1000


async def test_gap_that_a_read_finds_is_filled_if_wanted(pair: Pair) -> None:
    """With fill_gaps reading is enough."""
    await _fill(pair)
    reads: Sequence[Args] = [("GET", "text"), ("HGETALL", "hash"), ("SMEMBERS", "set")]
    async with running_proxy(pair.primary.address, pair.secondary.address, fill_gaps=True) as proxy:
        await _write(proxy, reads)
        await _write(proxy, reads)

    primary = contents(pair.primary)
    assert contents(pair.secondary) == {key: primary[key] for key in (b"text", b"hash", b"set")}


async def test_backfill_copies_everything(pair: Pair) -> None:
    """With backfill nobody has to write or read first; what only the secondary has is removed."""
    await _fill(pair)
    async with connect(pair.secondary.port) as client:
        await client.pipeline(
            [("SET", "of another life", 1), ("SET", "text", "wrong"), ("SELECT", 3), ("SET", "x", 1)]
        )
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, backfill=True
    ) as proxy:
        await proxy.wait_resynced()

    assert contents(pair.primary) == contents(pair.secondary)
    with open_store(pair.secondary) as secondary:
        assert "db3" not in secondary.info("keyspace")
