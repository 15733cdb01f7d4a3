"""Lists.

What was taken is named: ``LREM k 1 value``. In an ordered stream that is the head, like ``LPOP``; but the
reply tells whether it was there, a list that differed comes together, and every store has the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dualkv.core.effects.model import NOTHING, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import amount, effects, frames, integer, text, texts
from dualkv.resp.replies import is_null

__all__ = ["RULES"]

_MAX_NAMED: Final = 1000
"""More values at once are taken by number: naming them would cost more than knowing is worth."""

_PUSH: Final = {b"LEFT": b"LPUSH", b"RIGHT": b"RPUSH"}
_POP: Final = {b"LEFT": b"LPOP", b"RIGHT": b"RPOP"}
_FROM: Final = {b"LEFT": b"1", b"RIGHT": b"-1"}


def _push(execution: Execution) -> Effects:
    """``LPUSH``, ``RPUSH``: a list as long as what was pushed is new: nothing may be left of an old one."""
    push = Command(execution.args, execution.reply)
    if integer(execution.reply) == len(execution.args) - 2:
        return effects(Command((b"DEL", execution.args[1])), push)
    return effects(push)


def _if_changed(execution: Execution) -> Effects:
    """``LPUSHX``, ``RPUSHX``, ``LINSERT``: verbatim, unless nothing was there to join."""
    if integer(execution.reply) <= 0:
        return NOTHING
    return effects(Command(execution.args, execution.reply))


def _without(key: bytes, values: Sequence[bytes], side: bytes) -> Effects:
    """Return what takes *values*, the outermost first, from one side of a list."""
    if len(values) > _MAX_NAMED:
        return effects(Command((_POP[side], key, b"%d" % len(values))))
    return effects(*(Command((b"LREM", key, _FROM[side], value), amount(1)) for value in values))


def _pop(side: bytes) -> Rule:
    """``LPOP``, ``RPOP``: a value, or several if a number was asked for."""

    def rule(execution: Execution) -> Effects:
        reply = execution.reply
        if is_null(reply):
            return NOTHING
        values = texts(reply) if len(execution.args) > 2 else [text(reply)]
        return _without(execution.args[1], values, side)

    return rule


def _pop_first(side: bytes) -> Rule:
    """``BLPOP``, ``BRPOP``: a key and a value."""

    def rule(execution: Execution) -> Effects:
        if is_null(execution.reply):
            return NOTHING
        key, value = texts(execution.reply)
        return _without(key, [value], side)

    return rule


def _pop_many(execution: Execution) -> Effects:
    """``LMPOP``, ``BLMPOP``: a key and its values."""
    if is_null(execution.reply):
        return NOTHING
    numkeys_at = 1 if execution.spec.name == "LMPOP" else 2
    side = execution.args[numkeys_at + 1 + int(execution.args[numkeys_at])].upper()
    key, values = frames(execution.reply)
    return _without(text(key), texts(values), side)


def _moved(source: bytes, target: bytes, taken: bytes, put: bytes, reply: bytes) -> Effects:
    if is_null(reply):
        return NOTHING
    value = text(reply)
    # Pushed first, since a list that is empty for a moment loses its expiry, and target may be source.
    return effects(
        Command((_PUSH[put], target, value)),
        Command((b"LREM", source, _FROM[taken], value), amount(1)),
    )


def _move(execution: Execution) -> Effects:
    """``LMOVE``, ``BLMOVE``."""
    source, target, taken, put = execution.args[1:5]
    return _moved(source, target, taken.upper(), put.upper(), execution.reply)


def _rotate(execution: Execution) -> Effects:
    """``RPOPLPUSH``, ``BRPOPLPUSH``."""
    source, target = execution.args[1:3]
    return _moved(source, target, b"RIGHT", b"LEFT", execution.reply)


RULES: Final[dict[str, Rule]] = {
    "LPUSH": _push,
    "RPUSH": _push,
    "LPUSHX": _if_changed,
    "RPUSHX": _if_changed,
    "LINSERT": _if_changed,
    "LPOP": _pop(b"LEFT"),
    "RPOP": _pop(b"RIGHT"),
    "BLPOP": _pop_first(b"LEFT"),
    "BRPOP": _pop_first(b"RIGHT"),
    "LMPOP": _pop_many,
    "BLMPOP": _pop_many,
    "LMOVE": _move,
    "BLMOVE": _move,
    "RPOPLPUSH": _rotate,
    "BRPOPLPUSH": _rotate,
    "LREM": Verbatim(is_checked=True),
    "LSET": Verbatim(is_checked=False),
    "LTRIM": Verbatim(is_checked=False),
}
