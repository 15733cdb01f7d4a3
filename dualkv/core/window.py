"""Counts of what happened in the last minutes, in little memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["WindowCounter"]

_SLOTS: Final = 60

Name = TypeVar("Name", bound=Hashable)


class WindowCounter(Generic[Name]):
    """Counts by name that are forgotten after a time.

    The window is cut into slots, so that what is forgotten is up to a sixtieth of it older than it says.

    Args:
        window_seconds: How long something counts, at least.
    """

    def __init__(self, window_seconds: float) -> None:
        self._slot_seconds = window_seconds / _SLOTS
        self._slots: deque[tuple[int, Counter[Name]]] = deque()
        self._total: Counter[Name] = Counter()

    def add(self, name: Name, now: float, count: int = 1) -> None:
        """Count something.

        Args:
            name: What.
            now: On any clock that does not go back, in seconds.
            count: How often it happened.
        """
        number = int(now // self._slot_seconds)
        if not self._slots or self._slots[-1][0] != number:
            self._forget(number)
            self._slots.append((number, Counter()))
        self._slots[-1][1][name] += count
        self._total[name] += count

    def total(self, now: float) -> Counter[Name]:
        """Return what happened in the window that ends *now*."""
        self._forget(int(now // self._slot_seconds))
        return self._total.copy()

    def _forget(self, number: int) -> None:
        """Forget what is too old when the slot with a number begins."""
        while self._slots and self._slots[0][0] < number - _SLOTS:
            _, gone = self._slots.popleft()
            for name, count in gone.items():
                self._total[name] -= count
                if not self._total[name]:
                    del self._total[name]
