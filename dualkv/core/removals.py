"""What a store has removed by itself: keys that made room for others, and keys whose time was over.

It tells how many there have been since it was started. Between two answers of one process the number has
grown or not; so something can be said only of the time since the first answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

import attrs

from dualkv.core.effects.model import Args
from dualkv.core.info import info_fields

__all__ = ["ASKING", "Removals", "Removed", "told_removed"]

ASKING: Final[tuple[Args, ...]] = ((b"INFO", b"server"), (b"INFO", b"stats"), (b"INFO", b"memory"))
"""What to ask."""
_MAX_ANSWERS: Final = 256


@attrs.frozen
class Removed:
    """What one process of a store says that it has removed by itself."""

    run_id: str = ""
    """Of the process; empty if it does not tell."""
    evicted: int | None = None
    """Keys that made room for others; None if it does not tell."""
    expired: int | None = None
    """Keys whose time was over; None if it does not tell."""
    policy: str = ""
    """Whom it evicts (``maxmemory-policy``); empty if it does not tell."""


def told_removed(replies: Sequence[bytes]) -> Removed:
    """Return what follows from the raw replies to `ASKING`; any of them may be an error."""
    server, stats, memory = map(info_fields, replies)
    return Removed(
        server.get("run_id", ""),
        _number(stats.get("evicted_keys")),
        _number(stats.get("expired_keys")),
        memory.get("maxmemory_policy", ""),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


class Removals:
    """What one store has said, and when; bounded."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, Removed]] = deque(maxlen=_MAX_ANSWERS)

    def __repr__(self) -> str:
        return f"<Removals {len(self._told)} answers, last {self._told[-1] if self._told else None}>"

    def learn(self, told: Removed, now: float) -> None:
        """Take note of an answer. Another process, or one whose counters were reset, is begun anew with.

        Args:
            told: What it said.
            now: When, on any clock, in seconds.
        """
        if self._told and not _is_later(self._told[-1][1], told):
            self._told.clear()
        if len(self._told) > 1 and self._told[-1][1] == self._told[-2][1] == told:
            self._told.pop()  # nothing has happened in between
        self._told.append((now, told))

    def has_evicted(self, since: float, *, has_expiry: bool | None) -> bool:
        """Return whether a key may have made room for others; False as well if the store does not tell.

        Args:
            since: When it was there for certain, on the clock of `learn`.
            has_expiry: Whether it has an expiry; None: nobody knows.
        """
        before, now = self._around(since)
        spares = now.policy.startswith("volatile-") and has_expiry is False
        return not spares and (now.evicted or 0) > (before.evicted or 0)

    def has_expired(self, since: float) -> bool | None:
        """Return whether the time of any key was over since then; None if the store does not tell."""
        before, now = self._around(since)
        return None if now.expired is None else now.expired > (before.expired or 0)

    def _around(self, since: float) -> tuple[Removed, Removed]:
        """Return the last answer before *since*, or the first of all, and the newest."""
        if not self._told:
            return Removed(), Removed()
        before = [told for _, told in takewhile(lambda one: one[0] <= since, self._told)]
        return before[-1] if before else self._told[0][1], self._told[-1][1]


def _is_later(before: Removed, now: Removed) -> bool:
    """Whether an answer continues another one of the same process."""
    return (
        now.run_id == before.run_id
        and (now.evicted or 0) >= (before.evicted or 0)
        and (now.expired or 0) >= (before.expired or 0)
    )
