"""Effects in what a store has.

A command that a store lacks, or an option of it, is said in an older form where one is exact. Where none
is, the keys' state is copied. What not even a copy could bring (field expiry, vector sets, functions)
cannot be held there: it is named, so that it can be counted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from dualkv.commands.keys import written_keys_of
from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec, find_command
from dualkv.core.dialect import elastickv
from dualkv.core.dialect.model import ELASTICKV, Dialect
from dualkv.core.dialect.payloads import reads_payload
from dualkv.core.effects.model import NOTHING, Args, Command, Effects

__all__ = ["Lowered", "holds_as_is", "lower"]


class Lowered(NamedTuple):
    """Effects as a store can execute them."""

    effects: Effects
    unheld: tuple[str, ...] = ()
    """Commands of which a part, or all, cannot be held there."""


def lower(effects: Effects, dialect: Dialect) -> Lowered:
    """Say *effects* in the commands and options of *dialect*."""
    as_is = _names_as_is(dialect)
    if all(command.args[0] in as_is for command in effects.commands):
        return Lowered(effects)
    commands: list[Command] = []
    copies = list(effects.copies)
    unheld: list[str] = []
    waiting = list(reversed(effects.commands))
    while waiting:
        command = waiting.pop()
        name = _name_of(command.args)
        said = None if holds_as_is(name, dialect) else _say(name, command, dialect)
        if said is not None:  # in older words, which may have to be said in still older ones
            waiting += reversed(said.commands)
            copies += said.copies
        elif dialect.executes(name) and name not in _not_held(dialect):
            commands.append(command)
        else:
            unheld.append(name)
    return Lowered(Effects(tuple(commands), tuple(dict.fromkeys(copies))), tuple(dict.fromkeys(unheld)))


def _say(name: str, command: Command, dialect: Dialect) -> Effects | None:
    """Return what to say instead; None: it stays as it is, or cannot be said."""
    args = command.args
    special = _special(dialect).get(name)
    if special is not None:
        return special(command)
    form = _FORMS.get(name)
    said = form.say(args, dialect) if form else None
    if said is not None or dialect.executes(name) or name in _FOLLOWING_NO_STATE | _not_held(dialect):
        return said
    spec = _spec_of(args)
    keys = written_keys_of(spec, args) if spec.kind in ("write", "script") else None
    return Effects(copies=tuple((None, key) for key in keys)) if keys else None


def holds_as_is(name: str, dialect: Dialect) -> bool:
    """Whether effects with the command *name* can be sent to a store whatever their arguments are."""
    form = _FORMS.get(name)
    return (
        dialect.executes(name)
        and name not in _special(dialect)
        and (form is None or all(map(dialect.executes, form.needs)))
    )


def _special(dialect: Dialect) -> Mapping[str, elastickv.Form]:
    return elastickv.FORMS if dialect.product == ELASTICKV else {}


def _not_held(dialect: Dialect) -> frozenset[str]:
    return elastickv.NOT_HELD if dialect.product == ELASTICKV else frozenset()


@functools.lru_cache(maxsize=16)
def _names_as_is(dialect: Dialect) -> frozenset[bytes]:
    return frozenset(
        spec.name.encode()
        for spec in COMMANDS
        if " " not in spec.name and not spec.subcommands and holds_as_is(spec.name, dialect)
    )


def _spec_of(args: Args) -> CommandSpec:
    return find_command(args[0], args[1] if len(args) > 1 else None)


def _name_of(args: Args) -> str:
    spec = _spec_of(args)
    return args[0].decode(errors="replace").upper() if spec is UNKNOWN else spec.name


# --- older words: None where there is nothing to change


class _Form(NamedTuple):
    needs: tuple[str, ...]
    """With these a store takes the command as it is."""
    say: Callable[[Args, Dialect], Effects | None]


def _commands(*args: Args) -> Effects:
    return Effects(tuple(Command(words) for words in args))


def _copy(key: bytes, db: int | None = None) -> Effects:
    return Effects(copies=((db, key),))


def _set(args: Args, dialect: Dialect) -> Effects | None:
    name, key, value, *options = args
    match [option.upper() for option in options]:
        case [b"PXAT", at_ms] if not dialect.executes("SET PXAT"):
            return _commands((name, key, value), (b"PEXPIREAT", key, at_ms))
        case [b"KEEPTTL"] if not dialect.executes("SET KEEPTTL"):
            return _copy(key)
    return None


def _msetex(args: Args, _: Dialect) -> Effects:
    behind = 2 + 2 * int(args[1])
    pairs, options = args[2:behind], args[behind:]
    return _commands(*((b"SET", *pairs[at : at + 2], *options) for at in range(0, len(pairs), 2)))


def _hsetex(args: Args, dialect: Dialect) -> Effects:
    key = args[1]
    fields = next(at for at, word in enumerate(args) if at > 1 and word.upper() == b"FIELDS")
    pairs = args[fields + 2 :]
    hset = (b"HSET", key, *pairs)
    match [option.upper() for option in args[2:fields]]:
        case [b"PXAT", at_ms]:
            names = pairs[::2]
            return _commands(hset, (b"HPEXPIREAT", key, at_ms, b"FIELDS", b"%d" % len(names), *names))
        case [b"KEEPTTL"] if dialect.has("HPEXPIREAT"):
            return _copy(key)
    return _commands(hset)  # without field expiry there is none to keep


def _hpersist(_: Args, dialect: Dialect) -> Effects | None:
    return None if dialect.has("HPEXPIREAT") else NOTHING  # no field expires there anyway


def _unlink(args: Args, _: Dialect) -> Effects:
    return _commands((b"DEL", *args[1:]))


def _pop(args: Args, _: Dialect) -> Effects | None:
    return _commands(*[args[:2]] * int(args[2])) if len(args) == 3 else None


def _copy_command(args: Args, _: Dialect) -> Effects:
    options = [option.upper() for option in args[3:]]
    return _copy(args[2], int(args[options.index(b"DB") + 4]) if b"DB" in options else None)


def _restore(args: Args, dialect: Dialect) -> Effects | None:
    return None if reads_payload(dialect, args[3]) else _copy(args[1])


def _bitop(args: Args, _: Dialect) -> Effects | None:
    return None if args[1].upper() in (b"AND", b"OR", b"XOR", b"NOT") else _copy(args[2])


def _trim(args: Args, dialect: Dialect) -> Effects | None:
    """``XADD``, ``XTRIM``: options stand before the id, or are all there is."""
    key, position, dropped = args[1], 2, 0
    while position < len(args):
        option = args[position].upper()
        if option in (b"MAXLEN", b"MINID"):
            if option == b"MINID" and not dialect.has("XTRIM MINID"):
                return _copy(key)
            position += 3 if args[position + 1] in (b"=", b"~") else 2
        elif option == b"LIMIT":
            position += 2
        elif option == b"NOMKSTREAM":
            position += 1
        elif option == b"KEEPREF":  # what stores without the option do
            dropped = position
            position += 1
        elif option in (b"DELREF", b"ACKED"):
            return _copy(key)
        else:
            break
    return _commands(args[:dropped] + args[dropped + 1 :]) if dropped else None


def _without_entries_read(args: Args, _: Dialect) -> Effects | None:
    kept = args[:-2] if len(args) > 6 and args[-2].upper() == b"ENTRIESREAD" else args
    return None if kept is args else _commands(kept)


def _xsetid(args: Args, _: Dialect) -> Effects | None:
    return _commands(args[:3]) if len(args) > 3 else None


def _xdelex(args: Args, _: Dialect) -> Effects:
    at = next(at for at, word in enumerate(args) if at > 1 and word.upper() == b"IDS")
    if [option.upper() for option in args[2:at]] in ([], [b"KEEPREF"]):
        return _commands((b"XDEL", args[1], *args[at + 2 :]))
    return _copy(args[1])


_FOLLOWING_NO_STATE: Final = frozenset(
    spec.name
    for spec in COMMANDS
    if spec.name.startswith(("V", "AR", "XGROUP "))  # vector sets, arrays, consumer groups
) | {
    "HEXPIRE", "HEXPIREAT", "HPEXPIRE", "HPEXPIREAT",
    "XACK", "XAUTOCLAIM", "XCFGSET", "XCLAIM", "XIDMPRECORD", "XNACK", "XREADGROUP", "XSETID",
}  # fmt: skip
"""What they change, a store that lacks them has not at all: a copy would not bring it."""


_FORMS: Final[dict[str, _Form]] = {
    "SET": _Form(("SET PXAT", "SET KEEPTTL"), _set),
    "MSETEX": _Form(("MSETEX",), _msetex),
    "HSETEX": _Form(("HSETEX",), _hsetex),
    "HPERSIST": _Form(("HPERSIST",), _hpersist),
    "UNLINK": _Form(("UNLINK",), _unlink),
    "LPOP": _Form(("LPOP COUNT",), _pop),
    "RPOP": _Form(("LPOP COUNT",), _pop),
    "COPY": _Form(("COPY",), _copy_command),
    "RESTORE": _Form(("any payload",), _restore),  # which no store has
    "BITOP": _Form(("BITOP DIFF",), _bitop),
    "XADD": _Form(("XTRIM MINID", "XTRIM DELREF"), _trim),
    "XTRIM": _Form(("XTRIM MINID", "XTRIM DELREF"), _trim),
    "XGROUP CREATE": _Form(("XGROUP ENTRIESREAD",), _without_entries_read),
    "XGROUP SETID": _Form(("XGROUP ENTRIESREAD",), _without_entries_read),
    "XSETID": _Form(("XSETID ENTRIESADDED",), _xsetid),
    "XDELEX": _Form(("XDELEX",), _xdelex),
}
