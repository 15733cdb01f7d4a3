"""What a transaction changes in the effects of its commands.

Questions stand behind ``EXEC``, and copies are made behind it: both see what the whole transaction has left,
and not what there was between its commands. So the last state comes out right, while what a command made of
an earlier one may not:

- ``SORT … BY w_* STORE d`` (a copy of ``d``), then ``RENAME d e``: the other store would rename an old ``d``.
- ``XADD s MAXLEN ~ 9 …`` twice: the first one trims there what the second one did here, and counts differ.
- ``XADD s MAXLEN ~ 9 …``, then ``XDEL s id``: that entry has been trimmed there already, and a stream
  remembers the last one that was deleted.

Where the request itself is as good, nothing is asked behind a transaction (`questions_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from dualkv.core.effects.model import Effects

__all__ = ["Part", "settled"]

Key = tuple[int, bytes]

_NEEDS_ITS_STATE: Final = frozenset({b"XCLAIM", b"XDEL", b"XDELEX", b"XACKDEL"})
"""Done to a later state they leave something else behind."""


class Part(NamedTuple):
    """A command of a transaction that writes."""

    effects: Effects
    """As if it stood alone."""
    db: int
    """Where it was executed."""
    keys: Sequence[Key] | None
    """The keys that it names, each with its database; None if it may touch others."""
    has_asked: bool
    """Whether something was asked for it."""


def settled(parts: Sequence[Part]) -> list[Effects]:
    """Return what the effects of a transaction's commands come to, one by one, in order."""
    copied: set[Key] = set()
    ahead: set[Key] = set()  # what the other store has of them may be of later
    found: list[Effects] = []
    for part in parts:
        effects, keys = part.effects, part.keys
        if keys is not None:
            is_ahead = not ahead.isdisjoint(keys)
            is_lost = is_ahead and (
                (len(keys) > 1 and not part.has_asked)
                or any(command.args[0].upper() in _NEEDS_ITS_STATE for command in effects.commands)
            )
            if is_lost or not copied.isdisjoint(keys):
                effects = Effects((), tuple(keys))
            elif is_ahead:
                effects = _unchecked(effects)
            if part.has_asked:
                ahead.update(keys)
        copied.update((part.db if own is None else own, key) for own, key in effects.copies)
        found.append(effects)
    return found


def _unchecked(effects: Effects) -> Effects:
    return effects._replace(commands=tuple(command._replace(reply=None) for command in effects.commands))
