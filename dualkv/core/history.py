"""What happened to a key lately: the last writes that entered the stream, and what was lost of them.

Taking note costs next to nothing, since lists of items are kept as they come; looking a key up walks through
all of them, which only a divergence is worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from dualkv.core.dirty import Key
from dualkv.core.divergence import MAX_REPORTED_BYTES, HistoryEntry
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem

__all__ = ["WriteHistory"]

_MAX_ENTRIES: Final = 10
"""Of one key, in a report."""
_MAX_ARGS: Final = 12
_MAX_LOSSES: Final = 2048


class WriteHistory:
    """The last writes, bounded in number and bytes.

    Args:
        max_items: How many are kept.
        max_bytes: What they may take in memory, roughly.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items = 0
        self._bytes = 0
        self._entered: deque[tuple[Sequence[StreamItem], int]] = deque()
        self._lost: deque[tuple[float, str, StreamItem]] = deque(maxlen=_MAX_LOSSES)
        self._unheld: deque[tuple[float, str, Sequence[Key]]] = deque(maxlen=_MAX_LOSSES)

    def __repr__(self) -> str:
        return f"<WriteHistory {self._items} items, {self._bytes} bytes>"

    def entered(self, items: Sequence[StreamItem], size_bytes: int) -> None:
        """Take note of writes that enter the stream in one step; they are kept as they are."""
        self._entered.append((items, size_bytes))
        self._items += len(items)
        self._bytes += size_bytes
        while self._items > self._max_items or self._bytes > self._max_bytes:
            gone, gone_bytes = self._entered.popleft()
            self._items -= len(gone)
            self._bytes -= gone_bytes

    def lost(self, item: StreamItem, what: str, now: float) -> None:
        """Take note that a write did not do on the secondary what it should.

        Args:
            item: Which.
            what: ``dropped (REASON)`` or ``failed (REASON)``, as `HistoryEntry` has it.
            now: When, on the stream's clock.
        """
        self._lost.append((now, what, item))

    def not_held(self, command: str, keys: Sequence[Key], now: float) -> None:
        """Take note that the secondary cannot hold what a command has done to *keys*.

        Args:
            command: Its name.
            keys: Whose.
            now: When, on the stream's clock.
        """
        self._unheld.append((now, command.lower().replace(" ", "|"), keys))

    def of(self, keys: Iterable[Key], now: float) -> tuple[HistoryEntry, ...]:
        """Return what happened to any of *keys*, oldest first, the last ten events at most."""
        wanted = frozenset(keys)
        names = [name for _, name in wanted]
        found: list[tuple[float, HistoryEntry]] = []
        for items, _ in self._entered:
            for item in items:
                if _names(item, names):
                    found += _entries(item, wanted, item.offered_at, now)
        for at, what, item in self._lost:
            if _names(item, names) and not wanted.isdisjoint(item.keys_by_db() or wanted):
                found.append((at, HistoryEntry(max(0.0, now - at), what, args=_cut(item.request.args))))
        for at, command, unheld in self._unheld:
            if not wanted.isdisjoint(unheld):
                found.append((at, HistoryEntry.unsupported(max(0.0, now - at), command)))
        found.sort(key=lambda one: one[0])
        return tuple(entry for _, entry in found[-_MAX_ENTRIES:])


def _names(item: StreamItem, names: Iterable[bytes]) -> bool:
    """Whether an item can concern one of *names*: cheap, and true too often rather than too seldom."""
    return item.keys() is None or any(name in item.request.raw for name in names)


def _entries(
    item: StreamItem, wanted: frozenset[Key], at: float, now: float
) -> Iterable[tuple[float, HistoryEntry]]:
    ago = max(0.0, now - at)
    if item.queue is Queue.COPY:
        if not wanted.isdisjoint(item.keys_by_db() or ()):
            yield at, HistoryEntry.copied(ago)
        return
    for (plan, request), (_, keys) in zip(item.commands, item.keys_of_parts(), strict=True):
        if plan.queue is not None and (keys is None or not wanted.isdisjoint(keys)):
            yield at, HistoryEntry(ago, plan.spec.label, args=_cut(request.args))


def _cut(args: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(arg[:MAX_REPORTED_BYTES] for arg in args[:_MAX_ARGS])
