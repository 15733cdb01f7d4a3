"""The last operations of each key, as the clients saw them: what to look at first when a key differs."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from dualkv.commands.keys import keys_of
from dualkv.commands.table import find_command

__all__ = ["History", "Operation", "shown"]

_MAX_KEYS: Final = 50_000
_SHOWN_BYTES: Final = 60
_TOUCH_ALL: Final = frozenset({"FLUSHALL", "FLUSHDB", "SWAPDB"})
_CARRY_OVER: Final = frozenset({b"RENAME", b"RENAMENX", b"COPY"})
"""The value of the first key becomes that of the second."""


def shown(value: bytes) -> str:
    """Return a value as a person can read it, cut if it is long."""
    text = repr(value[:_SHOWN_BYTES])[1:]
    return text if len(value) <= _SHOWN_BYTES else f"{text}… ({len(value)} bytes)"


@attrs.frozen
class Operation:
    """A command and its reply."""

    number: int
    """Replies are numbered as they arrive, over all clients."""
    sent_at: float
    answered_at: float
    """Seconds from the beginning."""
    client: int
    db: int
    args: tuple[bytes, ...]
    reply: bytes | None
    """The beginning of the raw reply; None: there was none."""
    within: str = ""
    """``EXEC`` for a part of a transaction."""

    def __str__(self) -> str:
        words = " ".join(
            arg.decode() if arg.isalnum() and len(arg) <= _SHOWN_BYTES else shown(arg) for arg in self.args
        )
        reply = "no reply" if self.reply is None else shown(self.reply)
        return (
            f"#{self.number} {self.sent_at:.3f}-{self.answered_at:.3f}s client {self.client} db {self.db} "
            f"{self.within}{' ' if self.within else ''}{words} -> {reply}"
        )


class History:
    """Remembers a few operations per key, whatever the database; bounded.

    Args:
        per_key: How many.
    """

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._by_key: dict[bytes, deque[Operation]] = {}
        self._of_all: deque[Operation] = deque(maxlen=per_key)
        """Commands that may touch any key."""

    def record(self, operation: Operation) -> None:
        """Remember an operation of the keys that it names."""
        spec = find_command(*operation.args[:2])
        if spec.name in _TOUCH_ALL:
            self._of_all.append(operation)
            return
        keys = keys_of(spec, operation.args)
        if keys is None:  # it may touch others too
            keys = (operation.args[1], operation.args[-1]) if spec.name in ("MOVE", "SORT") else ()
        for key in dict.fromkeys(keys):
            if key not in self._by_key:
                if len(self._by_key) >= _MAX_KEYS:
                    self._by_key.pop(next(iter(self._by_key)))
                self._by_key[key] = deque(maxlen=self._per_key)
            self._by_key[key].append(operation)

    def of(self, key: bytes) -> list[Operation]:
        """Return what is remembered of *key*, oldest first.

        With it comes what touched all keys meanwhile, and what happened to a key whose value came here.
        """
        own = list(self._by_key.get(key, ()))
        found = {id(operation): operation for operation in own}
        if own:
            found |= {id(other): other for other in self._of_all if other.number > own[0].number}
        for operation in own:
            if operation.args[0].upper() in _CARRY_OVER and operation.args[1] != key:
                found |= {
                    id(other): other
                    for other in self._by_key.get(operation.args[1], ())
                    if other.number < operation.number
                }
        return sorted(found.values(), key=lambda operation: operation.number)
