"""Client sessions under test: real sockets on both sides, a scripted primary behind."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.net.listener import accept_clients, open_listeners
from dualkv.net.session import ClientSession
from dualkv.net.writer import DualWriter
from dualkv.observe.metrics import ProxyMetrics
from tests.support.client import Client, connect
from tests.support.fake_backend import FakeBackend
from tests.support.proxy import wait_until

__all__ = ["SessionBench", "sessions_with"]


@attrs.define(eq=False)
class SessionBench:
    """A writer that serves clients."""

    writer: DualWriter
    port: int
    sessions: list[ClientSession] = attrs.field(factory=list)
    """In the order of their connecting."""
    ended: list[ClientSession] = attrs.field(factory=list)
    errors: list[Exception] = attrs.field(factory=list)
    """What has left sessions."""

    @property
    def metrics(self) -> ProxyMetrics:
        """The writer's counters."""
        return self.writer.metrics

    def client(self) -> AbstractAsyncContextManager[Client]:
        """Connect a client for the block."""
        return connect(self.port)

    async def wait_ended(self, count: int = 1) -> None:
        """Wait until so many sessions have ended."""
        await wait_until(lambda: len(self.ended) == count)

    async def serve(self, session: ClientSession) -> None:
        """Run one session as the server does."""
        self.sessions.append(session)
        try:
            await session.run()
        except Exception as error:  # noqa: BLE001 - a session's boundary, as in `dualkv.serve`
            self.errors.append(error)
        finally:
            self.ended.append(session)


@asynccontextmanager
async def sessions_with(
    primary: FakeBackend, secondary: FakeBackend | None = None, **settings: Any
) -> AsyncIterator[SessionBench]:
    """Serve clients for the block; at its end sessions are cut off, and the stream is drained."""
    config = ProxyConfig(
        mode=ProxyMode.REDIS_ONLY if secondary is None else ProxyMode.DUAL_WRITE_SHADOW,
        primary=primary.address,
        secondary="127.0.0.1:1" if secondary is None else secondary.address,
        **settings,
    )
    writer = DualWriter(config)
    [listener] = await open_listeners("127.0.0.1", 0)
    bench = SessionBench(writer, listener.getsockname()[1])
    with listener:
        async with trio.open_nursery() as engine:
            await engine.start(writer.run)
            await writer.wait_lane()
            async with trio.open_nursery() as sessions:
                sessions.start_soon(accept_clients, listener, _starter(bench, sessions))
                yield bench
                sessions.cancel_scope.cancel("the test is over")
            writer.close(5)
    writer.metrics.check_ledgers()
    assert bench.errors == []


def _starter(bench: SessionBench, nursery: trio.Nursery) -> Callable[[Any], None]:
    numbers = itertools.count(1)
    return lambda sock: nursery.start_soon(bench.serve, ClientSession(sock, bench.writer, next(numbers)))
