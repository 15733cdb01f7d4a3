"""What goes into the secondary stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.context import Context
from dualkv.core.dirty import DirtyReason
from dualkv.core.effects.model import Command
from dualkv.core.ledger import Queue
from dualkv.core.mirror import (
    ITEM_OVERHEAD_BYTES,
    StreamItem,
    commands_item,
    differs,
    error_of,
    in_one_piece,
    is_about_data,
    leaves_unknown,
    outcomes,
    size_bytes,
    write_error_reason,
)
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.core.building import planned

EXEC = plan_of((b"EXEC",))
ERROR = encode.error("WRONGTYPE no")


def item(line: str, expected: bytes | None = None, db: int = 0) -> StreamItem:
    """Return the item that mirrors or shadows the request on *line*."""
    plan, request = planned(*line.split())
    return StreamItem(plan, plan.queue or Queue.SHADOW, request, 0.0, Context(db=db), expected=expected)


def piece(*lines: str, checks: tuple[bytes | None, ...] = (), db: int = 0) -> StreamItem:
    """Return the item that executes *lines* in one piece."""
    parts = [planned(*line.split()) for line in lines]
    return in_one_piece(EXEC, Queue.WRITE, parts, 5.0, Context(db=db), checks or (None,) * len(parts))


def sent(made: StreamItem) -> list[bytes]:
    """Return the requests that the secondary gets, as lines."""
    return [b" ".join(request.args) for request in RequestParser().feed(made.request.raw)]


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


def test_piece_is_ordered_by_the_keys_of_all_its_parts() -> None:
    """The keys of a piece are those of all its commands, without duplicates, in order."""
    assert piece("SET b 1", "RENAME b a", "DEL b").keys() == (b"b", b"a")


def test_piece_with_a_command_that_touches_anything_touches_anything() -> None:
    """One command without known keys makes the piece wait for everything."""
    assert piece("SET a 1", "FLUSHALL").keys() is None
    assert piece("SET a 1", "FLUSHALL").keys_by_db() is None


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("SET a 1", [(3, b"a")]),
        ("MSET a 1 b 2", [(3, b"a"), (3, b"b")]),
        ("MOVE a 5", [(3, b"a"), (5, b"a")]),
        ("MOVE a x", None),
        ("COPY a b", [(3, b"a"), (3, b"b")]),
        ("COPY a b DB 5", [(3, b"a"), (5, b"b")]),
        ("COPY a b replace db 5", [(3, b"a"), (5, b"b")]),
        ("COPY a b DB 5 REPLACE", [(3, b"a"), (5, b"b")]),
        ("PUBLISH c m", []),
        ("FLUSHALL", None),
        ("NOSUCH a", None),
    ],
)
def test_keys_have_databases(line: str, keys: list[tuple[int, bytes]] | None) -> None:
    """A key is one in a database: the client's, or the one that the command names."""
    assert keys == item(line, db=3).keys_by_db()


def test_keys_of_a_piece_are_in_the_databases_that_it_selects() -> None:
    """SELECT inside a transaction moves what follows it, and only that."""
    made = piece("SET a 1", "SELECT 7", "SET a 2", "MOVE b 3", db=3)

    assert made.keys_by_db() == [(3, b"a"), (7, b"a"), (7, b"b"), (3, b"b")]
    assert made.selects
    assert not piece("SET a 1").selects


# --- several commands in one piece ----------------------------------------------------------------------


def test_piece_is_sent_as_a_transaction() -> None:
    """The secondary executes a piece at once, and answers once per command and for MULTI and EXEC."""
    made = piece("SET a 1", "INCR n")

    assert sent(made) == [b"MULTI", b"SET a 1", b"INCR n", b"EXEC"]
    assert len(sent(made)) == made.reply_count
    assert (made.plan, made.queue, made.offered_at, made.expected) == (EXEC, Queue.WRITE, 5.0, None)


def test_commands_are_a_piece_only_if_there_are_several() -> None:
    """One command goes as it is and keeps its check; several keep one each."""
    lone = commands_item(Queue.COPY, [Command((b"DEL", b"a"), b":1\r\n")], 1.0, Context(db=2), 4)
    both = commands_item(
        Queue.WRITE, [Command((b"DEL", b"a")), Command((b"LPUSH", b"a", b"x"), b":1\r\n")], 1.0, Context()
    )

    assert (lone.request.args, lone.check, lone.reply_count, lone.attempts) == (
        (b"DEL", b"a"), b":1\r\n", 1, 4,
    )  # fmt: skip
    assert sent(both) == [b"MULTI", b"DEL a", b"LPUSH a x", b"EXEC"]
    assert both.part_checks == (None, b":1\r\n")
    assert lone.keys_by_db() == [(2, b"a")]


