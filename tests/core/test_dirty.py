"""Dirty keys: bounded, never forgotten, clean only behind the position of a copy."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dualkv.core.dirty import ENTRY_OVERHEAD_BYTES, DirtyKeys, DirtyReason, Key

A: Key = (0, b"a")
B: Key = (0, b"b")
C: Key = (1, b"c")
DROPPED = DirtyReason.DROPPED


def dirty_keys(*keys: Key, max_keys: int = 100, max_bytes: int = 1_000_000) -> DirtyKeys:
    """Return what remembers *keys*."""
    dirty = DirtyKeys(max_keys, max_bytes)
    for key in keys:
        dirty.mark(key, DROPPED, 1.0)
    return dirty


def taken(dirty: DirtyKeys, now: float = 10.0, *, count: int = 100, urgent_only: bool = False) -> list[Key]:
    """Take keys to copy."""
    return [key for key, _ in dirty.take(count, 0 if urgent_only else count, now)]


# --- marking -------------------------------------------------------------------------------------------


def test_key_is_remembered_once_with_its_first_reason() -> None:
    """However often it is written: the first reason and time stay, and it is counted once."""
    dirty = dirty_keys()
    dirty.mark(A, DirtyReason.OVERLOAD, 1.0)
    dirty.mark(A, DirtyReason.FAILED, 2.0)
    dirty.mark(B, DirtyReason.FAILED, 3.0)

    assert (len(dirty), list(dirty), A in dirty, C in dirty) == (2, [A, B], True, False)
    assert dirty.by_reason() == Counter({DirtyReason.OVERLOAD: 1, DirtyReason.FAILED: 1})
    assert dirty.marked == dirty.by_reason()
    assert dirty.oldest_since() == 1.0
    assert dirty.has_any(0, [b"x", b"b"])
    assert not dirty.has_any(1, [b"a", b"b"])


def test_same_name_in_another_database_is_another_key() -> None:
    """A key is a name in a database."""
    assert (1, b"a") not in dirty_keys(A)


def test_nothing_is_dirty_at_first() -> None:
    """Without marks there is no oldest, no reason, no size, and nothing to copy."""
    dirty = dirty_keys()

    assert (len(dirty), dirty.size_bytes) == (0, 0)
    assert dirty.oldest_since() is None
    assert dirty.needs_resync is None
    assert not dirty.has_urgent
    assert not dirty.has_waiting
    assert taken(dirty) == []


@pytest.mark.parametrize("bound", [{"max_keys": 2}, {"max_bytes": 2 * (ENTRY_OVERHEAD_BYTES + 1)}])
def test_overflow_requires_a_resync(bound: dict[str, int]) -> None:
    """What finds no room is not forgotten: from then on single keys are not enough. Known ones stay."""
    dirty = dirty_keys(A, B, **bound)
    dirty.mark(A, DirtyReason.FAILED, 2.0)
    assert not dirty.needs_resync
    dirty.mark(C, DROPPED, 2.0)

    assert (len(dirty), dirty.needs_resync) == (2, "too many dirty keys")
    assert "too many" in repr(dirty)


def test_first_reason_for_a_resync_stays() -> None:
    """Later ones do not hide why it began."""
    dirty = dirty_keys()
    dirty.require_resync("one")
    dirty.require_resync("two")

    assert dirty.needs_resync == "one"


def test_size_is_that_of_what_is_remembered() -> None:
    """Bytes come and go with the keys."""
    dirty = dirty_keys(A, (0, b"long" * 100))
    assert dirty.size_bytes == 2 * ENTRY_OVERHEAD_BYTES + 1 + 400

    dirty.drop(A)
    assert dirty.size_bytes == ENTRY_OVERHEAD_BYTES + 400
    dirty.drop(A)
    assert dirty.clear(9) == 1
    assert dirty.size_bytes == 0


# --- copies --------------------------------------------------------------------------------------------


def test_key_is_clean_once_the_position_of_its_copy_is_reached() -> None:
    """Until then it is dirty, and no second copy of it is begun."""
    dirty = dirty_keys(A)
    assert taken(dirty) == [A]
    assert taken(dirty) == []
    assert A in dirty

    assert dirty.reached(A)
    assert A not in dirty
    assert dirty.repaired == 1


def test_write_while_a_copy_is_under_way_is_in_the_copy() -> None:
    """What happens on the lane before the copy's position is held by the copy: one is enough."""
    dirty = dirty_keys(A)
    taken(dirty)
    dirty.mark(A, DROPPED, 2.0)

    assert dirty.reached(A)
    assert A not in dirty


