"""What goes into the secondary stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.ledger import Queue
from dualkv.core.mirror import (
    ITEM_OVERHEAD_BYTES,
    StreamItem,
    size_bytes,
    transaction_item,
    write_error_reason,
)
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.core.building import planned

EXEC = plan_of((b"EXEC",))
ERROR = encode.error("WRONGTYPE no")


def item(line: str, expected: bytes | None = None) -> StreamItem:
    """Return the item that mirrors or shadows the request on *line*."""
    plan, request = planned(*line.split())
    return StreamItem(plan, plan.queue or Queue.SHADOW, request, 0.0, expected=expected)


def mirrored(*queued: tuple[str, bytes]) -> StreamItem | None:
    """Return what mirrors a transaction of lines with their results."""
    commands = [planned(*line.split()) for line, _ in queued]
    return transaction_item(EXEC, commands, [result for _, result in queued], 5.0)


def sent(made: StreamItem) -> list[bytes]:
    """Return the requests that the secondary gets, as lines."""
    return [b" ".join(request.args) for request in RequestParser().feed(made.request.raw)]


# --- transactions --------------------------------------------------------------------------------------


def test_transaction_is_one_item_of_its_successful_writes() -> None:
    """Reads and failed commands are left out; the writes stay in order, in one block."""
    made = mirrored(
        ("SET a 1", encode.OK),
        ("GET a", encode.bulk("1")),
        ("LPUSH a x", ERROR),
        ("INFO", encode.bulk("x")),
        ("INCR n", encode.integer(1)),
        ("PUBLISH c m", encode.integer(0)),
    )

    assert made is not None
    assert sent(made) == [b"MULTI", b"SET a 1", b"INCR n", b"PUBLISH c m", b"EXEC"]
    assert [request.args[0] for _, request in made.parts] == [b"SET", b"INCR", b"PUBLISH"]
    assert (made.plan, made.queue, made.offered_at, made.expected) == (EXEC, Queue.WRITE, 5.0, None)


def test_transaction_is_answered_once_per_command_and_for_multi_and_exec() -> None:
    """The secondary answers MULTI, each write, and EXEC, whose reply tells the outcome."""
    made = mirrored(("SET a 1", encode.OK), ("GET a", encode.bulk("1")), ("DEL b", encode.integer(1)))

    assert made is not None
    assert len(sent(made)) == made.reply_count


@pytest.mark.parametrize(
    "queued",
    [
        pytest.param([("GET a", encode.bulk("1")), ("EXISTS a", encode.integer(1))], id="reads only"),
        pytest.param([("LPUSH a x", ERROR), ("INCR a", ERROR)], id="nothing succeeded"),
        pytest.param([("INCR a", b"!9\r\nERR wrong\r\n")], id="RESP3's long error"),
        pytest.param([], id="nothing queued"),
    ],
)
def test_transaction_that_wrote_nothing_is_not_mirrored(queued: list[tuple[str, bytes]]) -> None:
    """Without a successful write there is nothing to do for the secondary."""
    assert mirrored(*queued) is None


def test_nil_reply_is_not_a_failure() -> None:
    """A write that answered nil has succeeded: it is mirrored."""
    made = mirrored(("SET a 1 NX", encode.null(2)), ("LPOP l", encode.null(3)))

    assert made is not None
    assert sent(made) == [b"MULTI", b"SET a 1 NX", b"LPOP l", b"EXEC"]


@pytest.mark.parametrize(
    ("queued", "queue"),
    [
        ([("SET a 1", encode.OK), ("EVAL x 0", encode.OK)], Queue.SCRIPT),
        ([("FCALL f 0", encode.OK)], Queue.SCRIPT),
        ([("SET a 1", encode.OK), ("EVAL x 0", ERROR)], Queue.WRITE),
        ([("SET a 1", encode.OK), ("EVAL_RO x 0", encode.OK)], Queue.WRITE),
        ([("SCRIPT LOAD x", encode.bulk("sha"))], Queue.SCRIPT),
    ],
)
def test_transaction_with_a_script_counts_as_a_script(queued: list[tuple[str, bytes]], queue: Queue) -> None:
    """One script that is mirrored puts the whole transaction into the queue of scripts."""
    made = mirrored(*queued)

    assert made is not None
    assert queue is made.queue


# --- keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("SET a 1", (b"a",)),
        ("MSET a 1 b 2", (b"a", b"b")),
        ("RENAME a b", (b"a", b"b")),
        ("RENAME a a", (b"a",)),
        ("PUBLISH c m", ()),
        ("FLUSHALL", None),
        ("EVAL x 0", None),
        ("EVAL x 1 a", (b"a",)),
        ("NOSUCH a", None),
    ],
)
def test_item_is_ordered_by_the_keys_it_names(line: str, keys: tuple[bytes, ...] | None) -> None:
    """An item names its keys once each; None stands for any key."""
    assert keys == item(line).keys()


def test_transaction_is_ordered_by_the_keys_of_all_its_writes() -> None:
    """The keys of a transaction are those of what is mirrored of it, without duplicates, in order."""
    made = mirrored(
        ("SET b 1", encode.OK), ("GET unread", encode.null(2)), ("RENAME b a", encode.OK), ("DEL b", ERROR)
    )

    assert made is not None
    assert made.keys() == (b"b", b"a")


def test_transaction_with_a_command_that_touches_anything_touches_anything() -> None:
    """One command without known keys makes the transaction wait for everything."""
    made = mirrored(("SET a 1", encode.OK), ("FLUSHALL", encode.OK))

    assert made is not None
    assert made.keys() is None


# --- size ----------------------------------------------------------------------------------------------


def test_size_counts_request_expected_reply_and_overhead() -> None:
    """What an item holds in memory is its request, the reply to expect, and a fixed part."""
    write, read = item("SET a 1"), item("GET a", encode.bulk("x" * 1000))
    expected = (
        2 * ITEM_OVERHEAD_BYTES + len(write.request.raw) + len(read.request.raw) + 1000 + len("$1000\r\n\r\n")
    )

    assert expected == size_bytes([write, read])


def test_size_of_nothing_is_zero() -> None:
    """No items take no memory."""
    assert size_bytes([]) == 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=10))
def test_size_is_the_sum_of_the_parts(values: list[bytes]) -> None:
    """Items take together what they take one by one, so that the books of bytes add up."""
    items = [item("GET a", value) for value in values]

    assert sum(size_bytes([one]) for one in items) == size_bytes(items)


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ERR retry limit exceeded: write conflict on key a", "retry_limit"),
        ("ERR write conflict: retry limit exceeded", "retry_limit"),
        ("ERR write conflict", "write_conflict"),
        ("BUSY server overloaded", "busy"),
        ("ERR context deadline exceeded", "deadline_exceeded"),
        ("ERR rpc error: code = DeadlineExceeded desc = context deadline exceeded", "deadline_exceeded"),
        ("ERR not leader", "not_leader"),
        ("ERR Not Leader", "not_leader"),
        ("ERR leader not found", "not_leader"),
        ("ERR key: foo: txn locked", "txn_locked"),
        ("BUSY Redis is busy running a script.", "other"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "other"),
        ("ERR", "other"),
    ],
)
def test_error_of_the_secondary_has_a_class(text: str, reason: str) -> None:
    """The text of an error decides its class; of several that fit, the more specific wins."""
    assert reason == write_error_reason(encode.error(text))


@pytest.mark.parametrize("text", ["txn already committed", "txn already aborted"])
def test_finished_transaction_is_a_class_of_errors(text: str) -> None:
    """ElasticKV's words for a transaction that is over already have their class."""
    assert write_error_reason(encode.error(f"ERR {text}")) == "txn_already_finalized"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_class_of_an_error_is_one_of_a_fixed_set(text: bytes) -> None:
    """Whatever the secondary answers, the label is ours."""
    known = {
        "retry_limit", "busy", "write_conflict", "deadline_exceeded", "not_leader", "txn_already_finalized",
        "txn_locked", "other",
    }  # fmt: skip

    assert write_error_reason(encode.error(text)) in known
