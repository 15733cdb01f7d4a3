"""Both stores are asked what they have removed, when somebody wants to know, and not more often than that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from dualkv.config import BackendOptions
from dualkv.net.backend import RedisBackend
from dualkv.net.removals import RemovalsWatch
from dualkv.observe.metrics import PoolCounters
from dualkv.resp.encode import bulk
from tests.support.fake_backend import running_fake
from tests.support.proxy import wait_until


@attrs.define
class Asked:
    """How often a store was asked."""

    count: int = 0


@asynccontextmanager
async def watched(asked: Asked, secondary_port: int | None = None) -> AsyncIterator[RemovalsWatch]:
    """Run a watch for the block."""

    def answer(args: tuple[bytes, ...]) -> bytes:
        asked.count += args == (b"INFO", b"stats")
        return bulk(f"evicted_keys:{asked.count}\r\nexpired_keys:0\r\n")

    async with running_fake(answer) as store, trio.open_nursery() as nursery:
        backends = [
            RedisBackend(BackendOptions("redis", "127.0.0.1", port), PoolCounters())
            for port in (store.port, secondary_port or store.port)
        ]
        watch = RemovalsWatch(backends[0], backends[1], trio.current_time)
        nursery.start_soon(watch.run)
        yield watch
        assert [backend.open_connections for backend in backends] == [0, 0]
        nursery.cancel_scope.cancel()


async def test_nobody_is_asked_unless_somebody_wants_to_know() -> None:
    """And then once, however many want it."""
    asked = Asked()
    async with watched(asked) as watch:
        await trio.testing.wait_all_tasks_blocked()
        assert asked.count == 0
        for _ in range(1000):
            watch.ask_soon()
        await wait_until(lambda: "1 answers" in repr(watch.secondary))
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert asked.count == 2
        assert "evicted=1" in repr(watch.primary)


async def test_store_that_cannot_be_asked_is_passed_over() -> None:
    """The other one is asked all the same, and both again later."""
    asked = Asked()
    async with watched(asked, secondary_port=1) as watch:
        for count in (1, 2):
            watch.ask_soon()
            await wait_until(lambda: f"{count} answers" in repr(watch.primary))  # noqa: B023

        assert "0 answers" in repr(watch.secondary)
