"""Which mirrored writes are sent again, and with what."""

from __future__ import annotations

import pytest

from dualkv.core.context import START, Context
from dualkv.core.dialect import Dialect
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, in_one_piece
from dualkv.core.retrying import Again, FastRemovals, Retries, outcome_frames
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from dualkv.resp.encode import command
from dualkv.resp.requests import Request

BUSY = encode.error("BUSY server overloaded")
COMPACTED = encode.error("read timestamp has been compacted")
OTHER = encode.error("WRONGTYPE Operation against a key holding the wrong kind of value")


def item(line: str, queue: Queue = Queue.WRITE, expected: bytes | None = None, db: int = 0) -> StreamItem:
    """Return one item."""
    args = tuple(line.encode().split())
    request = Request(args, command(*args))
    return StreamItem(plan_of(args), queue, request, 0.0, START._replace(db=db), expected)


def read(line: str) -> StreamItem:
    """Return a shadow read."""
    return item(line, Queue.SHADOW, b"$1\r\nv\r\n")


def transaction(*lines: str) -> StreamItem:
    """Return writes in one piece."""
    items = [item(line) for line in lines]
    parts = [(one.plan, one.request) for one in items]
    return in_one_piece(parts[0][0], Queue.WRITE, parts, 0.0, Context(), ())


def positions(batch: list[StreamItem], frames: list[bytes]) -> tuple[int, ...]:
    """Return what is sent again after the first answers."""
    again = Retries(batch).next(frames)
    return () if again is None else again.positions


def test_what_was_answered_is_not_sent_again() -> None:
    """Neither success nor an error that stays."""
    batch = [item("SET a 1"), item("SADD b 1"), read("GET a")]

    assert positions(batch, [encode.OK, OTHER, b"$-1\r\n"]) == ()


@pytest.mark.parametrize(("error", "times"), [(BUSY, 8), (COMPACTED, 3)])
def test_a_refusal_is_met_with_so_many_more_attempts(error: bytes, times: int) -> None:
    """Then the refusal counts."""
    retries = Retries([item("SET a 1")])

    attempts = [retries.next([error]) for _ in range(times)]

    assert [again.positions for again in attempts if again is not None] == [(0,)] * times
    assert retries.next([error]) is None


def test_each_kind_of_refusal_has_its_own_number_of_attempts() -> None:
    """A write that was refused for the one reason may still be for the other."""
    retries = Retries([item("SET a 1")])
    for _ in range(3):
        assert retries.next([COMPACTED]) is not None

    assert retries.next([BUSY]) is not None
    assert retries.next([COMPACTED]) is None


def test_waits_double_up_to_a_tenth_of_a_second_and_vary_by_half() -> None:
    """10, 20, 40, 80, 100, 100 ms …, each up to half as long again."""
    retries = Retries([item("SET a 1")])

    waits = [again.wait_seconds for _ in range(8) if (again := retries.next([BUSY])) is not None]

    for wait, least in zip(waits, [0.01, 0.02, 0.04, 0.08, 0.1, 0.1, 0.1, 0.1], strict=True):
        assert least <= wait <= least * 1.5


def test_a_script_is_not_sent_again_to_a_store_that_is_busy() -> None:
    """It may be the script that keeps it busy."""
    batch = [item("EVAL return 0", Queue.SCRIPT)]

    assert positions(batch, [BUSY]) == ()
    assert positions(batch, [COMPACTED]) == (0,)


def test_a_refused_write_is_not_sent_again_behind_a_later_one_on_its_key() -> None:
    """It would undo what came after it; others of the batch are sent again."""
    batch = [item("SET a 1"), item("SET b 1"), item("SET a 2")]

    assert positions(batch, [BUSY, BUSY, encode.OK]) == (1,)


def test_writes_on_one_key_that_were_all_refused_are_sent_again_in_order() -> None:
    """None of them has overtaken another."""
    batch = [item("SET a 1"), item("SET b 1"), item("APPEND a 2")]

    assert positions(batch, [BUSY, encode.OK, COMPACTED]) == (0, 2)


def test_a_later_write_on_the_same_key_that_failed_is_in_nobodys_way() -> None:
    """It changed nothing, and its key is copied."""
    assert positions([item("SET a 1"), item("SADD a 2")], [BUSY, OTHER]) == (0,)


def test_a_key_of_another_database_is_another_key() -> None:
    """Keys are told apart with their database."""
    batch = [item("SET a 1"), item("SET a 2", db=1)]

    assert positions(batch, [BUSY, encode.OK]) == (0,)


