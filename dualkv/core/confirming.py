"""From the first difference to a divergence: both stores are read again, and what differs each time is one.

A shadow read sits at its exact position, so a difference is real unless somebody wrote past dualkv (another
proxy is behind by less than the time between the readings), or a key expires. Both heal by themselves.
So a difference is only a suspicion. Twice, a while apart, both stores are read again at one position; what
differs all three times is a divergence.

A key that somebody else changes between two readings proves nothing: the proxy that writes it may be behind
each time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from dualkv.core.mirror import StreamItem

__all__ = ["READINGS", "Confirming", "Step", "Suspicion"]

Key = tuple[int, bytes]

READINGS: Final = 3
"""How often a difference must be seen."""
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
    has_written: bool = False
    """Whether this proxy has written its keys since the last reading."""
    is_over: bool = False
    ttl_milliseconds: int | None = None
    """How long the key had to live on the primary when it was read last; -1: for ever, -2: there is none."""

    def is_near_expiry(self, milliseconds: int) -> bool:
        """Whether the key had at most *milliseconds* to live when it was read last."""
        return self.ttl_milliseconds is not None and 0 <= self.ttl_milliseconds <= milliseconds


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
        suspicion = Suspicion(item, now, keys, told=_kept(item.expected or b""))
        self._open[item.context.db, item.request.args] = suspicion
        for key in keys:
            self._by_key.setdefault(key, set()).add(suspicion)
        return suspicion

    def differs_again(self, suspicion: Suspicion, expected: bytes, *, is_timeless: bool) -> Step:
        """Take note that a reading has shown a difference again.

        Args:
            suspicion: Which.
            expected: The primary's reply this time.
            is_timeless: Whether the reply stays the same while nobody writes (that of ``TTL`` does not).
        """
        told = _kept(expected)
        has_changed = is_timeless and told != suspicion.told
        if has_changed and not suspicion.has_written:
            self.close(suspicion)
            return Step.IS_MOVING
        suspicion.readings += 1
        suspicion.told = told
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


def _kept(reply: bytes) -> bytes | int:
    return reply if len(reply) <= _MAX_KEPT_BYTES else hash(reply)
