"""The secondary stream: everything on its way to the secondary, in the primary's order.

Items enter synchronously, at the position of their reply on the lane, and leave through one worker per
shard (`dualkv.net.shard`). A shard is chosen by key, so that a key has one order. A request over several
shards is a rendezvous: it enters all of them in one step, and their workers wait at it until one has
applied it.

Bounded in items (by queue) and in bytes, and no client waits for it. What finds no room is counted and its
keys are dirty (`dualkv.core.dirty`); so are those of all that fails, is lost, or is answered otherwise than
expected. Writes to dirty keys are left to the copies of their states. What leaves is accounted for in
`dualkv.net.settling`.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import trio

from dualkv.config import ProxyConfig
from dualkv.core.confirming import Confirming
from dualkv.core.dialect import LEARNING, Dialect
from dualkv.core.dirty import DirtyKeys, DirtyReason, Key
from dualkv.core.doubtful import DoubtfulKeys
from dualkv.core.gate import Gate, GateState
from dualkv.core.history import WriteHistory
from dualkv.core.identity import Forgotten, Identity, identify
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import (
    StreamItem,
    size_bytes,
)
from dualkv.core.pacing import Pacing
from dualkv.core.recent import RecentKeys
from dualkv.core.rendezvous import Entry, Rendezvous
from dualkv.core.same_server import Acquaintance
from dualkv.core.translator import Translator
from dualkv.net.backend import RedisBackend
from dualkv.net.settling import Settling
from dualkv.net.shard import Shard
from dualkv.observe.metrics import ProxyMetrics

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
            confirms an earlier one.
        inconclusive: Called with each shadow read that will not be compared, and why.
        at_end_of_step: Calls something when the current synchronous step is over.
        report_failure: Called with an exception that is a bug of ours; the worker goes on.
        translator: Knows scripts, and is told what the secondary understands.
        dirty: Where keys are remembered.
        recent: The keys of the last writes.
    """

    def __init__(
        self,
        backend: RedisBackend,
        config: ProxyConfig,
        metrics: ProxyMetrics,
        clock: Callable[[], float],
        compare: Callable[[StreamItem, bytes], None],
        inconclusive: Callable[[StreamItem, str], None],
        at_end_of_step: Callable[[Callable[[], None]], None],
        report_failure: Callable[[Exception], None],
        translator: Translator,
        dirty: DirtyKeys,
        recent: RecentKeys,
    ) -> None:
        self.backend = backend
        self.stores = Acquaintance.of(config, backend.options)
        self.translator = translator
        self.dirty = dirty
        self._recent = recent
        self._recent_window_seconds = config.recent_window_seconds
        self.dialect: Dialect | None = None
        """What the secondary understands; None: it has not been reached yet."""
        self._identity: Identity | None = None
        self.doubtful = DoubtfulKeys(
            dirty, translator.scripts.names_its_keys, are_repaired=config.repair != "off"
        )
        self.copied_bytes = 0
        """What copies of states that are queued or in flight take in memory."""
        self.gate = Gate(config.secondary_timeout_seconds, config.shards)
        self._repairs = config.repair == "auto"
        self._paired_dbs = {config.backend_options(which).db: backend.options.db for which in _BOTH}
        translator.is_mirrored = self._is_home
        translator.home_db = next(iter(self._paired_dbs))
        translator.require_resync = dirty.require_resync
        self.clock = clock
        self.timeouts_seconds = {
            Queue.WRITE: config.secondary_timeout_seconds,
            Queue.BLOCKING: config.secondary_timeout_seconds,
            Queue.SCRIPT: config.script_timeout_seconds,
            Queue.SHADOW: config.shadow_timeout_seconds,
            Queue.COPY: config.secondary_timeout_seconds,
        }
        self.shortest_timeout_seconds = min(self.timeouts_seconds.values())
        self.read_timeout_seconds = config.read_timeout_seconds
        self._shed_after_seconds = config.shadow_timeout_seconds / 3
        self.scripts = translator.scripts
        self.script_slots = trio.CapacityLimiter(config.script_concurrency)
        self.pacing = metrics.pacing = Pacing(config.shards)
        self.transaction_slots = trio.CapacityLimiter(config.shards)
        """For who sends transactions, if the secondary `fuses`."""
        for queue, size in config.queue_sizes.items():
            metrics.queues[Queue(queue)].capacity = size
        self.report_failure = report_failure
        self._metrics = metrics
        self._queues = metrics.queues
        self.confirming = Confirming(0)
        """What is being confirmed: it is told of writes."""
        self.canaries: Collection[bytes] = ()
        """Keys of a self-test; while there are any, `counted` is asked what counts."""
        self.counted: Callable[[list[StreamItem]], list[StreamItem]] = lambda items: items
        self.history: WriteHistory | None = None
        """What happened to keys lately, if anybody wants to know."""
        self._max_bytes = config.secondary_queue_bytes
        self.waiting_bytes = 0
        """What everything queued and in flight takes in memory, roughly."""
        self._closing = trio.Event()
        self._at_end_of_step = at_end_of_step
        self._commit_is_due = False
        self._offered: list[StreamItem] = []
        self.settling = Settling(self, metrics, compare, inconclusive)
        """The books of what leaves."""
        translator.on_unheld = self.settling.note_unheld
        self._shards = [Shard(self, number) for number in range(config.shards)]
        self._scope = trio.CancelScope()
        self.paused_at: float | None = None
        """Since when somebody wants nothing to be sent, on the clock."""
        self.unsent_messages = 0
        """Items with messages for subscribers, or scripts, that did not get to the secondary for certain."""
        self.announce_dirty: Callable[[], None] = lambda: None
        """Called when keys have become dirty."""
        self.on_identified: Callable[[str, str], None] = lambda _name, _run_id: None
        """Called with the secondary's name and process, whenever it has said so."""
        self.wake_copier: Callable[[], None] = lambda: None
        """Called when more can be copied than before."""

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
        doubtful = self.doubtful
        if self.confirming:
            self.confirming.written(items)
        if doubtful.swaps:
            for item in items:
                item.epoch = doubtful.swaps
        if doubtful.under_way:
            items = [item for item in items if not self._disturbs_copies(item)]
        if not self.gate.is_open:
            items = [item for item in items if self._passes_gate(item)]
        elif self.dirty:
            items = [item for item in items if not self._is_deferred(item)]
        if not items:
            return
        self._offered += items
        if not self._commit_is_due:
            self._commit_is_due = True
            self._at_end_of_step(self._commit)

    def _passes_gate(self, item: StreamItem) -> bool:
        """Whether an item enters though writes do not flow; of the others the keys are remembered."""
        if item.queue is Queue.COPY:
            return not self.gate.is_paused or self._refuse_copy(item)
        if item.queue is Queue.SHADOW:
            self._refuse(item, DropReason.SUSPENDED)
            return False
        keys = self.doubtful.keys_now(item)
        if keys is None and self.gate.state is GateState.OVERLOADED:
            return True  # it has its place in the order: what is queued already comes before it
        if not keys and keys is not None:
            self._refuse(item, DropReason.SUSPENDED)
            return False
        self._queues[item.queue].ledger.defer()
        self.settling.note_unsent(item)
        self.not_applied(item, self.why_remembered())
        return False

    def _refuse_copy(self, item: StreamItem) -> bool:
        """Take note that a copy does not enter, though it has been made: its keys are dirty again."""
        self._refuse(item, DropReason.SUSPENDED)
        self.not_applied(item, DirtyReason.PAUSED)
        return False

    def remember(self, db: int, keys: list[bytes]) -> None:
        """Take note of plain writes, one for each of *keys*, while writes do not flow."""
        self._queues[Queue.WRITE].ledger.defer(len(keys))
        if not self.dirty.has_all(db, keys):
            self.mark_keys([(db, key) for key in keys], self.why_remembered())

    def why_remembered(self) -> DirtyReason:
        """Return why keys of writes are remembered while these do not flow."""
        if self.gate.is_paused:
            return DirtyReason.PAUSED
        return DirtyReason.OVERLOAD if self.gate.answers else DirtyReason.UNREACHABLE

    def _is_deferred(self, item: StreamItem) -> bool:
        """Whether an item does not enter, since a key of it is dirty."""
        if not self.is_spoiled(item, is_queued=False):
            return False
        if item.queue is Queue.SHADOW:
            self._refuse(item, DropReason.DIRTY_KEY)
        else:
            self._queues[item.queue].ledger.defer()
            self.settling.note_unsent(item)
        return True

    def defers(self, item: StreamItem) -> bool:
        """Whether an item that has been waiting is not sent: a key of it has become dirty meanwhile."""
        if not self.is_spoiled(item, is_queued=True):
            return False
        if item.queue is Queue.SHADOW:
            self.settling.drop(item, DropReason.DIRTY_KEY)
        else:
            self.settling.leave_queue(item)
        return True

    def is_spoiled(self, item: StreamItem, *, is_queued: bool) -> bool:
        """Whether an item would meet another state than on the primary; then its keys are copied instead."""
        is_spoiled = self.doubtful.spoils(item, self.clock(), is_queued=is_queued)
        self.announce_dirty()
        return is_spoiled

    def _disturbs_copies(self, item: StreamItem) -> bool:
        """Whether an item cannot be sent beside the chunks of a large key."""
        if not self.doubtful.disturbs_copies(item, self.clock()):
            return False
        self._refuse(item, DropReason.DIRTY_KEY)
        return True

    def follow_swaps(self, item: StreamItem) -> None:
        """Take note if an item has exchanged databases: their dirty keys go with them."""
        self.doubtful.follow_swaps(item, self.clock())
        self.announce_dirty()

    def copy_now(self, keys: Iterable[Key], *, is_unordered: bool = False) -> None:
        """Copy the state of *keys* at the next position (`DoubtfulKeys.copy_now`)."""
        self.doubtful.copy_now(keys, self.clock(), is_unordered=is_unordered)
        self.announce_dirty()

    def mark_keys(
        self, keys: Iterable[Key] | None, reason: DirtyReason, *, unordered_for_seconds: float = 0.0
    ) -> None:
        """Take note that *keys* may differ on the secondary (`DoubtfulKeys.mark`)."""
        self.doubtful.mark(keys, reason, self.clock(), unordered_for_seconds=unordered_for_seconds)
        self.announce_dirty()

    def not_applied(self, item: StreamItem, reason: DirtyReason) -> None:
        """Take note that an item was not executed, or that nobody knows."""
        self.doubtful.not_applied(item, reason, self.clock())
        self.announce_dirty()

    def is_welcome(self, replies: Sequence[bytes]) -> bool:
        """Whether writes may be mirrored to the store that has answered `INTRODUCTION` so."""
        return self.stores.is_allowed(follows=identify(replies[len(LEARNING) :]))

    def introduced(self, dialect: Dialect, replies: Sequence[bytes]) -> None:
        """Take note of what the secondary, which `is_welcome`, says of itself on a new connection.

        Args:
            dialect: What it understands.
            replies: Those to `INTRODUCTION`.
        """
        if not dialect.has_databases and self.dialect is None:
            extra = {"backend": self.backend.name, "db": self.translator.home_db}
            _log.warning("all databases of the secondary are one: only this one is mirrored", extra=extra)
        self.dialect = dialect
        self.translator.speak(dialect)
        before, self._identity = self._identity, identify(replies[len(LEARNING) :])
        self.gate.answered()
        self.came_back(self.backend.name, self._identity.forgotten_since(before))
        self.on_identified(self.backend.name, self._identity.run_id)
        self.wake_copier()

    def lost_contact(self, backend: str) -> None:
        """Take note that a store's connection broke: it may be another process when it comes back."""
        self._recent.hold(backend, self.clock())

    def came_back(self, backend: str, forgotten: Forgotten) -> None:
        """Take note of what a store may have lost when it came back."""
        if forgotten is Forgotten.NOTHING:
            self._recent.release(backend)
            return
        _log.warning(
            "a store came back as another process", extra={"backend": backend, "lost": forgotten.value}
        )
        self.dirty.functions = True
        if forgotten is Forgotten.ANYTHING:
            self.dirty.require_resync(f"{backend} came back without its data, or older")
        keys, is_all = self._recent.since_window(self.clock(), backend)
        self._recent.release(backend)
        self.mark_keys(keys, DirtyReason.RESTARTED)
        if not is_all:
            self.dirty.require_resync(f"{backend} came back, and not all of its last writes are known")
        since = self.clock() - self._recent_window_seconds
        if backend == self.backend.name and self._metrics.resync.has_copied_since(since):
            self.dirty.require_resync(f"{backend} came back, and may not have all that was just copied to it")

    def _commit(self) -> None:
        """Admit what was offered in this step, and hand it over."""
        self._commit_is_due = False
        offered, self._offered = self._offered, []
        if not offered:
            return
        if not self._admit(offered):
            offered = [item for item in offered if self._admit_or_refuse(item)]
            if not offered:
                return
        if self.history is not None and (writes := [item for item in offered if item.expected is None]):
            self.history.entered(writes, size_bytes(writes))
        if len(self._shards) == 1:
            self._shards[0].enter([*offered])
        else:
            self._enter_by_key(offered)
        self.measure()

    def measure(self) -> None:
        """Look at how full the stream is; if it is too full, leave what waits to copies of the keys."""
        was_open = self.gate.is_open
        waiting = self._queues[Queue.WRITE].ledger.queued
        if not was_open and self._repairs:
            waiting += len(self.dirty)
        fullness = max(waiting / self._queues[Queue.WRITE].capacity, self.waiting_bytes / self._max_bytes)
        self.gate.measure(fullness, self.oldest_age_seconds())
        if was_open and not self.gate.is_open:
            _log.warning("the secondary is slower than the writers: keys are copied instead")
            for shard in self._shards:
                shard.coalesce()
        elif not was_open and self.gate.is_open:
            _log.info("writes flow again")

    def _admit(self, items: list[StreamItem]) -> bool:
        """Enter items into the books if there is room for all of them."""
        size = size_bytes(items)
        if self.is_closing or self.waiting_bytes + size > self._max_bytes:
            is_large_copy = items[0].queue is Queue.COPY and len(items) == 1 and not self.copied_bytes
            if self.is_closing or not is_large_copy:  # one that is larger than the bound goes alone
                return False
        by_queue = Counter([item.queue for item in items])
        for queue, count in by_queue.items():
            counters = self._queues[queue]
            if counters.ledger.queued + count > counters.capacity:
                return False
        for queue, count in by_queue.items():
            self._queues[queue].ledger.offer(count)
        self.waiting_bytes += size
        if Queue.COPY in by_queue:
            copies = [item for item in items if item.queue is Queue.COPY]
            self.copied_bytes += size_bytes(copies)
            self.doubtful.queued(copies)
        return True

    def _admit_or_refuse(self, item: StreamItem) -> bool:
        if self._admit([item]):
            return True
        self._refuse(item, DropReason.SHUTDOWN if self.is_closing else DropReason.QUEUE_FULL)
        self.not_applied(item, DirtyReason.DROPPED)
        return False

    def passed(self, item: StreamItem) -> None:
        """Take note that a copy leaves its place in the queue."""
        self.doubtful.passed(item)

    def _refuse(self, item: StreamItem, reason: DropReason) -> None:
        self._queues[item.queue].ledger.refuse(reason)
        self.settling.note_drop(item, reason)

    def _enter_by_key(self, items: list[StreamItem]) -> None:
        entries: list[list[Entry]] = [[] for _ in self._shards]
        for item in items:
            numbers = self._shard_numbers(item.keys())
            entry = item if len(numbers) == 1 else Rendezvous(item, numbers)
            for number in numbers:
                entries[number].append(entry)
        for shard, entering in zip(self._shards, entries, strict=True):
            if entering:
                shard.enter(entering)

    def met(self, rendezvous: Rendezvous) -> None:
        """Take note that a rendezvous is over: its shards go on with what touches its keys."""
        rendezvous.is_over = True
        for number in rendezvous.shards:
            self._shards[number].wake()

    @property
    def shard_count(self) -> int:
        """Over how many shards, each with a connection, it goes."""
        return len(self._shards)

    def shard_of(self, key: bytes) -> int:
        """Return the number of the shard that a key's writes go through."""
        return next(iter(self._shard_numbers((key,))))

    def _shard_numbers(self, keys: Sequence[bytes] | None) -> Collection[int]:
        count = len(self._shards)
        if keys is None:
            return range(count)
        return {zlib.crc32(key) % count for key in keys} or (0,)

    @property
    def fuses(self) -> bool:
        """Whether batches go to the secondary as transactions. Such a store has one database."""
        return self.dialect is not None and self.dialect.fuses

    def primary_ms(self) -> int:
        """Return the primary's time, in milliseconds since 1970."""
        return self.translator.time.at_ms(self.clock())

    def db_for(self, item: StreamItem) -> int:
        """Return where an item belongs on the secondary: the same database, unless the settings pair two."""
        return self._paired_dbs.get(item.context.db, item.context.db)

    def _is_home(self, db: int) -> bool:
        """Whether one of the primary's databases belongs into the secondary's first."""
        return self._paired_dbs.get(db, db) == self.backend.options.db

    # --- how far it is behind

    def sheds(self, read: StreamItem, now: float) -> bool:
        """Return whether a shadow read makes room: the stream is behind, and writes wait too."""
        patience = min(self._shed_after_seconds, self._metrics.shadow_budget.permitted_age_seconds)
        is_behind = now - read.offered_at > patience
        return is_behind and self._queues[Queue.WRITE].ledger.queued > 0

    @property
    def most_reads(self) -> int:
        """How many shadow reads may go in one batch."""
        return self._metrics.shadow_budget.most_per_batch

    # --- leaving the secondary alone

    def pause(self) -> None:
        """Send nothing more until `resume`; keys of writes are remembered meanwhile.

        What waits is left to copies of its keys; what names none makes a resync necessary. What is in flight
        has a second to be answered.
        """
        if self._offered:
            self._commit()
        if self.paused_at is None:
            self.paused_at = self.clock()
        self.gate.pause(True)
        for shard in self._shards:
            shard.pause()

    def resume(self) -> None:
        """Let writes flow again; what was remembered is copied, as the settings say."""
        self.paused_at = None
        self.gate.pause(False)
        self.measure()
        for shard in self._shards:
            shard.wake()
        self.wake_copier()

    # --- looking at it

    def oldest_age_seconds(self) -> float:
        """Return how long the item that has waited longest has been waiting."""
        offers = [offered_at for shard in self._shards if (offered_at := shard.oldest_offer) is not None]
        return max(0.0, self.clock() - min(offers)) if offers else 0.0

    def oldest_unsettled(self) -> float:
        """Return when the oldest item was offered that is queued or in flight; infinity if there is none."""
        offers = [
            offered_at
            for shard in self._shards
            for offered_at in (shard.oldest_offer, shard.in_flight_since)
            if offered_at is not None
        ]
        offers += [item.offered_at for item in self._offered[:1]]
        return min(offers, default=math.inf)

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
