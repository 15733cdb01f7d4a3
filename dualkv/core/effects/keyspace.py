"""Keys as a whole, whole databases, and what is not data: functions, scripts, messages."""

from __future__ import annotations

from typing import Final

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import (
    Questions,
    amount,
    copies,
    deadline_ms,
    effects,
    expire,
    frames,
    integer,
    named,
    text,
)

__all__ = ["QUESTIONS", "RULES"]


def _expire_by(unit: bytes) -> Rule:
    """``EXPIRE`` and its kin: key, time, conditions."""

    def rule(execution: Execution) -> Effects:
        if integer(execution.reply) == 0:
            return NOTHING
        _, key, number = execution.args[:3]
        return effects(expire(key, deadline_ms(unit, number, execution.at_ms), execution.at_ms))

    return rule


def _rename(execution: Execution) -> Effects:
    """``RENAME``, ``RENAMENX``."""
    _, source, target = execution.args
    if source == target or execution.reply == amount(0):
        return NOTHING
    return effects(Command((b"RENAME", source, target)))


def _copy(execution: Execution) -> Effects:
    if integer(execution.reply) == 0:
        return NOTHING
    words = tuple(word for word in execution.args[3:] if word.upper() != b"REPLACE")
    return effects(Command((b"COPY", *execution.args[1:3], *words, b"REPLACE"), amount(1)))


def _move(execution: Execution) -> Effects:
    if integer(execution.reply) == 0:
        return NOTHING
    return effects(Command(execution.args, execution.reply))


def _restore(execution: Execution) -> Effects:
    """The payload is of the primary's version; the other store may not read it."""
    return copies([execution.args[1]])


def _sort(execution: Execution) -> Effects:
    """With STORE, ties are broken by bytes, so the result is one. Patterns read other keys."""
    target = None
    reads_others = False
    position = 2
    while position < len(execution.args):
        option = execution.args[position].upper()
        if option == b"STORE":
            target = execution.args[position + 1]
        elif option in (b"BY", b"GET"):
            reads_others |= b"*" in execution.args[position + 1]
        position += _SORT_WORDS.get(option, 1)
    if target is None:
        return NOTHING
    if reads_others:
        return copies([target])
    return effects(Command(execution.args, execution.reply))


_SORT_WORDS: Final = {b"LIMIT": 3, b"BY": 2, b"GET": 2, b"STORE": 2}


def _load_function(execution: Execution) -> Effects:
    """Whether there is such a library already is the primary's affair."""
    return effects(Command((b"FUNCTION", b"LOAD", b"REPLACE", execution.args[-1])))


def _restore_functions(execution: Execution) -> Effects:
    """The payload is of the primary's version: the libraries are loaded one by one."""
    (libraries,) = execution.answers
    loads = (Command((b"FUNCTION", b"LOAD", b"REPLACE", _code(library))) for library in frames(libraries))
    return effects(Command((b"FUNCTION", b"FLUSH")), *loads)


def _code(library: bytes) -> bytes:
    """The source text in an element of ``FUNCTION LIST``: a map, or RESP2's flat array."""
    return text(named(library)[b"library_code"])


def _ask_for_functions(_: Args) -> tuple[Args, ...]:
    return ((b"FUNCTION", b"LIST", b"WITHCODE"),)


QUESTIONS: Final[dict[str, Questions]] = {"FUNCTION RESTORE": _ask_for_functions}

RULES: Final[dict[str, Rule]] = {
    "DEL": Verbatim(is_checked=True),
    "UNLINK": Verbatim(is_checked=True),
    "EXPIRE": _expire_by(b"EX"),
    "PEXPIRE": _expire_by(b"PX"),
    "EXPIREAT": _expire_by(b"EXAT"),
    "PEXPIREAT": _expire_by(b"PXAT"),
    # It may meet a key over there that has just expired here, and keep it for ever: the reply tells.
    "PERSIST": Verbatim(is_checked=True),
    "RENAME": _rename,
    "RENAMENX": _rename,
    "COPY": _copy,
    "MOVE": _move,
    "RESTORE": _restore,
    "RESTORE-ASKING": _restore,
    "SORT": _sort,
    "FLUSHDB": Verbatim(is_checked=False),
    "FLUSHALL": Verbatim(is_checked=False),
    "SWAPDB": Verbatim(is_checked=False),
    "FUNCTION LOAD": _load_function,
    "FUNCTION DELETE": Verbatim(is_checked=False),
    "FUNCTION FLUSH": Verbatim(is_checked=False),
    "FUNCTION RESTORE": _restore_functions,
    "SCRIPT LOAD": Verbatim(is_checked=False),
    "SCRIPT FLUSH": Verbatim(is_checked=False),
    "PUBLISH": Verbatim(is_checked=False),
    "SPUBLISH": Verbatim(is_checked=False),
    # Refused by routing; of a cluster's slots.
    "SFLUSH": Verbatim(is_checked=False),
    "CLUSTER FLUSHSLOT": Verbatim(is_checked=False),
    "TRIMSLOTS": Verbatim(is_checked=False),
}
