"""Lists."""

from __future__ import annotations

import pytest

from dualkv.resp import encode
from tests.core.building import bulks, flat
from tests.core.effects.telling import NIL, OK, number, told, word

NIL3 = b"_\r\n"
POPPED = encode.array([word("k"), bulks("b a")])


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("LPUSH k a b", number(3), ["LPUSH k a b => :3"]),
        ("RPUSH k a b", number(2), ["DEL k", "RPUSH k a b => :2"]),
        ("LPUSHX k a", number(2), ["LPUSHX k a => :2"]),
        ("RPUSHX k a", number(0), []),
        ("LINSERT k BEFORE a b", number(3), ["LINSERT k BEFORE a b => :3"]),
        ("LINSERT k BEFORE a b", number(-1), []),
        ("LREM k 0 a", number(0), ["LREM k 0 a => :0"]),
        ("LSET k 0 a", OK, ["LSET k 0 a"]),
        ("LTRIM k 0 9", OK, ["LTRIM k 0 9"]),
    ],
)
def test_request_is_repeated_and_the_length_checked(line: str, reply: bytes, expected: list[str]) -> None:
    """A list that is as long as what was pushed is new; what joined nothing has no effect."""
    assert told(line, reply) == expected


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("LPOP k", word("a"), ["LREM k 1 a => :1"]),
        ("RPOP k", word("a"), ["LREM k -1 a => :1"]),
        ("LPOP k 2", bulks("a b"), ["LREM k 1 a => :1", "LREM k 1 b => :1"]),
        ("RPOP k 2", flat("a"), ["LREM k -1 a => :1"]),
        ("LPOP k", NIL, []),
        ("RPOP k", NIL3, []),
        ("LPOP k 2", b"*-1\r\n", []),
        ("LPOP k 0", b"*0\r\n", []),
        ("BLPOP j k 0", bulks("k a"), ["LREM k 1 a => :1"]),
        ("BRPOP k 0", bulks("k a"), ["LREM k -1 a => :1"]),
        ("BLPOP k 0", b"*-1\r\n", []),
        ("LMPOP 2 j k RIGHT COUNT 2", POPPED, ["LREM k -1 b => :1", "LREM k -1 a => :1"]),
        ("BLMPOP 0 1 k left", encode.array([word("k"), flat("a")]), ["LREM k 1 a => :1"]),
        ("LMPOP 1 k LEFT", NIL3, []),
    ],
)
def test_what_was_taken_is_named(line: str, reply: bytes, expected: list[str]) -> None:
    """From the side where it was; nothing for nothing."""
    assert told(line, reply) == expected


def test_very_many_values_are_taken_by_number() -> None:
    """A command for each would cost too much."""
    values = [str(value) for value in range(1001)]

    assert told("LPOP k 2000", flat(*values)) == ["LPOP k 1001"]
    assert told("LMPOP 1 k RIGHT COUNT 2000", encode.array([word("k"), flat(*values)])) == ["RPOP k 1001"]


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("LMOVE a b LEFT RIGHT", word("v"), ["RPUSH b v", "LREM a 1 v => :1"]),
        ("BLMOVE a b right left 0", word("v"), ["LPUSH b v", "LREM a -1 v => :1"]),
        ("RPOPLPUSH a a", word("v"), ["LPUSH a v", "LREM a -1 v => :1"]),
        ("BRPOPLPUSH a b 0", word("v"), ["LPUSH b v", "LREM a -1 v => :1"]),
        ("LMOVE a b LEFT RIGHT", NIL, []),
        ("BRPOPLPUSH a b 1", b"*-1\r\n", []),
    ],
)
def test_value_that_moves_is_pushed_before_it_is_removed(
    line: str, reply: bytes, expected: list[str]
) -> None:
    """A list of one that is turned is never empty, and keeps its expiry."""
    assert told(line, reply) == expected
