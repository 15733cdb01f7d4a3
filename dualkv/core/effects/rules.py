"""All rules by command, the questions behind commands, and what becomes of what has no rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dualkv.commands.table import CommandSpec
from dualkv.core.effects import groups, hashes, keyspace, lists, sets, streams, strings, zsets
from dualkv.core.effects.model import Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import Questions, copies_of

__all__ = [
    "ASKING",
    "CREATES",
    "RULES",
    "WRITES_INTO",
    "effects_after_waiting",
    "effects_of",
    "questions_after_waiting",
    "questions_of",
]

_MODULES: Final = {
    # The graph of a vector set is drawn by chance; what is in it is not.
    "VADD": Verbatim(is_checked=False),
    "VREM": Verbatim(is_checked=False),
    "VSETATTR": Verbatim(is_checked=False),
    "ARSET": Verbatim(is_checked=False),
    "ARMSET": Verbatim(is_checked=False),
    "ARDEL": Verbatim(is_checked=False),
    "ARDELRANGE": Verbatim(is_checked=False),
    "ARSEEK": Verbatim(is_checked=False),
    # They go on where the last one ended, and answer where that was.
    "ARINSERT": Verbatim(is_checked=True),
    "ARRING": Verbatim(is_checked=True),
}

_COPIED: Final = dict.fromkeys(
    (
        # Newer than every server that this could be tried on.
        "INCREX", "LMOVEM", "BLMOVEM", "XNACK", "XIDMPRECORD", "BLESS SET", "BLESS CLEAR",
        # What it sets depends on an earlier command of the same client.
        "HIMPORT SET",
        # Refused by routing.
        "MIGRATE", "PFDEBUG",
    ),
    copies_of,
)  # fmt: skip

RULES: Final[Mapping[str, Rule]] = {
    **strings.RULES,
    **keyspace.RULES,
    **lists.RULES,
    **sets.RULES,
    **hashes.RULES,
    **zsets.RULES,
    **streams.RULES,
    **groups.RULES,
    **_MODULES,
    **_COPIED,
}
"""By `CommandSpec.name`, for every command that is mirrored, but scripts."""

_QUESTIONS: Final[Mapping[str, Questions]] = {
    **strings.QUESTIONS,
    **keyspace.QUESTIONS,
    **zsets.QUESTIONS,
    **streams.QUESTIONS,
    **groups.QUESTIONS,
}

ASKING: Final = frozenset(_QUESTIONS)
"""The commands behind which something may have to be asked."""

CREATES: Final = frozenset(
    {
        "SET", "APPEND", "SETRANGE", "SETBIT", "BITFIELD", "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT",
        "PFADD", "PFMERGE", "LPUSH", "RPUSH", "HSET", "HMSET", "HSETNX", "HSETEX", "HINCRBY",
        "HINCRBYFLOAT", "SADD", "ZADD", "ZINCRBY", "GEOADD", "XADD",
        "VADD", "ARSET", "ARMSET", "ARINSERT", "ARRING", "ARSEEK",
    }
)  # fmt: skip
"""Commands that may create the key behind their name, or write into it, and leave its expiry as it is, be it
that clients send them or that effects consist of them. ``SET`` does so with KEEPTTL only.
"""

WRITES_INTO: Final[Mapping[str, int]] = {
    "SMOVE": 2, "LMOVE": 2, "BLMOVE": 2, "RPOPLPUSH": 2, "BRPOPLPUSH": 2, "XGROUP CREATE": 2,
}  # fmt: skip
"""Commands whose effects do so with another key: its position."""


_VERBATIM_IN_TRANSACTION: Final = frozenset({"ZADD", "GEOADD", "XGROUP CREATE", "XGROUP SETID"})
"""What was asked of them behind ``EXEC`` would be of later; in order, the request itself does as much."""


def questions_of(spec: CommandSpec, args: Args, *, in_transaction: bool = False) -> tuple[Args, ...]:
    """Return what has to be asked directly behind a request, so that its effect can be told.

    Only reads; they may be asked before anybody knows whether the request is valid.

    Args:
        spec: The command.
        args: The request, name first.
        in_transaction: Whether it is one between ``MULTI`` and ``EXEC``, and the questions stand behind that.

    Returns:
        Commands, whose raw replies belong into `Execution.answers` in the same order.
    """
    ask = _QUESTIONS.get(spec.name)
    if ask is None or (in_transaction and spec.name in _VERBATIM_IN_TRANSACTION):
        return ()
    try:
        return ask(args)
    except (IndexError, ValueError, KeyError):  # the primary will refuse it
        return ()


def effects_of(execution: Execution) -> Effects:
    """Return what the other store has to do after a command that the primary did not refuse.

    Args:
        execution: The command, what it answered, and what the questions of `questions_of` did.

    Returns:
        Commands, or copies of keys where no commands say it.
    """
    rule = RULES.get(execution.spec.name)
    if rule is None:
        return copies_of(execution)
    if isinstance(rule, Verbatim):
        return Effects((Command(execution.args, execution.reply if rule.is_checked else None),))
    try:
        return rule(execution)
    except Exception:  # noqa: BLE001 - a reply that no rule foresees: what it left is copied
        return copies_of(execution)


def questions_after_waiting(spec: CommandSpec, args: Args, reply: bytes) -> tuple[Args, ...]:
    """Return what has to be asked on the lane when a command comes back that had waited beside it.

    Args:
        spec: The command.
        args: The request, name first.
        reply: What it got: neither nil nor an error.

    Returns:
        Reads, whose raw replies belong into `Execution.answers`; none if its keys are copied.
    """
    return groups.ask_after_waiting(args, reply) if spec.name == "XREADGROUP" else ()


def effects_after_waiting(execution: Execution) -> Effects:
    """Return what the other store has to do at the position of the answers to `questions_after_waiting`.

    Args:
        execution: The command, what it got, the time and the answers.
    """
    try:
        return groups.after_waiting(execution)
    except Exception:  # noqa: BLE001 - answers that nobody foresees: what there is is copied
        return copies_of(execution)
