"""Which keys become doubtful, and which do not."""

from __future__ import annotations

import pytest

from dualkv.core.context import START
from dualkv.core.dirty import DirtyKeys, DirtyReason, Key
from dualkv.core.doubtful import DoubtfulKeys
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, in_one_piece
from dualkv.resp import encode
from tests.core.building import planned

ERROR = b"-WRONGTYPE no\r\n"


def make(*, are_repaired: bool = True) -> DoubtfulKeys:
    """Return doubtful keys of which there are none; scripts name their keys."""
    return DoubtfulKeys(DirtyKeys(100, 10**6), lambda _plan, _request: True, are_repaired=are_repaired)


def item_of(*lines: str, checks: tuple[bytes | None, ...] = (), queue: Queue | None = None) -> StreamItem:
    """Return a mirrored write, or a transaction of several."""
    commands = [planned(*line.split()) for line in lines]
    if len(commands) == 1:
        plan, request = commands[0]
        check = checks[0] if checks else None
        return StreamItem(plan, queue or plan.queue or Queue.WRITE, request, 0.0, START, check=check)
    return in_one_piece(
        planned("EXEC")[0], queue or Queue.WRITE, commands, 0.0, START, checks or (None,) * len(commands)
    )


def dirty(doubtful: DoubtfulKeys) -> dict[bytes, DirtyReason]:
    """Return the dirty keys of database 0 and why they are so."""
    taken: dict[bytes, DirtyReason] = {}
    for db, key in doubtful.dirty:
        assert db == 0
        taken[key] = doubtful.dirty._entries[db, key].reason
    return taken


def array(*frames: bytes) -> bytes:
    """Return the reply of EXEC."""
    return b"*%d\r\n" % len(frames) + b"".join(frames)


def test_only_the_keys_of_the_command_that_failed_become_dirty() -> None:
    """The others of its transaction did what they should."""
    doubtful = make()
    is_news = doubtful.answered_oddly(
        item_of("SET a 1", "LPUSH b 1", "SET c 1"), array(encode.OK, ERROR, encode.OK), 1.0
    )

    assert is_news
    assert dirty(doubtful) == {b"b": DirtyReason.FAILED}


def test_whole_transaction_that_failed_makes_all_its_keys_dirty() -> None:
    """EXEC itself was refused."""
    doubtful = make()
    doubtful.answered_oddly(item_of("SET a 1", "SET b 1"), b"-EXECABORT no\r\n", 1.0)

    assert set(dirty(doubtful)) == {b"a", b"b"}


def test_another_reply_makes_the_key_dirty() -> None:
    """The other store had another state before."""
    doubtful = make()
    doubtful.answered_oddly(
        item_of("RPUSH a 1", "RPUSH b 1", checks=(b":1\r\n", b":1\r\n")), array(b":1\r\n", b":7\r\n"), 1.0
    )

    assert dirty(doubtful) == {b"b": DirtyReason.REPLY_DIFFERED}


@pytest.mark.parametrize("frame", [ERROR, b":7\r\n"])
def test_odd_answer_about_a_key_whose_copy_follows_tells_nothing(frame: bytes) -> None:
    """What it met there was known not to be the primary's state."""
    doubtful = make()
    item = item_of("RPUSH a 1", checks=(b":1\r\n",))
    item.copied = frozenset({(0, b"a")})

    assert not doubtful.answered_oddly(item, frame, 1.0)
    assert dirty(doubtful) == {}


def test_transaction_with_a_command_of_no_key_is_blamed_by_command() -> None:
    """SCRIPT LOAD in it does not mean that any key may differ."""
    doubtful = make()
    item = item_of("RPUSH a 1", "SCRIPT LOAD body", checks=(b":1\r\n", None))
    doubtful.answered_oddly(item, array(b":2\r\n", encode.bulk("sha")), 1.0)

    assert dirty(doubtful) == {b"a": DirtyReason.REPLY_DIFFERED}
    assert doubtful.dirty.needs_resync is None


