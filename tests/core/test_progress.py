"""How far a resync is, and how the next process goes on with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.progress import Phase, ResyncProgress


def test_nothing_runs_at_first() -> None:
    """Without a resync there is nothing to tell."""
    progress = ResyncProgress()

    assert (progress.is_running, progress.completed) == (False, 0)
    assert progress.eta_seconds(5.0) is None


def test_resync_begins_with_the_first_key_and_ends() -> None:
    """A second one begins anew, and both are counted."""
    progress = ResyncProgress()
    for why in ("backfill", "a signal"):
        progress.begin(why, 10.0)
        assert (progress.phase, progress.why, progress.is_running) == (Phase.CLEANING, why, True)
        assert (progress.keys_done, progress.keys_removed) == (0, 0)
        assert (progress.db, progress.cursor) == (0, b"0")
        progress.keys_done, progress.keys_removed, progress.db, progress.cursor = 7, 1, 3, b"99"
        progress.begin_copying(12.0)
        assert (progress.phase, progress.db, progress.cursor) == (Phase.COPYING, 0, b"0")
        progress.begin_checking()
        assert (progress.phase, progress.is_running) == (Phase.CHECKING, True)
        progress.end(0.0)

    assert (progress.is_running, progress.completed) == (False, 2)


def test_rate_and_what_is_left_follow_from_what_has_been_done() -> None:
    """Keys per second since the beginning; no estimate before the first key, none while cleaning."""
    progress = ResyncProgress()
    progress.begin("backfill", 100.0)
    progress.begin_copying(100.0)
    progress.keys_total = 1_000
    assert progress.eta_seconds(101.0) is None

    progress.keys_done = 200
    assert progress.keys_per_second(102.0) == pytest.approx(100.0)
    assert progress.eta_seconds(102.0) == pytest.approx(8.0)
    progress.keys_done = 1_100  # more than were counted at the start
    assert progress.eta_seconds(110.0) == 0.0
    progress.phase = Phase.CLEANING
    assert progress.eta_seconds(110.0) is None


def test_rate_is_defined_at_the_very_beginning() -> None:
    """No time has passed: no division by zero."""
    progress = ResyncProgress()
    progress.begin("backfill", 100.0)

    assert progress.keys_per_second(100.0) == 0.0


def test_next_process_goes_on() -> None:
    """Where the last one had to stop, with its counts; its keys do not make this one look fast."""
    progress = ResyncProgress()
    progress.begin("backfill", 100.0)
    progress.keys_done, progress.keys_removed, progress.db, progress.cursor = 5_000, 2, 3, b"123"
    progress.phase = Phase.CLEANING
    found = ResyncProgress.loaded(progress.saved())
    assert found is not None
    found.begin(found.why, 7.0)

    assert (found.phase, found.why, found.db, found.cursor) == (Phase.CLEANING, "backfill", 3, b"123")
    assert (found.keys_done, found.keys_removed) == (5_000, 2)
    found.keys_done += 10
    assert found.keys_per_second(9.0) == pytest.approx(5.0)


def test_finished_resync_is_not_run_again() -> None:
    """What was saved at the end says so."""
    progress = ResyncProgress()
    progress.begin("backfill", 100.0)
    progress.end(0.0)
    found = ResyncProgress.loaded(progress.saved())

    assert found is not None
    assert not found.is_running


@pytest.mark.parametrize(
    "data",
    [
        None, b"", b"{", b"[]", b"[1]", b'"text"', b"{}", b'{"phase": "copying"}', b"\xff",
        b'{"phase": "x", "why": "", "db": 0, "cursor": "0", "done": 0, "removed": 0}',
        b'{"phase": "copying", "why": "", "db": null, "cursor": "0", "done": 0, "removed": 0}',
        b'{"phase": "copying", "why": "", "db": Infinity, "cursor": "0", "done": 0, "removed": 0}',
    ],
)  # fmt: skip
def test_what_is_not_clear_is_no_progress(data: bytes | None) -> None:
    """A file that is missing, torn or somebody else's: then a resync begins anew, if one is needed."""
    assert ResyncProgress.loaded(data) is None


@given(st.binary(max_size=40))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    """Whatever is in the file, reading it raises nothing."""
    assert ResyncProgress.loaded(data) is None
