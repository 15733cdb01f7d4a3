"""What a shard says on one connection: batches, and what has to be said between their items.

There is one for each connection, since it is the connection that is set to a database and a RESP version,
and that has seen scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.compare import Rule
from dualkv.core.context import Context, switches
from dualkv.core.dialect import Dialect, Spoken
from dualkv.core.fusing import stretches
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.retrying import outcome_frames
from dualkv.core.spoken import spoken_item
from dualkv.net.connection import Connection
from dualkv.net.retry import run_with_retries
from dualkv.net.transactions import Transactions
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error

if TYPE_CHECKING:
    from dualkv.net.stream import SecondaryStream

__all__ = ["Exchange"]

_UNKNOWN_DB: Final = -1
"""Behind a transaction that selects: whatever comes next has to select."""


class Exchange:
    """One connection, as far as items are concerned. Its shard opens and closes the connection.

    Args:
        connection: Just opened.
        stream: Whose shard it belongs to.
    """

    def __init__(self, connection: Connection, stream: SecondaryStream) -> None:
        self._connection = connection
        self._stream = stream
        own = stream.backend.options.db
        self._context = Context(db=own)
        """What the connection is set to."""
        self._dbs = {own: True}
        """Databases, and whether the secondary has them, as far as that is known."""
        self._usable: set[Context] = set()
        """Contexts of items that were looked at and found possible."""
        self._known_scripts: set[bytes] = set()
        """Hashes of clients' scripts that were sent on the connection."""
        self._transactions = Transactions(connection, stream.pacing, stream.clock, stream.primary_ms)

    # --- what it can take

    def is_known(self, item: StreamItem) -> bool:
        """Whether it is known if the secondary has the item's database."""
        return item.context in self._usable or self._stream.db_for(item) in self._dbs

    def refusal(self, item: StreamItem) -> DropReason | None:
        """Return why the secondary cannot take *item*, if it cannot. Its database must be known."""
        if item.context in self._usable:
            return None
        if not self._dbs[self._stream.db_for(item)]:
            return DropReason.NO_SUCH_DB
        if item.context.protocol in self._connection.greeting.protocols or self._own_words is not None:
            self._usable.add(item.context)
        elif item.expected is not None:  # of a write nobody reads the reply
            return DropReason.NOT_SPOKEN
        return None

    async def look_for_db(self, item: StreamItem) -> None:
        """Find out whether the secondary has an item's database, unless that is known.

        Raises:
            ConnectionLost: The connection broke; so for `ReplyProtocolError`.
            trio.TooSlowError: There was no answer in time. The connection is of no use any more.
        """
        db = self._stream.db_for(item)
        if db in self._dbs:
            return
        if self._stream.dialect is not None and not self._stream.dialect.has_databases:
            self._dbs[db] = False
            return
        with trio.fail_after(self._stream.read_timeout_seconds):
            (reply,) = await self._connection.exchange(command("SELECT", db), 1)
        self._dbs[db] = not is_error(reply)
        if self._dbs[db]:
            self._context = self._context._replace(db=db)

    # --- batches

    async def run(self, batch: list[StreamItem], until: float) -> Sequence[bytes]:
        """Send a batch; return the frame that tells each item's outcome.

        Args:
            batch: Items that it can take.
            until: On the stream's clock: what is refused for the moment is not sent again later.

        Raises:
            ConnectionLost: The connection broke; so for `ReplyProtocolError`. What was executed is unknown.
        """
        stream = self._stream
        if not stream.fuses:
            return await run_with_retries(self._send, batch, stream.clock, until)
        frames: list[bytes] = []
        for stretch in stretches(batch):
            if stretch.apart:
                frames += await run_with_retries(self._send, stretch.apart, stream.clock, until)
            if len(stretch.fused) == 1 and stretch.fused[0].queue is Queue.BLOCKING:
                # Alone it may have a faster command than a transaction has.
                frames += await run_with_retries(self._send, stretch.fused, stream.clock, until)
            elif stretch.fused:
                frames += await self._transactions.run(stretch.fused, until)
        return frames

    def gave_up(self) -> None:
        """Take note that a batch was not answered in time, or not at all."""
        self._transactions.give_up()

    async def _send(self, batch: list[StreamItem]) -> Sequence[bytes]:
        """Send items one behind the other; return the frame that tells each one's outcome.

        Where an item belongs to another database, or a shadow read wants another RESP version, the
        connection is switched between two items.
        """
        if self._own_words is not None:
            return await self._run_in_own_words(batch, self._own_words)
        pieces: list[bytes] = []
        outcomes: list[int] = []  # positions among the replies, if they are not simply one per item
        expected = 0
        current: Context | None = None  # what the connection is set to, if an item had just that
        has_spelling = False
        for item in batch:
            if item.context is not current:
                if item.context != self._context:
                    before = self._switches_to(item)
                    pieces += before
                    expected += len(before)
                current = item.context if item.context == self._context else None
            if item.queue is Queue.SCRIPT or item.plan.comparator is Rule.SCRIPT:
                has_spelling = True
                pieces.append(self._stream.scripts.wire(item, self._known_scripts))
            elif item.queue is Queue.BLOCKING:
                has_spelling = True
                pieces.append(self._stream.translator.removals.wire(item, self._stream.dialect))
            else:
                pieces.append(item.request.raw)
            if item.selects:
                current, self._context = None, self._context._replace(db=_UNKNOWN_DB)
            expected += item.reply_count
            outcomes.append(expected - 1)
        frames = await self._connection.exchange(b"".join(pieces), expected)
        if expected != len(batch):
            frames = outcome_frames(frames, outcomes)
        if has_spelling:
            await self._spell_out(batch, frames)
        return frames

    @property
    def _own_words(self) -> Dialect | None:
        """The backend's dialect if items are not sent as they are, but said in it at the moment of sending.

        Such a store has one database and one RESP version.
        """
        dialect = self._stream.dialect
        return dialect if dialect is not None and dialect.scripted else None

    async def _run_in_own_words(self, batch: list[StreamItem], dialect: Dialect) -> Sequence[bytes]:
        stream = self._stream
        now_ms = stream.primary_ms()
        spoken = [
            self._fast_removal(item) or spoken_item(item, dialect, now_ms, stream.scripts) for item in batch
        ]
        wire = b"".join([one.wire for one in spoken])
        count = sum(one.reply_count for one in spoken)
        frames: list[bytes] = []
        if count:
            frames = await self._connection.exchange(wire, count)
        else:  # reads that the store cannot make, and nothing else
            await trio.lowlevel.checkpoint()
        now_ms = stream.primary_ms()
        outcomes: list[bytes] = []
        at = 0
        for one in spoken:
            outcomes.append(one.fold(frames[at : at + one.reply_count], now_ms))
            at += one.reply_count
        if any(item.queue is Queue.BLOCKING for item in batch):
            await self._spell_out(batch, outcomes)
        return outcomes

    def _fast_removal(self, item: StreamItem) -> Spoken | None:
        """Return what is sent for the effect of a blocking pop, if the store has a command just for it."""
        wire = item.request.raw
        if item.queue is Queue.BLOCKING:
            wire = self._stream.translator.removals.wire(item, self._stream.dialect)
        return None if wire is item.request.raw else Spoken(wire, 1, lambda frames, _: frames[0])

    async def _spell_out(self, batch: list[StreamItem], frames: list[bytes]) -> None:
        """Say otherwise what was refused: scripts with their bodies, ``ELASTICKV.ZREMFAST`` as ``ZREM``."""
        for position, item in enumerate(batch):
            wire = item.request.raw
            if item.expected is not None:
                if frames[position].startswith(b"-NOSCRIPT"):  # it is too late for the reply of this position
                    self._stream.scripts.is_not_known(item.request, self._known_scripts)
                continue
            if frames[position].startswith(b"-NOSCRIPT"):
                wire = self._stream.scripts.wire(item, set())
                is_other = wire != item.request.raw
            else:
                is_other = self._stream.translator.removals.is_refusal(item, frames[position])
            if is_other:
                switches_back = self._switches_to(item)
                replies = await self._connection.exchange(
                    b"".join([*switches_back, wire]), len(switches_back) + 1
                )
                frames[position] = replies[-1]
                self._stream.settling.came_late(item)

    def _switches_to(self, item: StreamItem) -> list[bytes]:
        """Return what has to be sent before *item*. The RESP version matters where the reply is compared."""
        protocol = self._context.protocol if item.expected is None else item.context.protocol
        before, self._context = self._context, Context(protocol, self._stream.db_for(item))
        return switches(before, self._context)