def test_failed_command_that_may_touch_any_key_makes_a_resync_necessary() -> None:
    """Nobody knows what differs."""
    doubtful = make()
    doubtful.answered_oddly(item_of("FLUSHALL"), ERROR, 1.0)

    assert doubtful.dirty.needs_resync is not None


@pytest.mark.parametrize("line", ["PERSIST k", "PEXPIREAT k 1700000000000", "HDEL k f"])
def test_what_has_expired_there_meanwhile_is_copied_at_once(line: str) -> None:
    """That is the effect of the command, not a repair that somebody may have switched off."""
    doubtful = make()
    doubtful.answered_oddly(item_of(line, checks=(b":1\r\n",)), b":0\r\n", 1.0)

    assert doubtful.dirty.has_urgent
    assert dirty(doubtful) == {b"k": DirtyReason.NOT_REPLAYABLE}


def test_item_with_dirty_keys_only_is_not_sent() -> None:
    """Their copies hold what it has done."""
    doubtful = make()
    doubtful.mark([(0, b"a"), (0, b"b")], DirtyReason.DIVERGED, 1.0)

    assert doubtful.spoils(item_of("SET a 1"), 1.0, is_queued=False)
    assert doubtful.spoils(item_of("SET a 1", "DEL b"), 1.0, is_queued=False)
    assert not doubtful.spoils(item_of("SET c 1"), 1.0, is_queued=False)


def test_item_with_a_dirty_key_among_others_is_sent_for_those() -> None:
    """And it is known of which its answer tells nothing."""
    doubtful = make()
    doubtful.mark([(0, b"a")], DirtyReason.DIVERGED, 1.0)
    item = item_of("SET a 1", "SET b 1")

    assert not doubtful.spoils(item, 1.0, is_queued=False)
    assert item.copied == {(0, b"a")}
    assert set(dirty(doubtful)) == {b"a"}


def test_key_that_is_made_of_a_dirty_one_is_copied() -> None:
    """SUNIONSTORE from a wrong set makes a wrong set; DEL of several keys does not."""
    doubtful = make()
    doubtful.mark([(0, b"a")], DirtyReason.DIVERGED, 1.0)

    assert doubtful.spoils(item_of("SUNIONSTORE c a b"), 1.0, is_queued=False)
    assert dirty(doubtful)[b"c"] is DirtyReason.NOT_REPLAYABLE
    assert not doubtful.spoils(item_of("DEL a x"), 1.0, is_queued=False)
    assert b"x" not in dirty(doubtful)


def test_writes_go_on_where_no_copy_will_come() -> None:
    """Without repair a dirty key keeps up as well as it can; what is made of it is copied all the same."""
    doubtful = make(are_repaired=False)
    doubtful.mark([(0, b"a")], DirtyReason.REPLY_DIFFERED, 0.0)

    assert not doubtful.spoils(item := item_of("INCR a"), 1.0, is_queued=False)
    assert item.copied == frozenset()

    assert doubtful.spoils(item_of("SUNIONSTORE c a b"), 1.0, is_queued=False)
    assert doubtful.spoils(item_of("INCR a"), 1.0, is_queued=False)


@pytest.mark.parametrize("line", ["DEL a b", "UNLINK a b"])
def test_another_number_of_removed_keys_tells_nothing(line: str) -> None:
    """One of them may have expired there meanwhile; now both are gone on both stores."""
    doubtful = make()

    assert not doubtful.answered_oddly(item_of(line, checks=(b":2\r\n",)), b":1\r\n", 1.0)
    assert dirty(doubtful) == {}


def test_what_is_queued_before_a_copy_is_not_exact() -> None:
    """Until the copy has left the queue."""
    doubtful = make()
    copy = item_of("SET a 1", queue=Queue.COPY)
    copy.mends = True
    doubtful.queued([copy])

    assert doubtful.spoils(item_of("INCR a"), 1.0, is_queued=True)
    assert not doubtful.spoils(item_of("INCR a"), 1.0, is_queued=False)
    doubtful.passed(copy)
    assert not doubtful.spoils(item_of("INCR a"), 1.0, is_queued=True)


