"""What finds out whether both stores answer alike: which reads are compared, and what a difference does.

A read enters the stream with the reply to expect; what the secondary answers otherwise goes to the judge
(`dualkv.net.shadow`), who has it read again at new positions. What is confirmed is reported, and repaired as
the settings say. Messages to subscribers are compared beside (`dualkv.net.shadow_pubsub`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.compare import Rule
from dualkv.core.confirming import Suspicion, milliseconds_told
from dualkv.core.coverage import covered_key
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import DivergenceKind, HistoryEntry
from dualkv.core.history import WriteHistory
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.routing import Plan, plan_of
from dualkv.core.shadow_budget import ShadowBudget
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.errors import ConnectionLost
from dualkv.net.calls import PositionedCall
from dualkv.net.divergence_log import DivergenceLogWriter
from dualkv.net.lane import LaneState
from dualkv.net.removals import RemovalsWatch
from dualkv.net.shadow import Facts, ShadowJudge
from dualkv.net.shadow_pubsub import ShadowSubscriptions
from dualkv.net.stream import SecondaryStream
from dualkv.observe.reports import DivergenceReports
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Comparing"]

_HISTORY_ITEMS: Final = 2048
_HISTORY_BYTES: Final = 4 * 1024 * 1024


class Comparing:
    """One writer's: compares its reads with what the other store answers, once there is a stream to `follow`.

    `run` must be running from when the writer has begun.

    Args:
        writer: Whose lane and stores it uses.
        reports: Where divergences go.
    """

    def __init__(self, writer: DualWriter, reports: DivergenceReports) -> None:
        config = writer.config
        self._writer = writer
        self._reports = reports
        self._stream: SecondaryStream | None = None
        self.filter = ShadowFilter(config.shadow_sample, config.shadow_rules)
        self.budget = ShadowBudget(config.shadow_budget_age_seconds)
        self.removals: RemovalsWatch | None = None
        """Tells how many keys the stores have removed by themselves."""
        if writer.secondary is not None and writer.shadows:
            self.removals = RemovalsWatch(writer.primary, writer.secondary, writer.clock)
        self.subscriptions: ShadowSubscriptions | None = None
        """Compares messages; None: nobody does."""
        self.judge = ShadowJudge(
            writer.metrics, reports, self.reread, writer.clock, config.confirm_after_seconds,
            Facts(self._history, lambda: writer.lanes.answered, lambda: writer.metrics.resync.completed > 0,
                  lambda item: self.filter.tolerance(item.plan, item.request.args),
                  self.removals.where_missing() if self.removals is not None else {},
                  self._spelled_out),
            self._on_difference,
        )  # fmt: skip

    def follow(self, stream: SecondaryStream) -> None:
        """Compare what *stream* reads from the secondary."""
        writer, config = self._writer, self._writer.config
        self._stream = stream
        stream.canaries, stream.counted = self.judge.canaries, self.judge.counted
        if not writer.shadows:
            return
        stream.confirming = self.judge.confirming
        stream.history = WriteHistory(_HISTORY_ITEMS, _HISTORY_BYTES)
        if config.shadow_pubsub != "off":
            self.subscriptions = writer.subscriptions.watcher = ShadowSubscriptions(
                stream.backend, stream, config, writer.metrics, self._reports, writer.clock,
                writer.report_failure,
            )  # fmt: skip

    def admits(self, plan: Plan, args: tuple[bytes, ...]) -> bool:
        """Whether a read that the primary has answered without an error is compared.

        A script's text is remembered in any case: later reads may name it by its hash.
        """
        if self._writer.shadows and plan.comparator is Rule.SCRIPT:
            self._writer.scripts.learn(plan.spec.name, args)
        return (
            self._writer.shadows
            and plan.comparator is not None
            and (self.filter.is_trivial or self.filter.admits(plan, args))
            and self.budget.admits()
        )

    # --- what differs

    def _on_difference(self, item: StreamItem, kind: DivergenceKind, is_confirmed: bool) -> None:
        """Repair what differs, as the settings say."""
        assert self._stream is not None
        if self.removals is not None:
            self.removals.ask_soon()
        if is_confirmed and self._writer.config.repair_divergences:
            self._stream.mark_keys(item.keys_by_db() or (), DirtyReason.DIVERGED)
        elif kind is DivergenceKind.MIGRATION_GAP and self._writer.config.fill_gaps:
            self._stream.mark_keys(item.keys_by_db() or (), DirtyReason.GAP)

    def _history(self, item: StreamItem) -> tuple[HistoryEntry, ...]:
        """Return what happened to a read's keys lately."""
        if self._stream is None or self._stream.history is None:
            return ()
        return self._stream.history.of(item.keys_by_db() or (), self._writer.clock())

    def _spelled_out(self, item: StreamItem) -> tuple[bytes, ...]:
        """Return a shadow read with the text of its script, if that is at hand."""
        return self._writer.scripts.spelled_out(item.plan, item.request, set()).args

    async def reread(self, suspicion: Suspicion) -> None:
        """Read again what differed, and compare again at the new position."""
        item = suspicion.item
        keys = item.keys()
        await self._writer.lanes.wait_free(keys)
        if self._writer.lane.state is not LaneState.UP:
            self.judge.inconclusive(item, "primary_unreachable")
            return
        wire = item.request.raw + command("PTTL", covered_key(item.plan.spec, item.request.args))
        call = PositionedCall(2, partial(self._read_again, suspicion))
        self._writer.lanes.submit(wire, call, item.context, keys)
        try:
            await call.wait()
        except ConnectionLost:
            self.judge.inconclusive(item, "primary_unreachable")

    def _read_again(self, suspicion: Suspicion, frames: list[bytes], now: float) -> None:
        """A reading of the primary: let the other store's enter the stream, at this position."""
        reply, ttl = frames
        item = suspicion.item
        if is_error(reply):
            self.judge.inconclusive(item, "primary_error")
        elif self._stream is not None and not suspicion.is_over:
            suspicion.ttl_milliseconds = milliseconds_told(ttl)
            reads = [(item.plan, item.request, reply)]
            if suspicion.is_last_reading:
                args = (b"PTTL", covered_key(item.plan.spec, item.request.args))
                reads.insert(0, (plan_of(args), Request(args, pack(args)), ttl))
            self._stream.offer(
                [
                    StreamItem(plan, Queue.SHADOW, request, now, item.context, expected, suspicion)
                    for plan, request, expected in reads
                ]
            )

    # --- life

    async def run(self) -> None:
        """Confirm, and write down what was confirmed, until cancelled."""
        log = self._writer.findings.log
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.judge.run)
            if log is not None:
                nursery.start_soon(DivergenceLogWriter(log, self._writer.clock).run)
            if self.subscriptions is not None:
                nursery.start_soon(self.subscriptions.run)
            if self.removals is not None:
                nursery.start_soon(self.removals.run)
