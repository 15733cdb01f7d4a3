"""How much goes in one transaction, and how many at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.pacing import Pacing, Refusal


def commit(pacing: Pacing, seconds_per_effect: float = 1e-6, times: int = 1) -> None:
    """Commit transactions of full size."""
    for _ in range(times):
        effects = pacing.effects
        pacing.committed(pacing.begin(), effects, seconds_per_effect * effects)


def test_size_goes_up_slowly_to_a_thousand() -> None:
    """Each commit of full size allows a little more."""
    pacing = Pacing(1)
    sizes = []
    for _ in range(20):
        sizes.append(pacing.effects)
        commit(pacing)

    assert sizes[:3] == [250, 281, 316]
    assert sizes[-1] == 1000


def test_small_commits_allow_no_more() -> None:
    """That little was taken says nothing of more."""
    pacing = Pacing(1)
    for _ in range(100):
        pacing.committed(pacing.begin(), 100, 0.001)

    assert pacing.effects == 250


def test_refusal_halves_the_size_down_to_eight() -> None:
    """Too much is half as much the next time; a refused small one counts for its own size."""
    pacing = Pacing(1)
    sizes = []
    for _ in range(7):
        pacing.refused(pacing.begin(), 200, Refusal.TOO_MUCH)
        sizes.append(pacing.effects)

    assert sizes == [100, 50, 25, 12, 8, 8, 8]


def test_what_was_sent_before_does_not_halve_again() -> None:
    """Several transactions in flight are refused for one reason."""
    pacing = Pacing(4)
    turns = [pacing.begin() for _ in range(4)]
    for turn in turns:
        pacing.refused(turn, 250, Refusal.BUSY)

    assert (pacing.effects, pacing.at_once) == (125, 2)


def test_overload_halves_what_is_in_flight_and_commits_bring_it_back() -> None:
    """Then one more for every few commits. Too large a transaction changes only the size."""
    pacing = Pacing(8)
    pacing.refused(pacing.begin(), 10, Refusal.TOO_MUCH)
    assert pacing.at_once == 8

    for _ in range(5):
        pacing.refused(pacing.begin(), 10, Refusal.BUSY)
    assert pacing.at_once == 1

    commit(pacing, times=8)
    assert pacing.at_once == 2

    commit(pacing, times=8 * 10)
    assert pacing.at_once == 8


def test_it_is_counted_why_the_pace_went_down() -> None:
    """Once for each time, not for each transaction that was refused meanwhile."""
    pacing = Pacing(8)
    turns = [pacing.begin() for _ in range(3)]
    for turn in turns:
        pacing.refused(turn, 250, Refusal.BUSY)
    pacing.refused(pacing.begin(), 100, Refusal.TOO_MUCH)
    pacing.refused(pacing.begin(), 100, Refusal.NO_ANSWER)

    assert pacing.halved == {Refusal.BUSY: 1, Refusal.TOO_MUCH: 1, Refusal.NO_ANSWER: 1}
    assert pacing.at_once == 2


def test_transaction_does_not_take_long() -> None:
    """Where an effect costs a millisecond, 250 go at once; where it costs more, fewer."""
    pacing = Pacing(1)
    commit(pacing, 0.001, times=20)
    assert pacing.effects in (249, 250)

    commit(pacing, 0.01, times=40)
    assert pacing.effects in range(25, 27)

    commit(pacing, 0.0001, times=40)
    assert pacing.effects == 1000


def test_single_effects_say_nothing_of_what_an_effect_costs() -> None:
    """A commit of one costs what a commit costs."""
    pacing = Pacing(1)
    pacing.committed(pacing.begin(), 1, 0.5)

    assert pacing.effects == 250


def test_bytes_grow_with_the_size() -> None:
    """A kilobyte for each effect; there is always room for some."""
    pacing = Pacing(1)
    assert pacing.size_bytes == 250 * 1024

    pacing.refused(pacing.begin(), 16, Refusal.TOO_MUCH)
    assert pacing.size_bytes == 64 * 1024


def test_repr_is_a_status_line() -> None:
    """It tells what may be in flight now."""
    assert repr(Pacing(4)) == "<Pacing 250 effects, 4 of 4 at once>"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just(True), st.integers(1, 2000), st.floats(0.0, 10.0)),
            st.tuples(st.just(False), st.integers(1, 2000), st.booleans()),
        ),
        max_size=60,
    )
)
def test_bounds_hold_whatever_comes(told: list[tuple[bool, int, float | bool]]) -> None:
    """Sizes stay from 8 to 1000, and at least one transaction may be in flight, at most all."""
    pacing = Pacing(5)
    for is_committed, effects, what in told:
        if is_committed:
            pacing.committed(pacing.begin(), effects, what)
        else:
            pacing.refused(pacing.begin(), effects, Refusal.BUSY if what else Refusal.TOO_MUCH)

        assert 8 <= pacing.effects <= 1000
        assert 1 <= pacing.at_once <= 5
