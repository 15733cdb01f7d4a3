"""The primary's clock, told from ours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.primary_time import PrimaryTime


def test_first_guess_is_our_own_clock() -> None:
    """Until the primary has answered, its clock is taken to be ours."""
    time = PrimaryTime(5_000.0)

    assert (time.at_ms(1.5), time.is_known) == (6_500, False)


def test_answer_is_taken_for_the_middle_of_its_round_trip() -> None:
    """Nobody knows more about when it was made."""
    time = PrimaryTime(0.0)
    time.observe(10.0, 10.2, 500_000.0)

    assert time.is_known
    assert time.at_ms(10.1) == pytest.approx(500_000, abs=1)
    assert time.at_ms(11.1) == pytest.approx(501_000, abs=1)


def test_slow_answer_does_not_spoil_a_good_one() -> None:
    """The error is at most half a round trip: the short ones count."""
    time = PrimaryTime(0.0)
    time.observe(10.0, 10.001, 500_000.0)
    time.observe(11.0, 12.0, 502_000.0)
    assert time.at_ms(10.0) == pytest.approx(500_000, abs=1)

    time.observe(12.0, 12.002, 502_500.0)
    assert time.at_ms(12.0) == pytest.approx(502_500, abs=2)


def test_good_answer_is_forgotten_slowly() -> None:
    """If every answer is slow from now on, one of them counts in the end: clocks drift."""
    time = PrimaryTime(0.0)
    time.observe(0.0, 0.001, 0.0)
    for number in range(1, 100):
        time.observe(number, number + 0.1, number * 1000 + 50 + 700)

    assert time.at_ms(200.0) == pytest.approx(200_700, abs=1)


def test_new_primary_is_believed_at_once() -> None:
    """After a reconnect it may be another server: its first answer counts, however slow."""
    time = PrimaryTime(0.0)
    time.observe(0.0, 0.001, 0.0)
    time.forget()
    time.observe(1.0, 2.0, 90_000.0)

    assert time.at_ms(1.5) == pytest.approx(90_000, abs=1)


def test_several_answers_are_wanted_at_once_after_a_reconnect() -> None:
    """The first may have been slow, and all expiry is told by it until a better one comes."""
    time = PrimaryTime(0.0)
    for _ in range(2):
        settled = [time.is_settled]
        time.observe(1.0, 3.0, 90_000.0)
        settled.append(time.is_settled)
        for number in range(20):
            time.observe(3.0 + number, 3.001 + number, 92_000.0 + number * 1000)
        settled.append(time.is_settled)

        assert settled == [False, False, True]
        assert time.at_ms(3.0) == pytest.approx(92_000, abs=2)
        time.forget()


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0.0001, 2.0), st.floats(0, 1)), min_size=1, max_size=20),
)
def test_error_is_at_most_half_the_first_round_trip(
    offset_ms: float, answers: list[tuple[float, float]]
) -> None:
    """Wherever in its round trip an answer was made, the estimate is as good as the first, or nearly."""
    time = PrimaryTime(0.0)
    now = 100.0
    for seconds, share in answers:
        time.observe(now, now + seconds, (now + seconds * share) * 1000 + offset_ms)
        now += seconds + 1
    worst = max(answers[0][0] * 1.1 ** len(answers), 0) / 2 + 0.001 * len(answers)

    assert abs(time.at_ms(now) - (now * 1000 + offset_ms)) <= worst * 1000 + 1
