"""How each write command of Redis reaches ElasticKV: what an operator has to know before a migration.

The table says what is usual for a command; a note, what depends on its arguments. Tests hold it against what
`dualkv.core.dialect.lower` makes of an example of each command.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["HOLDINGS", "Held", "Holding", "holding_of"]


class Held(enum.StrEnum):
    """How a write reaches a store."""

    EXACT = "exact"
    """By its own commands: one, or several as one transaction."""
    SCRIPT = "script"
    """By a fixed script, as one transaction."""
    COPY = "copy"
    """The state of the keys that it wrote is copied."""
    LOST = "lost"
    """Not at all: it is counted by command."""


class Holding(NamedTuple):
    """What is usual for a command."""

    held: Held
    note: str = ""


def holding_of(name: str) -> Holding:
    """Return how a write command reaches ElasticKV.

    Args:
        name: As in the command table (`CommandSpec.name`).

    Raises:
        KeyError: It is not a command that is mirrored.
    """
    return HOLDINGS[name]


def _all(held: Held, names: str, note: str = "") -> dict[str, Holding]:
    return dict.fromkeys((name.replace("_", " ") for name in names.split()), Holding(held, note))


_WAITED: Final = "having waited: a copy"
_TARGET: Final = "of the key that the result is stored in"
_GROUPS: Final = "there are no consumer groups"
_FIELDS: Final = "there is no expiry of fields: they stay"

HOLDINGS: Final[Mapping[str, Holding]] = {
    **_all(
        Held.EXACT,
        """
        DEL UNLINK GETDEL DELEX DELIFEQ EXPIRE PEXPIRE EXPIREAT PEXPIREAT RENAME RENAMENX
        SETNX GETSET INCR DECR INCRBY DECRBY INCRBYFLOAT SETEX PSETEX SET
        HSET HMSET HSETNX HDEL HGETDEL HINCRBY HINCRBYFLOAT
        LREM LSET LTRIM LPUSHX RPUSHX LMPOP LPOP RPOP SADD SREM SPOP
        ZINCRBY ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE ZPOPMIN ZPOPMAX ZMPOP
        PUBLISH
        """,
    ),
    **_all(Held.EXACT, "ZADD", "`CH` is left out, and the reply not checked then"),
    **_all(Held.EXACT, "GEOADD", "as `ZADD` with the score of the place"),
    **_all(Held.EXACT, "MSET MSETNX MSETEX LMOVE RPOPLPUSH SMOVE", "several commands, one transaction"),
    **_all(Held.EXACT, "LPUSH RPUSH", "a new list: `DEL` first, one transaction"),
    **_all(Held.EXACT, "BLPOP BRPOP BLMPOP BLMOVE BRPOPLPUSH BZPOPMIN BZPOPMAX BZMPOP", _WAITED),
    **_all(Held.EXACT, "FLUSHALL", "without options"),
    **_all(Held.EXACT, "FLUSHDB", "as `FLUSHALL`; of another database: lost, and nothing is to be done"),
    **_all(Held.EXACT, "GETEX", "`PERSIST`: a script"),
    **_all(Held.EXACT, "XADD XTRIM", "`MINID` or `~`: a script; `DELREF`, `ACKED`: a copy"),
    **_all(Held.EXACT, "PFADD", "the command itself; without elements nothing. Counted exactly there"),
    **_all(Held.EXACT, "HSETEX", f"the values; {_FIELDS}"),
    **_all(Held.EXACT, "HPERSIST", "nothing is to be done: no field expires there"),
    **_all(Held.EXACT, "SCRIPT_LOAD SCRIPT_FLUSH", "nothing is to be done: scripts are sent with their text"),
    **_all(Held.SCRIPT, "APPEND SETRANGE SETBIT", "reads and writes the whole value"),
    **_all(Held.SCRIPT, "PERSIST", "reads and writes the whole key"),
    **_all(Held.SCRIPT, "LINSERT", "reads and writes the list from the place on"),
    **_all(Held.SCRIPT, "XDEL", "reads and writes the whole stream; its last id is that of what stays"),
    **_all(Held.SCRIPT, "XDELEX", "as `XDEL`; `DELREF`, `ACKED`: a copy"),
    **_all(Held.COPY, "BITFIELD RESTORE ZREMRANGEBYLEX XACKDEL INCREX LMOVEM BLMOVEM BLESS_SET BLESS_CLEAR"),
    **_all(Held.COPY, "XSETID", "of the stream; its last id is that of the last entry, which is counted"),
    **_all(Held.COPY, "COPY MOVE", "of the keys in the database that is mirrored"),
    **_all(
        Held.COPY,
        """
        BITOP SORT SINTERSTORE SUNIONSTORE SDIFFSTORE ZINTERSTORE ZUNIONSTORE ZDIFFSTORE ZRANGESTORE
        GEORADIUS GEORADIUSBYMEMBER GEOSEARCHSTORE
        """,
        _TARGET,
    ),
    **_all(Held.COPY, "EVAL EVALSHA", "as it is where its text shows that this does the same"),
    **_all(Held.COPY, "FCALL", "of the keys that it names"),
    **_all(Held.COPY, "OTHER", "what dualkv does not know, if the primary tells its keys"),
    **_all(
        Held.LOST,
        """
        XGROUP_CREATE XGROUP_CREATECONSUMER XGROUP_DELCONSUMER XGROUP_DESTROY XGROUP_SETID
        XREADGROUP XACK XCLAIM XAUTOCLAIM XNACK
        """,
        _GROUPS,
    ),
    **_all(Held.LOST, "XCFGSET", "there is no such setting"),
    **_all(Held.LOST, "HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HGETEX", _FIELDS),
    **_all(Held.LOST, "PFMERGE", "HyperLogLogs cannot be read; nor can one be copied"),
    **_all(Held.LOST, "SWAPDB", "of the mirrored database: everything is removed and copied anew"),
    **_all(Held.LOST, "SPUBLISH", "there are no shard channels"),
    **_all(Held.LOST, "FUNCTION_LOAD FUNCTION_DELETE FUNCTION_FLUSH FUNCTION_RESTORE", "no functions"),
    **_all(Held.LOST, "VADD VREM VSETATTR", "there are no vector sets"),
    **_all(Held.LOST, "ARSET ARMSET ARDEL ARDELRANGE ARSEEK ARINSERT ARRING", "there are no arrays"),
}
"""By `CommandSpec.name`, for every command that is mirrored."""
