"""Counters as rates, and the last minutes as points."""

from __future__ import annotations

import pytest

from dualkv.commands.classify import CommandCategory
from dualkv.core.series import SERIES_SECONDS, STEP_SECONDS, Sample, Series, Totals, quantile

BOUNDS = (0.001, 0.01, 0.1)
READS, WRITES = CommandCategory.READ, CommandCategory.WRITE


def sample(at: float, reads: tuple[int, ...] = (0, 0, 0, 0), errors: int = 0, **counts: int) -> Sample:
    """Return a sample with reads at one backend."""
    return Sample(at, {("redis", READS): Totals(reads, errors)}, **counts)


def taken(*samples: Sample) -> Series:
    """Return a series that has taken samples."""
    series = Series(BOUNDS)
    for one in samples:
        series.take(one, 1000 + one.at_seconds, "redis", "elastickv", 0)
    return series


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.0005),
        ((10, 0, 0, 0), 1.0, 0.001),
        ((0, 10, 0, 0), 0.5, 0.0055),
        ((50, 49, 1, 0), 0.99, 0.01),
        ((0, 0, 0, 10), 0.5, 0.1),
        ((1, 0, 0, 99), 0.5, 0.1),
    ],
)
def test_a_quantile_lies_in_its_bucket(counts: tuple[int, ...], share: float, expected: float | None) -> None:
    """Between the bounds as if all were spread evenly; beyond the last bound nothing is known."""
    assert quantile(BOUNDS, counts, share) == (None if expected is None else pytest.approx(expected))


def test_one_sample_tells_no_rate() -> None:
    """How fast counters grow takes two."""
    series = taken(sample(1.0, (5, 0, 0, 0)))

    assert (series.over_seconds, dict(series.rates), len(series.points)) == (0.0, {}, 0)


def test_rates_are_what_happened_between_two_samples() -> None:
    """What was before does not matter; errors are counted apart."""
    series = taken(sample(1.0, (100, 0, 0, 0), 7), sample(6.0, (100, 50, 0, 0), 17))
    rate = series.rates["redis", READS]

    assert (rate.ops_per_second, rate.errors_per_second) == (10.0, 2.0)
    assert rate.p50_seconds == pytest.approx(0.0055)
    assert series.by_backend["redis"] == rate


def test_what_did_not_happen_in_the_last_step_has_no_rate() -> None:
    """A class of commands that was used an hour ago is not among those of now."""
    series = taken(sample(1.0, (5, 0, 0, 0)), sample(6.0, (5, 0, 0, 0)))

    assert dict(series.rates) == {}
    assert series.by_backend["redis"].ops_per_second == 0.0


def test_a_backends_rate_is_that_of_all_its_commands() -> None:
    """Reads and writes together, and what began in this step, too."""
    later = Sample(2.0, {("redis", READS): Totals((3, 0, 0, 0)), ("redis", WRITES): Totals((0, 0, 0, 1))})
    series = taken(sample(0.0), later)

    assert series.by_backend["redis"].ops_per_second == 2.0
    assert series.by_backend["redis"].p99_seconds == pytest.approx(0.1)


def test_a_point_tells_of_its_own_step_only() -> None:
    """The greatest age that was seen since the point before, and what was found meanwhile."""
    series = taken(sample(0.0, divergences=2, gaps=9))
    for age in (0.5, 3.0, 0.1):
        series.note_age(age)
    first = series.take(sample(5.0, divergences=3, gaps=9), 1005.0, "redis", "elastickv", 12)
    second = series.take(sample(10.0, divergences=3, gaps=10), 1010.0, "redis", "elastickv", 0)

    assert first is not None
    assert second is not None
    assert (first.time, first.stream_age_seconds, first.divergences, first.gaps) == (1005.0, 3.0, 1, 0)
    assert (first.dirty_keys, first.p99_ms) == (12, None)
    assert (second.stream_age_seconds, second.divergences, second.gaps) == (0.0, 0, 1)


def test_who_answers_may_change_on_the_way() -> None:
    """After a change of the mode the points tell of the store that clients see."""
    series = Series(BOUNDS)
    replies = {("redis", READS): Totals((5, 0, 0, 0)), ("elastickv", READS): Totals((0, 20, 0, 0))}
    series.take(Sample(0.0, {}), 0.0, "redis", "elastickv", 0)
    point = series.take(Sample(5.0, replies), 5.0, "elastickv", "redis", 0)

    assert point is not None
    assert (point.ops_per_second, point.follower_ops_per_second) == (4.0, 1.0)


def test_points_older_than_a_quarter_of_an_hour_are_forgotten() -> None:
    """The memory that it takes is bounded."""
    series = taken(*(sample(STEP_SECONDS * step) for step in range(1000)))

    assert len(series.points) == SERIES_SECONDS / STEP_SECONDS
    assert series.points[-1].time - series.points[0].time == SERIES_SECONDS - STEP_SECONDS
