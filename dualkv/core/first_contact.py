"""Old keys that the other store may not have, or only in part: found on their first write.

A write that adds to a key answers the same whether or not the rest of the key is there: ``HSET old new 1``
answers 1 on a store that has nothing else of it. So behind the first such write to a key the primary is asked
how many elements the key has, and the other store must have as many; where a number says too little (strings,
HyperLogLogs), the key is copied. Once all keys have been copied (a resync), there is nothing left to find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dualkv.core.effects.model import Args, Command

__all__ = ["FirstContacts"]

Key = tuple[int, bytes]

_MAX_KEYS: Final = 65_536

_COUNTERS: Final = {
    **dict.fromkeys(("HSET", "HMSET", "HSETNX", "HINCRBY", "HINCRBYFLOAT", "HSETEX"), b"HLEN"),
    "SADD": b"SCARD",
    **dict.fromkeys(("ZADD", "ZINCRBY", "GEOADD"), b"ZCARD"),
    "XADD": b"XLEN",
}
"""How to count the elements of what a command adds to."""
_COPIED: Final = frozenset({"APPEND", "SETRANGE", "SETBIT", "BITFIELD", "PFADD", "PFMERGE"})
"""Where a count says nothing. Counters and lists are in neither: their effects heal, or tell a length."""


class FirstContacts:
    """The keys that were written through this proxy, the newest first to stay.

    Args:
        is_seeded: Whether the other store has been given all keys anyway.
    """

    def __init__(self, is_seeded: Callable[[], bool] = lambda: False) -> None:
        self._is_seeded = is_seeded
        self._seen: dict[Key, None] = {}

    def is_first(self, name: str, key: Key) -> bool:
        """Whether the other store may not have what a command called *name* adds to *key*."""
        if key in self._seen or (name not in _COUNTERS and name not in _COPIED):
            return False
        return not self._is_seeded()

    def question(self, name: str, key: Key) -> Args | None:
        """Return what to ask behind a command about to be sent, if this is the first contact."""
        counter = _COUNTERS.get(name)
        return None if counter is None or not self.is_first(name, key) else (counter, key[1])

    def check(self, name: str, key: Key, answer: bytes | None) -> Command | None:
        """Return what the other store must answer behind the first contact; None: the key has to be copied.

        Args:
            name: The command's.
            key: Which key it has added to.
            answer: What the primary answered to `question`; None: it was not asked.
        """
        self.note(key)
        counter = _COUNTERS.get(name)
        if counter is None or answer is None or answer[:1] != b":":
            return None
        return Command((counter, key[1]), answer)

    def note(self, key: Key) -> None:
        """Take note that both stores have the same of *key* now, or that it is known if not."""
        if len(self._seen) >= _MAX_KEYS:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None

    def clear(self) -> None:
        """Forget all: the other store may have been emptied."""
        self._seen.clear()
