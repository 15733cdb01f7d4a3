"""How much goes on, and how fast: counters as rates, and the last minutes as points to draw.

Counters only grow; two samples of them, some seconds apart, tell what happened between. Latencies are known
by bucket, so that their quantiles are estimates, as in Prometheus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from dualkv.commands.classify import CommandCategory

__all__ = ["SERIES_SECONDS", "STEP_SECONDS", "Point", "Rate", "Sample", "Series", "Totals", "quantile"]

STEP_SECONDS: Final = 5.0
"""Between two points."""
SERIES_SECONDS: Final = 15 * 60
"""What the points cover."""


@attrs.frozen
class Totals:
    """The replies of one kind of commands at one backend, so far."""

    counts: tuple[int, ...]
    """By duration bucket."""
    errors: int = 0


@attrs.frozen
class Sample:
    """The counters at one moment."""

    at_seconds: float
    """On our clock."""
    replies: Mapping[tuple[str, CommandCategory], Totals]
    """By backend and kind of command; only what there has been."""
    divergences: int = 0
    """Gaps apart."""
    gaps: int = 0


@attrs.frozen
class Rate:
    """What happened between two samples to commands of one kind (or of all) at one backend."""

    ops_per_second: float
    errors_per_second: float
    p50_seconds: float | None
    """None: there were none."""
    p99_seconds: float | None


@attrs.frozen
class Point:
    """One step of the series."""

    time: float
    """Its end, as Unix time."""
    ops_per_second: float
    """Replies of the store that answers."""
    p50_ms: float | None
    p99_ms: float | None
    follower_ops_per_second: float
    """Replies of the store that follows."""
    stream_age_seconds: float
    """The greatest that was seen."""
    dirty_keys: int
    divergences: int
    """Confirmed in this step, gaps apart."""
    gaps: int


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return an estimate of the value that *share* of the observations do not exceed; None without any.

    Args:
        bounds: The upper bounds of the buckets, ascending; the last bucket has none.
        counts: Observations by bucket, one more than bounds.
        share: 0 to 1.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below = share * total, 0
    for place, bound in enumerate(bounds):
        count = counts[place]
        if count and below + count >= rank:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bound - lower) * (rank - below) / count
        below += count
    return bounds[-1]


class Series:
    """The last minutes, and the rates of the last step.

    Args:
        bounds: The upper bounds of the duration buckets, in seconds.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._last: Sample | None = None
        self._age_seconds = 0.0
        self.points: deque[Point] = deque(maxlen=int(SERIES_SECONDS / STEP_SECONDS))
        self.rates: Mapping[tuple[str, CommandCategory], Rate] = {}
        """Of the last step, by backend and kind of command; only what there was."""
        self.by_backend: Mapping[str, Rate] = {}
        """The same for all commands together."""
        self.over_seconds = 0.0
        """How long the last step was; 0: there has been none yet."""

    def __repr__(self) -> str:
        return f"<Series {len(self.points)} points>"

    def note_age(self, seconds: float) -> None:
        """Take note of the stream's age between two samples."""
        self._age_seconds = max(self._age_seconds, seconds)

    def take(self, sample: Sample, time: float, answers: str, follows: str, dirty_keys: int) -> Point | None:
        """Take a sample; return the point that it ends, if it is not the first.

        Args:
            sample: Later than the one before.
            time: Unix time.
            answers: The backend that answers.
            follows: The one that follows, or an empty text.
            dirty_keys: How many there are now.
        """
        before, self._last = self._last, sample
        age, self._age_seconds = self._age_seconds, 0.0
        if before is None:
            return None
        seconds = max(sample.at_seconds - before.at_seconds, 0.001)
        grown = {
            name: _difference(totals, before.replies.get(name)) for name, totals in sample.replies.items()
        }
        self.over_seconds = seconds
        self.rates = {
            name: self._rate(totals, seconds) for name, totals in grown.items() if any(totals.counts)
        }
        self.by_backend = {
            backend: self._rate(_sum([totals for (at, _), totals in grown.items() if at == backend]), seconds)
            for backend in {at for at, _ in grown}
        }
        front, behind = self.by_backend.get(answers, _NOTHING), self.by_backend.get(follows, _NOTHING)
        point = Point(
            time,
            front.ops_per_second,
            _milliseconds(front.p50_seconds),
            _milliseconds(front.p99_seconds),
            behind.ops_per_second,
            age,
            dirty_keys,
            sample.divergences - before.divergences,
            sample.gaps - before.gaps,
        )
        self.points.append(point)
        return point

    def _rate(self, grown: Totals, seconds: float) -> Rate:
        return Rate(
            sum(grown.counts) / seconds,
            grown.errors / seconds,
            quantile(self._bounds, grown.counts, 0.5),
            quantile(self._bounds, grown.counts, 0.99),
        )


_NOTHING: Final = Rate(0.0, 0.0, None, None)


def _difference(now: Totals, before: Totals | None) -> Totals:
    if before is None:
        return now
    return Totals(
        tuple(new - old for new, old in zip(now.counts, before.counts, strict=True)),
        now.errors - before.errors,
    )


def _sum(several: Sequence[Totals]) -> Totals:
    return Totals(
        tuple(map(sum, zip(*(totals.counts for totals in several), strict=True))),
        sum(totals.errors for totals in several),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
