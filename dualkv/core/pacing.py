"""How much goes to a backend in one transaction, and how many transactions at once.

Up slowly, down by half: when the backend refuses one, the next are half as big; when it has too much to do,
half as many are in flight, too. And whatever the size, a transaction should not take long: others wait for
it, its outcome is unknown if the connection breaks meanwhile, and it has to be over before its deadline.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

__all__ = ["Outcome", "Pacing", "Refusal"]

_FEWEST: Final = 8
_MOST: Final = 1000
_FIRST: Final = 250
"""Effects in one transaction. A real cluster does 1,600 effects a second in fifties, 1,800 in hundreds and
in thousands, and at times refuses thousands."""
_BYTES_PER_EFFECT: Final = 1024
_FEWEST_BYTES: Final = 64 * 1024
_GOAL_SECONDS: Final = 0.25
"""How long a transaction should take."""
_GROWTH: Final = 8
"""A transaction of full size that is committed makes the next ones larger by this part of them."""
_COMMITS_PER_SLOT: Final = 8
"""So many commits in a row let one more transaction be in flight."""


class Refusal(enum.StrEnum):
    """Why a transaction was not executed, or not in time; a label of metrics."""

    BUSY = "busy"
    """The backend has too much to do."""
    TOO_MUCH = "too_much"
    """It was more than the backend takes at once."""
    NO_ANSWER = "no_answer"
    """Whether it was executed, nobody knows."""


class Outcome(enum.StrEnum):
    """What became of a transaction; a label of metrics."""

    COMMITTED = "committed"
    REFUSED = "refused"
    """Nothing was done, for a reason that does not last; it is sent again, as long as there is time."""
    SPLIT = "split"
    """An effect has failed, and nothing was done: each half is sent again, until that one stands alone."""
    FAILED = "failed"
    """Given up: an effect that failed alone, or a refusal that lasted."""


class Pacing:
    """The pace of one backend, for all who send it transactions.

    Several of them may be refused for one and the same reason: what was sent before the pace went down does
    not let it go down again.

    Args:
        most_at_once: How many connections there are for transactions.
    """

    def __init__(self, most_at_once: int) -> None:
        self._most_at_once = most_at_once
        self.at_once = most_at_once
        """How many transactions may be in flight."""
        self._refusable = float(_FIRST)
        self._seconds_per_effect = 0.0
        self._commits = 0
        self._turn = 0
        self.outcomes: Counter[Outcome] = Counter()
        """What became of transactions."""
        self.effects_committed = 0
        """Those in transactions that were committed."""
        self.halved: Counter[Refusal] = Counter()
        """How often the pace went down, and why."""

    def __repr__(self) -> str:
        return f"<Pacing {self.effects} effects, {self.at_once} of {self._most_at_once} at once>"

    @property
    def effects(self) -> int:
        """How many effects may be in one transaction."""
        effects = self._refusable
        if self._seconds_per_effect:
            effects = min(effects, _GOAL_SECONDS / self._seconds_per_effect)
        return max(_FEWEST, int(effects))

    @property
    def size_bytes(self) -> int:
        """How many bytes may be in one transaction."""
        return max(_FEWEST_BYTES, self.effects * _BYTES_PER_EFFECT)

    def begin(self) -> int:
        """A transaction is sent; return what `committed` and `refused` want to know of it."""
        return self._turn

    def committed(self, turn: int, effects: int, seconds: float) -> None:
        """Take note that a transaction was committed.

        Args:
            turn: What `begin` returned.
            effects: How many it had.
            seconds: How long it took.
        """
        if effects >= _FEWEST:  # fewer tell what a commit costs, and not what an effect does
            per_effect = seconds / effects
            if not self._seconds_per_effect or per_effect < self._seconds_per_effect:
                self._seconds_per_effect = per_effect
            else:
                self._seconds_per_effect += (per_effect - self._seconds_per_effect) / 4
        if turn != self._turn:
            return
        if effects * 2 > self.effects:
            self._refusable = min(_MOST, self._refusable + max(1.0, self._refusable / _GROWTH))
        self._commits += 1
        if self._commits >= _COMMITS_PER_SLOT and self.at_once < self._most_at_once:
            self.at_once += 1
            self._commits = 0

    def refused(self, turn: int, effects: int, why: Refusal) -> None:
        """Take note that a transaction was not executed, or not in time.

        Args:
            turn: What `begin` returned.
            effects: How many it had.
            why: Only if it was too much at once, as many others may be in flight as before.
        """
        if turn != self._turn:
            return
        self._turn += 1
        self._commits = 0
        self.halved[why] += 1
        is_busy = why is not Refusal.TOO_MUCH
        refused = self.effects if is_busy else min(self.effects, effects)
        self._refusable = max(float(_FEWEST), refused / 2)
        if is_busy:
            self.at_once = max(1, self.at_once // 2)
