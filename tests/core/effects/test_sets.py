"""Sets."""

from __future__ import annotations

import pytest

from tests.core.building import bulks, flat, members
from tests.core.effects.telling import NIL, number, told, word


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("SADD k a b", number(0), ["SADD k a b => :0"]),
        ("SREM k a", number(1), ["SREM k a => :1"]),
        ("SPOP k", word("a"), ["SREM k a => :1"]),
        ("SPOP k", NIL, []),
        ("SPOP k 2", bulks("a b"), ["SREM k a b => :2"]),
        ("SPOP k 2", members("a b"), ["SREM k a b => :2"]),
        ("SPOP k 2", b"~0\r\n", []),
        ("SMOVE a b m", number(1), ["SREM a m => :1", "SADD b m"]),
        ("SMOVE a b m", number(0), []),
        ("SMOVE a a m", number(1), []),
        ("SINTERSTORE d a b", number(0), ["SINTERSTORE d a b => :0"]),
    ],
)
def test_effect_names_members(line: str, reply: bytes, expected: list[str]) -> None:
    """Whatever chance has chosen; and counts are checked."""
    assert told(line, reply) == expected


def test_many_members_are_removed_in_pieces() -> None:
    """No command has an argument list without end."""
    names = [str(member) for member in range(1500)]

    first, second = told("SPOP k 1500", flat(*names))

    assert (first.split()[-1], second.split()[-1]) == (":1024", ":476")
    assert second.split()[:3] == ["SREM", "k", "1024"]
