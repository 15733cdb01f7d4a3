"""A store where all databases are one: only one of the primary's may be mirrored to it, or they would mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from dualkv.core.effects.model import Command, Effects

__all__ = ["Confined", "confined"]

_EVERYWHERE: Final = frozenset({b"FLUSHALL", b"PUBLISH", b"SPUBLISH", b"SCRIPT", b"FUNCTION"})
"""What they do is the same in each database."""


_BETWEEN: Final = frozenset({b"MOVE", b"COPY"})
"""They may write into another database: what is copied instead of them tells which."""


class Confined(NamedTuple):
    """What is left of effects."""

    effects: Effects
    lost: tuple[str, ...] = ()
    """What the rest is counted as: ``SELECT`` for another database, ``SWAPDB``."""
    must_copy_all: bool = False
    """Whether the mirrored database holds another one's keys now: it is emptied, and has to be copied."""


def confined(effects: Effects, db: int, is_mirrored: Callable[[int], bool]) -> Confined:
    """Return what of *effects* concerns the database that is mirrored.

    Args:
        effects: In Redis' words.
        db: Where they were executed on the primary.
        is_mirrored: Whether a database is that one.
    """
    commands: list[Command] = []
    lost: list[str] = []
    must_copy_all = False
    for one in effects.commands:
        name = one.args[0].upper()
        if name == b"SWAPDB":
            lost.append("SWAPDB")
            if any(is_mirrored(int(word)) for word in one.args[1:]):
                must_copy_all = True
                commands.append(Command((b"FLUSHALL",)))
        elif is_mirrored(db) or name in _EVERYWHERE or name in _BETWEEN:
            commands.append(one)
        else:
            lost.append("SELECT")
    copies = tuple((own, key) for own, key in effects.copies if is_mirrored(db if own is None else own))
    if len(copies) < len(effects.copies):
        lost.append("SELECT")
    return Confined(Effects(tuple(commands), copies), tuple(dict.fromkeys(lost)), must_copy_all)
