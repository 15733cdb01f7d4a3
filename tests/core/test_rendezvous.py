"""What may overtake what, where items concern several shards of the stream."""

from __future__ import annotations

import random
import zlib
from collections import deque

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.rendezvous import Entry, Look, Rendezvous, item_of
from tests.core.building import planned


def item(line: str) -> StreamItem:
    """Return a write."""
    plan, request = planned(*line.split())
    return StreamItem(plan, Queue.WRITE, request, 0.0)


def line_of(entry: Entry) -> str:
    """Return an entry as a person writes it."""
    return b" ".join(item_of(entry).request.args).decode()


@attrs.define(eq=False)
class Shard:
    """Takes batches of what waits, as shards do."""

    number: int
    is_alone: bool
    waiting: deque[Entry] = attrs.field(factory=deque)
    taken: list[Rendezvous] = attrs.field(factory=list)
    batch: list[StreamItem] = attrs.field(factory=list)

    def take(self, most: int = 1000) -> list[str]:
        """Take the next batch; return it as lines."""
        self.batch = []
        look = Look(self.number, self.batch, is_alone=self.is_alone)
        while len(self.batch) < most and (entry := look.find(self.waiting)) is not None:
            assert self.waiting.popleft() is entry
            self.batch.append(item_of(entry))
            if isinstance(entry, Rendezvous):
                look.take(entry)
                self.taken.append(entry)
        look.put_back(self.waiting)
        return [line_of(one) for one in self.batch]

    def settle(self) -> None:
        """The batch has been answered."""
        self.batch = []
        for rendezvous in self.taken:
            rendezvous.is_over = True
        self.taken.clear()


def shards_with(*queues: str, shared: str, is_alone: bool = False) -> list[Shard]:
    """Return shards with lines in their queues; *shared* is a rendezvous of all who have it."""
    concerned = [number for number, queue in enumerate(queues) if shared in queue.split(", ")]
    rendezvous = Rendezvous(item(shared), concerned)
    return [
        Shard(
            number,
            is_alone,
            deque(rendezvous if line == shared else item(line) for line in queue.split(", ")),
        )
        for number, queue in enumerate(queues)
    ]


def test_other_keys_overtake_what_waits_for_another_shard() -> None:
    """The shard arrives, and goes on with what has nothing to do with it."""
    one, other = shards_with("MSET a 1 b 1, SET a 2, SET c 1", "SET b 0, MSET a 1 b 1", shared="MSET a 1 b 1")

    assert one.take() == ["SET c 1"]
    assert other.take() == ["SET b 0", "MSET a 1 b 1"]
    one.settle()
    assert one.take() == []

    other.settle()
    assert one.take() == ["SET a 2"]


def test_what_is_kept_back_keeps_back_what_touches_its_keys() -> None:
    """Order on each key counts, also where the key is not one of the rendezvous."""
    one, _ = shards_with("MSET a 1 b 1, RENAME a c, SET c 3, SET d 4", "MSET a 1 b 1", shared="MSET a 1 b 1")

    assert one.take() == ["SET d 4"]


def test_shard_has_not_arrived_while_something_before_it_is_on_its_way() -> None:
    """Another shard must not send it before that is answered."""
    one, other = shards_with("SET a 0, MSET a 1 b 1, SET c 1", "MSET a 1 b 1", shared="MSET a 1 b 1")

    assert one.take() == ["SET a 0"]
    assert other.take() == []

    one.settle()
    assert one.take() == ["MSET a 1 b 1", "SET c 1"]
    assert other.take() == []


def test_last_shard_may_send_it_behind_what_comes_before() -> None:
    """On one connection that is in order; it goes alone where its answer is to come soon."""
    queues = ("SET a 0, MSET a 1 b 1, SET a 2", "MSET a 1 b 1")
    one, other = shards_with(*queues, shared="MSET a 1 b 1")
    assert other.take() == []
    assert one.take() == ["SET a 0", "MSET a 1 b 1", "SET a 2"]

    one, other = shards_with(*queues, shared="MSET a 1 b 1", is_alone=True)
    assert other.take() == []
    assert one.take() == ["SET a 0"]
    one.settle()
    assert one.take() == ["MSET a 1 b 1"]


def test_nothing_overtakes_what_may_touch_any_key() -> None:
    """It stands between all before and all behind it, on every shard."""
    one, other = shards_with("SET a 0, FLUSHALL, SET a 2", "SET b 0, FLUSHALL, SET b 2", shared="FLUSHALL")

    assert one.take() == ["SET a 0"]
    one.settle()
    assert one.take() == []
    assert other.take() == ["SET b 0", "FLUSHALL", "SET b 2"]
    assert one.take() == []

    other.settle()
    assert one.take() == ["SET a 2"]


def test_what_was_dropped_elsewhere_is_left_out() -> None:
    """A rendezvous that is over keeps nothing back."""
    one, _ = shards_with("MSET a 1 b 1, SET a 2", "MSET a 1 b 1", shared="MSET a 1 b 1")
    rendezvous = one.waiting[0]
    assert isinstance(rendezvous, Rendezvous)
    rendezvous.is_over = True

    assert one.take() == ["SET a 2"]


KEYS = "abcdef"
keys = st.sampled_from(KEYS)
commands = st.one_of(
    keys.map(lambda key: f"SET {key}"),
    keys.map(lambda key: f"SET {key}"),
    st.tuples(keys, keys).map(lambda two: f"MSET {two[0]} {two[1]}"),
    st.tuples(keys, keys, keys).map(lambda three: f"MSET {three[0]} {three[1]} {three[2]}"),
    st.sampled_from(["SET a", "SET b", "FLUSHALL"]),
)


@pytest.mark.parametrize("is_alone", [False, True])
@settings(max_examples=100, deadline=None)
@given(st.lists(commands, max_size=40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_every_key_keeps_its_order_and_nobody_waits_for_ever(
    is_alone: bool, lines: list[str], shard_count: int, most: int, seed: int
) -> None:
    """Whoever takes and answers batches when, each command is executed once, in the order of each key."""
    chance = random.Random(seed)
    shards = [Shard(number, is_alone) for number in range(shard_count)]
    touched: list[set[str]] = []
    for number, line in enumerate(lines):
        _, *named = line.split()
        touched.append(set(named) or set(KEYS))
        entered = item(" ".join([line.split()[0], *(f"{key} v" for key in named)]))
        entered.attempts = number
        concerned = {zlib.crc32(key.encode()) % shard_count for key in named} or set(range(shard_count))
        entry: Entry = entered if len(concerned) == 1 else Rendezvous(entered, concerned)
        for one in concerned:
            shards[one].waiting.append(entry)
    executed: list[int] = []
    pending: list[list[StreamItem]] = [[] for _ in shards]  # sent, and not executed
    idle = 0
    while any(shard.waiting or shard.batch for shard in shards):
        shard = chance.choice(shards)
        idle += 1
        assert idle < 1000
        if not shard.batch:
            shard.take(most)
            pending[shard.number] = list(shard.batch)
        if shard.batch:
            idle = 0
            if chance.random() < 0.5:
                executed += [one.attempts for one in pending[shard.number]]
                pending[shard.number] = []
            elif not pending[shard.number]:
                shard.settle()

    assert sorted(executed) == list(range(len(lines)))
    for key in KEYS:
        in_order = [number for number in range(len(lines)) if key in touched[number]]
        assert [number for number in executed if key in touched[number]] == in_order
