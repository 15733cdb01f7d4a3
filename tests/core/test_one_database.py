"""What is mirrored to a store where all databases are one."""

from __future__ import annotations

import pytest

from dualkv.core.effects.model import Command, Effects
from dualkv.core.one_database import confined


def is_first(db: int) -> bool:
    """Whether a database is the one that is mirrored."""
    return db == 0


@pytest.mark.parametrize(
    ("line", "db", "left", "lost", "must_copy_all"),
    [
        ("SET k v", 0, ["SET k v"], (), False),
        ("SET k v", 3, [], ("SELECT",), False),
        ("FLUSHALL", 3, ["FLUSHALL"], (), False),
        ("PUBLISH c m", 3, ["PUBLISH c m"], (), False),
        ("FLUSHDB", 3, [], ("SELECT",), False),
        ("SWAPDB 1 2", 0, [], ("SWAPDB",), False),
        ("SWAPDB 0 2", 5, ["FLUSHALL"], ("SWAPDB",), True),
        ("MOVE k 0", 3, ["MOVE k 0"], (), False),
    ],
)
def test_only_one_database_is_mirrored(
    line: str, db: int, left: list[str], lost: tuple[str, ...], must_copy_all: bool
) -> None:
    """What concerns all is; what is between databases is looked at later, key by key."""
    found = confined(Effects((Command(tuple(line.encode().split())),)), db, is_first)

    assert [b" ".join(command.args).decode() for command in found.effects.commands] == left
    assert (found.lost, found.must_copy_all) == (lost, must_copy_all)


def test_copies_of_other_databases_are_not_made() -> None:
    """Each copy tells where its key is, or it is where the command was executed."""
    effects = Effects(copies=((None, b"a"), (0, b"b"), (1, b"c")))

    assert confined(effects, 0, is_first) == (Effects(copies=((None, b"a"), (0, b"b"))), ("SELECT",), False)
    assert confined(effects, 1, is_first) == (Effects(copies=((0, b"b"),)), ("SELECT",), False)
