"""RESP2 replies → what Redis would have answered in RESP3.

For clients that have said ``HELLO 3`` while the primary knows only RESP2. RESP2 writes maps, sets and pairs
as flat arrays and doubles as strings: what a reply is, only its command tells. So there is a rule per
command; a rule takes a frame and returns a frame. Nil has one form only in RESP3, at any depth of any reply.

What a script makes of its values cannot be told from outside: its doubles and maps stay as RESP2 writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from dualkv.commands.table import CommandSpec
from dualkv.core.shapes import (
    Rule,
    as_map,
    as_set,
    double,
    each,
    map_of_pairs,
    number_or_map,
    pairs,
    parts,
    plain,
    plain_map,
    record,
    scores,
    set_of,
    verbatim,
)  # fmt: skip
from dualkv.errors import ReplyProtocolError
from dualkv.resp import encode
from dualkv.resp.integers import parse_integer

__all__ = ["raised", "raised_hello"]

Args = tuple[bytes, ...]

_ARRAY: Final = ord("*")


def raised(spec: CommandSpec, args: Args, frame: bytes) -> bytes:
    """Return the reply to a command as RESP3 writes it.

    Args:
        spec: The command's.
        args: The request, name first.
        frame: The reply as RESP2 writes it; what is RESP3 already stays as it is.
    """
    rule = _RULES.get(spec.name)
    if rule is None and spec.name in _BY_ARGUMENTS:
        rule = _BY_ARGUMENTS[spec.name](args)
    if rule is None or frame[0] not in b"*$":
        return plain(frame)
    try:
        return rule(frame)
    except (ReplyProtocolError, ValueError):  # not what the command answers in Redis
        return plain(frame)


def raised_hello(facts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the fields of a ``HELLO 3`` reply, as raw frames, by those of a reply to ``HELLO 2``."""
    fields = {"server": encode.bulk("redis"), **facts, "proto": encode.integer(3)}
    if "modules" in fields:
        fields["modules"] = each(plain_map)(fields["modules"])
    return fields


# --- commands whose reply depends on their arguments


def _has(word: bytes, args: Args) -> bool:
    return any(arg.upper() == word for arg in args)


def _with(word: bytes, start: int, rule: Rule) -> Callable[[Args], Rule | None]:
    """A rule for requests with a word from a position on."""
    return lambda args: rule if _has(word, args[start:]) else None


def _behind_keys(args: Args) -> Rule | None:
    """``ZUNION`` and its kin: keys may have any name."""
    count = parse_integer(args[1]) if len(args) > 1 else None
    return scores if count is not None and _has(b"WITHSCORES", args[2 + max(count, 0) :]) else None


def _zadd(args: Args) -> Rule | None:
    for arg in args[2:]:
        word = arg.upper()
        if word == b"INCR":
            return double
        if word not in (b"NX", b"XX", b"GT", b"LT", b"CH"):
            return None
    return None


_POINT: Final = each(double)
_MEMBERS: Final = parts(plain, each(parts(plain, double)))
_KEY_SPEC: Final = record(flags=as_set, begin_search=record(spec=plain_map), find_keys=record(spec=plain_map))


def _subcommands(frame: bytes) -> bytes:
    """An array; Redis (not Valkey) says that there are none with an empty set."""
    return b"~0\r\n" if frame == b"*0\r\n" else each(_command_info)(frame)


def _command_info(frame: bytes) -> bytes:
    return parts(
        plain, plain, as_set, plain, plain, plain, as_set, as_set, set_of(_KEY_SPEC), _subcommands
    )(frame)  # fmt: skip


def _argument(frame: bytes) -> bytes:
    return record(flags=as_set, arguments=each(_argument))(frame)


def _command_docs(frame: bytes) -> bytes:
    return as_map(
        record(doc_flags=as_set, history=as_set, arguments=each(_argument), subcommands=_command_docs)
    )(frame)


def _found(frame: bytes) -> bytes:
    """One place: its name and what was asked for; only coordinates are an array."""
    return each(lambda one: _POINT(one) if one[0] == _ARRAY else plain(one))(frame)


_FULL_GROUP: Final = record(consumers=each(plain_map))

_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("HGETALL", "CONFIG GET"), plain_map),
    **dict.fromkeys(("SMEMBERS", "SINTER", "SUNION", "SDIFF"), as_set),
    **dict.fromkeys(("ZSCORE", "ZINCRBY"), double),
    "ZMSCORE": each(double),
    **dict.fromkeys(("BZPOPMIN", "BZPOPMAX"), parts(plain, plain, double)),
    **dict.fromkeys(("ZMPOP", "BZMPOP"), _MEMBERS),
    **dict.fromkeys(("XREAD", "XREADGROUP"), map_of_pairs),
    **dict.fromkeys(("XINFO GROUPS", "XINFO CONSUMERS", "MODULE LIST"), each(plain_map)),
    "XINFO STREAM": record(groups=each(_FULL_GROUP)),
    "GEOPOS": each(_POINT),
    **dict.fromkeys(("COMMAND", "COMMAND INFO"), each(_command_info)),
    "COMMAND DOCS": _command_docs,
    "COMMAND GETKEYSANDFLAGS": each(parts(plain, as_set)),
    **dict.fromkeys(("INFO", "LOLWUT", "LATENCY DOCTOR", "MEMORY DOCTOR", "MEMORY MALLOC-STATS"), verbatim),
    "MEMORY STATS": as_map(number_or_map),
    "LATENCY HISTOGRAM": as_map(record(histogram_usec=plain_map)),
    "FUNCTION LIST": each(record(functions=each(record(flags=as_set)))),
    "FUNCTION STATS": record(running_script=plain_map, engines=as_map(plain_map)),
    "ACL GETUSER": record(flags=as_set, selectors=each(plain_map)),
    "ACL LOG": each(record(age_seconds=double)),
}

_BY_ARGUMENTS: Final[dict[str, Callable[[Args], Rule | None]]] = {
    "ZADD": _zadd,
    **dict.fromkeys(
        ("ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), _with(b"WITHSCORES", 4, scores)
    ),
    "ZRANDMEMBER": _with(b"WITHSCORES", 3, scores),
    **dict.fromkeys(("ZUNION", "ZINTER", "ZDIFF"), _behind_keys),
    **dict.fromkeys(("ZPOPMIN", "ZPOPMAX"), lambda args: scores if len(args) > 2 else parts(plain, double)),
    **dict.fromkeys(("ZRANK", "ZREVRANK"), _with(b"WITHSCORE", 3, parts(plain, double))),
    "HRANDFIELD": _with(b"WITHVALUES", 3, pairs(plain)),
    "SPOP": lambda args: as_set if len(args) > 2 else None,
    "LCS": _with(b"IDX", 3, plain_map),
    **dict.fromkeys(("GEORADIUS", "GEORADIUS_RO"), _with(b"WITHCOORD", 6, each(_found))),
    **dict.fromkeys(("GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"), _with(b"WITHCOORD", 5, each(_found))),
    "GEOSEARCH": _with(b"WITHCOORD", 2, each(_found)),
}
