"""Comparing never slows writes: the share of reads follows what the secondary can take."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest

from dualkv.core.shadow_budget import FLOOR, ShadowBudget

MAX_BATCH_ITEMS = 1024
MAX_QUEUE_ITEMS = 1024
LINGER_SECONDS = 0.003


@attrs.define
class Simulation:
    """A secondary that answers one batch at a time, and clients that read and write at a steady rate."""

    reads_per_second: float
    writes_per_second: float
    read_seconds: Callable[[float], float]
    """What a read costs the secondary, by the time."""
    write_seconds: float = 0.0001
    round_trip_seconds: float = 0.0003
    budget: ShadowBudget = attrs.field(factory=ShadowBudget)
    now: float = 0.0
    next_read: float = 0.0
    next_write: float = 0.0
    queue: list[tuple[float, bool]] = attrs.field(factory=list)
    """When each item was offered, and whether it is a read."""
    delays: list[tuple[float, float]] = attrs.field(factory=list)
    """When each write was offered, and how long it took."""
    shares: list[tuple[float, float]] = attrs.field(factory=list)
    """The share at each time."""

    def run(self, until: float) -> None:
        """Let time pass."""
        while self.now < until:
            self._step()

    def _step(self) -> None:
        if not self.queue:
            self.now = max(self.now, min(self.next_read, self.next_write)) + LINGER_SECONDS
        self._arrive()
        if self._writes_waiting():
            oldest = self.now - self.budget.permitted_age_seconds
            self.queue = [item for item in self.queue if not item[1] or item[0] >= oldest]
        batch, self.queue = self.queue[:MAX_BATCH_ITEMS], self.queue[MAX_BATCH_ITEMS:]
        cost = self.read_seconds(self.now)
        seconds = self.round_trip_seconds + sum(
            cost if is_read else self.write_seconds for _, is_read in batch
        )
        self.now += seconds
        self._arrive()
        self.delays += [(offered_at, self.now - offered_at) for offered_at, is_read in batch if not is_read]
        age = self.now - self.queue[0][0] if self.queue else 0.0
        self.budget.observe(seconds, len(batch), age, self._writes_waiting(), self.now)
        self.shares.append((self.now, self.budget.share))

    def _writes_waiting(self) -> int:
        return sum(not is_read for _, is_read in self.queue)

    def _arrive(self) -> None:
        while min(self.next_read, self.next_write) <= self.now:
            if self.next_read <= self.next_write:
                if self.budget.admits() and len(self.queue) < MAX_QUEUE_ITEMS:
                    self.queue.append((self.next_read, True))
                self.next_read += 1 / self.reads_per_second
            else:
                self.queue.append((self.next_write, False))
                self.next_write += 1 / self.writes_per_second

    def worst_delay(self, since: float, share: float = 1.0) -> float:
        """Return what a share of the writes offered later waited at most."""
        found = sorted(delay for offered_at, delay in self.delays if offered_at >= since)
        return found[int(len(found) * share) - 1]

    def mean_share(self, since: float) -> float:
        """Return the share over time."""
        spans = [
            (later - earlier, share)
            for (earlier, share), (later, _) in pairwise(self.shares)
            if earlier >= since
        ]
        return sum(span * share for span, share in spans) / sum(span for span, _ in spans)


@pytest.mark.parametrize(
    "simulation",
    [
        Simulation(5000, 1000, lambda _: 1e-5, 1e-5),
        Simulation(20_000, 5000, lambda _: 2e-5, 2e-5),
        Simulation(1000, 1000, lambda _: 1e-5, 1e-5, round_trip_seconds=0.15),
        Simulation(10, 10, lambda _: 1e-3, 1e-3),
        Simulation(100, 1, lambda now: 0.09 if now % 5 < 0.01 else 1e-4),
    ],
    ids=["ordinary", "busy", "far away", "idle", "with single slow batches"],
)
def test_a_healthy_secondary_gets_all_reads(simulation: Simulation) -> None:
    """What is not overloaded is not spared, however far away it is."""
    simulation.run(20)

    assert {share for _, share in simulation.shares} == {1.0}
    assert simulation.budget.shed == 0


@pytest.mark.parametrize(
    ("reads_per_second", "seconds", "capacity"),
    [(2000, 0.001, 0.5), (20_000, 0.001, 0.05), (1000, 0.004, 0.25)],
)
def test_an_overloaded_secondary_gets_what_it_can_take_and_writes_hardly_wait(
    reads_per_second: float, seconds: float, capacity: float
) -> None:
    """Twice, twenty times, four times as many reads as it can answer."""
    simulation = Simulation(reads_per_second, 100, lambda _: seconds)
    simulation.run(60)

    assert simulation.worst_delay(0) < 4.5
    assert simulation.worst_delay(since=5) < 0.8
    assert simulation.worst_delay(since=5, share=0.5) < 0.15
    assert capacity * 0.4 < simulation.mean_share(since=5) < capacity


def test_after_an_overload_all_reads_are_compared_again_within_seconds() -> None:
    """For half a minute reads cost a hundred times as much; six seconds later nothing is left of it."""
    simulation = Simulation(2000, 100, lambda now: 2e-3 if 10 < now < 40 else 2e-5)
    simulation.run(60)
    shares = simulation.shares

    assert {share for now, share in simulation.shares if now < 10} == {1.0}
    assert simulation.mean_share(since=10) < 0.8
    assert {share for now, share in shares if now > 46} == {1.0}
    assert simulation.worst_delay(since=46) < 0.01


def test_a_secondary_that_cannot_take_the_writes_gets_hardly_any_reads() -> None:
    """The writes come first; but a few reads are still compared."""
    simulation = Simulation(1000, 1200, lambda _: 1e-4, write_seconds=1e-3)
    simulation.run(60)

    assert {share for now, share in simulation.shares if now > 30} == {FLOOR}


# --- step by step


def healthy(budget: ShadowBudget, now: float) -> None:
    """Let a batch take a millisecond."""
    budget.observe(0.001, 10, 0.0, 0, now)


def late(budget: ShadowBudget, now: float, writes: int = 1, age: float = 0.2) -> None:
    """Let such a batch find that something has been waiting for long."""
    budget.observe(0.001, 10, age, writes, now)


def test_the_share_is_halved_while_writes_wait_for_long() -> None:
    """Each halving has its time to show an effect: what was admitted before it has to get through."""
    budget = ShadowBudget(0.1)
    late(budget, 10.0)
    assert budget.share == 0.5
    late(budget, 10.1)
    assert budget.share == 0.5
    late(budget, 10.25)
    assert budget.share == 0.25
    late(budget, 10.7, age=9.0)
    assert budget.share == 0.25
    late(budget, 10.8, age=9.0)
    assert budget.share == 0.125


def test_a_share_never_falls_below_its_floor() -> None:
    """A secondary that is always behind is still looked at."""
    budget = ShadowBudget()
    for second in range(20):
        late(budget, second)

    assert budget.share == FLOOR


def test_reads_that_wait_for_reads_alone_do_no_harm() -> None:
    """Where nobody writes, reads may take their time."""
    budget = ShadowBudget()
    for second in range(20):
        late(budget, second, writes=0)

    assert budget.share == 1.0


def test_the_permitted_age_is_a_setting_and_follows_the_distance() -> None:
    """A round trip twice, and never more than three times what was said."""
    budget = ShadowBudget(0.1)
    assert budget.permitted_age_seconds == 0.1
    budget.observe(0.03, 1, 0.0, 0, 0.0)
    assert budget.permitted_age_seconds == pytest.approx(0.16)
    budget = ShadowBudget(0.1)
    budget.observe(5.0, 1, 0.0, 0, 0.0)
    assert budget.permitted_age_seconds == pytest.approx(0.3)


def test_a_secondary_that_becomes_slow_is_spared_until_that_is_usual() -> None:
    """Also where nothing waits; and not for ever."""
    budget = ShadowBudget()
    for tenth in range(100):
        budget.observe(0.001, 10, 0.0, 0, tenth / 10)
    for tenth in range(100, 110):
        budget.observe(0.05, 10, 0.0, 0, tenth / 10)
    assert budget.share < 0.1
    for tenth in range(110, 400):
        budget.observe(0.05, 10, 0.0, 0, tenth / 10)
    assert budget.share == 1.0


def test_batches_are_compared_with_batches_of_their_size() -> None:
    """A thousand items take longer than one."""
    budget = ShadowBudget()
    for tenth in range(100):
        items = 1000 if tenth % 20 > 10 else 1
        budget.observe(items / 10_000, items, 0.0, 0, tenth / 10)

    assert budget.share == 1.0


def test_one_slow_batch_is_no_sign() -> None:
    """A slow script, or a fork of the secondary, is over when the next batch is answered."""
    budget = ShadowBudget()
    for second in range(10):
        healthy(budget, second)
    budget.observe(3.0, 10, 0.0, 0, 13.0)
    assert budget.share == 1.0
    healthy(budget, 13.1)
    budget.observe(3.0, 10, 0.0, 0, 17.0)
    assert budget.share == 1.0


# --- thinning


@pytest.mark.parametrize("share", [FLOOR, 0.125, 0.5, 0.9])
def test_the_share_is_kept_in_whatever_rhythm_reads_come(share: float) -> None:
    """Without randomness; and of keys that are read in turn, each has its share."""
    budget = ShadowBudget()
    budget.share = share
    keys = 100
    admitted = [0] * keys
    for number in range(100_000):
        admitted[number % keys] += budget.admits()

    assert sum(admitted) == pytest.approx(100_000 * share, abs=10)
    assert budget.shed == 100_000 - sum(admitted)
    assert all(seen == pytest.approx(1000 * share, abs=10) for seen in admitted)


def test_a_budget_shows_what_it_is() -> None:
    """As a status line."""
    budget = ShadowBudget()
    budget.share = 0.25

    assert repr(budget) == "<ShadowBudget share=0.25 shed=0>"


def test_batches_of_reads_are_no_longer_than_writes_may_wait() -> None:
    """Writes that come while a batch is out wait for its end: what takes longer is made smaller, and back."""
    budget = ShadowBudget(0.1)
    budget.observe(1.0, 200, 0.0, 0, now=1.0)
    assert budget.most_per_batch == 20
    budget.observe(0.2, 20, 0.0, 0, now=1.2)
    assert budget.most_per_batch == 10
    for second in range(2, 20):
        budget.observe(0.001, budget.most_per_batch, 0.0, 0, now=float(second))
    assert budget.most_per_batch == 4096
