"""The key fence: one order per key where a leased connection writes beside the lane.

A transaction with WATCH executes on a connection of its own, so nothing tells where it stands in the order
of the lane. It raises the fence around its keys, waits until the lane has answered what was sent before,
executes, and lowers the fence; commands on these keys wait meanwhile. While no fence is up nobody asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

__all__ = ["KeyFence"]

Keys = Sequence[bytes] | None
"""None: any key."""


class KeyFence:
    """The keys that are fenced now, and who waits for them. First come, first served."""

    def __init__(self) -> None:
        self.is_up = False
        self._keys: Counter[bytes] = Counter()
        self._everything = 0
        self._waiting: list[tuple[Keys, Callable[[], None]]] = []

    def blocks(self, keys: Keys) -> bool:
        """Whether a command on *keys* has to wait."""
        if not self.is_up:
            return False
        if keys is None:
            return True
        return bool(keys) and (self._everything > 0 or any(key in self._keys for key in keys))

    def when_free(self, keys: Keys, resume: Callable[[], None]) -> None:
        """Call *resume* once, when *keys* are no longer blocked; it may find them blocked again."""
        self._waiting.append((keys, resume))

    def try_raise(self, keys: Keys) -> bool:
        """Fence *keys* unless some of them are fenced; return whether that was done."""
        if self.blocks(keys):
            return False
        if keys is None:
            self._everything += 1
        else:
            self._keys.update(keys)
        self.is_up = True
        return True

    def lower(self, keys: Keys) -> None:
        """Take back what `try_raise` did, and call those who waited for it."""
        if keys is None:
            self._everything -= 1
        else:
            for key in keys:
                self._keys[key] -= 1
                if not self._keys[key]:
                    del self._keys[key]
        self.is_up = bool(self._keys or self._everything)
        waiting, self._waiting = self._waiting, []
        for wanted, resume in waiting:
            # A woken one may have raised the fence again: then the others go on waiting.
            if self.blocks(wanted):
                self._waiting.append((wanted, resume))
            else:
                resume()
