"""Copies the state of keys to the secondary: reads on the lane, so each copy has its position.

Two kinds of work share one path. Copies that are the effect of a command (scripts with random values, what a
blocking command took) are made at once; repairs of dirty keys go at a bounded rate, as fast as the secondary
takes them and no faster, and wait while it does not answer. A resync (`dualkv.net.resync`) copies what it
finds.

What to read and to write is decided in `dualkv.core.copying`: a look at the key, then ``DUMP`` where the
secondary can read that, else by type; large hashes, sets and sorted sets in chunks.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from dualkv.core.context import Context
from dualkv.core.copying import Copied, CopyFailed, KeyCopy, asked_together
from dualkv.core.copying.functions import library_writes
from dualkv.core.dirty import DirtyReason, Key
from dualkv.core.ledger import Queue
from dualkv.core.mirror import commands_item
from dualkv.errors import ConnectionLost
from dualkv.net.calls import Call, PositionedCall, wait_all
from dualkv.net.lane import LaneState
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error

if TYPE_CHECKING:
    from dualkv.net.stream import SecondaryStream
    from dualkv.net.writer import DualWriter

__all__ = ["Copier"]

_BATCH_KEYS: Final = 128
_BATCHES: Final = 4
"""Batches under way at once: while one is measured another is read."""
_BYTES_PER_KEY: Final = 2048
"""So much room in the stream is meant for a key whose size is not known yet."""
_TURN_SECONDS: Final = 0.02
"""How often it is looked for work that nobody has announced: keys that wait for their next attempt."""
_BURST_SECONDS: Final = 0.1

_log = logging.getLogger("dualkv.copier")


_FUNCTIONS_SECONDS: Final = 0.5
"""Between two copies of the libraries of functions, at least."""
_FEW: Final = 2
"""So many submissions between two looks are dualkv's own housekeeping."""
_BUSY_KEYS: Final = 32
"""Keys in one piece while clients are served: the loop stands still for a millisecond."""
_YIELD: Final = 3
"""While clients are served, pauses are so many times as long as what is between them."""
_LONGEST_YIELD_SECONDS: Final = 0.1
_PIECE_BYTES: Final = 4 * 1024 * 1024
"""Values that are read in one piece, unless a single one is larger."""


@attrs.define(eq=False)
class _Job:
    """One key to copy."""

    key: Key
    attempts: int
    copy: KeyCopy
    is_dirty: bool
    """Whether it is in the books of dirty keys; else a resync has found it."""
    size_bytes: int = 0
    """As the primary says, once it has been looked at."""
    is_urgent: bool = False
    """Its copy is the effect of a command."""
    is_over: bool = False
    has_begun: bool = False
    """Its copy's first position has been reached."""


