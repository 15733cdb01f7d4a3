"""Dirty keys: whose state on the other store may differ, and why.

Whatever did not get there, or nobody knows, or cannot be said in commands, ends here; a copy of the key's
state ends it. A key is remembered once, however often it is written meanwhile: its later writes need not
be sent, since the copy will hold them.

A copy is a read on the lane, so it has a position. Writes before it are in it, writes behind it follow it in
the stream. A key stays dirty until that position is reached (`DirtyKeys.reached`), and is clean behind it; if
the copy is then lost on its way, the key is marked anew.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

__all__ = ["DirtyKeys", "DirtyReason", "Key"]

Key = tuple[int, bytes]
"""A database and a key in it."""

ENTRY_OVERHEAD_BYTES: Final = 250
"""What a key takes in memory beside its bytes, roughly."""
_MAX_WAIT_SECONDS: Final = 30.0
_NONE: Final[frozenset[bytes]] = frozenset()


class DirtyReason(enum.StrEnum):
    """Why a key may differ on the other store."""

    DROPPED = "dropped"
    """A write never got there: the queue was full, it was too old, the process ended."""
    FAILED = "failed"
    """The other store answered a write with an error."""
    AMBIGUOUS = "ambiguous"
    """A connection broke: nobody knows whether a write was executed."""
    OVERLOAD = "overload"
    """The other store is slower than the writers: states are copied instead of writes."""
    UNREACHABLE = "unreachable"
    """The other store does not answer."""
    PAUSED = "paused"
    """Somebody wants the other store left alone."""
    NOT_REPLAYABLE = "not_replayable"
    """No command says what the primary did; copied at once."""
    REPLY_DIFFERED = "reply_differed"
    """The other store answered a write otherwise than the primary: it had another state before."""
    DIVERGED = "diverged"
    """Comparing found a difference."""
    GAP = "gap"
    """A read found that the other store does not have it."""
    RESTARTED = "restarted"
    """A store came back as another process: it may have lost its last writes."""
    JOURNAL = "journal"
    """dualkv ended before the write was known to have arrived."""


@attrs.define(slots=True)
class _Entry:
    reason: DirtyReason
    since: float
    is_urgent: bool
    attempts: int = 0
    not_before: float = 0.0
    is_taken: bool = False
    """A copy is on its way to its position."""
    is_marked_again: bool = False
    """Something happened meanwhile whose position is unknown: one more copy is needed."""


class DirtyKeys:
    """The dirty keys of one pair of stores, bounded in number and bytes.

    Args:
        max_keys: How many are remembered.
        max_bytes: What they may take in memory, roughly.

    What does not fit, or cannot be named, makes a resync necessary (`needs_resync`): it is never forgotten.
    """

    def __init__(self, max_keys: int, max_bytes: int) -> None:
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._entries: dict[Key, _Entry] = {}
        self._names: dict[int, set[bytes]] = {}  # the same by database, to look up a batch at once
        self._urgent: dict[Key, None] = {}
        self._waiting: dict[Key, None] = {}
        self._bytes = 0
        self._reasons: Counter[DirtyReason] = Counter()
        self.marked: Counter[DirtyReason] = Counter()
        """How many keys became dirty so far, by reason."""
        self.repaired = 0
        """How many became clean again."""
        self.functions = False
        """Whether the libraries of functions may differ."""
        self.has_missed_flush = False
        """Whether the other store may still hold what the primary has removed with ``FLUSHALL``."""
        self.needs_resync: str | None = None
        """Why copying single keys is not enough any more; None: it is."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __repr__(self) -> str:
        return f"<DirtyKeys {len(self._entries)} needs_resync={self.needs_resync}>"

    @property
    def size_bytes(self) -> int:
        """What they take in memory, roughly."""
        return self._bytes

    def has_any(self, db: int, keys: Iterable[bytes]) -> bool:
        """Whether one of *keys* is dirty."""
        entries = self._entries
        return any((db, key) in entries for key in keys)

    def has_all(self, db: int, keys: Iterable[bytes]) -> bool:
        """Whether all of some keys of one database are dirty."""
        return self._names.get(db, _NONE).issuperset(keys)

    def by_reason(self) -> Counter[DirtyReason]:
        """Return how many are dirty now, by reason."""
        return +self._reasons

    def why(self, key: Key) -> tuple[DirtyReason, float] | None:
        """Return why a key is dirty and since when; None: it is not."""
        entry = self._entries.get(key)
        return None if entry is None else (entry.reason, entry.since)

    def oldest_since(self) -> float | None:
        """Return since when the oldest one is dirty, if there is one."""
        return next((entry.since for entry in self._entries.values()), None)

    def mark(
        self,
        key: Key,
        reason: DirtyReason,
        now: float,
        *,
        is_urgent: bool = False,
        is_unordered: bool = False,
        attempts: int = 0,
        not_before: float = 0.0,
    ) -> None:
        """Take note that a key may differ.

        Args:
            key: Which.
            reason: Why; the first reason stays.
            now: On any clock, in seconds.
            is_urgent: Its copy is the effect of a command, not a repair: it does not wait for the others.
            is_unordered: It happened at no known position of the lane, so that a copy that is on its way
                may have been made before.
            attempts: How many copies of it have failed; the next one waits accordingly.
            not_before: When a copy may be made.
        """
        entry = self._entries.get(key)
        if entry is None:
            size = ENTRY_OVERHEAD_BYTES + len(key[1])
            if len(self._entries) >= self._max_keys or self._bytes + size > self._max_bytes:
                self.require_resync("too many dirty keys")
                return
            self._bytes += size
            self._reasons[reason] += 1
            self.marked[reason] += 1
            entry = self._entries[key] = _Entry(reason, now, is_urgent)
            self._names.setdefault(key[0], set()).add(key[1])
        elif entry.is_taken:
            entry.is_marked_again = entry.is_marked_again or is_unordered
            entry.not_before = max(entry.not_before, not_before)
            return
        elif is_urgent and not entry.is_urgent:
            entry.is_urgent = True
            del self._waiting[key]
        if attempts:
            entry.attempts = attempts
            entry.not_before = now + min(_MAX_WAIT_SECONDS, 0.05 * 2 ** min(attempts, 12))
        entry.not_before = max(entry.not_before, not_before)
        (self._urgent if entry.is_urgent else self._waiting)[key] = None

    def require_resync(self, why: str) -> None:
        """Take note that not even the keys are known that may differ. The first reason stays."""
        if self.needs_resync is None:
            self.needs_resync = why

    # --- copying

    def is_urgent(self, key: Key) -> bool:
        """Whether the copy of a dirty key is the effect of a command."""
        return self._entries[key].is_urgent

    @property
    def has_urgent(self) -> bool:
        """Whether the effect of a command waits to be copied."""
        return bool(self._urgent)

    @property
    def has_waiting(self) -> bool:
        """Whether there is anything to repair."""
        return bool(self._waiting)

    def take(self, count: int, repairs: int, now: float) -> list[tuple[Key, int]]:
        """Return keys to copy now, those first whose copy is urgent, each with its failed attempts so far.

        Args:
            count: How many at most.
            repairs: How many of them may be of those that are not urgent.
            now: On the clock of `mark`.
        """
        taken = self._take_from(self._urgent, count, now)
        taken += self._take_from(self._waiting, min(repairs, count - len(taken)), now)
        return [(key, self._entries[key].attempts) for key in taken]

    def _take_from(self, waiting: dict[Key, None], count: int, now: float) -> list[Key]:
        taken: list[Key] = []
        early: list[Key] = []
        for key in waiting:
            if len(taken) >= count or len(early) >= 4 * count:
                break
            (taken if self._entries[key].not_before <= now else early).append(key)
        for key in early:  # those behind them are looked at next time
            del waiting[key]
            waiting[key] = None
        for key in taken:
            del waiting[key]
            self._entries[key].is_taken = True
        return taken

    def reached(self, key: Key) -> bool:
        """Take note that a copy's position has been reached; return whether it says everything.

        If not, the key stays dirty and wants another copy.
        """
        entry = self._entries.get(key)
        if entry is None:  # everything has been forgotten meanwhile
            return True
        if entry.is_marked_again:
            self._wait_again(key, entry)
            return False
        self._forget(key)
        self.repaired += 1
        return True

    def put_back(self, key: Key) -> None:
        """Take note that a copy could not be made: the key wants another one."""
        entry = self._entries.get(key)
        if entry is not None and entry.is_taken:
            self._wait_again(key, entry)

    def _wait_again(self, key: Key, entry: _Entry) -> None:
        entry.is_taken = entry.is_marked_again = False
        (self._urgent if entry.is_urgent else self._waiting)[key] = None

    def swap(self, one: int, other: int) -> None:
        """Take note that two databases have been exchanged, on both stores alike."""
        if one == other:
            return
        moved = {one: other, other: one}
        self._entries = {(moved.get(db, db), name): entry for (db, name), entry in self._entries.items()}
        self._names = {moved.get(db, db): names for db, names in self._names.items()}
        self._urgent = {(moved.get(db, db), name): None for db, name in self._urgent}
        self._waiting = {(moved.get(db, db), name): None for db, name in self._waiting}
        for key, entry in self._entries.items():
            if entry.is_taken and key[0] in moved:
                self._wait_again(key, entry)

    def drop(self, key: Key) -> None:
        """Forget a key: the other store cannot hold it, or somebody says it does not matter."""
        if key in self._entries:
            self._forget(key)

    def clear(self, most: int) -> int:
        """Forget keys but those whose copy is under way, *most* of them; return how many were forgotten."""
        forgotten = 0
        while forgotten < most and (self._waiting or self._urgent):
            key, _ = (self._waiting or self._urgent).popitem()
            self._forget(key)
            forgotten += 1
        return forgotten

    def _forget(self, key: Key) -> None:
        self._reasons[self._entries.pop(key).reason] -= 1
        self._names[key[0]].discard(key[1])
        self._urgent.pop(key, None)
        self._waiting.pop(key, None)
        self._bytes -= ENTRY_OVERHEAD_BYTES + len(key[1])
