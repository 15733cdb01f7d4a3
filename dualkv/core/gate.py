"""Whether writes flow into the secondary stream, or only their keys are remembered.

Three things shut the gate: the *breaker*, while the secondary does not answer; *overload*, while it is slower
than the writers; a *pause*, while somebody wants it left alone. Behind a shut gate a write costs what
remembering its key costs, and a key that is written a thousand times is copied once.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

__all__ = ["Gate", "GateState"]

_FAILURES: Final = 3
"""So many failures in a row of each connection, with no success between them, open the breaker."""
_HIGH_WATER: Final = 0.75
_LOW_WATER: Final = 0.25
"""Shares of a bound at which the gate shuts and opens."""
_HIGH_WATER_AGE: Final = 0.2
_LOW_WATER_AGE: Final = 0.02
"""The same for age, as shares of the longest life of a write: much of that is needed by what is queued."""


class GateState(enum.StrEnum):
    """Why the gate is open or shut."""

    FLOWING = "flowing"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    PAUSED = "paused"
    """Somebody has said so."""


@attrs.define
class Gate:
    """One decision for the whole stream."""

    max_age_seconds: float
    """The longest life of a write in the stream."""
    connections: int = 1
    """Over how many it goes: when the secondary is away, each of them fails."""
    is_open: bool = attrs.field(init=False, default=True)
    """Whether writes flow."""
    _is_paused: bool = attrs.field(init=False, default=False)
    _failures: int = attrs.field(init=False, default=0)
    _is_overloaded: bool = attrs.field(init=False, default=False)

    @property
    def state(self) -> GateState:
        """What it is now."""
        if self._is_paused:
            return GateState.PAUSED
        if not self.answers:
            return GateState.UNREACHABLE
        return GateState.OVERLOADED if self._is_overloaded else GateState.FLOWING

    @property
    def is_paused(self) -> bool:
        """Whether somebody has said that nothing is to be sent."""
        return self._is_paused

    @property
    def takes_copies(self) -> bool:
        """Whether what copies say can be sent, though writes may not flow."""
        return self.answers and not self._is_paused

    @property
    def answers(self) -> bool:
        """Whether the secondary answers, as far as anybody knows."""
        return self._failures < _FAILURES * self.connections

    def pause(self, is_paused: bool) -> None:
        """Do as somebody says.

        Args:
            is_paused: Whether nothing is to be sent.
        """
        self._is_paused = is_paused
        self._decide()

    def failed(self) -> None:
        """Take note that it could not be reached, or did not answer."""
        self._failures += 1
        self._decide()

    def answered(self) -> None:
        """Take note that it has answered."""
        if self._failures:
            self._failures = 0
            self._decide()

    def _decide(self) -> None:
        self.is_open = self.state is GateState.FLOWING

    def measure(self, fullness: float, age_seconds: float) -> None:
        """Take note of how full the stream is.

        Args:
            fullness: The greatest share of a bound (items, bytes) that is used, 0 to 1.
            age_seconds: How long the oldest write has been waiting.
        """
        age = age_seconds / self.max_age_seconds
        if self._is_overloaded:
            self._is_overloaded = fullness > _LOW_WATER or age > _LOW_WATER_AGE
        else:
            self._is_overloaded = fullness > _HIGH_WATER or age > _HIGH_WATER_AGE
        self._decide()
