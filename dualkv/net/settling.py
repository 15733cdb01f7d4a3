"""What becomes of the stream's items: the books of all that leaves it.

Dropped, deferred to a copy, answered, or lost without an answer: each item is counted once, its keys are
dirty if the secondary may differ for it, and the answer to a shadow read goes to whoever compares.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from dualkv.core.coverage import covered_key
from dualkv.core.dirty import DirtyReason, Key
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import StreamItem, differs, error_of, may_publish, size_bytes, write_error_reason
from dualkv.observe.logs import RateLimit
from dualkv.observe.metrics import ProxyMetrics, bucket_of

if TYPE_CHECKING:
    from dualkv.net.stream import SecondaryStream

__all__ = ["Settling"]

_DROP_LOG_SECONDS: Final = 5.0

_log = logging.getLogger("dualkv.stream")


class Settling:
    """Accounts for what leaves a stream; nothing waits here.

    Args:
        stream: Whose items.
        metrics: Where everything is counted.
        compare: Called with each answered shadow read whose reply is not equal as bytes, or which
            confirms an earlier one.
        inconclusive: Called with each shadow read that will not be compared, and why.
    """

    def __init__(
        self,
        stream: SecondaryStream,
        metrics: ProxyMetrics,
        compare: Callable[[StreamItem, bytes], None],
        inconclusive: Callable[[StreamItem, str], None],
    ) -> None:
        self._stream = stream
        self._metrics = metrics
        self._queues = metrics.queues
        self._compare = compare
        self._inconclusive = inconclusive
        self._drop_log = RateLimit(_DROP_LOG_SECONDS, stream.clock)

    # --- what was waiting, or found no room

    def drop(self, item: StreamItem, reason: DropReason) -> None:
        """Drop an item that was waiting."""
        self._queues[item.queue].ledger.drop_queued(reason)
        self._stream.waiting_bytes -= size_bytes([item])
        if item.queue is Queue.COPY:
            self._stream.copied_bytes -= size_bytes([item])
            self._stream.passed(item)
            self._stream.wake_copier()
        self.note_drop(item, reason)
        if reason is DropReason.NO_SUCH_DB:
            self._stream.translator.not_holdable["SELECT"] += 1
        else:
            self._stream.not_applied(item, DirtyReason.DROPPED)

    def defer(self, item: StreamItem) -> None:
        """Leave an item that was waiting to the copies of its keys."""
        self.leave_queue(item)
        self._stream.not_applied(item, self._stream.why_remembered())

    def came_late(self, item: StreamItem) -> None:
        """Take note that an item was applied behind some that followed it: its keys are not exact."""
        self._stream.copy_now(self._stream.doubtful.keys_now(item) or ())

    def leave_queue(self, item: StreamItem) -> None:
        """Account for an item that was waiting, and is left to the copies of its keys."""
        self._queues[item.queue].ledger.defer_queued()
        self._stream.waiting_bytes -= size_bytes([item])
        self.note_unsent(item)

    def note_unsent(self, item: StreamItem) -> None:
        """Take note that an item did not get to the secondary for certain."""
        self._stream.unsent_messages += item.expected is None and may_publish(item)

    def note_drop(self, item: StreamItem, reason: DropReason) -> None:
        """Tell whom it concerns that an item was dropped, which the ledger knows already."""
        if item.queue is Queue.SHADOW:
            self._inconclusive(item, reason.value)
        elif self._stream.history is not None:
            self._stream.history.lost(item, f"dropped ({reason.value})", self._stream.clock())
        self.note_unsent(item)
        suppressed = self._drop_log.allow()
        if suppressed is not None:
            _log.warning(
                "dropped",
                extra={"queue": item.queue.value, "reason": reason.value, "suppressed": suppressed},
            )

    # --- what is sent

    def take(self, batch: list[StreamItem], now: float) -> Counter[Queue]:
        """Take note that *batch* leaves the queue; return its items by queue, for `settle`."""
        by_queue = Counter([item.queue for item in batch])
        for queue, count in by_queue.items():
            counters = self._queues[queue]
            counters.ledger.take(count)
            counters.active_workers += 1
        # Items of one read on the lane were offered together: observe each group once.
        for (queue, offered_at), count in Counter([(item.queue, item.offered_at) for item in batch]).items():
            self._queues[queue].delay.observe(now - offered_at, count)
        return by_queue

    def settle(
        self,
        batch: list[StreamItem],
        by_queue: Counter[Queue],
        frames: Sequence[bytes],
        seconds: float,
    ) -> None:
        """Account for a batch that the secondary has answered.

        Args:
            batch: What was taken.
            by_queue: What `take` returned for it.
            frames: The frame that tells each item's outcome.
            seconds: From sending to the last reply.
        """
        by_command = self._metrics.backends[self._stream.backend.name].by_command
        bucket = bucket_of(seconds)
        for index, count in Counter([item.plan.index for item in batch]).items():
            by_command[index].counts[bucket] += count
            by_command[index].sum_seconds += seconds * count
        failed: Counter[Queue] = Counter()
        matched: list[StreamItem] = []
        checked: list[StreamItem] = []
        stream, marks = self._stream, self._stream.dirty.marked
        marked = marks.total()
        try:
            for item, frame in zip(batch, frames, strict=True):
                if item.expected is None:
                    if marks.total() != marked:  # by an item before it in this batch
                        stream.is_spoiled(item, is_queued=False)
                    if (error := error_of(item, frame)) is not None:
                        failed[item.queue] += 1
                        by_command[item.plan.index].errors += 1
                        self._note_failure(item, write_error_reason(error))
                        self._answered_oddly(item, frame)
                        self.note_unsent(item)
                    elif item.check is not None or item.part_checks:
                        if not differs(item, frame):
                            checked.append(item)
                        elif self._answered_oddly(item, frame):
                            self._metrics.write_replies_differed += 1
                            self._metrics.findings.write_differed(_covered(item))
                elif frame == item.expected and item.suspicion is None:
                    matched.append(item)
                elif marks.total() != marked and stream.is_spoiled(item, is_queued=False):
                    self._inconclusive(item, DropReason.DIRTY_KEY.value)
                else:
                    self._compare(item, frame)
        finally:  # whatever the comparing does
            if Queue.SHADOW in by_queue:
                waiting = self._queues[Queue.WRITE].ledger.queued
                self._metrics.shadow_budget.observe(
                    seconds, len(batch), stream.oldest_age_seconds(), waiting, stream.clock()
                )
            self._note_equal(matched, checked)
            self._finish(batch, by_queue, failed)

    def _note_equal(self, matched: list[StreamItem], checked: list[StreamItem]) -> None:
        """Take note of reads that were equal as bytes, and of writes that were answered alike."""
        if self._stream.canaries:
            matched, checked = self._stream.counted(matched), self._stream.counted(checked)
        if matched:
            self._metrics.shadow_matches += len(matched)
            self._metrics.findings.matched(map(_covered, matched))
        if checked:
            self._metrics.findings.writes_checked(map(_covered, checked))

    def _note_failure(self, item: StreamItem, reason: str) -> None:
        self._metrics.secondary_write_errors[item.plan.index, reason] += 1
        if self._stream.history is not None:
            self._stream.history.lost(item, f"failed ({reason})", self._stream.clock())

    def note_unheld(self, command: str, keys: Sequence[Key]) -> None:
        """Take note that the secondary cannot hold what *command* has done to *keys*."""
        if self._stream.history is not None:
            self._stream.history.not_held(command, keys, self._stream.clock())

    def _answered_oddly(self, item: StreamItem, frame: bytes) -> bool:
        """Take note of an odd answer; return whether it tells of a difference nobody knew of."""
        is_news = self._stream.doubtful.answered_oddly(item, frame, self._stream.clock())
        self._stream.announce_dirty()
        return is_news

    def settle_without_answer(self, batch: list[StreamItem], by_queue: Counter[Queue], reason: str) -> None:
        """Account for a batch whose outcome is unknown."""
        for item in batch:
            if item.expected is None:
                self._note_failure(item, reason)
                self._stream.not_applied(item, DirtyReason.AMBIGUOUS)
                self.note_unsent(item)
            else:
                self._metrics.shadow_read_errors += 1
                self._inconclusive(item, reason)
        self._finish(batch, by_queue, by_queue)

    def _finish(self, batch: list[StreamItem], by_queue: Counter[Queue], failed: Counter[Queue]) -> None:
        for queue, count in by_queue.items():
            counters = self._queues[queue]
            counters.ledger.fail(failed[queue])
            counters.ledger.apply(count - failed[queue])
            counters.active_workers -= 1
        self._stream.waiting_bytes -= size_bytes(batch)
        if Queue.COPY in by_queue:
            self._stream.copied_bytes -= size_bytes(item for item in batch if item.queue is Queue.COPY)
            self._stream.wake_copier()
        if not self._stream.gate.is_open:
            self._stream.measure()


def _covered(item: StreamItem) -> bytes:
    """Return the key that an item counts for."""
    return covered_key(item.plan.spec, item.request.args)
