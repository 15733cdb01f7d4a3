"""The primary's clock, told from ours: expiry is absolute there."""

from __future__ import annotations

from typing import Final

__all__ = ["PrimaryTime"]

_FORGIVEN_SECONDS: Final = 0.002
"""A sample that took so much longer than the best one is still welcome."""
_AGING: Final = 1.1
"""The best round trip is forgotten slowly: clocks drift."""
_FIRST_SAMPLES: Final = 10
"""So many answers make a good one likely, even if the first was slow."""


class PrimaryTime:
    """The offset between the primary's clock and ours, from its answers to ``TIME``.

    Args:
        offset_ms: What to add to our time in milliseconds before the first answer.
    """

    def __init__(self, offset_ms: float) -> None:
        self._offset_ms = offset_ms
        self._best_seconds = float("inf")
        self.is_known = False
        """Whether the primary has been asked."""
        self._samples = 0

    def observe(self, sent: float, received: float, primary_ms: float) -> None:
        """Take note of an answer.

        Args:
            sent: When ``TIME`` was sent, on our clock, in seconds.
            received: When the answer came.
            primary_ms: What it said, in milliseconds since 1970.
        """
        seconds = received - sent
        self._samples += 1
        self._best_seconds *= _AGING
        if seconds <= self._best_seconds + _FORGIVEN_SECONDS:
            self._best_seconds = min(seconds, self._best_seconds)
            self._offset_ms = primary_ms - (sent + received) / 2 * 1000
            self.is_known = True

    def forget(self) -> None:
        """The primary may be another server now: the next answer counts, however slow."""
        self._best_seconds = float("inf")
        self._samples = 0

    @property
    def is_settled(self) -> bool:
        """Whether there have been enough answers since the last connection: no more are wanted at once."""
        return self._samples >= _FIRST_SAMPLES

    def at_ms(self, now: float) -> int:
        """Return the primary's time, in milliseconds since 1970, at *now* on our clock."""
        return int(now * 1000 + self._offset_ms)
