"""Comparing, and confirming what differs by reading again.

A shadow read sits at its position in the stream, so a difference is real unless a key expired on one side
only, or somebody wrote past dualkv. So a difference is read once more, a little later, on the lane and
again at its exact position; what differs twice is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from dualkv.core.compare import judge
from dualkv.core.divergence import MAX_REPORTED_BYTES, Divergence, DivergenceKind
from dualkv.core.mirror import StreamItem
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.reports import DivergenceReports

__all__ = ["ShadowReader"]

CONFIRMATIONS: Final = 1
CONFIRM_AFTER_SECONDS: Final = 0.1
MAX_SUSPICIONS: Final = 1024
"""Differences that may wait for their confirmation."""


class Reread(Protocol):
    """Reads again on the lane, and shadows the reply with the next attempt number."""

    async def __call__(self, item: StreamItem) -> None:
        """Send the read; return when it has been answered, or cannot be."""


class ShadowReader:
    """Judges the secondary's replies to shadow reads.

    Args:
        metrics: Where outcomes are counted.
        reports: Where confirmed divergences go.
        reread: How to read again.
        clock: Seconds, monotonic.
        on_difference: Called with each difference, and whether it is confirmed.
    """

    def __init__(
        self,
        metrics: ProxyMetrics,
        reports: DivergenceReports,
        reread: Reread,
        clock: Callable[[], float],
        on_difference: Callable[[StreamItem, DivergenceKind, bool], None] = lambda *_: None,
    ) -> None:
        self._on_difference = on_difference
        self._metrics = metrics
        self._reports = reports
        self._reread = reread
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[tuple[float, StreamItem]](MAX_SUSPICIONS)

    def compare(self, item: StreamItem, actual: bytes) -> None:
        """Judge one reply that is not equal as bytes, or that confirms an earlier one.

        Args:
            item: The shadow read.
            actual: The secondary's raw reply.
        """
        comparator = item.plan.comparator
        assert comparator is not None
        assert item.expected is not None
        verdict = judge(comparator, item.request.args, item.expected, actual)
        kind = verdict.kind
        if verdict.reason is not None:
            self._metrics.shadow_inconclusive[verdict.reason.value] += 1
        elif kind is None:
            if item.attempt:
                self._metrics.shadow_unconfirmed += 1
            else:
                self._metrics.shadow_matches += 1
        elif item.attempt >= CONFIRMATIONS:
            self._report(item, actual, kind)
            self._on_difference(item, kind, True)
        else:
            self._suspect(item)
            self._on_difference(item, kind, False)

    def _report(self, item: StreamItem, actual: bytes, kind: DivergenceKind) -> None:
        args = item.request.args
        self._reports.report(
            item.plan.spec,
            Divergence(
                command=item.plan.spec.label,
                kind=kind,
                key=args[1][:MAX_REPORTED_BYTES] if len(args) > 1 else b"",
                expected=(item.expected or b"")[:MAX_REPORTED_BYTES],
                actual=actual[:MAX_REPORTED_BYTES],
                time_seconds=time.time(),
            ),
        )

    def _suspect(self, item: StreamItem) -> None:
        try:
            self._send.send_nowait((self._clock() + CONFIRM_AFTER_SECONDS, item))
        except trio.WouldBlock:
            self._metrics.shadow_inconclusive["too_many_differences"] += 1

    async def run(self) -> None:
        """Read again what differed, in order, until cancelled."""
        in_hand = 0
        try:
            async for due, item in self._receive:
                in_hand = 1
                await trio.sleep(max(0.0, due - self._clock()))
                await self._reread(item)
                in_hand = 0
        finally:
            waiting = self._receive.statistics().current_buffer_used + in_hand
            self._metrics.shadow_inconclusive["shutdown"] += waiting
