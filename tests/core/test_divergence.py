"""The record of a divergence: its name, and what its history tells."""

from __future__ import annotations

import pytest

from dualkv.core.divergence import Cause, DivergenceIds, HistoryEntry, order_of


def test_ids_sort_in_their_order_within_a_process_and_over_processes() -> None:
    """A list of names, sorted as texts, is a list in the order of time."""
    first = DivergenceIds(1_700_000_000, b"\xff\xff")
    second = DivergenceIds(1_700_000_001, b"\x00\x00")
    names = [first.next() for _ in range(12)] + [second.next() for _ in range(12)]

    assert names == sorted(names) == sorted(names, key=order_of)
    assert len(set(names)) == 24


def test_processes_of_the_same_second_use_other_ids() -> None:
    """Two proxies that are started together do not name two things alike."""
    assert DivergenceIds(5, b"ab").next() != DivergenceIds(5, b"ac").next()


def test_an_id_beyond_a_million_is_still_behind_those_before() -> None:
    """The number grows by a digit; the order is that of numbers."""
    assert order_of("00000000ffff-999999") < order_of("00000000ffff-1000000")


@pytest.mark.parametrize("text", ["", "x", "-1", "1-", "a-b", "a b-1", "../-1", "a-1²"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """Whoever mistypes one is told, and not shown everything."""
    with pytest.raises(ValueError, match="is not the id of a divergence"):
        order_of(text)


def test_an_entry_knows_whether_a_write_was_lost() -> None:
    """What kept it from the secondary is the beginning of its text."""
    entries = [
        HistoryEntry(3, "set"),
        HistoryEntry.dropped(2, "queue_full"),
        HistoryEntry.failed(1, "oom"),
        HistoryEntry.unsupported(1, "xgroup"),
        HistoryEntry.copied(0),
    ]

    assert [entry.loss for entry in entries] == [None, Cause.DROPPED, Cause.FAILED, Cause.UNSUPPORTED, None]
    assert [entry.is_copy for entry in entries] == [False, False, False, False, True]
    assert entries[1].what == "dropped (queue_full)"
