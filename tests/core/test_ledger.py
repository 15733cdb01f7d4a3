"""The books add up at every moment, and say so when they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dualkv.core.ledger import DropReason, Ledger, LedgerImbalanceError

counts = st.integers(min_value=0, max_value=20)
reasons = st.sampled_from(DropReason)


class Bookkeeping(RuleBasedStateMachine):
    """Items go any permitted way through a ledger; a second set of books is kept beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.queued = 0
        self.in_flight = 0
        self.offered = 0
        self.dropped: Counter[DropReason] = Counter()

    @rule(count=counts)
    def offer(self, count: int) -> None:
        """Enter items."""
        self.ledger.offer(count)
        self.offered += count
        self.queued += count

    @rule(count=counts, reason=reasons)
    def refuse(self, count: int, reason: DropReason) -> None:
        """Enter items that find no room."""
        self.ledger.refuse(reason, count)
        self.offered += count
        self.dropped[reason] += count

    @rule(wish=counts)
    def take(self, wish: int) -> None:
        """Move items into flight."""
        count = min(wish, self.queued)
        self.ledger.take(count)
        self.queued -= count
        self.in_flight += count

    @rule(wish=counts, reason=reasons)
    def drop_queued(self, wish: int, reason: DropReason) -> None:
        """Drop items that wait."""
        count = min(wish, self.queued)
        self.ledger.drop_queued(reason, count)
        self.queued -= count
        self.dropped[reason] += count

    @rule(wish=counts, reason=reasons)
    def drop_in_flight(self, wish: int, reason: DropReason) -> None:
        """Drop items that were taken."""
        count = min(wish, self.in_flight)
        self.ledger.drop_in_flight(reason, count)
        self.in_flight -= count
        self.dropped[reason] += count

    @rule(wish=counts, failed=counts)
    def settle(self, wish: int, failed: int) -> None:
        """Settle items, some of them as failed."""
        count = min(wish, self.in_flight)
        failed = min(failed, count)
        self.ledger.fail(failed)
        self.ledger.apply(count - failed)
        self.in_flight -= count

    @invariant()
    def adds_up(self) -> None:
        """The ledger's check passes, and its numbers are those of the second books."""
        self.ledger.check()
        assert (self.offered, self.queued, self.in_flight) == (
            self.ledger.offered,
            self.ledger.queued,
            self.ledger.in_flight,
        )
        assert +self.dropped == +self.ledger.dropped


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_way_through_the_books() -> None:
    """Ten offered items end as applied, failed and dropped ones, and every number tells its part."""
    ledger = Ledger()
    ledger.offer(10)
    ledger.refuse(DropReason.QUEUE_FULL, 2)
    ledger.drop_queued(DropReason.EXPIRED)
    ledger.take(8)
    ledger.drop_in_flight(DropReason.NOT_SPOKEN)
    ledger.fail(2)
    ledger.apply(4)

    expected = Ledger(
        offered=12,
        applied=4,
        failed=2,
        dropped=Counter(
            {DropReason.QUEUE_FULL: 2, DropReason.EXPIRED: 1, DropReason.NOT_SPOKEN: 1},
        ),
        queued=1,
        in_flight=1,
    )
    assert expected == ledger
    ledger.check()


@pytest.mark.parametrize("field", ["offered", "applied", "failed", "queued", "in_flight"])
@pytest.mark.parametrize("difference", [-1, 1])
def test_check_raises_when_a_number_was_tampered_with(field: str, difference: int) -> None:
    """One number that moved alone is noticed, and the error shows all numbers."""
    ledger = Ledger(
        offered=9, applied=3, failed=2, dropped=Counter({DropReason.SHED: 1}), queued=2, in_flight=1
    )
    ledger.check()
    setattr(ledger, field, getattr(ledger, field) + difference)

    with pytest.raises(LedgerImbalanceError, match=rf"{field}={getattr(ledger, field)}\b"):
        ledger.check()


def test_check_raises_when_a_drop_was_tampered_with() -> None:
    """A drop that nobody was counted for is noticed."""
    ledger = Ledger()
    ledger.offer()
    ledger.dropped[DropReason.SHUTDOWN] += 1

    with pytest.raises(LedgerImbalanceError):
        ledger.check()


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(lambda ledger: ledger.take(2), id="more taken than waited"),
        pytest.param(lambda ledger: ledger.apply(), id="applied without being taken"),
        pytest.param(lambda ledger: ledger.fail(), id="failed without being taken"),
        pytest.param(lambda ledger: ledger.drop_queued(DropReason.SHED, 2), id="more dropped than waited"),
        pytest.param(lambda ledger: ledger.drop_in_flight(DropReason.SHED), id="dropped without being taken"),
    ],
)
def test_check_raises_when_an_item_is_settled_that_is_not_there(mistake: Callable[[Ledger], None]) -> None:
    """A sum that is right with a negative part is wrong."""
    ledger = Ledger()
    ledger.offer()
    mistake(ledger)

    with pytest.raises(LedgerImbalanceError):
        ledger.check()


def test_new_books_are_empty_and_balanced() -> None:
    """A ledger begins with zeros everywhere."""
    ledger = Ledger()
    ledger.check()
    numbers = attrs.asdict(ledger, recurse=False)
    numbers.pop("dropped")

    assert {0} == set(numbers.values())
    assert ledger.dropped.total() == 0
