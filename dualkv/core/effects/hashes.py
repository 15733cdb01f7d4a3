"""Hashes, and the expiry of their fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import (
    amount,
    deadline_ms,
    effects,
    expiry_ms,
    fields_of,
    frames,
    integer,
    options,
    text,
)
from dualkv.resp.replies import is_null

__all__ = ["RULES"]

_TAKING: Final = {b"EX": 1, b"PX": 1, b"EXAT": 1, b"PXAT": 1}


def _of_fields(fields: Sequence[bytes]) -> Args:
    return (b"FIELDS", b"%d" % len(fields), *fields)


def _remove(key: bytes, fields: Sequence[bytes]) -> list[Command]:
    """Return the commands that remove fields which exist; none for none."""
    return [Command((b"HDEL", key, *fields), amount(len(fields)))] if fields else []


def _all_done(fields: Sequence[bytes]) -> bytes:
    """Return the reply that says 1 for each of *fields*: they are there, and it was done."""
    return b"*%d\r\n" % len(fields) + b":1\r\n" * len(fields)


def _expire(key: bytes, fields: Sequence[bytes], expires_at_ms: int) -> list[Command]:
    if not fields:
        return []
    words = (b"HPEXPIREAT", key, b"%d" % expires_at_ms, *_of_fields(fields))
    return [Command(words, _all_done(fields))]


def _persist(key: bytes, fields: Sequence[bytes], reply: bytes | None = None) -> list[Command]:
    return [Command((b"HPERSIST", key, *_of_fields(fields)), reply)] if fields else []


def _answered(fields: Args, reply: bytes, code: bytes) -> list[bytes]:
    """Return the fields that were answered with *code*."""
    return [field for field, answer in zip(fields, frames(reply), strict=True) if text(answer) == code]


def _found(fields: Args, reply: bytes) -> list[bytes]:
    """Return the fields that had a value."""
    return [field for field, value in zip(fields, frames(reply), strict=True) if not is_null(value)]


def _set_if_new(execution: Execution) -> Effects:
    if integer(execution.reply) == 0:
        return NOTHING
    return effects(Command((b"HSET", *execution.args[1:]), amount(1)))


def _count(execution: Execution) -> Effects:
    """``HINCRBY``, ``HINCRBYFLOAT``: the sum; the field's expiry stays, which ``HSET`` would take away."""
    key, field = execution.args[1:3]
    return effects(Command((b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, text(execution.reply))))


def _expire_by(unit: bytes) -> Rule:
    """``HEXPIRE`` and its kin answer a code for each field."""

    def rule(execution: Execution) -> Effects:
        if is_null(execution.reply):
            return NOTHING
        key, number = execution.args[1:3]
        _, fields = fields_of(execution.args)
        expires_at_ms = deadline_ms(unit, number, execution.at_ms)
        return effects(
            *_expire(key, _answered(fields, execution.reply, b"1"), expires_at_ms),
            *_remove(key, _answered(fields, execution.reply, b"2")),
        )

    return rule


def _keep(execution: Execution) -> Effects:
    """``HPERSIST``."""
    if is_null(execution.reply):
        return NOTHING
    _, fields = fields_of(execution.args)
    kept = _answered(fields, execution.reply, b"1")
    return effects(*_persist(execution.args[1], kept, _all_done(kept)))


def _get_and_expire(execution: Execution) -> Effects:
    """``HGETEX``."""
    words, fields = fields_of(execution.args)
    found = options(words, _TAKING)
    if is_null(execution.reply) or not found:
        return NOTHING
    key, existing = execution.args[1], _found(fields, execution.reply)
    if b"PERSIST" in found:
        return effects(*_persist(key, existing))
    expires_at_ms = expiry_ms(found, execution.at_ms)
    assert expires_at_ms is not None
    if expires_at_ms <= execution.at_ms:
        return effects(*_remove(key, existing))
    return effects(*_expire(key, existing, expires_at_ms))


def _get_and_delete(execution: Execution) -> Effects:
    """``HGETDEL``."""
    if is_null(execution.reply):
        return NOTHING
    _, fields = fields_of(execution.args)
    return effects(*_remove(execution.args[1], _found(fields, execution.reply)))


def _set_and_expire(execution: Execution) -> Effects:
    """``HSETEX``."""
    if integer(execution.reply) == 0:
        return NOTHING
    key = execution.args[1]
    words, fields = fields_of(execution.args, width=2)
    found = options(words, _TAKING)
    expires_at_ms = expiry_ms(found, execution.at_ms)
    until: Args = ()
    if b"KEEPTTL" in found:
        until = (b"KEEPTTL",)
    elif expires_at_ms is not None:
        if expires_at_ms <= execution.at_ms:
            return effects(Command((b"HDEL", key, *fields[::2])))  # some may be new
        until = (b"PXAT", b"%d" % expires_at_ms)
    return effects(Command((b"HSETEX", key, *until, b"FIELDS", b"%d" % (len(fields) // 2), *fields)))


RULES: Final[dict[str, Rule]] = {
    "HSET": Verbatim(is_checked=True),
    "HMSET": Verbatim(is_checked=False),
    "HSETNX": _set_if_new,
    "HDEL": Verbatim(is_checked=True),
    "HINCRBY": _count,
    "HINCRBYFLOAT": _count,
    "HEXPIRE": _expire_by(b"EX"),
    "HPEXPIRE": _expire_by(b"PX"),
    "HEXPIREAT": _expire_by(b"EXAT"),
    "HPEXPIREAT": _expire_by(b"PXAT"),
    "HPERSIST": _keep,
    "HGETEX": _get_and_expire,
    "HGETDEL": _get_and_delete,
    "HSETEX": _set_and_expire,
}
