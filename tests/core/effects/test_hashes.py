"""Hashes, and the expiry of their fields."""

from __future__ import annotations

import pytest

from tests.core.building import double, flat
from tests.core.effects.telling import OK, number, told, word


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("HSET k f v", number(0), ["HSET k f v => :0"]),
        ("HMSET k f v", OK, ["HMSET k f v"]),
        ("HDEL k f g", number(1), ["HDEL k f g => :1"]),
        ("HSETNX k f v", number(1), ["HSET k f v => :1"]),
        ("HSETNX k f v", number(0), []),
        ("HINCRBY k f 5", number(7), ["HSETEX k KEEPTTL FIELDS 1 f 7"]),
        ("HINCRBYFLOAT k f 0.1", word("1.1"), ["HSETEX k KEEPTTL FIELDS 1 f 1.1"]),
        ("HINCRBYFLOAT k f 0.1", double("1.1"), ["HSETEX k KEEPTTL FIELDS 1 f 1.1"]),
    ],
)
def test_field_is_set_to_what_it_is_now(line: str, reply: bytes, expected: list[str]) -> None:
    """A sum leaves the field's expiry, which HSET takes away."""
    assert told(line, reply) == expected


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        (
            "HEXPIRE k 10 FIELDS 3 f g h",
            flat(1, -2, 1),
            ["HPEXPIREAT k 1010000 FIELDS 2 f h => *2\r\n:1\r\n:1"],
        ),
        ("HPEXPIRE k 10 NX FIELDS 2 f g", flat(0, 1), ["HPEXPIREAT k 1000010 FIELDS 1 g => *1\r\n:1"]),
        ("HEXPIREAT k 4102444800 FIELDS 1 f", flat(1), ["HPEXPIREAT k 4102444800000 FIELDS 1 f => *1\r\n:1"]),
        ("HPEXPIREAT k 1 FIELDS 2 f g", flat(2, -2), ["HDEL k f => :1"]),
        ("HEXPIRE k 10 FIELDS 1 f", flat(-2), []),
        ("HEXPIRE k 10 FIELDS 1 f", b"*-1\r\n", []),
        ("HPERSIST k FIELDS 3 f g h", flat(1, -1, 1), ["HPERSIST k FIELDS 2 f h => *2\r\n:1\r\n:1"]),
        ("HPERSIST k FIELDS 1 f", b"_\r\n", []),
        ("HGETEX k EX 10 FIELDS 2 f g", flat("v", None), ["HPEXPIREAT k 1010000 FIELDS 1 f => *1\r\n:1"]),
        ("HGETEX k EXAT 1 FIELDS 2 f g", flat("v", "w"), ["HDEL k f g => :2"]),
        ("HGETEX k PERSIST FIELDS 2 f g", flat(None, "w"), ["HPERSIST k FIELDS 1 g"]),
        ("HGETEX k FIELDS 1 f", flat("v"), []),
        ("HGETEX k EX 10 FIELDS 1 f", flat(None), []),
        ("HGETEX k EX 10 FIELDS 1 f", b"*-1\r\n", []),
        ("HGETDEL k FIELDS 2 f g", flat("v", None), ["HDEL k f => :1"]),
        ("HGETDEL k FIELDS 1 f", b"*-1\r\n", []),
        ("HSETEX k FNX EX 10 FIELDS 2 f v g w", number(1), ["HSETEX k PXAT 1010000 FIELDS 2 f v g w"]),
        ("HSETEX k FIELDS 1 f v EX 10", number(1), ["HSETEX k PXAT 1010000 FIELDS 1 f v"]),
        ("HSETEX k FXX KEEPTTL FIELDS 1 f v", number(1), ["HSETEX k KEEPTTL FIELDS 1 f v"]),
        ("HSETEX k FIELDS 1 f v", number(1), ["HSETEX k FIELDS 1 f v"]),
        ("HSETEX k EXAT 1 FIELDS 2 f v g w", number(1), ["HDEL k f g"]),
        ("HSETEX k FNX FIELDS 1 f v", number(0), []),
    ],
)  # fmt: skip
def test_expiry_is_said_of_the_fields_that_got_it(line: str, reply: bytes, expected: list[str]) -> None:
    """As the codes or the values in the reply tell; in absolute time, without conditions."""
    assert told(line, reply) == expected