def test_what_happens_beside_the_lane_needs_one_more_copy() -> None:
    """Nobody knows whether it came before the copy's read: the key stays dirty, and is taken again."""
    dirty = dirty_keys(A)
    taken(dirty)
    dirty.mark(A, DirtyReason.AMBIGUOUS, 2.0, is_unordered=True)
    dirty.mark(A, DROPPED, 2.0)

    assert not dirty.reached(A)
    assert A in dirty
    assert dirty.repaired == 0
    assert taken(dirty) == [A]
    assert dirty.reached(A)


def test_copy_that_could_not_be_made_is_wanted_again() -> None:
    """A lost lane loses no key; to put back what is not under way changes nothing."""
    dirty = dirty_keys(A)
    taken(dirty)
    dirty.put_back(A)
    dirty.put_back(A)
    dirty.put_back(B)

    assert taken(dirty) == [A]
    assert B not in dirty


def test_reached_says_all_is_well_for_a_key_that_was_forgotten_meanwhile() -> None:
    """FLUSHALL may have ended it: the copy is right at its position all the same."""
    dirty = dirty_keys(A)
    taken(dirty)
    dirty.drop(A)

    assert dirty.reached(A)


def test_urgent_keys_come_first() -> None:
    """A copy that is the effect of a command does not wait for repairs, and may be had alone."""
    dirty = dirty_keys(A)
    dirty.mark(B, DirtyReason.NOT_REPLAYABLE, 2.0, is_urgent=True)
    assert dirty.has_urgent
    assert taken(dirty, urgent_only=True) == [B]
    assert taken(dirty, urgent_only=True) == []
    dirty.put_back(B)

    assert taken(dirty) == [B, A]


def test_waiting_key_becomes_urgent_when_a_command_wants_its_copy() -> None:
    """It is moved, not doubled; and what is urgent stays so."""
    dirty = dirty_keys(A)
    dirty.mark(A, DirtyReason.NOT_REPLAYABLE, 2.0, is_urgent=True)
    dirty.mark(A, DROPPED, 2.0)
    assert not dirty.has_waiting

    assert taken(dirty, urgent_only=True) == [A]
    assert taken(dirty) == []


def test_no_more_are_taken_than_wanted() -> None:
    """The count bounds urgent and waiting ones together, the oldest first."""
    dirty = dirty_keys(A, B)
    dirty.mark(C, DirtyReason.NOT_REPLAYABLE, 2.0, is_urgent=True)

    assert taken(dirty, count=2) == [C, A]
    assert taken(dirty, count=2) == [B]


def test_failed_copies_wait_longer_each_time() -> None:
    """Twice as long per attempt, up to half a minute; the number of attempts is told to who copies."""
    dirty = dirty_keys()
    waits = []
    for attempts in (1, 2, 3, 11, 40):
        dirty.mark(A, DirtyReason.FAILED, 100.0, attempts=attempts)
        waits.append(next(wait for wait in (0.1, 0.2, 0.4, 30.0) if dirty.take(1, 1, 100.0 + wait)))
        dirty.reached(A)

    assert waits == [0.1, 0.2, 0.4, 30.0, 30.0]
    dirty.mark(A, DirtyReason.FAILED, 100.0, attempts=3)
    assert dirty.take(1, 1, 200.0) == [(A, 3)]


