"""Sets."""

from __future__ import annotations

from typing import Final

from dualkv.core.effects.model import NOTHING, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import amount, effects, integer, text, texts
from dualkv.resp.replies import is_null

__all__ = ["RULES"]

_MAX_MEMBERS: Final = 1024
"""In one command; servers cut what they tell their replicas at the same number."""


def _pop(execution: Execution) -> Effects:
    """Whom chance has chosen is known from the reply."""
    if is_null(execution.reply):
        return NOTHING
    key = execution.args[1]
    members = texts(execution.reply) if len(execution.args) > 2 else [text(execution.reply)]
    pieces = (members[start : start + _MAX_MEMBERS] for start in range(0, len(members), _MAX_MEMBERS))
    return effects(*(Command((b"SREM", key, *piece), amount(len(piece))) for piece in pieces))


def _move(execution: Execution) -> Effects:
    _, source, target, member = execution.args
    if integer(execution.reply) == 0 or source == target:
        return NOTHING
    return effects(Command((b"SREM", source, member), amount(1)), Command((b"SADD", target, member)))


RULES: Final[dict[str, Rule]] = {
    "SADD": Verbatim(is_checked=True),
    "SREM": Verbatim(is_checked=True),
    "SPOP": _pop,
    "SMOVE": _move,
    "SINTERSTORE": Verbatim(is_checked=True),
    "SUNIONSTORE": Verbatim(is_checked=True),
    "SDIFFSTORE": Verbatim(is_checked=True),
}
