"""Keys whose state on the secondary is not the primary's, and what follows for the items of the stream.

A key is doubtful while it is dirty, while a copy of its state is queued, and while a part of it has been
copied and another part has not. What touches only such keys is left to their copies; what makes other keys
of them spoils these too; and an answer that is odd because of such a key tells nothing new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from dualkv.core.copying import disturbs
from dualkv.core.dirty import DirtyKeys, DirtyReason, Key
from dualkv.core.ledger import Queue
from dualkv.core.mirror import (
    NOT_DATA,
    StreamItem,
    changes_functions,
    is_about_data,
    outcomes,
)
from dualkv.core.routing import Plan
from dualkv.resp.requests import Request

__all__ = ["DoubtfulKeys"]

_INDEPENDENT: Final = frozenset({"MSET", "DEL", "UNLINK", "EXISTS", "TOUCH"})
"""What they do to one key has nothing to do with their other keys."""
_NO_ROOM_SECONDS: Final = 0.05
"""After a copy has found no room, there may be some."""
_FLUSHES: Final = frozenset({"FLUSHALL", "FLUSHDB"})
_MEETS_EXPIRED: Final = frozenset({"PERSIST", "PEXPIREAT", "HPERSIST", "HPEXPIREAT", "HDEL"})
"""Sent to what expires soon: when another reply comes, it has expired over there, and that is no fault."""

_REMOVALS: Final = frozenset({"DEL", "UNLINK"})
"""Whatever there was on either store, behind them it is gone on both."""


class DoubtfulKeys:
    """The doubtful keys of one stream. Calls come in the order of the log.

    Args:
        dirty: The dirty ones.
        names_its_keys: Whether a script touches no keys but those that the request names.
        are_repaired: Whether each dirty key will be copied, sooner or later. If not, only those are whose
            copy is the effect of a command: to the others writes are sent all the same.
    """

    def __init__(
        self,
        dirty: DirtyKeys,
        names_its_keys: Callable[[Plan, Request], bool],
        *,
        are_repaired: bool = True,
    ) -> None:
        self.dirty = dirty
        self._names_its_keys = names_its_keys
        self._are_repaired = are_repaired
        self.was_beside: Callable[[Key, float], bool] = lambda _key, _since: False
        """Whether something was executed on a key beside the lane, and not seen before a time. Then the
        secondary, which gets that later, may answer otherwise, and that is no fault."""
        self._swaps: list[tuple[int, int]] = []
        self.under_way: set[Key] = set()
        """Large keys of which a part has been copied and another part has not."""
        self.mending: Counter[Key] = Counter()
        """Keys that were dirty and whose copies are queued: what is queued before these is not exact."""

    def __repr__(self) -> str:
        return f"<DoubtfulKeys {self.dirty!r} mending={len(self.mending)} under_way={len(self.under_way)}>"

    # --- where keys are

    @property
    def swaps(self) -> int:
        """How often databases have been exchanged (``SWAPDB``)."""
        return len(self._swaps)

    def keys_now(self, item: StreamItem) -> list[Key] | None:
        """Return an item's keys by the databases that they are in now; None: it may touch any."""
        keys = item.keys_by_db()
        if keys is None or item.epoch == len(self._swaps):
            return keys
        return [self._moved(key, item.epoch) for key in keys]

    def _moved(self, key: Key, epoch: int) -> Key:
        """Return where a key is now that was named when databases had been exchanged *epoch* times."""
        db, name = key
        for one, other in self._swaps[epoch:]:
            db = other if db == one else one if db == other else db
        return db, name

    def follow_swaps(self, item: StreamItem, now: float) -> None:
        """Take note if an item has exchanged databases: their doubtful keys go with them."""
        for plan, request in item.commands:
            if plan.spec.name == "SWAPDB":
                one, other = int(request.args[1]), int(request.args[2])
                self._swaps.append((one, other))
                moved = {one: other, other: one}
                self.dirty.swap(one, other)
                self.mending = Counter({(moved.get(db, db), k): n for (db, k), n in self.mending.items()})
                # A part has been copied, which moves; the rest would be read where the key is no more.
                self.copy_now(self.under_way | {(moved.get(db, db), key) for db, key in self.under_way}, now)
                self.under_way.clear()

    # --- what items meet

    def spoils(self, item: StreamItem, now: float, *, is_queued: bool) -> bool:
        """Return whether an item would meet another state than on the primary; then it is not sent.

        A part of its keys may be meant: then it is sent for the others, and `StreamItem.copied` tells which.

        Args:
            item: Which.
            now: The time on the stream's clock.
            is_queued: It is in the queue: copies that are queued are behind it.
        """
        if item.queue is Queue.COPY:
            return False
        parts = item.keys_of_parts()
        wrong = {key for _, keys in parts for key in keys or () if self._is_wrong(key, item.epoch, is_queued)}
        if not wrong:
            return False
        if item.queue is Queue.SHADOW:
            return True
        for plan, keys in parts:
            is_derived = keys is not None and len(keys) > 1 and plan.spec.name not in _INDEPENDENT
            if is_derived and not wrong.isdisjoint(keys or ()):
                infected = [self._moved(key, item.epoch) for key in keys or ()]
                self.copy_now([key for key in infected if not (is_queued and key in self.mending)], now)
                wrong.update(keys or ())
        if not self._are_repaired:
            wrong = {key for key in wrong if self._awaits_copy(key, item.epoch)}
        item.copied = item.copied.union(wrong)
        is_lost = all(keys is not None and wrong.issuperset(keys) for _, keys in parts)
        return is_lost and self._is_well_named(item)

    def _is_wrong(self, key: Key, epoch: int, is_queued: bool) -> bool:
        if epoch != len(self._swaps):
            key = self._moved(key, epoch)
        return key in self.dirty or (is_queued and key in self.mending)

    def _awaits_copy(self, key: Key, epoch: int) -> bool:
        key = self._moved(key, epoch)
        return key not in self.dirty or self.dirty.is_urgent(key)  # what is mending only is not dirty

    def disturbs_copies(self, item: StreamItem, now: float) -> bool:
        """Return whether an item is not sent since a part of its key has been copied.

        That is a shadow read. A write that cannot be sent beside the copy's pieces lets the copy begin anew.
        """
        if item.queue is Queue.COPY:
            return False
        keys = self.keys_now(item)
        concerned = self.under_way if keys is None else self.under_way.intersection(keys)
        if not concerned:
            return False
        if item.queue is Queue.SHADOW:
            return True
        if keys is not None and not any(disturbs(plan.spec.name) for plan, _ in item.commands):
            item.copied = item.copied.union(item.keys_by_db() or ())  # counts differ: elements are missing
            return False
        self.copy_now(concerned, now)
        self.under_way -= concerned
        return False  # what depends on a dirty key is deferred next

    # --- what becomes doubtful, and is not any more

    def copy_now(self, keys: Iterable[Key], now: float, *, is_unordered: bool = False) -> None:
        """Copy the state of *keys* at the next position: that is the effect of what has just been executed.

        Args:
            keys: Which.
            now: The time on the stream's clock.
            is_unordered: That happened beside the lane.
        """
        for key in keys:
            self.dirty.mark(key, DirtyReason.NOT_REPLAYABLE, now, is_urgent=True, is_unordered=is_unordered)

    def mark(
        self,
        keys: Iterable[Key] | None,
        reason: DirtyReason,
        now: float,
        *,
        unordered_for_seconds: float = 0.0,
    ) -> None:
        """Take note that *keys* may differ on the secondary.

        Args:
            keys: Which; None: nobody knows.
            reason: Why.
            now: The time on the stream's clock.
            unordered_for_seconds: So long it may go on happening; what was read before does not count.
        """
        if keys is None:
            self.dirty.require_resync(f"a write that may touch any key: {reason.value}")
            return
        for key in keys:
            self.dirty.mark(
                key, reason, now,
                is_unordered=unordered_for_seconds > 0, not_before=now + unordered_for_seconds,
            )  # fmt: skip

    def not_applied(self, item: StreamItem, reason: DirtyReason, now: float) -> None:
        """Take note that an item was not executed on the secondary, or that nobody knows."""
        if item.expected is not None:
            return
        if changes_functions(item):
            self.dirty.functions = True
        if not is_about_data(item):
            return
        for plan, _ in item.commands:
            self._note_missed(plan.spec.name)
        keys = self.keys_now(item)
        if keys is not None and item.queue is Queue.COPY:
            has_failed = reason is not DirtyReason.DROPPED  # else it was never tried: there was no room
            for key in keys:
                self.dirty.mark(
                    key, reason, now,
                    attempts=item.attempts + has_failed, not_before=now + _NO_ROOM_SECONDS,
                )  # fmt: skip
            return
        self.mark(keys, reason, now)
        if item.queue is Queue.SCRIPT and not self._is_well_named(item):
            self.dirty.require_resync(f"a script that may write keys it does not name: {reason.value}")

    def answered_oddly(self, item: StreamItem, frame: bytes, now: float) -> bool:
        """Take note that an item's answer has an error in it, or another reply than the primary's.

        Only the keys of the commands are meant that were answered so, and not those whose copy follows.

        Returns:
            Whether that tells of a difference nobody knew of.
        """
        if item.queue is Queue.COPY:
            self.not_applied(item, DirtyReason.FAILED, now)
            return True
        is_news = False
        for (plan, request), (_, keys), reason in zip(
            item.commands, item.keys_of_parts(), outcomes(item, frame), strict=True
        ):
            name = plan.spec.name
            if name.startswith("FUNCTION") and reason is not None:
                is_news = self.dirty.functions = True
            if reason is None or name in NOT_DATA:
                continue
            self._note_missed(name)
            is_explained = name in _REMOVALS or (keys is not None and not item.copied.isdisjoint(keys))
            if reason is DirtyReason.REPLY_DIFFERED and is_explained:
                continue
            left = None
            if keys is not None:
                left = [self._moved(key, item.epoch) for key in keys if key not in item.copied]
            is_beside = item.queue is Queue.BLOCKING or (
                reason is DirtyReason.REPLY_DIFFERED and self._were_beside(left, item.offered_at)
            )
            is_news = is_news or left is None or (bool(left) and not is_beside)
            is_no_fault = reason is DirtyReason.REPLY_DIFFERED and name in _MEETS_EXPIRED
            if left is not None and (is_no_fault or is_beside):
                self.copy_now(left, now)
            else:
                self.mark(left, reason, now)
            is_script = plan.queue is Queue.SCRIPT and reason is not DirtyReason.FAILED
            if is_script and not self._names_its_keys(plan, request):
                self.dirty.require_resync(f"a script that may write keys it does not name: {reason.value}")
        return is_news

    def _were_beside(self, keys: Iterable[Key] | None, since: float) -> bool:
        return any(self.was_beside(key, since) for key in keys or ())

    def _note_missed(self, name: str) -> None:
        """Take note that a command did not do on the secondary what it did on the primary."""
        self.dirty.has_missed_flush |= name in _FLUSHES

    def _is_well_named(self, item: StreamItem) -> bool:
        """Whether the keys that an item names are all that it touches."""
        return all(
            self._names_its_keys(plan, request)
            for plan, request in item.commands
            if plan.queue is Queue.SCRIPT
        )

    def queued(self, copies: Iterable[StreamItem]) -> None:
        """Take note that copies of states have entered the queue."""
        self.mending.update(self._mended_by(copies))

    def passed(self, item: StreamItem) -> None:
        """Take note that an item leaves its place in the queue: nothing is before it any more."""
        for key in self._mended_by([item]):
            self.mending[key] -= 1
            if self.mending[key] <= 0:
                del self.mending[key]

    def _mended_by(self, items: Iterable[StreamItem]) -> list[Key]:
        """Return the keys that copies among *items* mend."""
        return [key for item in items if item.mends for key in self.keys_now(item) or ()]
