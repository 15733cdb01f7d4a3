"""Random commands of every kind that ElasticKV can hold: it stays equal, all along."""

from __future__ import annotations

import random
from typing import Final

import pytest

from dualkv.config import ProxyMode
from tests.core.effects.random_commands import random_commands
from tests.fakes.elastickv import Cluster
from tests.support.client import connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e

_COMMANDS: Final = 3000
_COMPARED_EVERY: Final = 150
_LOST: Final = frozenset(
    [
        "HEXPIRE",
        "HPEXPIRE",
        "HEXPIREAT",
        "HPEXPIREAT",
        "HGETEX",
        "HSETEX",
        "PFADD",
        "PFMERGE",
        "XGROUP",
        "XREADGROUP",
        "XACK",
        "XCLAIM",
        "XAUTOCLAIM",
        "XACKDEL",
        "XSETID",
    ]
)
_FAILED_AT_MOST: Final = 3
"""Transactions that meet a key which is about to be copied are undone as a whole."""
_UNTOLD: Final = ("entries-added", "max-deleted-entry-id", "last-generated-id")


@pytest.mark.parametrize(("seed", "side"), [(1, "primary"), (2, "secondary"), (3, "secondary")])
async def test_the_store_stays_equal(pair: Pair, elastickv: Cluster, seed: int, side: str) -> None:
    """Whatever is done, by whatever way it gets there, and hardly anything fails on the way."""
    primary = getattr(pair, side)
    chance = random.Random(seed)
    ids = [b"1-1"]
    async with (
        running_proxy(primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: stream.dialect is not None)
        commands = list(random_commands(seed, _COMMANDS, _LOST))
        for start in range(0, len(commands), _COMPARED_EVERY):
            chunk = [
                tuple(chance.choice(ids[-8:]) if word == b"$last" else word for word in args)
                for args in commands[start : start + _COMPARED_EVERY]
            ]
            replies = await client.pipeline(chunk)
            for args, reply in zip(chunk, replies, strict=True):
                if args[0] == b"XADD" and reply[:1] == b"$" and reply[1:2] != b"-":
                    ids.append(reply.split(b"\r\n")[1])
            await proxy.wait_repaired()
            expected, actual = state_of(primary.port), state_of(elastickv.server.port)
            for aspects in [*expected.values(), *actual.values()]:
                for name in _UNTOLD:
                    aspects.pop(name, None)
            assert differences(expected, actual) == [], chunk
        assert proxy.metrics.total_ledger().failed <= _FAILED_AT_MOST
        assert elastickv.harmful == 0
