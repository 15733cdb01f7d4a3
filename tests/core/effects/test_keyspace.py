"""Keys as a whole, databases, functions."""

from __future__ import annotations

import pytest

from dualkv.resp import encode
from tests.core.building import flat, mapping
from tests.core.effects.telling import OK, asked, number, told


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("DEL a b", number(1), "DEL a b => :1"),
        ("unlink a", number(0), "unlink a => :0"),
        ("EXPIRE k 10", number(1), "PEXPIREAT k 1010000 => :1"),
        ("PEXPIRE k 10 NX", number(1), "PEXPIREAT k 1000010 => :1"),
        ("EXPIREAT k 4102444800 GT", number(1), "PEXPIREAT k 4102444800000 => :1"),
        ("PEXPIREAT k 4102444800000", number(1), "PEXPIREAT k 4102444800000 => :1"),
        ("EXPIRE k 0", number(1), "DEL k => :1"),
        ("EXPIRE k -1 XX", number(1), "DEL k => :1"),
        ("EXPIREAT k 1", number(1), "DEL k => :1"),
        ("PERSIST k", number(0), "PERSIST k => :0"),
        ("RENAME a b", OK, "RENAME a b"),
        ("RENAMENX a b", number(1), "RENAME a b"),
        ("COPY a b", number(1), "COPY a b REPLACE => :1"),
        ("COPY a b replace db 1", number(1), "COPY a b db 1 REPLACE => :1"),
        ("MOVE a 1", number(1), "MOVE a 1 => :1"),
        ("RESTORE k 0 payload", OK, "copy k"),
        ("SORT k STORE d", number(3), "SORT k STORE d => :3"),
        ("SORT k ALPHA LIMIT 0 1 STORE x STORE d", number(0), "SORT k ALPHA LIMIT 0 1 STORE x STORE d => :0"),
        ("SORT k BY nosort GET '#' STORE d", number(3), "SORT k BY nosort GET '#' STORE d => :3"),
        ("SORT k BY w_* STORE d", number(3), "copy d"),
        ("SORT k GET o_* STORE d", number(3), "copy d"),
        ("FLUSHALL ASYNC", OK, "FLUSHALL ASYNC"),
        ("SWAPDB 0 1", OK, "SWAPDB 0 1"),
        ("PUBLISH c m", number(3), "PUBLISH c m"),
        ("SCRIPT LOAD 'return 1'", encode.bulk("e0e1"), "SCRIPT LOAD 'return 1'"),
        ("FUNCTION LOAD code", encode.bulk("lib"), "FUNCTION LOAD REPLACE code"),
        ("FUNCTION LOAD REPLACE code", encode.bulk("lib"), "FUNCTION LOAD REPLACE code"),
        ("FUNCTION DELETE lib", OK, "FUNCTION DELETE lib"),
        ("MIGRATE h 1 '' 0 9 KEYS a", OK, "copy a"),
    ],
)  # fmt: skip
def test_effect_says_what_became_of_a_key(line: str, reply: bytes, expected: str) -> None:
    """Without conditions, at absolute times, and checked where the reply says something."""
    assert told(line, reply) == [expected]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("EXPIRE k 10", number(0)),
        ("RENAME a a", OK),
        ("RENAMENX a b", number(0)),
        ("COPY a b", number(0)),
        ("MOVE a 1", number(0)),
        ("SORT k", flat("1", "2")),
        ("SORT k BY w_* GET o_*", flat("1", "2")),
    ],
)
def test_what_changed_nothing_has_no_effect(line: str, reply: bytes) -> None:
    """A condition was not met, nothing was there, or it was a read."""
    assert told(line, reply) == []


@pytest.mark.parametrize(
    "library",
    [flat("library_name", "l", "library_code", "#!lua"), mapping("library_name l library_code #!lua")],
    ids=["RESP2", "RESP3"],
)
def test_restored_functions_are_loaded_from_their_sources(library: bytes) -> None:
    """What is there afterwards is asked; the payload is of the primary's version."""
    assert asked("FUNCTION RESTORE payload") == ["FUNCTION LIST WITHCODE"]
    assert told("FUNCTION RESTORE payload FLUSH", OK, encode.array([library])) == [
        "FUNCTION FLUSH",
        "FUNCTION LOAD REPLACE '#!lua'",
    ]
