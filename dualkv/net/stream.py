"""The secondary stream: everything on its way to the secondary, in the primary's order.

Items enter synchronously, at the position of their reply on the lane, and leave through one worker per
shard (`dualkv.net.shard`). A shard is chosen by key, so that a key has one order. A request over several
shards is a rendezvous: it enters all of them in one step, and their workers wait at it until one has
applied it.

Bounded in items (by queue) and in bytes; what finds no room is dropped and counted, and no client waits for
it. All accounting is here.
"""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import trio

from dualkv.config import ProxyConfig
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import StreamItem, error_of, size_bytes, write_error_reason
from dualkv.core.scripts import ScriptCache
from dualkv.net.backend import RedisBackend
from dualkv.net.shard import Entry, Rendezvous, Shard
from dualkv.observe.logs import RateLimit
from dualkv.observe.metrics import ProxyMetrics, bucket_of

__all__ = ["SecondaryStream"]

_DROP_LOG_SECONDS: Final = 5.0
_BOTH: Final = ("primary", "secondary")

_log = logging.getLogger("dualkv.stream")


class SecondaryStream:
    """The queue towards the secondary and the workers that empty it.

    Args:
        backend: The secondary.
        config: Limits and timeouts.
        metrics: Where everything is counted.
        clock: Seconds, monotonic, as for `StreamItem.offered_at`.
        compare: Called with each answered shadow read whose reply is not equal as bytes, or which
            repeats an earlier one.
        at_end_of_step: Calls something when the current synchronous step is over.
        report_failure: Called with an exception that is a bug of ours; the worker goes on.
    """

    def __init__(
        self,
        backend: RedisBackend,
        config: ProxyConfig,
        metrics: ProxyMetrics,
        clock: Callable[[], float],
        compare: Callable[[StreamItem, bytes], None],
        at_end_of_step: Callable[[Callable[[], None]], None],
        report_failure: Callable[[Exception], None],
    ) -> None:
        self.backend = backend
        self._paired_dbs = {config.backend_options(which).db: backend.options.db for which in _BOTH}
        self.clock = clock
        self.timeouts_seconds = {
            Queue.WRITE: config.secondary_timeout_seconds,
            Queue.BLOCKING: config.secondary_timeout_seconds,
            Queue.SCRIPT: config.script_timeout_seconds,
            Queue.SHADOW: config.shadow_timeout_seconds,
        }
        self.shortest_timeout_seconds = min(self.timeouts_seconds.values())
        self.read_timeout_seconds = config.read_timeout_seconds
        self._shed_after_seconds = config.shadow_timeout_seconds / 3
        self.scripts = ScriptCache()
        self.script_slots = trio.CapacityLimiter(config.script_concurrency)
        for queue, size in config.queue_sizes.items():
            metrics.queues[Queue(queue)].capacity = size
        self.report_failure = report_failure
        self._metrics = metrics
        self._queues = metrics.queues
        self._compare = compare
        self._max_bytes = config.secondary_queue_bytes
        self._bytes = 0
        self._closing = trio.Event()
        self._at_end_of_step = at_end_of_step
        self._commit_is_due = False
        self._offered: list[StreamItem] = []
        capacity = sum(config.queue_sizes.values())
        self._shards = [Shard(self, capacity) for _ in range(config.shards)]
        self._drop_log = RateLimit(_DROP_LOG_SECONDS, clock)
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        total = self._metrics.total_ledger()
        return (
            f"<SecondaryStream shards={len(self._shards)} queued={total.queued} in_flight={total.in_flight}>"
        )

    # --- entering: synchronous, at the position of the reply

    def offer(self, items: list[StreamItem]) -> None:
        """Enter items in their order; those that find no room are dropped and counted.

        The books are made at the end of the step, for all items of the step at once.
        """
        self._offered += items
        if not self._commit_is_due:
            self._commit_is_due = True
            self._at_end_of_step(self._commit)

    def _commit(self) -> None:
        """Admit what was offered in this step, and hand it over."""
        self._commit_is_due = False
        offered, self._offered = self._offered, []
        if not self._admit(offered):
            offered = [item for item in offered if self._admit_or_refuse(item)]
            if not offered:
                return
        if len(self._shards) == 1:
            self._shards[0].enter([*offered])
        else:
            self._enter_by_key(offered)

    def _admit(self, items: list[StreamItem]) -> bool:
        """Enter items into the books if there is room for all of them."""
        size = size_bytes(items)
        if self.is_closing or self._bytes + size > self._max_bytes:
            return False
        by_queue = Counter([item.queue for item in items])
        for queue, count in by_queue.items():
            counters = self._queues[queue]
            if counters.ledger.queued + count > counters.capacity:
                return False
        for queue, count in by_queue.items():
            self._queues[queue].ledger.offer(count)
        self._bytes += size
        if Queue.SCRIPT in by_queue:
            for item in items:
                self.scripts.learn(item)
        return True

    def _admit_or_refuse(self, item: StreamItem) -> bool:
        if self._admit([item]):
            return True
        reason = DropReason.SHUTDOWN if self.is_closing else DropReason.QUEUE_FULL
        self._queues[item.queue].ledger.refuse(reason)
        self._note_drop(item, reason)
        return False

    def _enter_by_key(self, items: list[StreamItem]) -> None:
        entries: list[list[Entry]] = [[] for _ in self._shards]
        for item in items:
            numbers = self._shard_numbers(item.keys())
            entry = item if len(numbers) == 1 else Rendezvous(item, len(numbers))
            for number in numbers:
                entries[number].append(entry)
        for shard, entering in zip(self._shards, entries, strict=True):
            if entering:
                shard.enter(entering)

    def _shard_numbers(self, keys: Sequence[bytes] | None) -> Collection[int]:
        count = len(self._shards)
        if keys is None:
            return range(count)
        return {zlib.crc32(key) % count for key in keys} or (0,)

    def db_for(self, item: StreamItem) -> int:
        """Return where an item belongs on the secondary: the same database, unless the settings pair two."""
        return self._paired_dbs.get(item.context.db, item.context.db)

    # --- accounting

    def drop(self, item: StreamItem, reason: DropReason) -> None:
        """Drop an item that was waiting."""
        self._queues[item.queue].ledger.drop_queued(reason)
        self._bytes -= size_bytes([item])
        self._note_drop(item, reason)

    def _note_drop(self, item: StreamItem, reason: DropReason) -> None:
        if item.queue is Queue.SHADOW:
            self._metrics.shadow_inconclusive[reason.value] += 1
        suppressed = self._drop_log.allow()
        if suppressed is not None:
            _log.warning(
                "dropped",
                extra={"queue": item.queue.value, "reason": reason.value, "suppressed": suppressed},
            )

    def sheds(self, read: StreamItem, now: float) -> bool:
        """Return whether a shadow read makes room: the stream is behind, and writes wait too."""
        is_behind = now - read.offered_at > self._shed_after_seconds
        return is_behind and self._queues[Queue.WRITE].ledger.queued > 0

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
        by_command = self._metrics.backends[self.backend.name].by_command
        bucket = bucket_of(seconds)
        for index, count in Counter([item.plan.index for item in batch]).items():
            by_command[index].counts[bucket] += count
            by_command[index].sum_seconds += seconds * count
        failed: Counter[Queue] = Counter()
        matches = 0
        try:
            for item, frame in zip(batch, frames, strict=True):
                if item.expected is None:
                    if (error := error_of(item, frame)) is not None:
                        failed[item.queue] += 1
                        by_command[item.plan.index].errors += 1
                        self._metrics.secondary_write_errors[item.plan.index, write_error_reason(error)] += 1
                elif frame == item.expected and not item.attempt:
                    matches += 1
                else:
                    self._compare(item, frame)
        finally:  # whatever the comparing does
            self._metrics.shadow_matches += matches
            self._finish(batch, by_queue, failed)

    def settle_without_answer(self, batch: list[StreamItem], by_queue: Counter[Queue], reason: str) -> None:
        """Account for a batch whose outcome is unknown."""
        for item in batch:
            if item.expected is None:
                self._metrics.secondary_write_errors[item.plan.index, reason] += 1
            else:
                self._metrics.shadow_read_errors += 1
                self._metrics.shadow_inconclusive[reason] += 1
        self._finish(batch, by_queue, by_queue)

    def _finish(self, batch: list[StreamItem], by_queue: Counter[Queue], failed: Counter[Queue]) -> None:
        for queue, count in by_queue.items():
            counters = self._queues[queue]
            counters.ledger.fail(failed[queue])
            counters.ledger.apply(count - failed[queue])
            counters.active_workers -= 1
        self._bytes -= size_bytes(batch)

    # --- looking at it

    def oldest_age_seconds(self) -> float:
        """Return how long the item that has waited longest has been waiting."""
        offers = [offered_at for shard in self._shards if (offered_at := shard.oldest_offer) is not None]
        return max(0.0, self.clock() - min(offers)) if offers else 0.0

    @property
    def waiting_bytes(self) -> int:
        """What everything queued and in flight takes in memory, roughly."""
        return self._bytes

    @property
    def is_connected(self) -> bool:
        """Whether every shard has a connection that is not known to be broken."""
        return all(shard.is_connected for shard in self._shards)

    # --- life

    async def run(self) -> None:
        """Empty the queue until it is closed and empty, or the drain's time is over."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for shard in self._shards:
                        nursery.start_soon(shard.run)
        finally:
            for shard in self._shards:
                shard.abandon()

    def close(self, drain_seconds: float) -> None:
        """Take nothing more; what is queued has *drain_seconds* to reach the secondary."""
        if self._offered:
            self._commit()
        self._closing.set()
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + drain_seconds)
        for shard in self._shards:
            shard.close_entrance()

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is taken."""
        return self._closing.is_set()

    async def wait_closing(self) -> None:
        """Wait until nothing more is taken."""
        await self._closing.wait()
