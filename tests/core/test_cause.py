"""Why stores differ: what is certain comes first, and a guess is called unknown."""

from __future__ import annotations

import pytest

from dualkv.core.cause import CauseFacts, suspected_cause
from dualkv.core.divergence import Cause, DivergenceKind, HistoryEntry

GAP, MISMATCH, EXTRA = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH, DivergenceKind.EXTRA_DATA

DROP = HistoryEntry.dropped(3, "queue_full")
FAILURE = HistoryEntry.failed(2, "oom")
COPY = HistoryEntry.copied(1)
WRITE = HistoryEntry(0.5, "set")
UNHELD = HistoryEntry.unsupported(0.2, "hpexpireat")


CASES = [
    (MISMATCH, CauseFacts(), Cause.UNKNOWN),
    (GAP, CauseFacts(), Cause.UNKNOWN),
    (EXTRA, CauseFacts(), Cause.UNKNOWN),
    (MISMATCH, CauseFacts(history=(DROP, WRITE)), Cause.DROPPED),
    (MISMATCH, CauseFacts(history=(DROP, FAILURE)), Cause.FAILED),
    (MISMATCH, CauseFacts(history=(FAILURE, DROP)), Cause.DROPPED),
    (MISMATCH, CauseFacts(history=(COPY, DROP)), Cause.DROPPED),
    (MISMATCH, CauseFacts(history=(DROP, COPY)), Cause.BYPASSED),
    (MISMATCH, CauseFacts(history=(WRITE, UNHELD)), Cause.UNSUPPORTED),
    (MISMATCH, CauseFacts(history=(COPY, UNHELD)), Cause.UNSUPPORTED),
    (MISMATCH, CauseFacts(history=(UNHELD, HistoryEntry(0.1, "hset"))), Cause.UNSUPPORTED),
    (MISMATCH, CauseFacts(history=(UNHELD, WRITE), last_write_equal=True), Cause.BYPASSED),
    (MISMATCH, CauseFacts(history=(UNHELD, HistoryEntry(1, "del"), UNHELD)), Cause.UNSUPPORTED),
    (MISMATCH, CauseFacts(history=(COPY, HistoryEntry.unsupported(1, "xgroup|create"))), Cause.BYPASSED),
    (MISMATCH, CauseFacts(history=(DROP, WRITE, UNHELD, WRITE)), Cause.DROPPED),
    (GAP, CauseFacts(history=(DROP,), has_expiry_on_one=True, has_evicted=True), Cause.DROPPED),
    (GAP, CauseFacts(has_expiry_on_one=True, saw_write=True), Cause.EXPIRED),
    (GAP, CauseFacts(has_expiry_on_one=True, has_expired=True, is_copied=True), Cause.EXPIRED),
    (GAP, CauseFacts(has_expiry_on_one=True, has_expired=False, is_copied=True), Cause.BYPASSED),
    (GAP, CauseFacts(has_expired=True, is_copied=True), Cause.BYPASSED),
    (GAP, CauseFacts(has_expiry_on_one=True), Cause.UNKNOWN),
    (EXTRA, CauseFacts(has_expiry_on_one=True, has_expired=True, saw_write=True), Cause.EXPIRED),
    (EXTRA, CauseFacts(has_expiry_on_one=True, has_expired=False, is_copied=True), Cause.BYPASSED),
    (MISMATCH, CauseFacts(has_expiry_on_one=True, saw_write=True), Cause.EXPIRED),
    (MISMATCH, CauseFacts(has_expiry_on_one=True, has_expired=False, is_copied=True), Cause.EXPIRED),
    (GAP, CauseFacts(has_evicted=True, saw_write=True), Cause.EVICTED),
    (GAP, CauseFacts(has_evicted=True, is_copied=True), Cause.EVICTED),
    (GAP, CauseFacts(has_evicted=True, has_expiry_on_one=True, saw_write=True), Cause.EVICTED),
    (GAP, CauseFacts(has_evicted=True), Cause.UNKNOWN),
    (EXTRA, CauseFacts(has_evicted=True, saw_write=True), Cause.EVICTED),
    (MISMATCH, CauseFacts(has_evicted=True, saw_write=True), Cause.UNKNOWN),
    (MISMATCH, CauseFacts(last_write_equal=True, saw_write=True), Cause.BYPASSED),
    (MISMATCH, CauseFacts(last_write_equal=False, saw_write=True), Cause.UNKNOWN),
    (MISMATCH, CauseFacts(last_write_equal=False, is_copied=True), Cause.UNKNOWN),
    (MISMATCH, CauseFacts(is_copied=True), Cause.BYPASSED),
    (GAP, CauseFacts(is_copied=True), Cause.BYPASSED),
    (
        MISMATCH,
        CauseFacts(last_write_equal=True, saw_write=True, has_other_proxies=True),
        Cause.REORDERED,
    ),
    (MISMATCH, CauseFacts(is_copied=True, has_other_proxies=True), Cause.BYPASSED),
    (MISMATCH, CauseFacts(has_other_proxies=True, saw_write=True), Cause.UNKNOWN),
]


@pytest.mark.parametrize(("kind", "facts", "cause"), CASES)
def test_the_cause_follows_from_what_is_known(kind: DivergenceKind, facts: CauseFacts, cause: Cause) -> None:
    """Losses behind the last copy, then eviction and expiry, then somebody else, if the stores were equal."""
    assert suspected_cause(kind, facts) is cause


def test_every_cause_can_be_found() -> None:
    """No name stands in the documentation that is never given."""
    assert {cause for _, _, cause in CASES} == set(Cause)
