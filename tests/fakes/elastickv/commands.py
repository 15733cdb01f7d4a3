"""The 84 commands that ElasticKV knows, as its ``COMMAND`` tells them, and who may use which."""

from __future__ import annotations

from typing import Final, Literal

import attrs

__all__ = [
    "COMMANDS",
    "HARMFUL",
    "IN_MULTI",
    "IN_SCRIPTS",
    "Args",
    "Command",
    "has_right_arity",
    "keys_of",
    "name_of",
]

Args = tuple[bytes, ...]


Flag = Literal["readonly", "write", "admin"]


@attrs.frozen
class Command:
    """One command."""

    name: str
    arity: int
    """With the command's name; negative: at least."""
    flag: Flag
    """It tells one only."""
    first_key: int
    last_key: int
    """Negative: from the end."""
    step: int


_ONE_KEY: Final[dict[Flag, str]] = {
    "readonly": """
        ttl 2, pttl 2, type 2, get 2, hget 3, hmget -3, hgetall 2, hlen 2, hexists 3, llen 2, lindex 3,
        lpos -3, lrange 4, scard 2, sismember 3, smembers 2, zcard 2, zcount 4, zscore 3, zrange -4,
        zrevrange -4, zrangebyscore -4, zrevrangebyscore -4, xlen 2, xrange -4, xrevrange -4
    """,
    "write": """
        expire -3, pexpire -3, set -3, setex 4, setnx 3, getdel 2, incr 2, hset -4, hmset -4, hdel -3,
        hincrby 4,
        lpush -3, rpush -3, lpop 2, rpop 2, lrem 4, lset 4, ltrim 4, sadd -3, srem -3, zadd -4, zrem -3,
        zincrby 4, zpopmin -2, zremrangebyrank 4, zremrangebyscore 4, elastickv.zremfast 3, xadd -5, xtrim -4,
        pfadd -3
    """,
}
_NO_KEY: Final[dict[Flag, str]] = {
    "readonly": "scan -2, keys 2, dbsize 1, xread -4",
    "write": "flushall 1, flushdb 1, flushlegacy 1, eval -3, evalsha -3",
    "admin": """
        publish 3, subscribe -2, pubsub -2, multi 1, exec 1, discard 1, hello -1, client -2, command -1,
        info -1, ping -1, quit 1, select 2
    """,
}
_SEVERAL_KEYS: Final = (
    Command("del", -2, "write", 1, -1, 1),
    Command("exists", -2, "readonly", 1, -1, 1),
    Command("rename", 3, "write", 1, 2, 1),
    Command("rpoplpush", 3, "write", 1, 2, 1),
    Command("bzpopmin", -3, "write", 1, -2, 1),
    Command("pfcount", -2, "readonly", 1, -1, 1),
)


def _rows() -> list[Command]:
    rows = list(_SEVERAL_KEYS)
    for keys, groups in ((1, _ONE_KEY), (0, _NO_KEY)):
        for flag, text in groups.items():
            for entry in text.split(","):
                name, arity = entry.split()
                rows.append(Command(name, int(arity), flag, keys, keys, keys))
    return sorted(rows, key=lambda row: row.name)


COMMANDS: Final = {row.name.upper(): row for row in _rows()}
"""By upper-case name."""

HARMFUL: Final = frozenset({"SCAN", "KEYS", "DBSIZE"})
"""A node dies of them."""

IN_MULTI: Final = frozenset(
    [
        "DEL",
        "EXISTS",
        "EXPIRE",
        "PEXPIRE",
        "GET",
        "SET",
        "INCR",
        "HSET",
        "HMSET",
        "RPUSH",
        "LRANGE",
        "ZINCRBY",
    ]
)
"""What ``EXEC`` can do."""

IN_SCRIPTS: Final = frozenset(name for name, row in COMMANDS.items() if row.flag != "admin") - frozenset(
    ["EXPIRE", "TTL", "ZINCRBY", "PFADD", "PFCOUNT", "EVAL", "EVALSHA", "FLUSHLEGACY"]
)
"""What ``redis.call`` can do."""


def name_of(args: Args) -> str:
    """Return the command's name in upper case."""
    return args[0].decode(errors="replace").upper()


def has_right_arity(command: Command, args: Args) -> bool:
    """Whether there are as many arguments as *command* takes."""
    return len(args) == command.arity if command.arity > 0 else len(args) >= -command.arity


def keys_of(command: Command, args: Args) -> tuple[bytes, ...]:
    """Return the keys by position, as ``COMMAND GETKEYS`` does."""
    if not command.first_key:
        return ()
    last = command.last_key if command.last_key > 0 else len(args) + command.last_key
    return args[command.first_key : last + 1 : command.step]
