"""How long to wait before trying again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    """Each wait lies between half of its step and the whole step; steps double until the longest."""
    backoff = Backoff(first_seconds=0.05, longest_seconds=1.0)

    for step in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
        assert step / 2 <= backoff.next_wait_seconds() <= step


def test_default_goes_from_50_milliseconds_to_5_seconds() -> None:
    """Without arguments, waits begin at 50 ms and end at 5 s, jitter included."""
    waits = [wait() for wait in itertools.repeat(Backoff().next_wait_seconds, 20)]

    assert 0.025 <= waits[0] <= 0.05
    assert all(2.5 <= wait <= 5.0 for wait in waits[8:])


def test_is_fresh_until_something_has_failed() -> None:
    """A backoff is fresh at the beginning and after a reset, and at no other time."""
    backoff = Backoff()
    states = [backoff.is_fresh]
    backoff.next_wait_seconds()
    states.append(backoff.is_fresh)
    backoff.reset()
    states.append(backoff.is_fresh)

    assert states == [True, False, True]


def test_reset_begins_anew() -> None:
    """After a success the next wait is as short as the first one was."""
    backoff = Backoff(first_seconds=0.1, longest_seconds=10.0)
    for _ in range(6):
        backoff.next_wait_seconds()
    backoff.reset()

    assert 0.05 <= backoff.next_wait_seconds() <= 0.1


def test_proxies_that_fail_together_do_not_come_back_together() -> None:
    """Equal backoffs give different waits."""
    waits = {Backoff().next_wait_seconds() for _ in range(50)}

    assert len(waits) > 40


@settings(deadline=None)
@given(
    first=st.floats(min_value=0.001, max_value=1.0),
    factor=st.floats(min_value=1.0, max_value=1000.0),
    failures=st.integers(min_value=1, max_value=60),
)
def test_no_wait_is_longer_than_the_longest(first: float, factor: float, failures: int) -> None:
    """However often something fails, a wait is positive and within its bounds."""
    backoff = Backoff(first_seconds=first, longest_seconds=first * factor)
    waits = [backoff.next_wait_seconds() for _ in range(failures)]

    assert all(first / 2 <= wait <= first * factor for wait in waits)


@pytest.mark.parametrize("failures", [1, 5, 50])
def test_later_waits_are_not_shorter_beyond_jitter(failures: int) -> None:
    """A later wait is at least half of any earlier one."""
    backoff = Backoff()
    earlier = [backoff.next_wait_seconds() for _ in range(failures)]

    assert max(earlier) / 2 <= backoff.next_wait_seconds()
