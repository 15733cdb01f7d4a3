"""Whether writes flow, or only their keys are remembered."""

from __future__ import annotations

import pytest

from dualkv.core.gate import Gate, GateState


@pytest.fixture
def gate() -> Gate:
    """Return a gate for writes that live ten seconds."""
    return Gate(max_age_seconds=10)


def test_gate_is_open_at_first(gate: Gate) -> None:
    """Nothing is known against the secondary: writes flow."""
    assert (gate.state, gate.is_open, gate.answers) == (GateState.FLOWING, True, True)


def test_breaker_opens_after_three_failures_in_a_row(gate: Gate) -> None:
    """One that does not answer gets no more writes, until it answers once."""
    gate.failed()
    gate.failed()
    assert gate.is_open
    gate.failed()
    assert (gate.state, gate.is_open, gate.answers) == (GateState.UNREACHABLE, False, False)

    gate.answered()
    assert (gate.state, gate.is_open, gate.answers) == (GateState.FLOWING, True, True)


def test_answer_between_failures_begins_the_count_anew(gate: Gate) -> None:
    """Only what fails again and again is unwell."""
    for _ in range(5):
        gate.failed()
        gate.failed()
        gate.answered()

    assert gate.is_open


@pytest.mark.parametrize(
    ("fullness", "age_seconds", "is_open"),
    [(0.75, 0.0, True), (0.76, 0.0, False), (0.0, 2.0, True), (0.0, 2.1, False)],
)
def test_overload_shuts_the_gate_above_the_high_water_marks(
    gate: Gate, fullness: float, age_seconds: float, is_open: bool
) -> None:
    """Three quarters of a bound, or a fifth of a write's life: then keys are remembered instead."""
    gate.measure(fullness, age_seconds)

    assert is_open == gate.is_open
    assert gate.answers
    if not is_open:
        assert gate.state is GateState.OVERLOADED


@pytest.mark.parametrize(
    ("fullness", "age_seconds", "is_open"),
    [(0.5, 0.0, False), (0.26, 0.0, False), (0.25, 0.2, True), (0.1, 0.21, False), (0.0, 0.0, True)],
)
def test_gate_opens_again_below_the_low_water_marks(
    gate: Gate, fullness: float, age_seconds: float, is_open: bool
) -> None:
    """Both must be low, so that it does not open and shut all the time."""
    gate.measure(1.0, 0.0)
    gate.measure(fullness, age_seconds)

    assert is_open == gate.is_open


def test_trouble_is_told_before_overload(gate: Gate) -> None:
    """That there is no answer says more than that there were too few; both must end."""
    states = [gate.state]
    gate.measure(1.0, 0.0)
    states.append(gate.state)
    for _ in range(3):
        gate.failed()
    states.append(gate.state)
    gate.measure(0.0, 0.0)
    states.append(gate.state)
    gate.answered()

    assert states == [
        GateState.FLOWING, GateState.OVERLOADED, GateState.UNREACHABLE, GateState.UNREACHABLE,
    ]  # fmt: skip
    assert gate.is_open


def test_pause_is_told_before_everything(gate: Gate) -> None:
    """Writes do not flow while somebody says so, whatever the secondary does; whether it answers is seen."""
    gate.pause(True)
    gate.measure(1.0, 0.0)
    gate.answered()
    assert (gate.state, gate.is_open, gate.answers) == (GateState.PAUSED, False, True)

    gate.measure(0.0, 0.0)
    gate.pause(False)
    assert (gate.state, gate.is_open) == (GateState.FLOWING, True)


def test_answers_do_not_end_an_overload(gate: Gate) -> None:
    """A slow secondary answers all the time."""
    gate.measure(1.0, 0.0)
    gate.answered()

    assert not gate.is_open


def test_a_pause_shuts_the_gate_whatever_else_holds(gate: Gate) -> None:
    """Copies are not sent, either; afterwards the gate is as it would have been."""
    gate.pause(True)
    assert (gate.state, gate.is_open, gate.is_paused, gate.takes_copies) == (
        GateState.PAUSED, False, True, False,
    )  # fmt: skip
    gate.measure(1.0, 0.0)
    assert gate.state is GateState.PAUSED

    gate.pause(False)
    assert (gate.state, gate.is_open, gate.is_paused, gate.takes_copies) == (
        GateState.OVERLOADED, False, False, True,
    )  # fmt: skip
