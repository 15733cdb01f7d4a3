"""Readiness: what speaks against the next mode, in sentences with numbers."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dualkv.core.coverage import OTHER, PrefixCoverage
from dualkv.core.divergence import DivergenceKind
from dualkv.core.readiness import ReadinessFacts, Thresholds, judge_readiness

GAP, MISMATCH, EXTRA = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH, DivergenceKind.EXTRA_DATA

GOOD = ReadinessFacts(coverage={b"user:": PrefixCoverage(matched=1000), b"": PrefixCoverage(matched=5000)})
"""Nothing speaks against it."""

STRICT = Thresholds()


def reasons(facts: ReadinessFacts = GOOD, thresholds: Thresholds = STRICT, **changes: Any) -> list[str]:
    """Return what speaks against the next mode, with some facts changed."""
    judged = judge_readiness(attrs.evolve(facts, **changes), thresholds)
    assert judged.is_ready is (not judged.reasons)
    return list(judged.reasons)


def test_enough_evidence_and_nothing_wrong_is_ready() -> None:
    """Only then."""
    assert reasons() == []


def test_zero_divergences_over_zero_comparisons_is_not_ready() -> None:
    """Whatever the thresholds say: silence is no success."""
    nothing = ReadinessFacts()
    lax = Thresholds(min_reads=0, max_divergences=99, max_gaps=99)

    assert reasons(nothing, lax) == ["No reads have been compared: there is no evidence."]
    only_writes = {b"user:": PrefixCoverage(inconclusive=5000, writes_checked=5000)}
    assert reasons(nothing, lax, coverage=only_writes) == [
        "No reads have been compared: there is no evidence."
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"is_mirroring": False},
            "Nothing is mirrored in this mode: no other store is being filled.",
        ),
        (
            {"selftest_failure": "write: not done within 30 s"},
            "The self-test failed: write: not done within 30 s.",
        ),
        ({"is_comparing": False}, "Reads are not compared in this mode: there is no evidence."),
        (
            {"coverage": {b"user:": PrefixCoverage(matched=999), b"": PrefixCoverage(matched=1000)}},
            "1 prefix has fewer than 1,000 compared reads: user: (999).",
        ),
        (
            {
                "coverage": {b"good:": PrefixCoverage(matched=1000)}
                | {b"%d:" % number: PrefixCoverage(matched=number * 10) for number in range(7)}
                | {OTHER: PrefixCoverage(matched=1)}
            },
            (
                "8 prefixes have fewer than 1,000 compared reads: "
                "0: (0), (other) (1), 1: (10), 2: (20), 3: (30) and 3 more."
            ),
        ),
        ({"divergences": {MISMATCH: 1}},
         "1 divergence in the last 10 minutes (data_mismatch (1)); 0 allowed."),
        (
            {
                "divergences": {MISMATCH: 1, EXTRA: 1200, GAP: 0},
                "diverged_prefixes": {b"user:": 1200, b"a:": 1},
            },
            (
                "1,201 divergences in the last 10 minutes (extra_data (1,200), data_mismatch (1)), "
                "in user: (1,200), a: (1); 0 allowed."
            ),
        ),
        ({"divergences": {GAP: 2}, "gap_prefixes": {b"user:": 2}},
         "2 migration gaps in the last 10 minutes, in user: (2); 0 allowed."),
        ({"writes_differed": 3}, "The stores answered 3 mirrored writes differently in the last 10 minutes."),
        ({"pending_confirmations": 1}, "1 difference not confirmed yet."),
        ({"dirty_keys": 12}, "12 dirty keys; 0 allowed."),
        ({"has_dirty_functions": True}, "The libraries of functions may differ."),
        ({"resync_required": "too many dirty keys"}, "All keys have to be copied: too many dirty keys."),
        ({"is_resyncing": True}, "All keys are being copied."),
        ({"stream_state": "unreachable"},
         "Writes do not flow to the other store: the stream is unreachable."),
        ({"stream_age_seconds": 4.02}, "The stream is 4.0 s behind; 1 s allowed."),
        ({"not_holdable": {"XGROUP": 2, "HEXPIRE": 1}},
         "The other store cannot hold 3 effects: XGROUP (2), HEXPIRE (1)."),
        ({"journal_gap": "the disk is full"}, "Keys are missing in the journal: the disk is full."),
    ],
)  # fmt: skip
def test_each_fact_that_speaks_against_it_is_a_reason(changes: dict[str, Any], reason: str) -> None:
    """A sentence with the number, and nothing else."""
    assert reasons(**changes) == [reason]


def test_thresholds_allow_what_they_say() -> None:
    """Up to the number, and not beyond."""
    lax = Thresholds(
        min_reads=10,
        max_divergences=2,
        max_gaps=3,
        max_stream_age_seconds=5,
        max_dirty_keys=4,
        window_seconds=90,
    )
    allowed: dict[str, Any] = {
        "coverage": {b"": PrefixCoverage(matched=8, gaps=1, diverged=1)},
        "divergences": {MISMATCH: 1, EXTRA: 1, GAP: 3},
        "stream_age_seconds": 5.0,
        "dirty_keys": 4,
    }
    assert reasons(GOOD, lax, **allowed) == []

    assert reasons(GOOD, lax, **allowed | {"divergences": {EXTRA: 3}}) == [
        "3 divergences in the last 90 s (extra_data (3)); 2 allowed."
    ]


def test_all_reasons_are_told_at_once() -> None:
    """Nobody has to ask again after each."""
    assert len(reasons(dirty_keys=1, is_resyncing=True, pending_confirmations=1, divergences={GAP: 1})) == 4
