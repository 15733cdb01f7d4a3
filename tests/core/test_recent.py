"""The keys of the last writes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.recent import RecentKeys


def test_nothing_was_written_at_first() -> None:
    """An empty window is known completely."""
    assert RecentKeys(5).since_window(100) == ([], True)


def test_keys_of_the_window_are_known_once_each() -> None:
    """Whatever their database, however often they were written."""
    recent = RecentKeys(5)
    recent.note(0, [b"a", b"b"], 100)
    recent.note(1, [b"a"], 104)
    recent.note(0, [b"a"], 107)

    keys, is_all = recent.since_window(108)
    assert (sorted(keys), is_all) == ([(0, b"a"), (0, b"b"), (1, b"a")], True)
    assert len(keys) == 3


def test_old_keys_are_forgotten() -> None:
    """After some windows a key is gone, whether anybody writes or not."""
    recent = RecentKeys(5)
    recent.note(0, [b"a"], 100)

    assert recent.since_window(104.9)[0] == [(0, b"a")]
    assert recent.since_window(110.5) == ([], True)

    recent.note(0, [b"b"], 200)
    recent.note(0, [b"c"], 206)
    recent.note(0, [b"d"], 212)
    assert sorted(recent.since_window(212)[0]) == [(0, b"c"), (0, b"d")]


def test_write_that_may_touch_any_key_makes_the_window_incomplete() -> None:
    """Then the keys are not all, until it is over."""
    recent = RecentKeys(5)
    recent.note(0, [b"a"], 100)
    recent.note_everything(100)

    assert recent.since_window(101) == ([(0, b"a")], False)
    assert not recent.since_window(105)[1]
    recent.note(0, [b"b"], 106)
    assert not recent.since_window(106)[1]
    recent.note(0, [b"b"], 120)
    assert recent.since_window(120)[1]


def test_more_keys_than_can_be_remembered_make_the_window_incomplete() -> None:
    """Bounded, but never silently."""
    recent = RecentKeys(5)
    for start in range(0, 300_000, 1000):
        recent.note(0, [b"%d" % number for number in range(start, start + 1000)], 100)

    keys, is_all = recent.since_window(101)
    assert 200_000 <= len(keys) < 202_000
    assert not is_all


@pytest.mark.parametrize("window_seconds", [1.0, 5.0])
@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abcdef")), max_size=30), st.floats(0, 3))
def test_every_write_of_the_window_is_known(
    window_seconds: float, writes: list[tuple[float, str]], after: float
) -> None:
    """Whenever they came: what was written within the window is there, and nothing much older."""
    recent = RecentKeys(window_seconds)
    now = 1000.0
    last: dict[bytes, float] = {}
    for pause, name in writes:
        now += pause
        recent.note(0, [name.encode()], now)
        last[name.encode()] = now
    now += after
    found = {name for _, name in recent.since_window(now)[0]}

    assert {name for name, at in last.items() if now - at <= window_seconds} <= found
    assert found <= {name for name, at in last.items() if now - at <= 3 * window_seconds + 1e-6}


def test_what_was_recent_when_contact_was_lost_is_kept_until_the_store_is_back() -> None:
    """However long that takes, and whatever is written meanwhile; another store has its own moment."""
    recent = RecentKeys(5)
    recent.note(0, [b"long ago"], 50)
    recent.note(0, [b"a"], 99)
    recent.hold("one", 100)
    recent.hold("one", 150)  # again: it was lost before
    recent.note(0, [b"b"], 200)
    recent.note(0, [b"c"], 300)

    assert sorted(recent.since_window(301, "one")[0]) == [(0, b"a"), (0, b"c")]
    assert recent.since_window(301, "other")[0] == [(0, b"c")]

    recent.release("one")
    assert recent.since_window(301, "one")[0] == [(0, b"c")]