def test_key_is_not_copied_before_its_time() -> None:
    """Where a write may still be executed, a read before that does not count; others do not wait for it."""
    dirty = dirty_keys()
    dirty.mark(A, DirtyReason.AMBIGUOUS, 1.0, is_unordered=True, not_before=2.0)
    dirty.mark(B, DROPPED, 1.0)

    assert taken(dirty, 1.5) == [B]
    assert taken(dirty, 2.0) == [A]


def test_many_that_wait_do_not_hold_the_others() -> None:
    """A look at them is short, and the next one goes on behind them."""
    dirty = dirty_keys(max_keys=101)
    for number in range(100):
        dirty.mark((0, b"%d" % number), DirtyReason.FAILED, 1.0, not_before=1000.0)
    dirty.mark(A, DROPPED, 1.0)

    assert taken(dirty, 2.0, count=1) == []
    assert [A] in [taken(dirty, 2.0, count=1) for _ in range(25)]


def test_later_mark_does_not_shorten_the_wait() -> None:
    """The latest moment counts."""
    dirty = dirty_keys()
    dirty.mark(A, DirtyReason.AMBIGUOUS, 1.0, not_before=5.0)
    dirty.mark(A, DROPPED, 1.0)

    assert taken(dirty, 4.9) == []
    assert taken(dirty, 5.0) == [A]


def test_wait_that_begins_while_a_copy_is_under_way_holds_for_the_next_copy() -> None:
    """A write of unknown outcome may come after the copy, and after the one that follows at once."""
    dirty = dirty_keys(A)
    taken(dirty, 1.0)
    dirty.mark(A, DirtyReason.AMBIGUOUS, 2.0, is_unordered=True, not_before=3.0)
    assert not dirty.reached(A)

    assert taken(dirty, 2.5) == []
    assert taken(dirty, 3.0) == [A]


# --- forgetting ----------------------------------------------------------------------------------------


def test_clear_spares_what_is_under_way() -> None:
    """The copy that is on its way would otherwise come behind what made all keys equal."""
    dirty = dirty_keys(A, B)
    taken(dirty, count=1)

    assert dirty.clear(9) == 1
    assert list(dirty) == [A]


# --- exchanged databases -------------------------------------------------------------------------------


def test_keys_go_with_their_databases() -> None:
    """SWAPDB exchanges the keys of two databases, and leaves those of others."""
    dirty = dirty_keys((0, b"a"), (1, b"b"), (2, b"c"), (0, b"both"), (1, b"both"))
    dirty.mark((0, b"u"), DirtyReason.NOT_REPLAYABLE, 1.0, is_urgent=True)
    size = dirty.size_bytes
    dirty.swap(0, 1)

    assert set(dirty) == {(1, b"a"), (0, b"b"), (2, b"c"), (0, b"both"), (1, b"both"), (1, b"u")}
    assert dirty.size_bytes == size
    assert dirty.oldest_since() == 1.0
    assert taken(dirty, urgent_only=True) == [(1, b"u")]
    assert taken(dirty) == [(1, b"a"), (0, b"b"), (2, b"c"), (1, b"both"), (0, b"both")]


def test_copy_under_way_is_made_again_when_its_database_is_exchanged() -> None:
    """It was read where the key is no more; its end concerns nobody."""
    dirty = dirty_keys((0, b"a"))
    taken(dirty)
    dirty.swap(0, 1)

    assert dirty.reached((0, b"a"))
    assert (1, b"a") in dirty
    assert taken(dirty) == [(1, b"a")]


def test_exchange_with_itself_changes_nothing() -> None:
    """SWAPDB 0 0 is allowed."""
    dirty = dirty_keys(A)
    taken(dirty)
    dirty.swap(0, 0)

    assert taken(dirty) == []
    assert dirty.reached(A)


# --- all together --------------------------------------------------------------------------------------

