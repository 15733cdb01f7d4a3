"""Which options the commands take: what else Redis knows is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tests.fakes.elastickv.commands import COMMANDS, Args, has_right_arity, name_of
from tests.fakes.elastickv.texts import SYNTAX, unsupported, wrong_arity

__all__ = ["OPTIONS", "ZADD_OPTIONS", "objection", "option_objection"]

_BAD_ID: Final = "ERR Invalid stream ID specified as stream command argument"
_WITH_SCORES: Final = {"WITHSCORES": 0}

OPTIONS: Final[Mapping[str, tuple[int, Mapping[str, int]]]] = {
    "SET": (3, {"EX": 1, "PX": 1, "NX": 0, "XX": 0, "GET": 0}),
    "EXPIRE": (3, {"NX": 0}),
    "PEXPIRE": (3, {"NX": 0}),
    "ZRANGE": (4, {"WITHSCORES": 0, "REV": 0}),
    "ZREVRANGE": (4, _WITH_SCORES),
    "ZRANGEBYSCORE": (4, {"WITHSCORES": 0, "LIMIT": 2}),
    "ZREVRANGEBYSCORE": (4, {"WITHSCORES": 0, "LIMIT": 2}),
}
"""Where a command's options begin, and how many arguments each has."""

ZADD_OPTIONS: Final = frozenset({"NX", "XX", "GT", "LT"})

_ID: Final = re.compile(rb"\*|[0-9]+-[0-9]+")


def objection(args: Args) -> str | None:
    """Return the error text if ElasticKV does not take *args* at all; None if it will try."""
    name = name_of(args)
    command = COMMANDS.get(name)
    if command is None:
        return unsupported(args[0].decode(errors="replace"))
    if not has_right_arity(command, args):
        return wrong_arity(name)
    return option_objection(name, args)


def option_objection(name: str, args: Args) -> str | None:
    """Return the error text if an option of *args* is not among those that it takes."""
    if name in OPTIONS:
        return _objection_to_trailing(*OPTIONS[name], args)
    if name == "ZADD":
        return _objection_to_zadd(args)
    if name == "XADD":
        return _objection_to_xadd(args)
    if name == "XTRIM":
        rest = args[2:]
        return None if _skip_maxlen(rest) == len(rest) else SYNTAX
    return None


def _objection_to_trailing(start: int, known: Mapping[str, int], args: Args) -> str | None:
    position = start
    while position < len(args):
        argument_count = known.get(args[position].decode(errors="replace").upper())
        if argument_count is None:
            return SYNTAX
        position += 1 + argument_count
    return None if position == len(args) else SYNTAX


def _objection_to_zadd(args: Args) -> str | None:
    for argument in args[2:]:
        word = argument.upper()
        if word in (b"CH", b"INCR"):
            return SYNTAX
        if word.decode(errors="replace") not in ZADD_OPTIONS:
            break
    return None


def _objection_to_xadd(args: Args) -> str | None:
    rest = args[2:]
    position = _skip_maxlen(rest)
    if position >= len(rest):
        return wrong_arity("XADD")
    if rest[position].upper() in (b"NOMKSTREAM", b"MINID", b"MAXLEN"):
        return SYNTAX
    return None if _ID.fullmatch(rest[position]) else _BAD_ID


def _skip_maxlen(rest: Args) -> int:
    """Return the position behind ``MAXLEN [~] n``; 0 if it does not begin so."""
    if rest[0].upper() != b"MAXLEN" or len(rest) < 2:
        return 0
    position = 2 if rest[1] == b"~" else 1
    return position + 1 if position < len(rest) and rest[position].isdigit() else 0
