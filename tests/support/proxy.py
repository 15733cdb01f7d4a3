"""dualkv, running in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter
from dualkv.serve import ProxyServer
from tests.support.client import PATIENCE_SECONDS

__all__ = ["Proxy", "running_proxy", "wait_until"]


@attrs.frozen
class Proxy:
    """A running server and where it listens."""

    server: ProxyServer
    port: int
    http_port: int
    admin_port: int

    @property
    def metrics(self) -> ProxyMetrics:
        """Its counters."""
        return self.server.metrics

    async def wait_drained(self) -> None:
        """Wait until nothing is queued or in flight to the secondary, and nothing is left to be copied."""
        await wait_until(self._is_drained)

    async def wait_repaired(self) -> None:
        """Wait until the secondary is as the primary: nothing is on its way, nothing dirty, no resync due."""
        await wait_until(self._is_repaired, 60)

    def _is_repaired(self) -> bool:
        writer = self.server.writer
        assert writer.stream is not None
        dirty = writer.dirty
        return (
            self._is_drained()
            and writer.stream.is_connected
            and not (dirty or dirty.functions or dirty.needs_resync)
            and not self.metrics.resync.is_running
        )

    async def wait_resynced(self, count: int = 1) -> None:
        """Wait until *count* resyncs have come to their end, and all that they have copied has arrived."""
        await wait_until(lambda: self.metrics.resync.completed >= count)
        await self.wait_drained()

    def _is_drained(self) -> bool:
        self.metrics.check_ledgers()
        total = self.metrics.total_ledger()
        mirroring = self.server.writer.mirroring
        is_copying = mirroring is not None and mirroring.copier.is_at_work
        return total.queued == 0 and total.in_flight == 0 and not is_copying


async def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until *condition* holds; fail if that takes longer than *seconds*."""
    with trio.fail_after(seconds):  # noqa: ASYNC912 - what already holds needs no waiting
        while not condition():  # noqa: ASYNC110 - conditions are counters, which set no events
            await trio.sleep(0.005)


async def _audit(metrics: ProxyMetrics) -> None:
    """Check the books again and again, between any two steps of the others."""
    while True:
        metrics.check_ledgers()
        await trio.sleep(0.002)


@asynccontextmanager
async def running_proxy(
    primary: str,
    secondary: str = "127.0.0.1:1",
    mode: ProxyMode = ProxyMode.DUAL_WRITE_SHADOW,
    reporter: SentryReporter | None = None,
    **settings: Any,
) -> AsyncIterator[Proxy]:
    """Run dualkv for the block, then shut it down in the orderly way; its books must always add up.

    Args:
        primary: Address of the store called primary in the settings.
        secondary: Address of the other one.
        mode: The mode.
        reporter: Where divergences are reported.
        settings: More fields of `ProxyConfig`.
    """
    settings.setdefault("selftest", "off")  # its canaries would be among what tests count
    config = ProxyConfig(
        mode=mode,
        listen=("127.0.0.1", 0),
        metrics=("127.0.0.1", 0),
        admin=("127.0.0.1", 0),
        primary=primary,
        secondary=secondary,
        **settings,
    )
    server = ProxyServer(config, reporter)
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(server.listen_and_serve)
        assert addresses.http is not None
        assert addresses.admin is not None
        try:
            async with trio.open_nursery() as auditing:
                auditing.start_soon(_audit, server.metrics)
                yield Proxy(server, addresses.clients[1], addresses.http[1], addresses.admin[1])
                auditing.cancel_scope.cancel()
        finally:
            server.stop()
    server.metrics.check_ledgers()
    total = server.metrics.total_ledger()
    assert (total.queued, total.in_flight) == (0, 0)
