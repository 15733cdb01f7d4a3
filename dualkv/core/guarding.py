"""Effects, accompanied by the expiry of the keys that they may create, or may bring back without it.

The hazards are those of `dualkv.core.expiry`. Where what is known of a key is not enough, only a copy of its
state will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dualkv.commands.keys import keys_of
from dualkv.core.effects import CREATES
from dualkv.core.effects.model import Args, Command, Effects
from dualkv.core.expiry import NEVER, ExpiryBook, Guard
from dualkv.core.routing import Plan, plan_of
from dualkv.core.scripts import ScriptCache

__all__ = ["SCRIPT_RUNS", "forget_keys", "guarded"]

_CREATES: Final = frozenset(name.encode() for name in CREATES)
SCRIPT_RUNS: Final = frozenset({"EVAL", "EVALSHA", "FCALL"})
"""Commands that run a script."""
_REMOVING: Final = frozenset({b"SET", b"MSET", b"DEL", b"UNLINK"})
"""After them, whatever is in the key does not expire."""
_CHANGING: Final = frozenset(
    {
        b"LPOP", b"RPOP", b"LREM", b"LSET", b"LTRIM", b"LINSERT", b"LPUSHX", b"RPUSHX", b"SREM", b"HDEL",
        b"ZREM", b"ZREMRANGEBYSCORE", b"ZREMRANGEBYRANK", b"ZREMRANGEBYLEX",
        b"XDEL", b"XTRIM", b"XACK", b"XCLAIM",
    }
)  # fmt: skip
"""They leave the expiry as it is, but may empty the key."""


def guarded(
    effects: Effects,
    book: ExpiryBook,
    scripts: ScriptCache,
    db: int,
    told: Mapping[bytes, int | None],
    now_ms: int,
    *,
    names_expiry: bool,
) -> Effects | None:
    """Return *effects* with what keeps their keys' expiry right; None: their keys must be copied.

    Args:
        effects: Of one command, in Redis' words.
        book: What is known of keys; it learns from the effects.
        scripts: Knows whether a script may set an expiry.
        db: Where the command was executed.
        told: When keys expire, as the primary has answered behind the command.
        now_ms: The primary's clock.
        names_expiry: Whether the other store keeps an expiry only if ``SET`` names it.
    """
    behind: list[Command] = []
    said = list(effects.commands)
    for at, one in enumerate(said):
        name = one.args[0].upper()
        key = (db, one.args[1]) if len(one.args) > 1 else (db, b"")
        if (until_ms := _fields_expire_ms(name, one.args)) is not None:
            book.fade(key, until_ms)
            if until_ms > now_ms and name == b"HPEXPIREAT":
                continue
        created = _created(name, one.args)
        if created is not None:
            guard, expires_at_ms = book.guard((db, created), told.get(created), now_ms)
            if guard is Guard.COPY:
                return None
            if name == b"SET" and names_expiry:
                said[at] = _with_expiry(one, expires_at_ms)
            elif guard is Guard.EXPIRE_AT:
                behind.append(Command((b"PEXPIREAT", created, b"%d" % expires_at_ms)))
        elif (named_ms := _named_expiry_ms(name, one.args)) is not None:
            book.learn(key, named_ms, now_ms)
        elif name == b"PERSIST":
            if one.reply is None and not book.outlives_lag(key, now_ms):
                return None  # it may have expired over there
            book.learn(key, NEVER, now_ms)
        elif book or told:
            _follow(book, scripts, name, one.args, db, told, now_ms)
    for copied_db, copied in effects.copies:
        book.forget((db if copied_db is None else copied_db, copied))
    return Effects((*said, *behind), effects.copies) if behind or names_expiry else effects


def forget_keys(book: ExpiryBook, plan: Plan, args: Args, db: int) -> None:
    """Let *book* take note that what it knows of a command's keys may be out of date."""
    keys = keys_of(plan.spec, args)
    if keys is None:
        book.clear()
    else:
        for key in keys:
            book.forget((db, key))


def _follow(
    book: ExpiryBook,
    scripts: ScriptCache,
    name: bytes,
    args: Args,
    db: int,
    told: Mapping[bytes, int | None],
    now_ms: int,
) -> None:
    """Take note of what a command that neither creates a key nor sets its expiry does to that."""
    plan = plan_of(args)
    if name == b"RENAME":
        book.renamed((db, args[1]), (db, args[2]))
        expires_at_ms = told.get(args[2])
        if expires_at_ms is not None and expires_at_ms >= 0:
            book.learn((db, args[2]), expires_at_ms, now_ms)
        return None
    is_plain_script = plan.spec.name in SCRIPT_RUNS and not _may_set_expiry(scripts, plan, args)
    if name in _REMOVING:
        take_note = book.written_anew
    elif name in _CHANGING or is_plain_script:
        take_note = book.changed
    else:
        return forget_keys(book, plan, args, db)
    for key in keys_of(plan.spec, args) or ():
        take_note((db, key))
    return None


def _may_set_expiry(scripts: ScriptCache, plan: Plan, args: Args) -> bool:
    facts = scripts.facts(plan.spec.name, args)
    return facts.may_set_expiry or not facts.names_its_keys


def _named_expiry_ms(name: bytes, args: Args) -> int | None:
    """Return when a key expires if an effect says it."""
    if name == b"PEXPIREAT":
        return int(args[2])
    return int(args[4]) if name == b"SET" and len(args) == 5 and args[3] == b"PXAT" else None


def _fields_expire_ms(name: bytes, args: Args) -> int | None:
    """Return when fields of a hash expire if an effect says it."""
    if name == b"HPEXPIREAT":
        return int(args[2])
    if name == b"HSETEX" and b"PXAT" in args[2:5]:
        return int(args[args.index(b"PXAT") + 1])
    return None


def _with_expiry(command: Command, expires_at_ms: int) -> Command:
    """Return a ``SET`` that keeps the expiry by naming it."""
    until = () if expires_at_ms == NEVER else (b"PXAT", b"%d" % expires_at_ms)
    return command._replace(args=(*command.args[:3], *until))


def _created(name: bytes, args: Args) -> bytes | None:
    """Return the key that a command creates, or writes into, without setting its expiry."""
    if name == b"XGROUP":
        return args[2] if b"MKSTREAM" in map(bytes.upper, args[4:]) else None
    return args[1] if name in _CREATES and (name != b"SET" or b"KEEPTTL" in args[3:]) else None
