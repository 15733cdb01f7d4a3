"""From the first difference to a divergence: both stores are read again, and what differs each time is one.

A shadow read sits at its exact position, so a difference is real unless somebody wrote past dualkv (another
proxy is behind by less than the time between the readings), or a key expires. Both heal by themselves.
So a difference is only a suspicion. Twice, a while apart, both stores are read again at one position; what
differs all three times is a divergence.

A key that somebody else changes between two readings proves nothing: the proxy that writes it may be behind
each time. Not every reply tells of that (``EXISTS`` says 1 before and after), so the two are followed by some
more at short and uneven intervals: a store that is only behind is caught up with at one of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from dualkv.core.routing import plan_of
from dualkv.resp.encode import pack
from dualkv.resp.replies import elements_of
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.core.mirror import StreamItem

__all__ = [
    "NEAR_EXPIRY_MILLISECONDS",
    "READINGS",
    "Confirming",
    "Step",
    "Suspicion",
    "milliseconds_told",
    "one_by_one",
]

Key = tuple[int, bytes]

_SHORT_WAITS_SECONDS: Final = (0.03, 0.05, 0.08, 0.13)
READINGS: Final = 3 + len(_SHORT_WAITS_SECONDS)
"""How often a difference must be seen."""
NEAR_EXPIRY_MILLISECONDS: Final = 1000
"""A key that has less to live may be gone on one store already: T37 in the catalogue of traps."""
_MAX_KEPT_BYTES: Final = 16 * 1024
"""Replies up to this length are kept from one reading to the next, of longer ones a hash."""


class Step(enum.Enum):
    """What follows from a reading that differed."""

    READ_AGAIN = enum.auto()
    IS_DIVERGENCE = enum.auto()
    IS_MOVING = enum.auto()
    """Somebody else has changed it meanwhile: nothing can be said."""


@attrs.define(eq=False)
class Suspicion:
    """A difference that waits for its confirmation."""

    item: StreamItem
    """The read, as it was shadowed first."""
    first_seen: float
    """The time of the first reading, on the stream's clock."""
    keys: tuple[Key, ...]
    readings: int = 1
    """How often both stores have been read."""
    told: bytes | int = 0
    """What the primary answered last, or a hash of it."""
    told_at: float = 0.0
    has_written: bool = False
    """Whether this proxy has written its keys since the last reading."""
    is_over: bool = False
    ttl_milliseconds: int | None = None
    """How long the key had to live on the primary when it was read last; -1: for ever, -2: there is none."""
    secondary_ttl_milliseconds: int | None = None
    """The same on the secondary, at the last reading."""

    @property
    def is_last_reading(self) -> bool:
        """Whether the reading that is made now is the last one."""
        return self.readings == READINGS - 1

    def next_wait_seconds(self, confirm_after_seconds: float) -> float:
        """Return how long to wait until both stores are read again."""
        if self.readings < 3:
            return confirm_after_seconds
        return min(confirm_after_seconds, _SHORT_WAITS_SECONDS[self.readings - 3])

    def is_near_expiry(self, milliseconds: int) -> bool:
        """Whether the key had at most *milliseconds* to live when it was read last."""
        return self.ttl_milliseconds is not None and 0 <= self.ttl_milliseconds <= milliseconds

    def is_asked_by(self, item: StreamItem) -> bool:
        """Whether an item does not read what has differed, but asks how long the key lives."""
        return item.request is not self.item.request

    @property
    def has_expiry_on_one(self) -> bool:
        """Whether the key has an expiry on exactly one of the stores, as far as they have said."""
        ours, theirs = self.ttl_milliseconds, self.secondary_ttl_milliseconds
        return ours is not None and theirs is not None and (ours >= 0) is not (theirs >= 0)