class Copier:
    """Makes copies.

    Args:
        writer: Whose lane is read.
        stream: Where copies enter.
    """

    def __init__(self, writer: DualWriter, stream: SecondaryStream) -> None:
        config = writer.config
        self._writer = writer
        self._stream = stream
        self._dirty = writer.dirty
        self._metrics = writer.metrics
        self._repairs_always = self.is_repairing = config.repair == "auto"
        """Whether dirty keys are repaired now; copies that are effects are made in any case."""
        self.rate = config.repair_rate
        """Keys that are repaired per second, at most; 0: no limit. May be changed at any time."""
        self._max_bytes = min(config.copy_bytes, config.secondary_queue_bytes // 2)
        self._max_batch = max(1, min(_BATCH_KEYS, self._max_bytes // _BYTES_PER_KEY))
        self._max_queued = max(_BATCH_KEYS, writer.metrics.queues[Queue.COPY].capacity // 2)
        self._wakeup = trio.Event()
        self._slots = trio.CapacityLimiter(_BATCHES)
        self._tokens = 0.0
        self._tokens_at = writer.clock()
        self._submissions = 0  # of ours, on the lane
        self._others = 0  # those of others, when that was last looked at
        self._functions_at = 0.0  # when libraries of functions may be copied again
        self._bytes = 0
        """What is being read now, by the sizes that the primary has told."""
        self._is_idle = False  # there was nothing to do
        stream.wake_copier = self.wake
        stream.announce_dirty = self._on_dirty

    def repair_now(self) -> None:
        """Repair what is dirty, whatever the settings say, until nothing is."""
        self.is_repairing = True
        self.wake()

    @property
    def _reaches_both(self) -> bool:
        """Whether both stores answer, as far as anybody knows, and may be asked."""
        return self._writer.lane.state is LaneState.UP and self._stream.gate.takes_copies

    @property
    def is_at_work(self) -> bool:
        """Whether anything is dirty that it would copy, and can."""
        if not self._reaches_both:
            return False
        dirty = self._dirty
        waits = bool(dirty) if self.is_repairing else dirty.has_urgent
        return waits or dirty.functions or self._metrics.copies_in_flight > 0

    def wake(self) -> None:
        """More can be done than before."""
        self._wakeup.set()

    def _on_dirty(self) -> None:
        """There is something to do; while there is much of it anyway, that is no news."""
        if self._is_idle or (self._dirty.has_urgent and self._stream.gate.takes_copies):
            self._wakeup.set()

    # --- dirty keys

    async def run(self) -> None:
        """Copy dirty keys until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wakeup = trio.Event()
                if self._dirty.functions and self._writer.clock() > self._functions_at and self._can_copy():
                    await self._copy_functions()
                jobs = self._next_jobs()
                if not jobs:
                    has_work = self._dirty or self._dirty.functions
                    self.is_repairing = self._repairs_always or (self.is_repairing and bool(self._dirty))
                    self._is_idle = not has_work
                    with trio.move_on_after(_TURN_SECONDS if has_work else float("inf")):
                        await self._wakeup.wait()
                    self._is_idle = False
                    continue
                self._metrics.copies_in_flight += len(jobs)
                await self._slots.acquire_on_behalf_of(jobs)
                nursery.start_soon(self._copy_batch, jobs)

    def _next_jobs(self) -> tuple[_Job, ...]:
        dirty, now = self._dirty, self._writer.clock()
        if not self._can_copy():
            return ()
        repairs = self._take_tokens(now) if self.is_repairing and dirty.has_waiting else 0
        taken = dirty.take(self._max_batch, repairs, now)
        return tuple(
            self._job(key, attempts, is_dirty=True, is_urgent=dirty.is_urgent(key)) for key, attempts in taken
        )

    def _job(self, key: Key, attempts: int, *, is_dirty: bool, is_urgent: bool = False) -> _Job:
        target = self._stream.dialect
        assert target is not None
        with_dump = attempts % 2 == 0  # what could not be restored is tried by type
        copy = KeyCopy(key[1], self._writer.primary_dialect, target, with_dump=with_dump)
        return _Job(key, attempts, copy, is_dirty, is_urgent=is_urgent)

    def _can_copy(self) -> bool:
        """Whether the primary can be read and the secondary takes what comes of it."""
        if not self._reaches_both:
            return False
        books = self._writer.metrics.queues[Queue.COPY].ledger
        return (
            not self._stream.is_closing
            and self._stream.dialect is not None
            and books.queued + books.in_flight + self._metrics.copies_in_flight < self._max_queued
            and self._stream.copied_bytes + self._bytes < self._max_bytes
        )

    def _take_tokens(self, now: float) -> int:
        if not self.rate:
            return self._max_batch
        burst = max(1.0, self.rate * _BURST_SECONDS)
        self._tokens = min(burst, self._tokens + (now - self._tokens_at) * self.rate)
        self._tokens_at = now
        count = min(self._max_batch, int(self._tokens))
        self._tokens -= count
        return count

    async def _copy_batch(self, jobs: tuple[_Job, ...]) -> None:
        try:
            await self._copy(jobs)
        except ConnectionLost:
            pass  # what was not copied stays dirty
        except Exception as error:  # noqa: BLE001 - the boundary of a batch
            self._writer.report_failure(error)
        finally:
            self._metrics.copies_in_flight -= len(jobs)
            for job in jobs:
                self._leave(job)
            self._slots.release_on_behalf_of(jobs)
            self.wake()

    def _leave(self, job: _Job) -> None:
        """A copy is over, or given up: what was not copied is still dirty."""
        if not job.has_begun:
            self._dirty.put_back(job.key)
        elif not job.is_over:
            self._dirty.mark(job.key, DirtyReason.AMBIGUOUS, self._writer.clock())

    # --- copying

    async def _copy_functions(self) -> None:
        """Replace the secondary's libraries of functions by the primary's."""
        writer, target = self._writer, self._stream.dialect
        self._dirty.functions = False
        self._functions_at = self._writer.clock() + _FUNCTIONS_SECONDS
        if target is None or not (
            writer.primary_dialect.has("FUNCTION LIST") and target.has("FUNCTION LOAD")
        ):
            return

        def take(frames: list[bytes], now: float) -> None:
            if not is_error(frames[0]):
                item = commands_item(Queue.COPY, library_writes(frames[0]), now, writer.own_context)
                self._stream.offer([item])

        call = PositionedCall(1, take)
        writer.lanes.submit(command("FUNCTION", "LIST", "WITHCODE"), call, writer.own_context, None)
        try:
            await call.wait()
        except ConnectionLost:
            self._dirty.functions = True

    async def copy_found(self, keys: Sequence[Key]) -> int:
        """Copy keys that are not known to be dirty; return when their copies have entered the stream.

        Returns:
            How many bytes they take in the primary's memory.

        Raises:
            ConnectionLost: The lane broke; some may not have been copied.
        """
        while not self._can_copy():  # noqa: ASYNC110 - many things together, none of which is an event
            await trio.sleep(_TURN_SECONDS)
        if self.rate:
            await trio.sleep(len(keys) / self.rate)
        jobs = [
            self._job(key, 0, is_dirty=key in self._dirty)
            for key in keys
            if not (self.is_repairing and key in self._dirty)
        ]
        self._metrics.copies_in_flight += len(jobs)
        try:
            await self._copy(jobs)
        finally:
            self._metrics.copies_in_flight -= len(jobs)
        return sum(job.size_bytes for job in jobs)

    async def _copy(self, jobs: Sequence[_Job]) -> None:
        """Read again and again what the copies want to know, all of one database together."""
        try:
            by_db: defaultdict[int, list[_Job]] = defaultdict(list)
            for job in jobs:
                by_db[job.key[0]].append(job)
            for db, of_db in by_db.items():
                while unfinished := [job for job in of_db if not job.is_over]:
                    is_busy = self._is_busy()
                    most = min(self._max_batch, _BUSY_KEYS) if is_busy else self._max_batch
                    for piece in _pieces(unfinished, most):
                        started = self._writer.clock()
                        await self._read(db, piece)
                        if is_busy and not any(job.is_urgent for job in piece):
                            seconds = self._writer.clock() - started
                            await trio.sleep(min(_LONGEST_YIELD_SECONDS, seconds * _YIELD))
        finally:
            for job in jobs:
                self._stream.doubtful.under_way.discard(job.key)

    def submit(self, db: int, wire: bytes, call: Call, keys: Sequence[bytes] = ()) -> None:
        """Send on the lane of *keys*, in a database, what is asked for the sake of copies.

        Raises:
            ConnectionLost: The primary cannot be reached; nothing was sent.
        """
        lane = self._writer.lane
        if lane.state is not LaneState.UP:
            raise ConnectionLost("the primary cannot be reached")
        lane.dbs.add(db)
        self._writer.lanes.submit(wire, call, Context(db=db), keys)
        self._submissions += 1

    def _is_busy(self) -> bool:
        """Whether clients use the lane: then copies take small bites, and pauses between them."""
        others = self._writer.lanes.submissions - self._submissions
        is_busy = others > self._others + _FEW
        self._others = others
        return is_busy

    async def _read(self, db: int, jobs: Sequence[_Job]) -> None:
        """Read what the copies want next, in one piece, or in one per lane where their keys are in flight."""
        await self._writer.lanes.wait_free([job.key[1] for job in jobs])
        size = sum(job.size_bytes for job in jobs)
        self._bytes += size
        try:
            parts = self._writer.lanes.split(jobs, lambda job: job.key[1])
            await wait_all([self._ask(db, part) for part in parts])
        finally:
            self._bytes -= size

    def _ask(self, db: int, jobs: Sequence[_Job]) -> Call:
        source = self._writer.primary_dialect
        asked = [asked_together(job.copy.next_read(), source) for job in jobs]

        def take(frames: list[bytes], now: float) -> None:
            position = 0
            for job, one in zip(jobs, asked, strict=True):
                end = position + one.reply_count
                self._on_replies(job, one.replies(frames[position:end]), now)
                position = end

        call = PositionedCall(sum(one.reply_count for one in asked), take)
        self.submit(db, b"".join(one.wire for one in asked), call, [job.key[1] for job in jobs])
        return call

    def _on_replies(self, job: _Job, replies: Sequence[bytes], now: float) -> None:
        """A position of a copy: let what follows from it enter the stream."""
        if not job.size_bytes and len(replies) == 2 and replies[1][:1] == b":":
            job.size_bytes = int(replies[1][1:-2])
        if job.has_begun and job.key in self._dirty:  # disturbed: its next copy begins anew
            job.is_over = True
            return None
        try:
            copied = job.copy.on_replies(replies, self._writer.time.at_ms(now))
        except CopyFailed as error:
            return self._fail(job, error)
        if not (copied.commands or copied.lost or job.copy.is_over):
            return None
        if not job.has_begun:
            job.has_begun = True
            if job.is_dirty and not self._dirty.reached(job.key):
                job.is_over = True
                return None
        if job.copy.is_under_way:
            self._stream.doubtful.under_way.add(job.key)
        elif job.copy.is_over:
            job.is_over = True
            self._stream.doubtful.under_way.discard(job.key)
        self._enter(job, copied, now)

    def _enter(self, job: _Job, copied: Copied, now: float) -> None:
        if copied.commands:
            item = commands_item(Queue.COPY, copied.commands, now, Context(db=job.key[0]), job.attempts)
            item.mends = job.is_dirty
            if job.is_dirty:  # who comes back may have lost it, however long ago it was written
                self._writer.recent.note(job.key[0], (job.key[1],), now)
            self._stream.offer([item])
        self._stream.translator.not_holdable.update(copied.lost)
        for name in copied.lost:
            self._stream.settling.note_unheld(name, [job.key])

    def _fail(self, job: _Job, error: CopyFailed) -> None:
        job.is_over = True
        _log.warning("cannot copy a key", extra={"why": str(error)})
        if job.is_dirty and not job.has_begun:
            self._dirty.reached(job.key)
        self._dirty.mark(job.key, DirtyReason.FAILED, self._writer.clock(), attempts=job.attempts + 1)


def _pieces(jobs: Sequence[_Job], most: int) -> Iterator[list[_Job]]:
    """Cut jobs into what may be read in one piece, *most* of them at once."""
    piece: list[_Job] = []
    size = 0
    for job in jobs:
        if len(piece) == most or (piece and size + job.size_bytes > _PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(job)
        size += job.size_bytes
    if piece:
        yield piece