@pytest.mark.parametrize("lines", [("SET a 1", "FLUSHALL"), ("FLUSHALL", "SET a 1")])
def test_what_touches_any_key_meets_all_keys(lines: tuple[str, str]) -> None:
    """Nothing is sent again over it, nor it over anything."""
    assert positions([item(line) for line in lines], [BUSY, encode.OK]) == ()
    assert positions([item(line) for line in lines], [BUSY, BUSY]) == (0, 1)


def test_a_read_behind_a_write_that_is_sent_again_is_repeated() -> None:
    """It was answered without the write; reads before it, or of other keys, are not."""
    batch = [read("GET a"), item("SET a 1"), read("GET b"), read("GET a"), read("MGET b a")]

    assert positions(batch, [b"$1\r\nv\r\n", BUSY, *[b"$1\r\nv\r\n"] * 3]) == (1, 3, 4)


def test_a_read_that_is_refused_is_not_sent_again_for_that() -> None:
    """It is compared, or cannot be; only writes have to arrive."""
    assert positions([read("GET a")], [BUSY]) == ()


def test_a_transaction_is_sent_again_as_a_whole_if_its_exec_was_refused() -> None:
    """An error of one of its commands is none of EXEC."""
    batch = [transaction("SET a 1", "SET b 1")]

    assert positions(batch, [BUSY]) == (0,)
    assert positions(batch, [encode.array([encode.OK, BUSY])]) == ()


def test_of_a_transaction_only_what_exec_answered_tells_the_outcome() -> None:
    """What was answered to MULTI and while queueing does not, unless EXEC gave up for it."""
    queued = [encode.OK, encode.QUEUED, OTHER]
    done = encode.array([encode.OK])
    aborted = encode.error("EXECABORT Transaction discarded because of previous errors.")

    assert outcome_frames([*queued, done, b":1\r\n"], [3, 4]) == [done, b":1\r\n"]
    assert outcome_frames([*queued, aborted, b":1\r\n"], [3, 4]) == [OTHER, b":1\r\n"]
    assert outcome_frames([OTHER, encode.OK, aborted], [0, 2]) == [OTHER, aborted]


def test_again_says_what_and_when() -> None:
    """A frozen value that can be compared."""
    assert Again((1,), 0.5) == Again((1,), 0.5)


# --- ELASTICKV.ZREMFAST

REMOVAL = item("ZREM z m", Queue.BLOCKING)


def dialect(*commands: str) -> Dialect:
    """Return what a store says that has only these commands."""
    return Dialect("ElasticKV", (), (7, 2), frozenset(commands), frozenset(), 0)


def test_what_a_blocking_pop_took_is_removed_fast_where_that_is_known() -> None:
    """One member of one sorted set; everything else is sent as it is."""
    removals = FastRemovals()
    fast = dialect("ZREM", "ELASTICKV.ZREMFAST")
    several = item("ZREM z m n", Queue.BLOCKING)
    other = item("LREM l 1 v", Queue.BLOCKING)

    assert removals.wire(REMOVAL, fast) == command("ELASTICKV.ZREMFAST", "z", "m")
    assert removals.wire(REMOVAL, dialect("ZREM")) == REMOVAL.request.raw
    assert removals.wire(REMOVAL, None) == REMOVAL.request.raw
    assert removals.wire(several, fast) == several.request.raw
    assert removals.wire(other, fast) == other.request.raw


@pytest.mark.parametrize(
    "text", ["ERR unsupported command 'ELASTICKV.ZREMFAST'", "ERR unknown command 'elastickv.zremfast'"]
)
def test_after_a_refusal_the_plain_removal_is_sent(text: str) -> None:
    """The refused one now, and all others from then on."""
    removals = FastRemovals()

    assert removals.is_refusal(REMOVAL, encode.error(text))
    assert removals.wire(REMOVAL, dialect("ELASTICKV.ZREMFAST")) == REMOVAL.request.raw


@pytest.mark.parametrize("frame", [b":1\r\n", BUSY, encode.error("ERR unsupported command 'ZREM'")])
def test_another_answer_is_no_refusal_of_the_fast_removal(frame: bytes) -> None:
    """Success, other errors, and a store that has not even the plain one."""
    removals = FastRemovals()

    assert not removals.is_refusal(REMOVAL, frame)
    assert removals.wire(REMOVAL, dialect("ELASTICKV.ZREMFAST")) != REMOVAL.request.raw