# --- what the secondary's answers mean ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "frame", "is_different"),
    [
        (b":3\r\n", b":3\r\n", False),
        (b":3\r\n", b":2\r\n", True),
        (None, b":2\r\n", False),
        (b"+OK\r\n", b"+OK\r\n", False),
    ],
)
def test_reply_tells_whether_the_states_differed_before(
    check: bytes | None, frame: bytes, is_different: bool
) -> None:
    """Where the effect is the command itself, an equal store gives the primary's reply."""
    made = item("LPUSH a x")
    made.check = check

    assert is_different == differs(made, frame)


@pytest.mark.parametrize(
    ("frame", "is_different"),
    [
        (encode.array([encode.OK, b":2\r\n"]), False),
        (encode.array([encode.null(2), b":2\r\n"]), False),
        (encode.array([encode.OK, b":1\r\n"]), True),
    ],
)
def test_each_part_of_a_piece_is_checked_on_its_own(frame: bytes, is_different: bool) -> None:
    """Of a transaction's replies those count that are due; the others may be anything but errors."""
    made = piece("SET a 1", "LPUSH l x", checks=(None, b":2\r\n"))

    assert is_different == differs(made, frame)
    assert not differs(piece("SET a 1", "LPUSH l x"), frame)


def test_error_of_a_part_is_the_error_of_the_piece() -> None:
    """One refused command, or a refused EXEC, is what went wrong; elsewhere only the reply itself is."""
    made = piece("SET a 1", "LPUSH l x")

    assert error_of(made, encode.array([encode.OK, ERROR])) == ERROR
    assert error_of(made, encode.error("EXECABORT no")) == encode.error("EXECABORT no")
    assert error_of(made, encode.array([encode.OK, b":1\r\n"])) is None
    assert error_of(item("SET a 1"), encode.OK) is None
    assert error_of(item("SET a 1"), ERROR) == ERROR


@pytest.mark.parametrize(
    ("line", "is_data"),
    [
        ("SET a 1", True),
        ("FLUSHALL", True),
        ("EVAL x 0", True),
        ("SCRIPT LOAD x", False),
        ("PUBLISH c m", False),
    ],
)
def test_what_is_no_data_leaves_no_difference(line: str, is_data: bool) -> None:
    """A lost message or script body makes no key differ."""
    assert is_data == is_about_data(item(line))


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


def test_a_transaction_that_executed_less_than_was_queued_has_failed() -> None:
    """ElasticKV executes the rest when it has refused a command: nobody knows which of them were executed."""
    made = piece("SET a 1", "SET b 1")
    frame = encode.array([encode.OK])

    assert outcomes(made, frame) == [DirtyReason.FAILED] * 2
    assert error_of(made, frame) is not None


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
        ("NOTLEADER leader not found", "not_leader"),
        ("NOTLEADER", "not_leader"),
        ("READONLY You can't write against a read only replica.", "not_leader"),
        ("dial tcp 10.0.0.1:6380: connect: connection refused", "leader_unreachable"),
        ("read tcp 10.0.0.1:6380: read: connection reset by peer", "leader_unreachable"),
        ("ERR unsupported command 'SADD'", "unsupported"),
        ("ERR unknown command 'SADD', with args beginning with: 'k' ", "unsupported"),
        ("marshaled request too large", "too_large"),
        ("ERR string exceeds maximum allowed size (proto-max-bulk-len)", "too_large"),
        ("ERR Protocol error: too big bulk count string", "too_large"),
        ("ERR Protocol error: invalid bulk length", "too_large"),
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


@pytest.mark.parametrize(
    ("text", "is_unknown"),
    [
        ("not leader", True),
        ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", True),
        ("read tcp 127.0.0.1:1: read: connection reset by peer", True),
        ("NOTLEADER leader not found", False),
        ("READONLY You can't write against a read only replica.", False),
        ("BUSY server overloaded", False),
        ("ERR wrong number of arguments for 'get' command", False),
    ],
)
def test_some_errors_tell_no_outcome(text: str, is_unknown: bool) -> None:
    """A leader that goes while it executes a write may have executed it; who never led has not."""
    assert leaves_unknown(encode.error(text)) is is_unknown


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_class_of_an_error_is_one_of_a_fixed_set(text: bytes) -> None:
    """Whatever the secondary answers, the label is ours."""
    known = {
        "retry_limit", "busy", "write_conflict", "deadline_exceeded", "not_leader", "txn_already_finalized",
        "txn_locked", "unsupported", "too_large", "leader_unreachable", "other",
    }  # fmt: skip

    assert write_error_reason(encode.error(text)) in known
