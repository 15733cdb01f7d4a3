"""The books of the secondary stream: where every offered item went.

At every moment, for each queue:

    offered = applied + failed + dropped + deferred + queued + in flight

An item enters with `offer` (or `refuse`, or `defer`), leaves the queue with `take` (or `drop_queued`,
`defer_queued`), and is settled once with `apply`, `fail` or `drop_in_flight`. Nothing else changes the
numbers.
"""

from __future__ import annotations

import enum
from collections import Counter

import attrs

__all__ = ["DropReason", "Ledger", "LedgerImbalanceError", "Queue"]


class Queue(enum.StrEnum):
    """Kinds of items in the secondary stream, each with a limit of its own."""

    WRITE = "write"
    SCRIPT = "script"
    BLOCKING = "blocking"
    """Effects of blocking commands."""
    SHADOW = "shadow"
    """Shadow reads."""
    COPY = "copy"
    """Copies of a key's state."""


class DropReason(enum.StrEnum):
    """Why an item never reached the secondary."""

    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"
    """It waited longer than its timeout."""
    SHED = "shed"
    """A shadow read that made room for writes."""
    NOT_SPOKEN = "not_spoken"
    """A shadow read in a RESP version that the secondary does not speak."""
    NO_SUCH_DB = "no_such_db"
    """It belongs to a database that the secondary does not have."""
    DIRTY_KEY = "dirty_key"
    """A shadow read of a key that is known to differ."""
    SUSPENDED = "suspended"
    """A shadow read while writes are not sent: the secondary is overloaded, does not answer, or is to be left
    alone; then copies of states are dropped so, too."""
    SHUTDOWN = "shutdown"
    """The drain's time was over."""


class LedgerImbalanceError(AssertionError):
    """The books do not add up: a bug."""


@attrs.define
class Ledger:
    """The books of one queue."""

    offered: int = 0
    applied: int = 0
    """Answered by the secondary (a shadow read: answered and compared)."""
    failed: int = 0
    """Answered with an error, or sent without an answer."""
    dropped: Counter[DropReason] = attrs.field(factory=Counter)
    deferred: int = 0
    """Not sent, since a copy of the key's state will hold it."""
    queued: int = 0
    in_flight: int = 0

    def offer(self, count: int = 1) -> None:
        """Enter *count* items that found room."""
        self.offered += count
        self.queued += count

    def refuse(self, reason: DropReason, count: int = 1) -> None:
        """Enter *count* items that are dropped at once."""
        self.offered += count
        self.dropped[reason] += count

    def defer(self, count: int = 1) -> None:
        """Enter *count* items whose keys are dirty: they are not sent."""
        self.offered += count
        self.deferred += count

    def defer_queued(self, count: int = 1) -> None:
        """Leave *count* items that were waiting to the copies of their keys."""
        self.queued -= count
        self.deferred += count

    def take(self, count: int = 1) -> None:
        """Move *count* items from the queue into flight."""
        self.queued -= count
        self.in_flight += count

    def drop_queued(self, reason: DropReason, count: int = 1) -> None:
        """Drop *count* items that were waiting."""
        self.queued -= count
        self.dropped[reason] += count

    def drop_in_flight(self, reason: DropReason, count: int = 1) -> None:
        """Drop *count* items that were taken but not sent."""
        self.in_flight -= count
        self.dropped[reason] += count

    def apply(self, count: int = 1) -> None:
        """Settle *count* items as applied."""
        self.in_flight -= count
        self.applied += count

    def fail(self, count: int = 1) -> None:
        """Settle *count* items as failed."""
        self.in_flight -= count
        self.failed += count

    def check(self) -> None:
        """Raise `LedgerImbalanceError` unless the books add up."""
        settled = self.applied + self.failed + self.dropped.total() + self.deferred
        if self.offered != settled + self.queued + self.in_flight or self.queued < 0 or self.in_flight < 0:
            raise LedgerImbalanceError(repr(self))
