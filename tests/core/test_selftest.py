"""The self-test's verdict: one outcome is right, everything else has failed."""

from __future__ import annotations

import pytest

from dualkv.core.selftest import (
    KEY_PREFIX,
    Finding,
    SelfTestResult,
    SelfTestState,
    Step,
    canaries_of,
    is_undecided,
    steps_of,
    undecided,
    why_not,
)

ALARMS = (Step.MIGRATION_GAP, Step.DATA_MISMATCH, Step.EXTRA_DATA)


def test_canaries_differ_as_their_kinds_say() -> None:
    """One is equal on both sides, and each of the others differs in its own way."""
    match, gap, mismatch, extra = canaries_of(b"1a")

    assert match.on_primary == match.on_secondary is not None
    assert gap.on_primary is not None
    assert gap.on_secondary is None
    assert mismatch.on_primary != mismatch.on_secondary
    assert None not in (mismatch.on_primary, mismatch.on_secondary)
    assert extra.on_primary is None
    assert extra.on_secondary is not None


def test_canaries_have_names_of_their_own() -> None:
    """No two tests meet, and everybody sees whose they are."""
    keys = [canary.key for token in (b"1a", b"2b") for canary in canaries_of(token)]

    assert len(set(keys)) == len(keys)
    assert all(key.startswith(KEY_PREFIX) for key in keys)


def test_alarms_are_tested_where_reads_are_compared() -> None:
    """Elsewhere only the write is."""
    assert steps_of(is_comparing=True) == tuple(Step)
    assert steps_of(is_comparing=False) == (Step.PRIMARY, Step.SECONDARY, Step.WRITE)


@pytest.mark.parametrize("step", [Step.MATCH, *ALARMS])
def test_exactly_the_expected_outcome_passes(step: Step) -> None:
    """However often nothing could be said before."""
    assert why_not(step, [step.value]) == ""
    assert why_not(step, [undecided("shed"), undecided("shed"), step.value]) == ""


@pytest.mark.parametrize("step", [Step.MATCH, *ALARMS])
@pytest.mark.parametrize("other", ["match", "transient", *ALARMS, "error (secondary)", "skipped (cursor)"])
def test_any_other_outcome_fails(step: Step, other: str) -> None:
    """And it is told."""
    if other != step.value:
        assert why_not(step, [other]) == f"came out as {other}"


@pytest.mark.parametrize("step", ALARMS)
def test_two_alarms_are_one_too_many(step: Step) -> None:
    """A difference must be reported once."""
    assert why_not(step, [step.value, step.value]) == f"came out as {step.value}, {step.value}"


def test_no_outcome_fails() -> None:
    """Silence is no success."""
    assert why_not(Step.MATCH, []) == "was never judged"
    assert why_not(Step.MATCH, [undecided("shed")]) == "could not be judged: inconclusive (shed)"
    assert is_undecided([])
    assert is_undecided([undecided("shed")])
    assert not is_undecided(["transient"])


def test_a_result_without_findings_has_not_passed() -> None:
    """Nothing was tried."""
    assert not SelfTestResult((), 0.0).is_passed
    assert SelfTestResult((Finding(Step.WRITE),), 0.0).is_passed
    assert not SelfTestResult((Finding(Step.PRIMARY), Finding(Step.WRITE, "no")), 0.0).is_passed


def test_the_state_is_told_at_every_moment() -> None:
    """By the gauge, and in words."""
    state = SelfTestState()
    assert (state.gauge, state.told()) == (-1, {"state": "off", "why": None})
    state.is_wanted, state.waits_for = True, "redis cannot be reached"
    assert (state.gauge, state.told()) == (-1, {"state": "waiting", "why": "redis cannot be reached"})
    state.waits_for = ""
    assert state.told() == {"state": "running", "why": None}
    state.result = SelfTestResult((Finding(Step.PRIMARY), Finding(Step.WRITE, "lost")), 1.0)
    assert (state.gauge, state.told()) == (0, {"state": "failed", "why": "write: lost"})
    state.result = SelfTestResult((Finding(Step.WRITE),), 1.0)
    assert (state.gauge, state.told()) == (1, {"state": "passed", "why": None})
