"""What happened to a key lately."""

from __future__ import annotations

from dualkv.core.context import START
from dualkv.core.divergence import Cause
from dualkv.core.effects.model import Command
from dualkv.core.history import WriteHistory
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, commands_item, in_one_piece, size_bytes
from tests.core.building import planned


def write(line: str, at: float) -> StreamItem:
    """Return a mirrored write that was offered at a time."""
    plan, request = planned(*line.split())
    return StreamItem(plan, plan.queue or Queue.WRITE, request, at, START)


def enter(history: WriteHistory, *items: StreamItem) -> None:
    """Let items enter in one step."""
    history.entered(items, size_bytes(items))


def told(history: WriteHistory, key: bytes, now: float = 10.0) -> list[tuple[float, str]]:
    """Return what is said of a key: how long ago, and what."""
    return [(entry.seconds_ago, entry.what) for entry in history.of([(0, key)], now)]


def test_writes_of_the_key_are_told_oldest_first() -> None:
    """Those of others are not, nor those of a key by the same name in another database."""
    history = WriteHistory(100, 10**6)
    enter(history, write("SET k 1", 1.0), write("SET other 1", 1.0))
    enter(history, write("INCR k", 3.0), write("MSET a 1 k 2", 4.0))

    assert told(history, b"k") == [(9.0, "set"), (7.0, "incr"), (6.0, "mset")]
    assert history.of([(1, b"k")], 10.0) == ()


def test_losses_and_copies_stand_among_them() -> None:
    """What was dropped or failed, and the copy of the key's state that made up for it."""
    history = WriteHistory(100, 10**6)
    lost = write("SET k 1", 1.0)
    history.lost(lost, "dropped (queue_full)", 2.0)
    enter(history, commands_item(Queue.COPY, [Command((b"SET", b"k", b"1"))], 5.0, START))

    assert told(history, b"k") == [(8.0, "dropped (queue_full)"), (5.0, "copied")]


def test_what_cannot_be_held_stands_among_them() -> None:
    """With the command by its label; not for other keys."""
    history = WriteHistory(100, 10**6)
    enter(history, write("HSET k f v", 1.0))
    history.not_held("XGROUP CREATE", [(0, b"k"), (0, b"l")], 2.0)
    history.not_held("HPEXPIREAT", [(1, b"k")], 3.0)

    assert told(history, b"k") == [(9.0, "hset"), (8.0, "unsupported (xgroup|create)")]
    assert told(history, b"l") == [(8.0, "unsupported (xgroup|create)")]
    assert [entry.loss for entry in history.of([(1, b"k")], 10.0)] == [Cause.UNSUPPORTED]


def test_commands_of_a_transaction_are_told_one_by_one() -> None:
    """Only those that concern the key."""
    history = WriteHistory(100, 10**6)
    queued = [planned("SET", "k", "1"), planned("SET", "other", "1"), planned("DEL", "k")]
    enter(history, in_one_piece(planned("EXEC")[0], Queue.WRITE, queued, 1.0, START, (None,) * 3))

    assert told(history, b"k") == [(9.0, "set"), (9.0, "del")]


def test_what_may_touch_any_key_is_told_of_each() -> None:
    """FLUSHALL has done something to it, too."""
    history = WriteHistory(100, 10**6)
    enter(history, write("FLUSHALL", 1.0))

    assert told(history, b"k") == [(9.0, "flushall")]


def test_it_is_bounded_in_items_and_bytes_and_so_is_what_is_told() -> None:
    """The newest stay; of one key ten at most are told."""
    history = WriteHistory(20, 10**6)
    for number in range(50):
        enter(history, write(f"SET k{number % 25} {number}", float(number)))
    assert told(history, b"k5", 50.0) == [(20.0, "set")]

    history = WriteHistory(10**6, 2000)
    for number in range(100):
        enter(history, write(f"SET k {number}", float(number)))
    assert len(told(history, b"k", 100.0)) < 10
    history = WriteHistory(10**6, 10**6)
    for number in range(100):
        enter(history, write(f"SET k {number}", float(number)))
    assert len(told(history, b"k", 100.0)) == 10
