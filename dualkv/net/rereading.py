"""Reads again what differed, at a new position, and says what follows from a difference."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dualkv.core.confirming import Suspicion, milliseconds_told
from dualkv.core.coverage import covered_key
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import DivergenceKind, HistoryEntry
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.routing import plan_of
from dualkv.errors import ConnectionLost
from dualkv.net.calls import PositionedCall
from dualkv.net.lane import LaneState
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Rereading"]


class Rereading:
    """What the `ShadowJudge` of a writer needs of it.

    Args:
        writer: Whose lane and stream it uses.
    """

    def __init__(self, writer: DualWriter) -> None:
        self._writer = writer

    def on_difference(self, item: StreamItem, kind: DivergenceKind, is_confirmed: bool) -> None:
        """Repair what differs, as the settings say."""
        assert self._writer.stream is not None
        if self._writer.removals is not None:
            self._writer.removals.ask_soon()
        if is_confirmed and self._writer.config.repair_divergences:
            self._writer.stream.mark_keys(item.keys_by_db() or (), DirtyReason.DIVERGED)
        elif kind is DivergenceKind.MIGRATION_GAP and self._writer.config.fill_gaps:
            self._writer.stream.mark_keys(item.keys_by_db() or (), DirtyReason.GAP)

    def history(self, item: StreamItem) -> tuple[HistoryEntry, ...]:
        """Return what happened to a read's keys lately."""
        if self._writer.stream is None or self._writer.stream.history is None:
            return ()
        return self._writer.stream.history.of(item.keys_by_db() or (), self._writer.clock())

    async def reread(self, suspicion: Suspicion) -> None:
        """Read again what differed, and compare again at the new position."""
        item = suspicion.item
        keys = item.keys()
        await self._writer.wait_free(keys)
        if self._writer.lane.state is not LaneState.UP:
            self._writer.shadow_judge.inconclusive(item, "primary_unreachable")
            return
        wire = item.request.raw + command("PTTL", covered_key(item.plan.spec, item.request.args))
        call = PositionedCall(2, partial(self._read_again, suspicion))
        self._writer.lanes.submit(wire, call, item.context, keys)
        try:
            await call.wait()
        except ConnectionLost:
            self._writer.shadow_judge.inconclusive(item, "primary_unreachable")

    def _read_again(self, suspicion: Suspicion, frames: list[bytes], now: float) -> None:
        """A reading of the primary: let the other store's enter the stream, at this position."""
        reply, ttl = frames
        item = suspicion.item
        if is_error(reply):
            self._writer.shadow_judge.inconclusive(item, "primary_error")
        elif self._writer.stream is not None and not suspicion.is_over:
            suspicion.ttl_milliseconds = milliseconds_told(ttl)
            reads = [(item.plan, item.request, reply)]
            if suspicion.is_last_reading:
                args = (b"PTTL", covered_key(item.plan.spec, item.request.args))
                reads.insert(0, (plan_of(args), Request(args, pack(args)), ttl))
            self._writer.stream.offer(
                [
                    StreamItem(plan, Queue.SHADOW, request, now, item.context, expected, suspicion)
                    for plan, request, expected in reads
                ]
            )