class Confirming:
    """The open suspicions, bounded in number. Pure: whoever uses it reads.

    Args:
        most: How many may be open.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[tuple[int, tuple[bytes, ...]], Suspicion] = {}
        self._by_key: dict[Key, set[Suspicion]] = {}

    def __repr__(self) -> str:
        return f"<Confirming {len(self._open)} open>"

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def is_known(self, item: StreamItem) -> bool:
        """Return whether the same read is being confirmed already."""
        return (item.context.db, item.request.args) in self._open

    def readings_of(self, key: Key) -> int:
        """Return how often a difference of a key has been seen that is being confirmed; 0: there is none."""
        return max((suspicion.readings for suspicion in self._by_key.get(key, ())), default=0)

    def suspect(self, item: StreamItem, now: float) -> Suspicion | None:
        """Take note of a first difference.

        Args:
            item: The shadow read.
            now: The time on the stream's clock.

        Returns:
            The suspicion; None if there are too many.
        """
        if len(self._open) >= self._most:
            return None
        keys = tuple(item.keys_by_db() or ())
        suspicion = Suspicion(item, now, keys, told=_kept(item.expected or b""), told_at=now)
        self._open[item.context.db, item.request.args] = suspicion
        for key in keys:
            self._by_key.setdefault(key, set()).add(suspicion)
        return suspicion

    def differs_again(self, suspicion: Suspicion, expected: bytes, now: float) -> Step:
        """Take note that a reading has shown a difference again.

        Args:
            suspicion: Which.
            expected: The primary's reply this time.
            now: The time of this reading, on the stream's clock.
        """
        told = _kept(expected)
        if not suspicion.has_written and _has_changed(suspicion, told, now):
            self.close(suspicion)
            return Step.IS_MOVING
        suspicion.readings += 1
        suspicion.told, suspicion.told_at = told, now
        suspicion.has_written = False
        if suspicion.readings < READINGS:
            return Step.READ_AGAIN
        self.close(suspicion)
        return Step.IS_DIVERGENCE

    def close(self, suspicion: Suspicion) -> None:
        """Forget a suspicion: it is confirmed, or has healed, or cannot be pursued."""
        if suspicion.is_over:
            return
        suspicion.is_over = True
        del self._open[suspicion.item.context.db, suspicion.item.request.args]
        for key in suspicion.keys:
            others = self._by_key[key]
            others.discard(suspicion)
            if not others:
                del self._by_key[key]

    def written(self, items: Iterable[StreamItem]) -> None:
        """Take note of what this proxy has written; only necessary while suspicions are open."""
        for item in items:
            if item.expected is not None:
                continue
            keys = item.keys_by_db()
            for key in self._by_key if keys is None else keys:
                for suspicion in self._by_key.get(key, ()):
                    suspicion.has_written = True


_RELATIVE_MILLISECONDS: Final = {"TTL": 1000, "PTTL": 1}
"""Commands whose reply is a time that runs out by itself, with their unit."""
_SLACK_SECONDS: Final = 1.0


def _has_changed(suspicion: Suspicion, told: bytes | int, now: float) -> bool:
    """Whether the primary's reply is another one than it would be if nobody had written."""
    before = suspicion.told
    unit = _RELATIVE_MILLISECONDS.get(suspicion.item.plan.spec.name)
    if unit is None or before == told or not isinstance(before, bytes) or not isinstance(told, bytes):
        return before != told
    try:
        left_before, left = (int(reply[1:-2]) * unit / 1000 for reply in (before, told))
    except ValueError:
        return True
    if left_before < 0 or left < 0:  # it has, or had, no expiry, or is gone
        return not (left < 0 and 0 <= left_before <= now - suspicion.told_at + _SLACK_SECONDS)
    return abs(left_before - left - (now - suspicion.told_at)) > _SLACK_SECONDS


def _kept(reply: bytes) -> bytes | int:
    return reply if len(reply) <= _MAX_KEPT_BYTES else hash(reply)


def milliseconds_told(reply: bytes) -> int | None:
    """Return what a raw reply to ``PTTL`` says; None if it is none."""
    return int(reply[1:-2]) if reply[:1] == b":" else None


def one_by_one(item: StreamItem, actual: bytes) -> list[StreamItem]:
    """Return the reads of single keys to confirm instead of a read of several: those that differ.

    Some of its keys may be written by this proxy, others by somebody else: together they cannot be judged.

    Args:
        item: A shadow read that has differed.
        actual: The secondary's reply.

    Returns:
        A ``GET`` for each key of ``MGET`` that differs; the item itself otherwise.
    """
    names = item.request.args[1:]
    if item.plan.spec.name != "MGET" or item.expected is None or actual[:1] != b"*" or len(names) < 2:
        return [item]
    answers = zip(names, elements_of(item.expected), elements_of(actual), strict=False)
    found: list[StreamItem] = []
    for name, ours, theirs in answers:
        if ours != theirs:
            args = (b"GET", name)
            found.append(
                attrs.evolve(item, plan=plan_of(args), request=Request(args, pack(args)), expected=ours)
            )
    return found or [item]
