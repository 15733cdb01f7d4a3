"""Whether all is well, and why not."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dualkv.core.headline import Condition, HeadlineFacts, judge_headline
from dualkv.core.words import duration_text, some

MIRRORING = HeadlineFacts(follows="elastickv", max_clients=100)


def told(**facts: Any) -> tuple[Condition, list[str]]:
    """Return what is said when some facts are otherwise than where nothing is wrong."""
    headline = judge_headline(attrs.evolve(MIRRORING, **facts))
    return headline.condition, list(headline.reasons)


def test_all_is_well_where_nothing_is_wrong() -> None:
    """It says who serves, and whether anybody follows."""
    assert told() == (Condition.WELL, ["redis serves the clients, and elastickv follows."])
    assert told(follows="") == (
        Condition.WELL, ["redis serves the clients, in a mode in which nothing is mirrored."],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "condition", "reason"),
    [
        (
            {"answers_state": "down", "answers_error": "connection refused"},
            Condition.TROUBLE, "Clients get errors: redis cannot be reached (connection refused).",
        ),
        ({"answers_state": "connecting"}, Condition.TROUBLE, "Clients wait: redis is being connected to."),
        ({"clients": 100}, Condition.TROUBLE, "No more clients get in: 100 are connected, the limit."),
        ({"is_draining": True}, Condition.ATTENTION, "Shutting down: clients should be sent elsewhere."),
        (
            {"stream_state": "unreachable", "follows_error": "timed out", "dirty_keys": 1},
            Condition.ATTENTION, "elastickv does not answer (timed out); 1 key will be copied.",
        ),
        (
            {"stream_state": "paused", "dirty_keys": 1200},
            Condition.ATTENTION, "elastickv is paused by hand; 1,200 keys will be copied.",
        ),
        (
            {"stream_state": "overloaded"},
            Condition.ATTENTION,
            "elastickv is slower than the writers: keys are copied instead of writes.",
        ),
        (
            {"objection": "both are one server", "follows_error": "both are one server"},
            Condition.ATTENTION, "elastickv is not used (both are one server).",
        ),
        (
            {"follows_error": "timed out"}, Condition.ATTENTION, "elastickv does not answer (timed out).",
        ),
        ({"stream_age_seconds": 3.21}, Condition.ATTENTION, "elastickv is 3.2 s behind."),
        (
            {"divergences": 1}, Condition.ATTENTION, "1 divergence in the last 10 min: the stores differ.",
        ),
        (
            {"writes_differed": 2},
            Condition.ATTENTION, "The stores answered 2 writes differently in the last 10 min.",
        ),
        (
            {"selftest_failure": "match: was never judged"},
            Condition.ATTENTION, "The self-test failed: match: was never judged.",
        ),
        (
            {"gaps": 5},
            Condition.BUSY,
            "5 migration gaps in the last 10 min, as is expected before all keys have been copied.",
        ),
        ({"gaps": 5, "is_seeded": True}, Condition.ATTENTION, "5 migration gaps in the last 10 min."),
        (
            {"is_resyncing": True, "resync_share": 0.456, "resync_eta_seconds": 200},
            Condition.BUSY, "All keys are being copied to elastickv: 46%, 3 min left.",
        ),
        ({"is_resyncing": True}, Condition.BUSY, "All keys are being copied to elastickv."),
        (
            {"resync_required": "too many dirty keys"},
            Condition.ATTENTION, "All keys have to be copied: too many dirty keys.",
        ),
        (
            {"dirty_keys": 3, "dirty_seconds": 8.0},
            Condition.BUSY, "3 dirty keys to copy, the oldest for 8 s.",
        ),
        (
            {"dirty_keys": 3, "dirty_seconds": 80.0},
            Condition.ATTENTION, "3 dirty keys, the oldest for 80 s.",
        ),
        (
            {"dirty_keys": 3, "is_repairing": False},
            Condition.ATTENTION, "3 dirty keys, and repair is off.",
        ),
        (
            {"journal_gap": "the disk is full"},
            Condition.ATTENTION, "Keys are missing in the journal: the disk is full.",
        ),
    ],
)  # fmt: skip
def test_each_thing_that_is_not_as_it_should_be_is_told(
    facts: dict[str, Any], condition: Condition, reason: str
) -> None:
    """Red is what clients notice, amber what somebody should look at, blue what ends by itself."""
    assert told(**facts) == (condition, [reason])


def test_a_key_that_is_dirty_for_a_moment_is_no_news() -> None:
    """Copies are everyday business."""
    assert told(dirty_keys=4, dirty_seconds=0.2)[0] is Condition.WELL


def test_the_worst_is_told_first() -> None:
    """Whoever reads one line only must read the right one."""
    condition, reasons = told(is_resyncing=True, divergences=4, answers_state="down", dirty_keys=9)

    assert condition is Condition.TROUBLE
    assert [reason.split()[0] for reason in reasons] == ["Clients", "4", "All"]


def test_what_nobody_mirrors_cannot_be_behind() -> None:
    """Where no store follows, only clients count."""
    assert told(follows="", dirty_keys=9, divergences=3, stream_state="unreachable")[0] is Condition.WELL


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0032, "3 ms"), (1, "1 s"), (1.25, "1.2 s"), (12.3, "12 s"), (119, "119 s"),
        (600, "10 min"), (7200, "2 h"), (400_000, "5 d"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_its_largest_fitting_unit(seconds: float, text: str) -> None:
    """As short as a person needs it."""
    assert duration_text(seconds) == text


def test_things_are_counted_in_words() -> None:
    """One thing is not several."""
    assert (some(1, "key"), some(0, "key"), some(1200, "key")) == ("1 key", "0 keys", "1,200 keys")
