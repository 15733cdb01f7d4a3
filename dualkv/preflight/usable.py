"""What clients may call once a store answers them: commands, and options of commands.

Sources: the history of the commands' syntax (``COMMAND DOCS`` of Redis 8.2, Valkey 9.1); for ElasticKV what a
real cluster refused (``elastickv.md``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from dualkv.commands.table import find_command
from dualkv.core.dialect import Dialect
from dualkv.core.dialect.model import ELASTICKV
from dualkv.core.routing import Route, plan_for

__all__ = ["has_option", "is_callable", "refused_options"]

_OURS: Final = frozenset({Route.LOCAL, Route.SESSION, Route.CLIENTS})
"""dualkv answers, whatever the store knows."""

_SINCE: Final[Mapping[tuple[int, int], Mapping[str, str]]] = {
    (6, 0): {"SET": "KEEPTTL", "LPOS": "RANK COUNT MAXLEN", "SCAN": "TYPE"},
    (6, 2): {
        "SET": "GET EXAT PXAT",
        "LPOP": "COUNT",
        "RPOP": "COUNT",
        "XADD": "NOMKSTREAM MINID LIMIT",
        "XTRIM": "MINID LIMIT",
        "ZADD": "GT LT",
        "GEOADD": "NX XX CH",
        "ZRANGE": "BYSCORE BYLEX REV LIMIT",
        "FLUSHALL": "SYNC",
        "FLUSHDB": "SYNC",
    },
    (7, 0): {
        **dict.fromkeys(("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"), "NX XX GT LT"),
        "XADD": "PARTIAL-ID",
        "XGROUP CREATE": "ENTRIESREAD",
    },
    (7, 2): {"ZRANK": "WITHSCORE", "ZREVRANK": "WITHSCORE"},
    (7, 4): {"HSCAN": "NOVALUES"},
    (8, 2): {
        "BITOP": "DIFF DIFF1 ANDOR ONE",
        "XADD": "KEEPREF DELREF ACKED",
        "XTRIM": "KEEPREF DELREF ACKED",
    },
    (8, 4): {"SET": "IFEQ IFNE IFDEQ IFDNE"},
}
"""Options that came later than their command, by the Redis that brought them."""

_VALKEY: Final = frozenset({("SET", "IFEQ"), ("SET", "IFNE")})
"""What Valkey has though it goes as Redis 7.2; from its 8.1 on."""

_ELASTICKV: Final[Mapping[str, str]] = {
    "SET": "EX PX NX XX GET",
    "EXPIRE": "NX",
    "PEXPIRE": "NX",
    "LPOP": "",
    "RPOP": "",
    "XADD": "EXPLICIT-ID MAXLEN ~",
    "XTRIM": "MAXLEN ~",
    "ZADD": "NX XX GT LT",
    "ZRANGE": "WITHSCORES REV",
}
"""All options that ElasticKV takes, for commands of which it refuses some."""

_VERSION: Final = {
    (name, option): version
    for version, by_command in _SINCE.items()
    for name, options in by_command.items()
    for option in options.split()
}


def is_callable(name: str, dialect: Dialect) -> bool:
    """Whether a client that talks to a store through dualkv can call a command of the table."""
    container, _, sub = name.partition(" ")
    spec = find_command(container.encode(), sub.encode() or None)
    if plan_for(spec).route in _OURS:
        return True
    return dialect.has(name) or (sub == "" and spec.subcommands != {} and dialect.has(container))


def has_option(name: str, option: str, dialect: Dialect) -> bool:
    """Whether a store that has a command takes an option of it."""
    if dialect.product == ELASTICKV:
        taken = _ELASTICKV.get(name)
        return taken is None or option in taken.split()
    since = _VERSION.get((name, option))
    if since is None or dialect.redis_version >= since:
        return True
    return dialect.product == "Valkey" and (name, option) in _VALKEY and dialect.version >= (8, 1)


def refused_options(name: str, options: Collection[str], dialect: Dialect) -> Iterable[str]:
    """Return those of a request's options that a store does not take."""
    return [option for option in options if not has_option(name, option, dialect)]
