"""Strings, bitmaps and HyperLogLogs.

Counters become ``SET k sum KEEPTTL``: it can be sent twice, and mends a counter that was wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import (
    Questions,
    amount,
    copies,
    effects,
    expire,
    expiry_ms,
    frames,
    integer,
    options,
    text,
)
from dualkv.resp.replies import is_null

__all__ = ["QUESTIONS", "RULES"]

_TAKING: Final = {
    b"EX": 1, b"PX": 1, b"EXAT": 1, b"PXAT": 1, b"IFEQ": 1, b"IFNE": 1, b"IFDEQ": 1, b"IFDNE": 1,
}  # fmt: skip


def _assign(key: bytes, value: bytes, found: Mapping[bytes, Args], at_ms: int) -> Command:
    """What a ``SET`` with the options *found* comes to, once its conditions have been met."""
    if b"KEEPTTL" in found:
        return Command((b"SET", key, value, b"KEEPTTL"))
    expires_at_ms = expiry_ms(found, at_ms)
    if expires_at_ms is None:
        return Command((b"SET", key, value))
    if expires_at_ms <= at_ms:
        return Command((b"DEL", key))
    return Command((b"SET", key, value, b"PXAT", b"%d" % expires_at_ms))


def _set(execution: Execution) -> Effects:
    key, value, *words = execution.args[1:]
    found = options(tuple(words), _TAKING)
    reply = execution.reply
    # With GET the reply is the old value, and what became of a condition follows from that.
    if b"GET" in found:
        if b"IFDEQ" in found or b"IFDNE" in found:  # a digest that only the server computes
            return copies([key])
        old = None if is_null(reply) else text(reply)
        is_executed = not (
            (b"NX" in found and old is not None)
            or (b"XX" in found and old is None)
            or (b"IFEQ" in found and old != found[b"IFEQ"][0])
            or (b"IFNE" in found and old == found[b"IFNE"][0])
        )
    else:
        is_executed = not is_null(reply)
    return effects(_assign(key, value, found, execution.at_ms)) if is_executed else NOTHING


def _set_until(unit: bytes) -> Rule:
    """``SETEX``, ``PSETEX``: key, time, value."""

    def rule(execution: Execution) -> Effects:
        key, number, value = execution.args[1:]
        return effects(_assign(key, value, {unit: (number,)}, execution.at_ms))

    return rule


def _set_if_new(execution: Execution) -> Effects:
    """``SETNX``, ``MSETNX``: all or nothing."""
    if integer(execution.reply) == 0:
        return NOTHING
    name = b"SET" if execution.spec.name == "SETNX" else b"MSET"
    return effects(Command((name, *execution.args[1:])))


def _set_many(execution: Execution) -> Effects:
    """``MSETEX``: one ``SET`` each is what every server has."""
    if integer(execution.reply) == 0:
        return NOTHING
    behind = 2 + 2 * int(execution.args[1])
    found = options(execution.args[behind:], _TAKING)
    words = execution.args[2:behind]
    return effects(
        *(
            _assign(key, value, found, execution.at_ms)
            for key, value in zip(words[::2], words[1::2], strict=True)
        )
    )


def _swap(execution: Execution) -> Effects:
    return effects(Command((b"SET", *execution.args[1:])))


def _take(execution: Execution) -> Effects:
    """``GETDEL``."""
    return NOTHING if is_null(execution.reply) else effects(Command((b"DEL", execution.args[1]), amount(1)))


def _delete_if(execution: Execution) -> Effects:
    """``DELEX``, ``DELIFEQ``."""
    if integer(execution.reply) == 0:
        return NOTHING
    return effects(Command((b"DEL", execution.args[1]), amount(1)))


def _get_and_expire(execution: Execution) -> Effects:
    key = execution.args[1]
    found = options(execution.args[2:], _TAKING)
    if is_null(execution.reply) or not found:
        return NOTHING
    if b"PERSIST" in found:
        return effects(Command((b"PERSIST", key)))
    expires_at_ms = expiry_ms(found, execution.at_ms)
    return NOTHING if expires_at_ms is None else effects(expire(key, expires_at_ms, execution.at_ms))


def _count(execution: Execution) -> Effects:
    """``INCR`` and its kin answer the sum."""
    return effects(Command((b"SET", execution.args[1], text(execution.reply), b"KEEPTTL")))


def _append(execution: Execution) -> Effects:
    _, key, value = execution.args
    length = integer(execution.reply)
    if not value:
        return effects(Command(execution.args, execution.reply))  # it creates an empty string
    if length == len(value):
        return effects(Command((b"SET", key, value, b"KEEPTTL")))
    return effects(Command((b"SETRANGE", key, b"%d" % (length - len(value)), value), execution.reply))


def _bitfield(execution: Execution) -> Effects:
    """The sums as they came out, in place of the increments."""
    words = list(execution.args[2:])
    results = iter(frames(execution.reply))
    written: list[bytes] = []
    is_written = False
    while words:
        operation = words.pop(0)
        name = operation.upper()
        if name == b"OVERFLOW":
            written += (operation, words.pop(0))
            continue
        kind, offset = words.pop(0), words.pop(0)
        result = next(results)
        if name == b"GET":
            continue
        number = words.pop(0)
        is_written = True
        if is_null(result):  # OVERFLOW FAIL; yet the string has grown up to here
            written += (b"INCRBY", kind, offset, b"0")
        elif name == b"INCRBY":
            written += (b"SET", kind, offset, text(result))
        else:
            written += (b"SET", kind, offset, number)
    return effects(Command((b"BITFIELD", execution.args[1], *written))) if is_written else NOTHING


_HLL: Final = b"$4\r\nHYLL\r\n"


def _ask_for_heads(args: Args) -> tuple[Args, ...]:
    return tuple((b"GETRANGE", source, b"0", b"3") for source in args[3:])


def _combine(execution: Execution) -> Effects:
    """The bytes of a HyperLogLog hold a cache, which differs: what is made of them is copied."""
    answers, args = execution.answers, execution.args
    if len(answers) < len(args) - 3 or _HLL in answers:
        return Effects((), ((None, args[2]),))
    return Effects((Command(args, execution.reply),))


QUESTIONS: Final[dict[str, Questions]] = {"BITOP": _ask_for_heads}

RULES: Final[dict[str, Rule]] = {
    "SET": _set,
    "SETEX": _set_until(b"EX"),
    "PSETEX": _set_until(b"PX"),
    "SETNX": _set_if_new,
    "MSETNX": _set_if_new,
    "MSETEX": _set_many,
    "MSET": Verbatim(is_checked=False),
    "GETSET": _swap,
    "GETDEL": _take,
    "GETEX": _get_and_expire,
    "DELEX": _delete_if,
    "DELIFEQ": _delete_if,
    "INCR": _count,
    "DECR": _count,
    "INCRBY": _count,
    "DECRBY": _count,
    "INCRBYFLOAT": _count,
    "APPEND": _append,
    "SETRANGE": Verbatim(is_checked=True),
    "SETBIT": Verbatim(is_checked=True),
    "BITFIELD": _bitfield,
    "BITOP": _combine,
    # Whether a HyperLogLog changed depends on what it held; its state grows only, and comes together.
    "PFADD": Verbatim(is_checked=False),
    "PFMERGE": Verbatim(is_checked=False),
}
