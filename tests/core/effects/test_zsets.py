"""Sorted sets and places."""

from __future__ import annotations

import pytest

from dualkv.resp import encode
from tests.core.building import bulks, double, flat, pairs, scored
from tests.core.effects.telling import NIL, asked, number, told, word


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("ZADD k 1 a 2 b", number(1), ["ZADD k 1 a 2 b => :1"]),
        ("ZADD k CH 1 a", number(0), ["ZADD k CH 1 a => :0"]),
        ("ZADD k INCR 0.1 a", word("1.1"), ["ZADD k 1.1 a"]),
        ("ZADD k NX INCR 0.1 a", double("inf"), ["ZADD k inf a"]),
        ("ZADD k XX INCR 0.1 a", NIL, []),
        ("ZINCRBY k 0.1 a", double("1.1"), ["ZADD k 1.1 a"]),
        ("ZREM k a", number(0), ["ZREM k a => :0"]),
        ("ZREMRANGEBYRANK k 0 1", number(2), ["ZREMRANGEBYRANK k 0 1 => :2"]),
        ("ZUNIONSTORE d 2 a b", number(3), ["ZUNIONSTORE d 2 a b => :3"]),
        ("GEOADD k 1 2 a", number(1), ["GEOADD k 1 2 a => :1"]),
    ],
)
def test_effect_says_scores(line: str, reply: bytes, expected: list[str]) -> None:
    """A sum as it came out; what has no condition is repeated, and its count checked."""
    assert told(line, reply) == expected


def test_conditions_are_asked_for_their_outcome() -> None:
    """Member by member, each once; members that did not get in have no score."""
    assert asked("ZADD k GT CH 1 a 2 b 3 a") == ["ZSCORE k a", "ZSCORE k b"]
    assert asked("geoadd k nx 1 2 a") == ["ZSCORE k a"]
    assert told("ZADD k GT CH 1 a 2 b 3 a", number(1), word("7"), NIL) == ["ZADD k 7 a"]
    assert told("GEOADD k XX 1 2 a 3 4 b", number(0), double("7"), double("8")) == ["ZADD k 7 a 8 b"]
    assert told("ZADD k XX 1 a", number(0), NIL) == []


def test_without_conditions_nothing_is_asked() -> None:
    """The reply of INCR says the score; and behind a transaction it would be another."""
    for line in ("ZADD k 1 a", "ZADD k CH 1 a", "ZADD k NX INCR 1 a", "GEOADD k 1 2 a"):
        assert asked(line) == []
    assert asked("ZADD k NX 1 a", in_transaction=True) == []
    assert told("ZADD k NX 1 a", number(1)) == ["ZADD k NX 1 a => :1"]


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("ZPOPMIN k", bulks("a 1"), ["ZREM k a => :1"]),
        ("ZPOPMIN k", encode.array([word("a"), double("1")]), ["ZREM k a => :1"]),
        ("ZPOPMAX k 2", bulks("b 2 a 1"), ["ZREM k b a => :2"]),
        ("ZPOPMAX k 2", scored("b 2 a 1"), ["ZREM k b a => :2"]),
        ("ZPOPMIN k", b"*0\r\n", []),
        ("BZPOPMIN j k 0", bulks("k a 1"), ["ZREM k a => :1"]),
        ("BZPOPMAX k 1", b"*-1\r\n", []),
        ("ZMPOP 1 k MIN", encode.array([word("k"), pairs("a 1 b 2")]), ["ZREM k a b => :2"]),
        ("BZMPOP 0 1 k MAX", encode.array([word("k"), scored("a 1")]), ["ZREM k a => :1"]),
        ("ZMPOP 1 k MIN", b"_\r\n", []),
    ],
)
def test_members_that_were_taken_are_named(line: str, reply: bytes, expected: list[str]) -> None:
    """In either RESP version; nothing for nothing."""
    assert told(line, reply) == expected


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("GEORADIUS k 1 2 3 m", flat("a"), []),
        ("GEORADIUSBYMEMBER k store 3 m", flat("a"), []),
        ("GEORADIUS k 1 2 3 m STORE d", number(1), ["GEORADIUS k 1 2 3 m STORE d => :1"]),
        ("GEORADIUS k 1 2 3 m STOREDIST d", number(1), ["copy d"]),
        ("GEORADIUSBYMEMBER k a 3 m COUNT 1 STORE x STORE d", number(1), ["copy d"]),
        ("GEOSEARCHSTORE d k FROMMEMBER a BYRADIUS 3 m COUNT 1 ANY", number(1), ["copy d"]),
        ("GEOSEARCHSTORE d k FROMMEMBER a BYRADIUS 3 m", number(0),
         ["GEOSEARCHSTORE d k FROMMEMBER a BYRADIUS 3 m => :0"]),
    ],
)  # fmt: skip
def test_search_that_stores_is_repeated_where_its_result_is_one(
    line: str, reply: bytes, expected: list[str]
) -> None:
    """Who is among the nearest, and how distances are rounded, is the server's affair: a copy."""
    assert told(line, reply) == expected
