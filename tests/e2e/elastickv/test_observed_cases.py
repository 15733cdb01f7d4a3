"""Every case of ``observed.json`` whose state the store can hold, through the proxy: equal by value."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.replies import value_of
from dualkv.servers import EmbeddedServer
from tests.core.effects.cases import CASES, DUMP, Case
from tests.fakes.elastickv import Cluster
from tests.support.client import Args, Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.wire import Wire

pytestmark = pytest.mark.e2e

_WAITING_SECONDS: Final = 3.0
_UNTOLD: Final = ("entries-added", "max-deleted-entry-id")
"""Counters of streams: nothing that the store has shows them."""
_HELD_AT_LEAST: Final = 339
"""Of 444 cases: so many leave nothing that the store cannot hold."""


@pytest.mark.parametrize("side", ["primary", "secondary"])
async def test_what_the_store_can_hold_becomes_equal(pair: Pair, elastickv: Cluster, side: str) -> None:
    """Whatever differs was counted by command; nothing else differs, fails or is copied by mistake."""
    primary: EmbeddedServer = getattr(pair, side)
    found: dict[str, list[str]] = {}
    held = 0
    async with running_proxy(primary.address, elastickv.addresses[0], ProxyMode.DUAL_WRITE) as proxy:
        writer = proxy.server.writer
        await wait_until(lambda: writer.stream is not None and writer.stream.dialect is not None)
        for case in CASES:
            before = Counter(writer.metrics.not_holdable)
            await _run(case, proxy, primary.port)
            await proxy.wait_repaired()
            lost = writer.metrics.not_holdable - before
            held += not lost
            differing = _differing(primary.port, elastickv)
            if differing and not lost:
                found[str(case)] = differing
        failed = proxy.metrics.total_ledger().failed
        marked = {reason.value for reason, count in proxy.metrics.dirty.marked.items() if count}

    assert found == {}
    assert held >= _HELD_AT_LEAST
    assert (failed, marked, elastickv.harmful) == (0, {"not_replayable"}, 0)


async def _run(case: Case, proxy: Proxy, primary_port: int) -> None:
    async with connect(proxy.port) as client, trio.open_nursery() as nursery:
        await client.call("FLUSHALL")
        for args in case.setup:
            await client.call(*args)
        for args in case.blocked:
            answered = trio.Event()
            nursery.start_soon(_wait_for, args, proxy.port, answered)
            await wait_until(lambda: answered.is_set() or _is_waited_for(primary_port))  # noqa: B023 - at once
        for args in case.commands:
            await _execute(args, client, proxy.port)


async def _wait_for(args: Args, port: int, answered: trio.Event) -> None:
    async with connect(port) as other:
        with trio.move_on_after(_WAITING_SECONDS):
            await other.call(*args)
    answered.set()


def _is_waited_for(port: int) -> bool:
    with Wire(port) as wire:
        return b"blocked_clients:1" in wire.ask("INFO", "clients")


async def _execute(args: tuple[bytes, ...], client: Client, port: int) -> None:
    if args[0] == b"sleep":
        await trio.sleep(min(float(args[1]), 0.1))
    elif args[0] == b"other:":
        async with connect(port) as other:
            await other.call(*args[1:])
    else:
        payload = value_of(await client.call("DUMP", "k")) if DUMP in args else b""
        await client.call(*(payload if word == DUMP else word for word in args))


def _differing(port: int, cluster: Cluster) -> list[str]:
    expected, actual = state_of(port), state_of(cluster.server.port)
    for (db, key), aspects in [*expected.items()]:
        if _is_hll(aspects):
            del expected[db, key]
            found = actual.pop((db, key), {"members": set()})
            if len(found["members"]) != _count(port, key):  # an empty one is none there
                actual[db, key] = found
    for aspects in [*expected.values(), *actual.values()]:
        for name in _UNTOLD:
            aspects.pop(name, None)
    return differences(expected, actual)


def _is_hll(aspects: dict[str, Any]) -> bool:
    value = aspects.get("value")
    return isinstance(value, bytes) and value.startswith(b"HYLL")


def _count(port: int, key: bytes) -> int:
    with Wire(port) as wire:
        count = wire.ask("PFCOUNT", key)
    assert isinstance(count, int)
    return count
