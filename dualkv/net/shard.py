"""One shard of the secondary stream: a part of the queue, a connection, a task.

The task sends a batch, reads all its replies, and has each item accounted for before it takes the next
batch. So if the connection breaks, the items of that batch are exactly those whose outcome is unknown.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs
import trio

from dualkv.core.backoff import Backoff
from dualkv.core.context import Context
from dualkv.core.dialect import LEARNING, Dialect, canary, is_back_home, is_one_database, learn
from dualkv.core.identity import INTRODUCTION, is_clear
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.rendezvous import Entry, Look, Rendezvous, item_of
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.connection import Connection
from dualkv.net.exchange import Exchange
from dualkv.resp.encode import pack
from dualkv.resp.replies import is_error

if TYPE_CHECKING:
    from dualkv.net.stream import SecondaryStream

__all__ = ["Shard"]

_MAX_BATCH_ITEMS: Final = 1024
_MAX_BATCH_BYTES: Final = 256 * 1024
"""Requests sent before replies are read; more could fill the sockets both ways."""
_IDLE_SECONDS: Final = 0.1
"""A connection that was idle so long is looked at before it is used: the backend may have closed it."""
_LINGER_SECONDS: Final = 0.003
"""After the first item, wait so long for more: a batch costs 100 µs, however small it is."""
_COALESCED_AT_ONCE: Final = 200
"""Items, before clients are served again: that takes 1.5 ms."""
_IDLE_CHECK_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 1.0
"""So long what is in flight may take when somebody pauses the stream; then its outcome is unknown."""

_INTRODUCTION: Final = tuple(map(pack, INTRODUCTION))

_log = logging.getLogger("dualkv.stream")


class Shard:
    """Its part of the queue, its connection, its task.

    Args:
        stream: Whose part it is; keeps the books.
        number: Its place among the shards.
    """

    def __init__(self, stream: SecondaryStream, number: int) -> None:
        self._stream = stream
        self._number = number
        self._arrived: deque[list[Entry]] = deque()
        """What the task has not seen yet. The books keep it within bounds."""
        self._waiting: deque[Entry] = deque()
        self._is_stuck = False
        """Whether all that waits has to wait for other shards."""
        self._sleeper: trio.Event | None = None
        """Wakes the task, while it sleeps."""
        self._must_coalesce = False
        self._kept = 0
        """How many of the first entries that wait are kept in spite of it."""
        self._is_closed = False
        self._connection: Connection | None = None
        self._exchange: Exchange | None = None
        """What is said on the connection; there is one whenever there is a connection."""
        self._unknown: StreamItem | None = None
        """The next one, if it is not known whether the secondary has its database."""
        self._taken: list[Rendezvous] = []
        """What is in the batch for other shards, too."""
        self._last_exchange = 0.0
        self._backoff = Backoff()
        self._has_failed = False  # since the last batch that was answered
        self._sending: trio.CancelScope | None = None
        """What is in flight; its deadline is that of the batch."""
        self.in_flight_since: float | None = None
        """When the first item was offered that was sent and has not been answered."""

    # --- the entrance

    def enter(self, entries: list[Entry]) -> None:
        """Put entries behind all earlier ones. The list becomes the shard's."""
        self._arrived.append(entries)
        self.wake()

    def wake(self) -> None:
        """Something that waited for other shards may go out now, or there is something new."""
        self._is_stuck = False
        if self._sleeper is not None:
            self._sleeper.set()

    def pause(self) -> None:
        """Leave all that waits to copies of its keys: nothing is sent while the stream is paused."""
        self._receive_all()
        waiting, self._waiting, self._unknown = self._waiting, deque(), None
        for entry in waiting:
            if isinstance(entry, Rendezvous) and entry.is_taken:
                self._waiting.append(entry)  # another shard is sending it: what follows comes behind it
            else:
                self._forsake(entry)
        if self._sending is not None:
            self._sending.deadline = min(self._sending.deadline, trio.current_time() + _GRACE_SECONDS)
        self.wake()

    def _forsake(self, entry: Entry) -> None:
        """Leave what waits to copies; a rendezvous once."""
        if isinstance(entry, Rendezvous) and entry.is_over:
            return
        item = item_of(entry)
        if item.expected is not None or item.queue is Queue.COPY:
            self._stream.settling.drop(item, DropReason.SUSPENDED)
        else:
            self._stream.settling.defer(item)
        if isinstance(entry, Rendezvous):
            self._stream.met(entry)

    def coalesce(self) -> None:
        """Leave the writes that wait to copies of their keys, as soon as the task gets to it."""
        self._must_coalesce = True

    def _coalesce(self) -> None:
        """Do so with some of what waits, and leave the rest to later steps: clients are served between."""
        self._receive_all()
        waiting = self._waiting
        for _ in range(_COALESCED_AT_ONCE):
            if self._kept >= len(waiting):
                self._must_coalesce, self._kept = False, 0
                self._stream.measure()
                return
            entry = waiting[self._kept]
            # Other shards may be waiting at a rendezvous, or applying it.
            if isinstance(entry, Rendezvous) or entry.queue is Queue.COPY or entry.keys() is None:
                self._kept += 1
                continue
            del waiting[self._kept]
            if entry.expected is not None:
                self._stream.settling.drop(entry, DropReason.SUSPENDED)
            else:
                self._stream.settling.defer(entry)

    def close_entrance(self) -> None:
        """Nothing more will be offered."""
        self._is_closed = True
        if not self._is_stuck:
            self.wake()

    @property
    def oldest_offer(self) -> float | None:
        """When the first entry that waits was offered, if one does."""
        if self._waiting:
            return item_of(self._waiting[0]).offered_at
        return item_of(self._arrived[0][0]).offered_at if self._arrived else None

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection that is not known to be broken."""
        return self._connection is not None

    # --- the task

    async def run(self) -> None:
        """Send what is offered until the entrance is closed and nothing waits."""
        try:
            while not self._is_finished():
                try:
                    await self._step()
                except Exception as error:  # noqa: BLE001 - the boundary of a worker
                    self._disconnect(lost=True)
                    self._has_failed = True
                    self._stream.report_failure(error)
        finally:
            self._disconnect(lost=False)

    async def _step(self) -> None:
        """Connect, or wait for entries, or send some of them."""
        if self._must_coalesce:
            self._coalesce()
            return await trio.lowlevel.checkpoint()
        if self._must_rest():
            return await self._rest()
        if self._connection is None:
            if self._has_failed:
                await self._pause()
            if not await self._try_connect():
                return self._drop_expired()
        await self._wait_for_entries()
        if self._must_rest():
            return None
        if self._stream.stores.objection:
            return self._refuse()
        assert self._connection is not None
        if not self._stream.backend.is_current(self._connection.greeting):
            self._disconnect(lost=False)
            return None
        if self._was_idle() and self._connection.is_stale():
            self._disconnect(lost=True)
            return None
        if (item := self._unknown) is not None:
            self._unknown = None
            if not await self._look_for_db(item):
                return None
        await self._send_next()
        return None

    def _must_rest(self) -> bool:
        """Whether somebody wants nothing to be sent."""
        return self._stream.gate.is_paused

    async def _rest(self) -> None:
        """Wait while somebody wants nothing to be sent."""
        self._receive_all()
        self._waiting = deque(
            entry for entry in self._waiting if not (isinstance(entry, Rendezvous) and entry.is_over)
        )
        self._is_stuck = bool(self._waiting)  # on what another shard has sent before
        await self._wait_for_entries()

    async def _send_next(self) -> None:
        """Send the next batch, if there is one."""
        stream = self._stream
        if not stream.fuses:
            if batch := self._next_batch():
                await self._send_batch(batch)
            return
        async with stream.transaction_slots:  # what waits for one is still in the queue
            pacing = stream.pacing
            if batch := self._next_batch(pacing.effects, pacing.size_bytes):
                await self._send_batch(batch)
            stream.transaction_slots.total_tokens = pacing.at_once

    def _was_idle(self) -> bool:
        return self._stream.clock() - self._last_exchange > _IDLE_SECONDS

    def _is_finished(self) -> bool:
        self._receive_all()
        return self._is_closed and not self._waiting

    def _receive_all(self) -> None:
        while self._arrived:
            self._waiting += self._arrived.popleft()

    async def _wait_for_entries(self) -> None:
        """Return when something can go out, the entrance is closed, or to look at the connection."""
        self._receive_all()
        is_empty = not self._waiting
        if not (is_empty or self._is_stuck) or (is_empty and self._is_closed):
            return
        self._sleeper = trio.Event()
        with trio.move_on_after(_IDLE_CHECK_SECONDS):
            await self._sleeper.wait()
        self._sleeper = None
        if is_empty and self._arrived:
            await trio.sleep(_LINGER_SECONDS)
        self._receive_all()

    async def _pause(self) -> None:
        """Wait a little after a failure; do not begin to wait once the stream is closing."""
        stream = self._stream
        wait = self._backoff.next_wait_seconds()
        if stream.is_closing:
            await trio.sleep(wait)
        else:
            with trio.move_on_after(wait):
                await stream.wait_closing()
        self._receive_all()

    async def _try_connect(self) -> bool:
        """Try to connect once."""
        stream = self._stream
        try:
            sock, greeting = await stream.backend.open("stream")
        except BackendUnavailable as error:
            if self._backoff.is_fresh:
                _log.warning(
                    "secondary unreachable",
                    extra={"backend": stream.backend.name, "why": str(error)},
                )
            self._has_failed = True
            stream.gate.failed()
            return False
        self._connection = Connection(sock, greeting)
        self._exchange = Exchange(self._connection, stream)
        return await self._introduce()

    async def _introduce(self) -> bool:
        """Learn what the backend understands, and which process it is; return whether it answered."""
        assert self._connection is not None
        try:
            with trio.fail_after(self._stream.backend.options.dial_timeout_seconds):
                replies = await self._connection.exchange(b"".join(_INTRODUCTION), len(_INTRODUCTION))
                if not is_clear(replies):
                    raise ConnectionLost("the introduction was not answered")
                if is_welcome := self._stream.is_welcome(replies):
                    dialect = await self._learn(replies)
        except (ConnectionLost, ReplyProtocolError, trio.TooSlowError):
            self._has_failed = True
            self._stream.gate.failed()
            self._disconnect(lost=True)
            return False
        if not is_welcome:
            self._refuse()
            return False
        self._stream.introduced(dialect, replies)
        return True

    async def _learn(self, replies: Sequence[bytes]) -> Dialect:
        """Return the backend's dialect; whether its databases are one, is tried if nothing tells."""
        assert self._connection is not None
        dialect = learn(replies[: len(LEARNING)])
        if not dialect.has_databases:
            return dialect
        asked = canary(self._stream.backend.options.db, secrets.token_hex(8).encode())
        answers = await self._connection.exchange(b"".join(map(pack, asked)), len(asked))
        if not is_back_home(answers):
            raise ConnectionLost("SELECT does not lead back")
        return attrs.evolve(dialect, has_databases=not is_one_database(answers))

    def _refuse(self) -> None:
        """Send nothing to this store: it is as if it could not be reached."""
        if self._backoff.is_fresh:
            _log.error("nothing is mirrored", extra={"why": self._stream.stores.objection})
        self._has_failed = True
        self._stream.gate.failed()
        self._disconnect(lost=False)

    def _disconnect(self, *, lost: bool) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._stream.backend.closed("stream", lost=lost)
            if lost:
                self._stream.lost_contact(self._stream.backend.name)

    # --- batches

    def _next_batch(
        self, most: int = _MAX_BATCH_ITEMS, most_bytes: int = _MAX_BATCH_BYTES
    ) -> list[StreamItem]:
        """Take what goes out next: all but what has to wait for other shards. Drop what is too old."""
        stream, waiting, exchange = self._stream, self._waiting, self._exchange
        assert exchange is not None
        now = stream.clock()
        young = now - stream.shortest_timeout_seconds  # what was offered later needs no closer look
        batch: list[StreamItem] = []
        look: Look | None = None  # only once that matters
        usable: Context | None = None  # the last item's: mostly the next one's too
        size = 0
        while waiting and len(batch) < most:
            entry = waiting[0]
            if look is not None or isinstance(entry, Rendezvous):
                look = look or Look(self._number, batch, is_alone=not stream.fuses)
                if (found := look.find(waiting)) is None:
                    break
                entry = found
            item = entry.item if isinstance(entry, Rendezvous) else entry
            is_taken = False
            if item.offered_at < young and self._is_expired(item, now):
                stream.settling.drop(item, DropReason.EXPIRED)
            elif item.expected is not None and stream.sheds(item, now):
                stream.settling.drop(item, DropReason.SHED)
            elif (stream.dirty or stream.doubtful.mending) and stream.defers(item):
                pass
            elif item.context is not usable and not exchange.is_known(item):
                self._unknown = item
                break
            elif item.context is not usable and (refusal := exchange.refusal(item)) is not None:
                stream.settling.drop(item, refusal)
            else:
                usable = item.context
                size += len(item.request.raw)
                if size > most_bytes and batch:
                    break
                is_taken = True
                batch.append(item)
                if item.mends:
                    stream.passed(item)
            waiting.popleft()
            if isinstance(entry, Rendezvous):
                self._meet(entry, look if is_taken else None)
        if look is not None:
            look.put_back(waiting)
        self._is_stuck = bool(waiting) and not batch and self._unknown is None and look is not None
        return batch

    def _meet(self, rendezvous: Rendezvous, look: Look | None) -> None:
        """Take note that a rendezvous goes out with what *look* has found; None: it is not sent at all."""
        if look is None:
            self._stream.met(rendezvous)
        else:
            look.take(rendezvous)
            self._taken.append(rendezvous)

    def _drop_expired(self) -> None:
        """Drop all that is too old, wherever it stands: a patient item may stand before an impatient one."""
        now = self._stream.clock()
        kept: deque[Entry] = deque()
        for entry in self._waiting:
            if self._is_expired(item_of(entry), now):
                self._drop(entry, DropReason.EXPIRED)
            else:
                kept.append(entry)
        self._waiting = kept

    def _drop(self, entry: Entry, reason: DropReason) -> None:
        """Drop what waits; a rendezvous once, for all its shards, unless one of them is sending it."""
        if isinstance(entry, StreamItem):
            self._stream.settling.drop(entry, reason)
        elif not (entry.is_taken or entry.is_over):
            self._stream.settling.drop(entry.item, reason)
            self._stream.met(entry)

    def _is_expired(self, item: StreamItem, now: float) -> bool:
        return now - item.offered_at > self._stream.timeouts_seconds[item.queue]

    async def _look_for_db(self, item: StreamItem) -> bool:
        """Find out whether the secondary has an item's database; return whether it could be asked."""
        assert self._exchange is not None
        try:
            await self._exchange.look_for_db(item)
        except (ConnectionLost, ReplyProtocolError, trio.TooSlowError):
            self._has_failed = True
            self._disconnect(lost=True)
            return False
        return True

    async def _send_batch(self, batch: list[StreamItem]) -> None:
        """Send a batch, wait for its replies, and have every item accounted for."""
        stream, exchange = self._stream, self._exchange
        assert exchange is not None
        started = stream.clock()
        by_queue = stream.settling.take(batch, started)
        has_scripts = Queue.SCRIPT in by_queue
        patience = stream.timeouts_seconds[Queue.SCRIPT if has_scripts else Queue.WRITE]
        # Once sent, a batch gets some time even if it is old: giving it up costs the connection too.
        left = max(batch[0].offered_at + patience - started, min(patience, stream.read_timeout_seconds))
        self.in_flight_since = batch[0].offered_at
        frames: Sequence[bytes] | None = None
        reason = "shutdown"
        has_slot = False
        try:
            with trio.move_on_after(left) as self._sending:
                if has_scripts:
                    await stream.script_slots.acquire()
                    has_slot = True
                frames = await exchange.run(batch, started + left)
            reason = "deadline_exceeded"
        except (ConnectionLost, ReplyProtocolError) as error:
            reason = "connection_lost"
            _log.warning("lost a batch", extra={"items": len(batch), "why": str(error)})
        finally:
            self.in_flight_since = self._sending = None
            while self._taken:
                stream.met(self._taken.pop())
            if has_slot:
                stream.script_slots.release()
            if frames is None:
                exchange.gave_up()
                if not stream.gate.is_paused:  # else it was given no time
                    self._has_failed = True
                    stream.gate.failed()
                self._disconnect(lost=True)
                stream.settling.settle_without_answer(batch, by_queue, reason)
            else:
                self._last_exchange = now = stream.clock()
                if self._leads(frames):
                    self._has_failed = False
                    self._backoff.reset()
                    stream.gate.answered()
                stream.settling.settle(batch, by_queue, frames, now - started)

    def _leads(self, frames: Sequence[bytes]) -> bool:
        """Return whether it was the leader that answered; if not, connect again, to who leads then."""
        backend = self._stream.backend
        if not any(is_error(frame) and backend.answered_error(frame) for frame in frames):
            return True
        self._has_failed = True
        self._stream.gate.failed()
        self._disconnect(lost=False)
        return False

    def abandon(self) -> None:
        """Drop everything that still waits: the drain's time is over."""
        self._receive_all()
        for entry in self._waiting:
            self._drop(entry, DropReason.SHUTDOWN)
        self._waiting.clear()
