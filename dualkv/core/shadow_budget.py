"""How many of the reads are compared, so that comparing never slows writes.

The share is halved when writes wait for long behind reads, or when the secondary answers much more slowly
than it did lately; it grows again while neither is so, step by step.
Two outside facts shape the rules:

- The stream is stop-and-wait: what arrives while a batch is under way waits for it. So a secondary that is
  far away makes items as old as its batches take, without any overload; fewer reads would not help.
- What has been admitted is already in the queue. So after a halving, its effect is waited for before the
  next.

The share thins by counting, not by key: whoever wants the same keys always sets `ProxyConfig.shadow_sample`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FLOOR", "ShadowBudget"]

FLOOR: Final = 0.01
"""The least share: a secondary that is always at its limits is still looked at, and its recovery noticed."""
_GOLDEN: Final = 0.6180339887498949
"""Steps of this size around a circle hit every part of it equally often, in whatever rhythm reads come:
counting up to 2 would take only every other one of two keys that are read in turn.
"""
_SLOW: Final = 4.0
"""A batch that takes so many times as long as usual is slow."""
_SLOW_SHARE_OF_AGE: Final = 0.25
"""And if it takes this share of the permitted age: a millisecond more is none of anybody's business."""
_SLOW_BATCHES: Final = 2
"""So many in a row are a sign: one may be a slow script, or a fork."""
_USUAL_RISES_SECONDS: Final = 30.0
"""In about this time, slower becomes usual; faster does at once."""
_PATIENCE_SECONDS: Final = 0.5
"""Longest wait for the effect of a halving."""
_GROWTH_PER_SECOND: Final = 0.7
_LEAST_GROWTH_PER_SECOND: Final = 0.01
"""From the floor to all reads in 5 s."""


class _Usual:
    """How long something takes lately, at best: follows what is slower, but slowly."""

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self._at = now

    def observe(self, seconds: float, now: float) -> None:
        """Take note of one more."""
        rise = min(1.0, max(0.0, now - self._at) / _USUAL_RISES_SECONDS)
        self.seconds += (seconds - self.seconds) * (rise if seconds > self.seconds else 1.0)
        self._at = now


_MOST_PER_BATCH: Final = 4096
_LEAST_PER_BATCH: Final = 4


class ShadowBudget:
    """Decides which share of the reads goes to the secondary.

    Args:
        age_seconds: How long the oldest item may have been waiting, while writes wait, until reads make
            room; for a secondary that is far away, longer (`permitted_age_seconds`).
    """

    def __init__(self, age_seconds: float = 0.1) -> None:
        self._age_seconds = age_seconds
        self.share = 1.0
        """The share now in force, `FLOOR` to 1."""
        self.shed = 0
        """Reads that were not admitted."""
        self.most_per_batch = _MOST_PER_BATCH
        """How many reads may go in one batch: writes that come meanwhile wait until it is answered."""
        self._position = 0.0
        self._usual: _Usual | None = None
        self._usual_by_size: dict[int, _Usual] = {}
        self._slow_batches = 0
        self._halved_at: float | None = None
        self._observed_at: float | None = None

    def __repr__(self) -> str:
        return f"<ShadowBudget share={self.share:.3g} shed={self.shed}>"

    @property
    def permitted_age_seconds(self) -> float:
        """How long an item may have been waiting while writes wait.

        What was said, and twice as long as batches take at least; at most three times what was said. While
        writes wait, reads that are older had better make room.
        """
        usual = self._usual.seconds if self._usual is not None else 0.0
        return self._age_seconds + 2 * min(usual, self._age_seconds)

    def admits(self) -> bool:
        """Return whether the next read goes to the secondary; count it if not."""
        share = self.share
        if share >= 1.0:
            return True
        position = self._position + _GOLDEN
        if position >= 1.0:
            position -= 1.0
        self._position = position
        if position < share:
            return True
        self.shed += 1
        return False

    def observe(
        self, exchange_seconds: float, items: int, stream_age_seconds: float, writes_waiting: int, now: float
    ) -> None:
        """Take note of a batch that was answered.

        Args:
            exchange_seconds: From sending it to its last reply.
            items: How many it had.
            stream_age_seconds: How long the oldest item that still waits has been waiting; 0 if none does.
            writes_waiting: How many writes wait.
            now: Seconds, monotonic.
        """
        since = self._observed_at
        self._observed_at = now
        if exchange_seconds > self._age_seconds:
            fitting = int(items * self._age_seconds / exchange_seconds)
            self.most_per_batch = max(_LEAST_PER_BATCH, min(self.most_per_batch, fitting))
        elif items >= self.most_per_batch:
            self.most_per_batch = min(_MOST_PER_BATCH, 2 * self.most_per_batch)
        is_slow = self._is_slow(exchange_seconds, items, now)
        if not is_slow and not (writes_waiting and stream_age_seconds > self.permitted_age_seconds):
            if self.share < 1.0 and since is not None:
                growth = _GROWTH_PER_SECOND * self.share + _LEAST_GROWTH_PER_SECOND
                self.share = min(1.0, self.share + growth * (now - since))
        elif self._sees_halving(max(exchange_seconds, stream_age_seconds), now):
            self.share = max(FLOOR, self.share / 2)
            self._halved_at = now

    def _is_slow(self, seconds: float, items: int, now: float) -> bool:
        """Take note of how long a batch took; return whether the secondary has become slow."""
        if self._usual is None:
            self._usual = _Usual(seconds, now)
        self._usual.observe(seconds, now)
        of_size = self._usual_by_size.setdefault(items.bit_length(), _Usual(seconds, now))
        if seconds > _SLOW * of_size.seconds and seconds > _SLOW_SHARE_OF_AGE * self._age_seconds:
            self._slow_batches += 1
        else:
            self._slow_batches = 0
        of_size.observe(seconds, now)
        return self._slow_batches >= _SLOW_BATCHES

    def _sees_halving(self, seconds: float, now: float) -> bool:
        """Whether what was observed, of so many seconds ago, was already with the share of now."""
        return self._halved_at is None or now - self._halved_at >= min(seconds, _PATIENCE_SECONDS)
