"""Which writes another store holds, and in which form.

The effects of every write command are written down here once, by the options that change them, and said in
the other store's dialect as the stream would (`dualkv.core.dialect.lower`).
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection, Iterator
from typing import Final

from dualkv.commands.table import COMMANDS, find_command
from dualkv.core.dialect import Dialect, lower
from dualkv.core.dialect.model import ELASTICKV
from dualkv.core.dialect.speaking import speak
from dualkv.core.effects.model import Command, Effects
from dualkv.preflight.usable import has_option
from dualkv.resp.encode import pack

__all__ = ["EXAMPLES", "Held", "held_as", "mirrored_commands"]


class Held(enum.StrEnum):
    """What becomes of a write on the other store, the best first."""

    EXACT = "exact"
    """The command, or what it comes to, as one primary tells its replica."""
    OTHER_FORM = "other commands"
    """The same in commands that the store has."""
    SCRIPT = "by script"
    """The same in a script of dualkv's, atomically."""
    COPY = "copied"
    """The key's state is read, and written there."""
    LOST = "cannot be held"
    """There is nothing that would bring it there; it is counted."""


_EXAMPLES: Final = """
APPEND: SETRANGE k 1 v
BITFIELD: BITFIELD k SET u8 0 1
BITOP: BITOP AND k a b
BITOP DIFF: BITOP DIFF k a b
BITOP DIFF1: BITOP DIFF1 k a b
BITOP ANDOR: BITOP ANDOR k a b
BITOP ONE: BITOP ONE k a b
BLMOVE: LREM a 1 v; RPUSH b v
BLMPOP: LPOP k 1
BLPOP: LPOP k
BRPOP: RPOP k
BRPOPLPUSH: RPOP a; LPUSH b v
BZMPOP: ZREM k m
BZPOPMAX: ZREM k m
BZPOPMIN: ZREM k m
COPY: COPY a b REPLACE
DECR: SET k 1 KEEPTTL
DECRBY: SET k 1 KEEPTTL
DEL: DEL k
DELEX: DEL k
DELIFEQ: DEL k
EVAL: *
EVALSHA: *
EXPIRE: PEXPIREAT k 4102444800000
EXPIREAT: PEXPIREAT k 4102444800000
FCALL: *
FLUSHALL: FLUSHALL
FLUSHDB: FLUSHDB
FUNCTION DELETE: FUNCTION DELETE l
FUNCTION FLUSH: FUNCTION FLUSH
FUNCTION LOAD: FUNCTION LOAD l
FUNCTION RESTORE: FUNCTION RESTORE p
GEOADD: GEOADD k 1 2 m
GEORADIUS STORE: *
GEORADIUS STOREDIST: *
GEORADIUSBYMEMBER STORE: *
GEORADIUSBYMEMBER STOREDIST: *
GEOSEARCHSTORE: GEOSEARCHSTORE k a FROMMEMBER m BYRADIUS 1 m
GETDEL: DEL k
GETEX EX: PEXPIREAT k 4102444800000
GETEX EXAT: PEXPIREAT k 4102444800000
GETEX PX: PEXPIREAT k 4102444800000
GETEX PXAT: PEXPIREAT k 4102444800000
GETEX PERSIST: PERSIST k
GETSET: SET k v
HDEL: HDEL k f
HEXPIRE: HPEXPIREAT k 4102444800000 FIELDS 1 f
HEXPIREAT: HPEXPIREAT k 4102444800000 FIELDS 1 f
HGETDEL: HDEL k f
HGETEX EX: HPEXPIREAT k 4102444800000 FIELDS 1 f
HGETEX EXAT: HPEXPIREAT k 4102444800000 FIELDS 1 f
HGETEX PX: HPEXPIREAT k 4102444800000 FIELDS 1 f
HGETEX PXAT: HPEXPIREAT k 4102444800000 FIELDS 1 f
HGETEX PERSIST: HPERSIST k FIELDS 1 f
HINCRBY: HSET k f 1
HINCRBYFLOAT: HSET k f 1
HMSET: HMSET k f v
HPERSIST: HPERSIST k FIELDS 1 f
HPEXPIRE: HPEXPIREAT k 4102444800000 FIELDS 1 f
HPEXPIREAT: HPEXPIREAT k 4102444800000 FIELDS 1 f
HSET: HSET k f v
HSETEX EX: HSETEX k PXAT 4102444800000 FIELDS 1 f v
HSETEX EXAT: HSETEX k PXAT 4102444800000 FIELDS 1 f v
HSETEX PX: HSETEX k PXAT 4102444800000 FIELDS 1 f v
HSETEX PXAT: HSETEX k PXAT 4102444800000 FIELDS 1 f v
HSETEX KEEPTTL: HSETEX k KEEPTTL FIELDS 1 f v
HSETEX: HSET k f v
HSETNX: HSET k f v
INCR: SET k 1 KEEPTTL
INCRBY: SET k 1 KEEPTTL
INCRBYFLOAT: SET k 1 KEEPTTL
LINSERT: LINSERT k BEFORE p v
LMOVE: LREM a 1 v; RPUSH b v
LMPOP: LPOP k 1
LPOP: LPOP k
LPOP COUNT: LPOP k 2
LPUSH: LPUSH k v
LPUSHX: LPUSHX k v
LREM: LREM k 1 v
LSET: LSET k 0 v
LTRIM: LTRIM k 0 1
MOVE: MOVE k 1
MSET: MSET k v
MSETEX: SET k v
MSETNX: MSET k v
PERSIST: PERSIST k
PEXPIRE: PEXPIREAT k 4102444800000
PEXPIREAT: PEXPIREAT k 4102444800000
PFADD: PFADD k v
PFMERGE: PFMERGE k a
PSETEX: SET k v PXAT 4102444800000
PUBLISH: PUBLISH c m
RENAME: RENAME a b
RENAMENX: RENAME a b
RESTORE: *
RPOP: RPOP k
RPOP COUNT: RPOP k 2
RPOPLPUSH: RPOPLPUSH a b
RPUSH: RPUSH k v
RPUSHX: RPUSHX k v
SADD: SADD k m
SDIFFSTORE: SDIFFSTORE k a b
SET EX: SET k v PXAT 4102444800000
SET EXAT: SET k v PXAT 4102444800000
SET PX: SET k v PXAT 4102444800000
SET PXAT: SET k v PXAT 4102444800000
SET KEEPTTL: SET k v KEEPTTL
SET: SET k v
SETBIT: SETBIT k 1 1
SETEX: SET k v PXAT 4102444800000
SETNX: SET k v
SETRANGE: SETRANGE k 1 v
SINTERSTORE: SINTERSTORE k a b
SMOVE: SREM a m; SADD b m
SORT STORE: *
SPOP: SREM k m
SPUBLISH: SPUBLISH c m
SREM: SREM k m
SUNIONSTORE: SUNIONSTORE k a b
SWAPDB: SWAPDB 0 1
UNLINK: UNLINK k
VADD: VADD k VALUES 1 1 m
VREM: VREM k m
VSETATTR: VSETATTR k m a
XACK: XACK k g 1-1
XACKDEL: XACKDEL k g IDS 1 1-1
XADD DELREF: XADD k DELREF MAXLEN 1 1-1 f v
XADD ACKED: XADD k ACKED MAXLEN 1 1-1 f v
XADD MINID: XADD k MINID 1-1 1-1 f v
XADD MAXLEN: XADD k MAXLEN = 1 1-1 f v
XADD: XADD k 1-1 f v
XAUTOCLAIM: XCLAIM k g c 0 1-1 FORCE JUSTID
XCLAIM: XCLAIM k g c 0 1-1 FORCE JUSTID
XDEL: XDEL k 1-1
XDELEX: XDELEX k IDS 1 1-1
XGROUP CREATE: XGROUP CREATE k g 0 MKSTREAM
XGROUP CREATECONSUMER: XGROUP CREATECONSUMER k g c
XGROUP DELCONSUMER: XGROUP DELCONSUMER k g c
XGROUP DESTROY: XGROUP DESTROY k g
XGROUP SETID: XGROUP SETID k g 0
XREADGROUP: XCLAIM k g c 0 1-1 FORCE JUSTID
XSETID: *
XTRIM MINID: XTRIM k MINID 1-1
XTRIM: XTRIM k MAXLEN = 1
ZADD: ZADD k 1 m
ZDIFFSTORE: ZDIFFSTORE k 2 a b
ZINCRBY: ZADD k 1 m
ZINTERSTORE: ZINTERSTORE k 2 a b
ZMPOP: ZREM k m
ZPOPMAX: ZREM k m
ZPOPMIN: ZREM k m
ZRANGESTORE: ZRANGESTORE k a 0 1
ZREM: ZREM k m
ZREMRANGEBYLEX: ZREMRANGEBYLEX k - +
ZREMRANGEBYRANK: ZREMRANGEBYRANK k 0 1
ZREMRANGEBYSCORE: ZREMRANGEBYSCORE k 0 1
ZUNIONSTORE: ZUNIONSTORE k 2 a b
"""
"""A command, and the option that matters if one does: what it comes to; ``*``: a copy of its key. The first
line that fits is taken.
"""