_KEYS = st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b", b"cc", b"ddd"]))
_MAX_KEYS = 5
_MAX_BYTES = 4 * (ENTRY_OVERHEAD_BYTES + 2)


class DirtyKeysMachine(RuleBasedStateMachine):
    """What may differ is dirty until a copy that holds everything, or it is known that not all is known."""

    def __init__(self) -> None:
        super().__init__()
        self.dirty = DirtyKeys(_MAX_KEYS, _MAX_BYTES)
        self.now = 0.0
        self.differs: set[Key] = set()
        """Keys that differ, as far as the books must know."""
        self.under_way: dict[Key, bool] = {}
        """Copies on their way: whether something happened that they may not hold."""

    @rule(key=_KEYS, urgent=st.booleans(), unordered=st.booleans(), wait=st.sampled_from([0.0, 0.5]))
    def mark(self, key: Key, urgent: bool, unordered: bool, wait: float) -> None:
        """A write went wrong."""
        self.dirty.mark(
            key, DROPPED, self.now, is_urgent=urgent, is_unordered=unordered, not_before=self.now + wait
        )
        self.differs.add(key)
        if unordered and key in self.under_way:
            self.under_way[key] = True

    @rule(count=st.integers(1, 3), urgent_only=st.booleans())
    def take(self, count: int, urgent_only: bool) -> None:
        """Copies begin."""
        taken = self.dirty.take(count, 0 if urgent_only else count, self.now)
        assert len(taken) <= count
        for key, _ in taken:
            assert key not in self.under_way
            assert key in self.dirty
            self.under_way[key] = False

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), is_made=st.booleans())
    def finish(self, data: st.DataObject, is_made: bool) -> None:
        """A copy reaches its position, or is given up."""
        key = data.draw(st.sampled_from(sorted(self.under_way)))
        may_miss = self.under_way.pop(key)
        if not is_made:
            self.dirty.put_back(key)
        else:
            is_all = self.dirty.reached(key)
            assert is_all is not may_miss
            if is_all:
                self.differs.discard(key)

    @rule(one=st.integers(0, 2), other=st.integers(0, 2))
    def swap(self, one: int, other: int) -> None:
        """Databases are exchanged; copies of their keys concern nobody any more."""
        self.dirty.swap(one, other)
        moved = {one: other, other: one}
        self.differs = {(moved.get(db, db), name) for db, name in self.differs}
        if one != other:
            self.under_way = {key: miss for key, miss in self.under_way.items() if key[0] not in moved}

    @rule()
    def wait(self) -> None:
        """Time passes."""
        self.now += 1.0

    @rule()
    def resync(self) -> None:
        """All keys that are known are forgotten, but those under way; a resync would copy the others."""
        self.dirty.clear(1000)
        self.dirty.needs_resync = None
        self.differs = set(self.under_way)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """What differs is known, or it is known that not everything is."""
        assert self.dirty.needs_resync or self.differs <= set(self.dirty)

    @invariant()
    def books_add_up(self) -> None:
        """The bounds hold, sizes and sets follow the keys, and each key is to be taken, or under way."""
        dirty = self.dirty
        assert len(dirty) <= _MAX_KEYS
        assert dirty.size_bytes == sum(ENTRY_OVERHEAD_BYTES + len(key[1]) for key in dirty) <= _MAX_BYTES
        assert dirty.by_reason().total() == len(dirty)
        assert set(self.under_way) <= set(dirty)
        assert (dirty.has_urgent or dirty.has_waiting) == (len(dirty) > len(self.under_way))

    def teardown(self) -> None:
        """In the end everything is copied."""
        for key in self.under_way:
            self.dirty.put_back(key)
        for _ in range(3):
            for key, _ in self.dirty.take(100, 100, self.now + 100):
                self.dirty.reached(key)
        assert not self.dirty


TestDirtyKeys = DirtyKeysMachine.TestCase
TestDirtyKeys.settings = settings(deadline=None, max_examples=100)
