"""Counts that are forgotten after a time."""

from __future__ import annotations

from collections import Counter

from dualkv.core.window import WindowCounter


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """Up to the window all counts; a slot later nothing does."""
    counter = WindowCounter[str](60.0)
    counter.add("a", 100.0)
    counter.add("a", 130.0, 2)
    counter.add("b", 130.5)

    assert counter.total(130.5) == Counter(a=3, b=1)
    assert counter.total(160.0) == Counter(a=3, b=1)
    assert counter.total(161.1) == Counter(a=2, b=1)
    assert counter.total(1000.0) == Counter()


def test_the_memory_does_not_grow_with_time() -> None:
    """Also if nobody ever looks."""
    counter = WindowCounter[int](60.0)
    for second in range(10_000):
        counter.add(second, float(second))

    assert len(counter.total(9_999.0)) <= 61