def test_dirty_keys_go_with_their_databases() -> None:
    """What was offered before SWAPDB names its keys by where they were."""
    doubtful = make()
    doubtful.mark([(0, b"a")], DirtyReason.DIVERGED, 1.0)
    before = item_of("SET a 1")
    doubtful.follow_swaps(item_of("SWAPDB 0 1"), 1.0)
    after = item_of("SET a 1")
    after.epoch = doubtful.swaps

    moved: list[Key] = [*doubtful.dirty]
    assert moved == [(1, b"a")]
    assert doubtful.keys_now(before) == [(1, b"a")]
    assert doubtful.spoils(before, 1.0, is_queued=False)
    assert not doubtful.spoils(after, 1.0, is_queued=False)


def test_write_that_cannot_stand_beside_a_copy_in_pieces_lets_it_begin_anew() -> None:
    """Others are sent, though their counts tell nothing; reads are not."""
    doubtful = make()
    key: Key = (0, b"h")
    doubtful.under_way.add(key)
    beside = item_of("HSET h f v", checks=(b":1\r\n",))
    assert not doubtful.disturbs_copies(beside, 1.0)
    assert beside.copied == {key}

    plan, request = planned("HGETALL", "h")
    assert doubtful.disturbs_copies(StreamItem(plan, Queue.SHADOW, request, 0.0, expected=b"*0\r\n"), 1.0)
    assert not doubtful.disturbs_copies(item_of("RENAME h i"), 1.0)
    assert key in doubtful.dirty
    assert not doubtful.under_way


def test_copy_that_found_no_room_is_made_again_soon_however_often() -> None:
    """It was not tried: that must not count as one of the attempts that make it wait longer and longer."""
    doubtful = make()
    copy = item_of("SET a 1", queue=Queue.COPY)
    copy.attempts = 4
    doubtful.not_applied(copy, DirtyReason.DROPPED, 100.0)

    assert doubtful.dirty.take(1, 1, 100.0) == []
    assert doubtful.dirty.take(1, 1, 101.0) == [((0, b"a"), 4)]

    failed = item_of("SET b 1", queue=Queue.COPY)
    failed.attempts = 4
    doubtful.not_applied(failed, DirtyReason.FAILED, 100.0)
    assert doubtful.dirty.take(1, 1, 101.0) == []
    assert doubtful.dirty.take(1, 1, 102.0) == [((0, b"b"), 5)]


def test_odd_answer_is_no_news_where_something_is_executed_beside_the_lane() -> None:
    """The secondary has that later; what it is then is copied, whatever the settings say of repairs."""
    doubtful = make()
    doubtful.was_beside = lambda key, since: key == (0, b"k") and since == 0.0
    item = item_of("XACK k g 1-1", checks=(b":1\r\n",))

    assert not doubtful.answered_oddly(item, b":0\r\n", 1.0)
    assert dirty(doubtful) == {b"k": DirtyReason.NOT_REPLAYABLE}
    assert doubtful.dirty.has_urgent
    assert doubtful.answered_oddly(item_of("XACK other g 1-1", checks=(b":1\r\n",)), b":0\r\n", 1.0)
    assert doubtful.answered_oddly(item, ERROR, 1.0)


def test_odd_answer_to_what_was_executed_beside_the_lane_is_no_news() -> None:
    """It met something else than there."""
    doubtful = make()
    item = item_of("XCLAIM k g c 0 1-1 JUSTID", checks=(b"*0\r\n",), queue=Queue.BLOCKING)

    assert not doubtful.answered_oddly(item, ERROR, 1.0)
    assert dirty(doubtful) == {b"k": DirtyReason.NOT_REPLAYABLE}
