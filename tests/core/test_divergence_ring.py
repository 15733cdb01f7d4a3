"""The last divergences: what is kept, and what is found."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dualkv.core.divergence import Divergence, DivergenceIds, DivergenceKind
from dualkv.core.divergence_ring import DivergenceFilter, DivergenceRing

GAP, MISMATCH = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH


class Maker:
    """Makes divergences with ids, and remembers them."""

    def __init__(self, ring: DivergenceRing) -> None:
        self.ring = ring
        self._ids = DivergenceIds(1, b"ab")

    def __call__(self, **facts: Any) -> Divergence:
        """Add one to the ring."""
        given: dict[str, Any] = {
            "command": "get", "kind": MISMATCH, "key": b"k", "expected": b"+1\r\n", "actual": b"+2\r\n",
        }  # fmt: skip
        made = Divergence(**given | facts, id=self._ids.next())
        self.ring.add(made)
        return made


@pytest.fixture(name="ring")
def _ring() -> DivergenceRing:
    return DivergenceRing(6)


@pytest.fixture(name="make")
def _make(ring: DivergenceRing) -> Maker:
    return Maker(ring)


def test_the_newest_are_last_and_the_oldest_make_room(ring: DivergenceRing, make: Maker) -> None:
    """As many as are allowed, in their order; how many there were is known."""
    made = [make() for _ in range(10)]

    assert list(ring) == made[4:]
    assert (len(ring), ring.added) == (6, 10)
    assert ring.get(made[0].id) is None
    assert ring.get(made[9].id) is made[9]


def test_gaps_do_not_push_out_mismatches(ring: DivergenceRing, make: Maker) -> None:
    """Before a back-fill nearly all are gaps; the mismatches among them are what somebody must see."""
    mismatches = [make() for _ in range(3)]
    gaps = [make(kind=GAP) for _ in range(100)]

    assert list(ring) == mismatches + gaps[-3:]


def test_gaps_use_the_room_that_nobody_else_needs(ring: DivergenceRing, make: Maker) -> None:
    """And give it back one by one."""
    gaps = [make(kind=GAP) for _ in range(6)]
    assert list(ring) == gaps

    late = make()
    assert list(ring) == [*gaps[1:], late]


def test_a_single_place_belongs_to_what_is_not_a_gap() -> None:
    """The smallest ring keeps the mismatch."""
    make = Maker(DivergenceRing(1))
    make(kind=GAP)
    mismatch = make()
    make(kind=GAP)

    assert list(make.ring) == [mismatch]


def test_large_records_make_room_for_each_other() -> None:
    """The bytes are bounded, too; one record is always kept."""
    make = Maker(DivergenceRing(1000, max_bytes=20_000))
    for _ in range(100):
        make(args=(b"x" * 3000,))
    assert 1 < len(make.ring) < 10
    assert make.ring.size_bytes <= 20_000

    huge = make(args=(b"x" * 30_000,))
    assert list(make.ring) == [huge]
    assert make.ring.size_bytes == huge.size_bytes


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DivergenceFilter(), [0, 1, 2, 3, 4, 5]),
        (DivergenceFilter(command="hget"), [1, 4]),
        (DivergenceFilter(kind=GAP), [2, 5]),
        (DivergenceFilter(key_prefix=b"user:"), [0, 1, 2]),
        (DivergenceFilter(since_seconds=3.0), [3, 4, 5]),
        (DivergenceFilter(command="hget", key_prefix=b"user:"), [1]),
        (DivergenceFilter(after="000000016162-000004"), [4, 5]),
        (DivergenceFilter(after="000000006162-000099"), [0, 1, 2, 3, 4, 5]),
        (DivergenceFilter(after="000000026162-000001"), []),
    ],
)
def test_filters_narrow_what_is_found(
    ring: DivergenceRing, make: Maker, wanted: DivergenceFilter, found: list[int]
) -> None:
    """By command, kind, prefix, time and id, and all of them together."""
    made = [
        make(command=command, kind=kind, key=key, time_seconds=float(second))
        for second, (command, kind, key) in enumerate(
            [
                ("get", MISMATCH, b"user:1"), ("hget", MISMATCH, b"user:2"), ("get", GAP, b"user:3"),
                ("get", MISMATCH, b"cart:1"), ("hget", MISMATCH, b"cart:2"), ("get", GAP, b"cart:3"),
            ]
        )
    ]  # fmt: skip

    assert ring.find(wanted, 100) == [made[index] for index in found]


def test_a_limit_gives_the_newest_or_what_comes_next(ring: DivergenceRing, make: Maker) -> None:
    """Whoever looks sees the newest; whoever follows misses none."""
    made = [make() for _ in range(6)]

    assert ring.find(DivergenceFilter(), 2) == made[4:]
    assert ring.find(DivergenceFilter(after=made[1].id), 2) == made[2:4]
    assert ring.find(DivergenceFilter(), 0) == []


def test_a_wrong_id_is_refused_even_if_nothing_is_remembered(ring: DivergenceRing) -> None:
    """An empty answer would look like good news."""
    with pytest.raises(ValueError, match="is not the id of a divergence"):
        ring.find(DivergenceFilter(after="yesterday"), 10)


def test_records_are_not_changed_by_being_kept(ring: DivergenceRing, make: Maker) -> None:
    """They are frozen; a caller may keep them."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        make().id = "x"  # type: ignore[misc] # that is what is tried
