"""The last divergences, bounded, to be looked through.

Before a back-fill most reads are migration gaps. So that they do not push out the few mismatches that
somebody has to look at, gaps and the others have half of the room each, and more only while the other half
is not used.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Final

import attrs

from dualkv.core.divergence import Divergence, DivergenceKind, order_of

__all__ = ["DivergenceFilter", "DivergenceRing"]

MAX_RING_BYTES: Final = 16 * 1024 * 1024
"""What records take in memory at most, roughly, however many are allowed."""

_Numbered = tuple[int, Divergence]


@attrs.frozen
class DivergenceFilter:
    """Which divergences are wanted; by default all."""

    command: str = ""
    """Of this command only: its label."""
    kind: DivergenceKind | None = None
    key_prefix: bytes = b""
    after: str = ""
    """Later than the divergence with this id; it need not be remembered."""
    since_seconds: float = 0.0
    """Confirmed at this Unix time or later."""

    def takes(self, divergence: Divergence) -> bool:
        """Whether a divergence is wanted, wherever it stands."""
        return (
            (not self.command or divergence.command == self.command)
            and (self.kind is None or divergence.kind is self.kind)
            and divergence.key.startswith(self.key_prefix)
            and divergence.time_seconds >= self.since_seconds
        )


class DivergenceRing:
    """The last divergences of this process, in their order.

    Args:
        max_records: How many are remembered.
        max_bytes: What they may take in memory, roughly.
    """

    def __init__(self, max_records: int, max_bytes: int = MAX_RING_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._gaps: deque[_Numbered] = deque()
        self._others: deque[_Numbered] = deque()
        self._by_id: dict[str, Divergence] = {}
        self._bytes = 0
        self.added = 0
        """How many have been remembered so far, those that are forgotten included."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Divergence]:
        """Yield them, oldest first."""
        return (divergence for _, divergence in heapq.merge(self._gaps, self._others))

    def __reversed__(self) -> Iterator[Divergence]:
        """Yield them, newest first."""
        newest_first = heapq.merge(reversed(self._gaps), reversed(self._others), reverse=True)
        return (divergence for _, divergence in newest_first)

    def __repr__(self) -> str:
        return f"<DivergenceRing {len(self)} of {self._max_records} added={self.added}>"

    @property
    def size_bytes(self) -> int:
        """What they take in memory, roughly."""
        return self._bytes

    def add(self, divergence: Divergence) -> None:
        """Remember a divergence; the oldest ones make room for it.

        Args:
            divergence: It has an id, later than those before.
        """
        self.added += 1
        is_gap = divergence.kind is DivergenceKind.MIGRATION_GAP
        (self._gaps if is_gap else self._others).append((self.added, divergence))
        self._by_id[divergence.id] = divergence
        self._bytes += divergence.size_bytes
        while len(self._by_id) > self._max_records or (
            self._bytes > self._max_bytes and len(self._by_id) > 1
        ):
            self._forget_one()

    def get(self, divergence_id: str) -> Divergence | None:
        """Return the divergence with an id; None: it is forgotten, or there never was one."""
        return self._by_id.get(divergence_id)

    def find(self, wanted: DivergenceFilter, limit: int) -> list[Divergence]:
        """Return what is wanted, oldest first.

        Args:
            wanted: Which.
            limit: How many at most: the newest ones, or with `DivergenceFilter.after` those that come next.

        Raises:
            ValueError: `DivergenceFilter.after` is no id.
        """
        if not wanted.after:
            return [*islice(filter(wanted.takes, reversed(self)), limit)][::-1]
        after = order_of(wanted.after)
        later = takewhile(lambda divergence: order_of(divergence.id) > after, reversed(self))
        return [*filter(wanted.takes, later)][::-1][:limit]

    def _forget_one(self) -> None:
        fuller = self._gaps if len(self._gaps) >= len(self._others) else self._others
        _, oldest = fuller.popleft()
        del self._by_id[oldest.id]
        self._bytes -= oldest.size_bytes
