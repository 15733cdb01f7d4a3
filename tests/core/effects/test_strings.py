"""Strings, bitmaps and HyperLogLogs."""

from __future__ import annotations

import pytest

from tests.core.building import double, flat
from tests.core.effects.telling import NIL, OK, number, told, word


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("SET k v", OK, "SET k v"),
        ("SET k v EX 10", OK, "SET k v PXAT 1010000"),
        ("set k v px 10", OK, "SET k v PXAT 1000010"),
        ("SET k v EXAT 4102444800", OK, "SET k v PXAT 4102444800000"),
        ("SET k v PXAT 4102444800000", OK, "SET k v PXAT 4102444800000"),
        ("SET k v EXAT 1", OK, "DEL k"),
        ("SET k v PXAT 1000000", OK, "DEL k"),
        ("SET k v KEEPTTL", OK, "SET k v KEEPTTL"),
        ("SET k v NX", OK, "SET k v"),
        ("SET k v XX EX 10", OK, "SET k v PXAT 1010000"),
        ("SET k v IFEQ w", OK, "SET k v"),
        ("SET k v GET", word("old"), "SET k v"),
        ("SET k v GET", NIL, "SET k v"),
        ("SET k v GET EX 10 XX", word("old"), "SET k v PXAT 1010000"),
        ("SET k v NX GET", NIL, "SET k v"),
        ("SET k v NX GET", b"_\r\n", "SET k v"),
        ("SET k v IFEQ old GET", word("old"), "SET k v"),
        ("SET k v IFNE other GET", word("old"), "SET k v"),
        ("SET k v IFNE other GET", NIL, "SET k v"),
        ("SET k v IFDEQ 00 GET", word("old"), "copy k"),
        ("SETEX k 10 v", OK, "SET k v PXAT 1010000"),
        ("PSETEX k 10 v", OK, "SET k v PXAT 1000010"),
        ("SETNX k v", number(1), "SET k v"),
        ("MSETNX a 1 b 2", number(1), "MSET a 1 b 2"),
        ("MSET a 1 b 2", OK, "MSET a 1 b 2"),
        ("GETSET k v", NIL, "SET k v"),
        ("GETDEL k", word("v"), "DEL k => :1"),
        ("DELEX k IFEQ v", number(1), "DEL k => :1"),
        ("DELIFEQ k v", number(1), "DEL k => :1"),
        ("GETEX k EX 10", word("v"), "PEXPIREAT k 1010000 => :1"),
        ("GETEX k PXAT 4102444800000", word("v"), "PEXPIREAT k 4102444800000 => :1"),
        ("GETEX k EXAT 1", word("v"), "DEL k => :1"),
        ("GETEX k PERSIST", word("v"), "PERSIST k"),
    ],
)  # fmt: skip
def test_effect_is_what_a_write_came_to(line: str, reply: bytes, expected: str) -> None:
    """Conditions are met or not on the primary; times are absolute, and one in the past removes the key."""
    assert told(line, reply) == [expected]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("SET k v NX", NIL),
        ("SET k v XX", b"_\r\n"),
        ("SET k v NX GET", word("old")),
        ("SET k v XX GET", NIL),
        ("SET k v IFEQ x GET", word("old")),
        ("SET k v IFEQ x GET", NIL),
        ("SET k v IFNE old GET", word("old")),
        ("SETNX k v", number(0)),
        ("MSETNX a 1 b 2", number(0)),
        ("MSETEX 1 a 1 NX", number(0)),
        ("GETDEL k", NIL),
        ("GETEX k", word("v")),
        ("GETEX k EX 10", NIL),
        ("DELIFEQ k v", number(0)),
        ("BITFIELD k GET u8 0", flat(1)),
    ],
)
def test_what_changed_nothing_has_no_effect(line: str, reply: bytes) -> None:
    """Its request would be wrong where the other store lacks what the primary has."""
    assert told(line, reply) == []


def test_several_keys_with_one_expiry_are_set_one_by_one() -> None:
    """Every server knows SET; few know MSETEX."""
    assert told("MSETEX 2 a 1 b 2 NX EX 10", number(1)) == ["SET a 1 PXAT 1010000", "SET b 2 PXAT 1010000"]
    assert told("MSETEX 2 a 1 b 2 KEEPTTL", number(1)) == ["SET a 1 KEEPTTL", "SET b 2 KEEPTTL"]
    assert told("MSETEX 1 a 1 EXAT 1", number(1)) == ["DEL a"]


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("INCR k", number(11), "SET k 11 KEEPTTL"),
        ("DECR k", number(-1), "SET k -1 KEEPTTL"),
        ("INCRBY k 5", number(5), "SET k 5 KEEPTTL"),
        ("DECRBY k 5", number(6), "SET k 6 KEEPTTL"),
        ("INCRBYFLOAT k 0.1", word("1.1"), "SET k 1.1 KEEPTTL"),
        ("INCRBYFLOAT k 0.1", double("1.1"), "SET k 1.1 KEEPTTL"),
    ],
)
def test_counter_is_set_to_its_sum(line: str, reply: bytes, expected: str) -> None:
    """It can be sent twice, mends a counter that was wrong, and leaves the expiry."""
    assert told(line, reply) == [expected]


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("APPEND k xyz", number(8), "SETRANGE k 5 xyz => :8"),
        ("APPEND k xyz", number(3), "SET k xyz KEEPTTL"),
        ("APPEND k ''", number(3), "APPEND k '' => :3"),
        ("SETRANGE k 5 x", number(6), "SETRANGE k 5 x => :6"),
        ("SETBIT k 5 1", number(0), "SETBIT k 5 1 => :0"),
        ("BITOP AND d a b", number(0), "copy d"),  # nobody has said what the sources are
        ("PFADD k a b", number(1), "PFADD k a b"),
        ("PFMERGE d a b", OK, "PFMERGE d a b"),
    ],
)
def test_part_of_a_string_is_written_where_it_went(line: str, reply: bytes, expected: str) -> None:
    """With the length as a check; a HyperLogLog answers what it held before, which is no check."""
    assert told(line, reply) == [expected]


def test_bitfield_is_told_by_results() -> None:
    """No reads, and sums for increments; what overflowed has made the string longer all the same."""
    line = "BITFIELD k GET u8 0 SET u8 8 255 OVERFLOW FAIL INCRBY u8 0 10 incrby i5 #2 300 set u4 0 99"

    assert told(line, flat(7, 1, 17, None, None)) == [
        "BITFIELD k SET u8 8 255 OVERFLOW FAIL SET u8 0 17 INCRBY i5 '#2' 0 INCRBY u4 0 0"
    ]