_COPIED: Final = Effects(copies=((None, b"k"),))
_EVAL: Final = pack((b"EVAL",))[len(b"*1\r\n") :]
_NOW_MS: Final = 0
_SCRIPTS: Final = frozenset({"EVAL", "EVALSHA", "FCALL"})


def _read() -> Iterator[tuple[str, str, Effects]]:
    names = {spec.name for spec in COMMANDS}
    for line in _EXAMPLES.strip().splitlines():
        words, _, said = line.partition(": ")
        name, option = (words, "") if words in names else tuple(words.rsplit(" ", 1))
        commands = (Command(tuple(part.encode().split())) for part in said.split(";"))
        yield name, option, _COPIED if said == "*" else Effects(tuple(commands))


def _by_name() -> dict[str, dict[str, Effects]]:
    found: dict[str, dict[str, Effects]] = {}
    for name, option, effects in _read():
        found.setdefault(name, {})[option] = effects
    return found


EXAMPLES: Final = _by_name()
"""Effects by command and by the option that matters."""


def mirrored_commands(primary: Dialect) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the writes that clients of a store may send: commands, each with and without what matters."""
    return tuple(
        (name, (option,) if option else ())
        for name, by_option in EXAMPLES.items()
        if primary.has(name)
        for option in by_option
        if not option or has_option(name, option, primary)
    )


def held_as(name: str, options: Collection[str], dialect: Dialect) -> Held | None:
    """Return what becomes of a write on a store; None: there is nothing to be mirrored, as far as is known.

    Args:
        name: The command's, as in the table.
        options: Those of the request, as `dualkv.core.option_words.options_in` tells them.
        dialect: What the store understands.
    """
    by_option = EXAMPLES.get(name)
    if by_option is None:
        return Held.COPY if find_command(name.encode()).kind == "write" else None
    found = {_held(name, option, dialect) for option in by_option if option in options}
    if not found:
        return _held(name, "", dialect) if "" in by_option else None
    return max(found, key=list(Held).index)


@functools.lru_cache(maxsize=4096)
def _held(name: str, option: str, dialect: Dialect) -> Held:
    if name in _SCRIPTS:  # sent as they are where that is exact
        return Held.EXACT if dialect.has(name) and dialect.product != ELASTICKV else Held.COPY
    effects = EXAMPLES[name][option]
    lowered = lower(effects, dialect)
    if lowered.unheld:
        return Held.LOST
    if lowered.effects.copies:
        return Held.COPY
    if any(_is_scripted(command, dialect) for command in lowered.effects.commands):
        return Held.SCRIPT
    is_same = lowered.effects.commands == effects.commands and _is_in_its_words(effects, dialect)
    return Held.EXACT if is_same else Held.OTHER_FORM


def _is_in_its_words(effects: Effects, dialect: Dialect) -> bool:
    """Whether a store has the commands and options, and is not sent others at the last moment."""
    names = [command.args[0].decode() for command in effects.commands]
    options = [
        f"{name} {word.decode(errors='replace')}"
        for name, command in zip(names, effects.commands, strict=True)
        for word in command.args[1:]
    ]
    return dialect.scripted.isdisjoint((*names, *options))


def _is_scripted(command: Command, dialect: Dialect) -> bool:
    """Whether a store that lacks a command is sent a script of ours instead.

    What keeps its expiry is no such case: it is asked for, and said with it (`dualkv.core.translator`).
    """
    if not dialect.scripted or command.args[0] == b"SET":
        return False
    return _EVAL in speak([command.args], _NOW_MS).wire
