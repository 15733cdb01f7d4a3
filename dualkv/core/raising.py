"""RESP2 replies → what Redis would have answered in RESP3.

For clients that have said ``HELLO 3`` while the primary knows only RESP2. RESP2 writes maps, sets and pairs
as flat arrays and doubles as strings: what a reply is, only its command tells. So there is a rule per
command; a rule takes a frame and returns a frame. Nil has one form only in RESP3, at any depth of any reply.

What a script makes of its values cannot be told from outside: its doubles and maps stay as RESP2 writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from dualkv.commands.table import CommandSpec
from dualkv.errors import ReplyProtocolError
from dualkv.resp import encode
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import elements_of

__all__ = ["raised", "raised_hello"]

Args = tuple[bytes, ...]
Rule = Callable[[bytes], bytes]

_NIL: Final = b"_\r\n"
_ARRAY: Final = ord("*")
_BULK: Final = ord("$")
_NUMBER: Final = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|nan)", re.IGNORECASE)


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
        return _plain(frame)
    try:
        return rule(frame)
    except (ReplyProtocolError, ValueError):  # not what the command answers in Redis
        return _plain(frame)


def raised_hello(facts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the fields of a ``HELLO 3`` reply, as raw frames, by those of a reply to ``HELLO 2``."""
    fields = {"server": encode.bulk("redis"), **facts, "proto": encode.integer(3)}
    if "modules" in fields:
        fields["modules"] = _each(_map(_plain))(fields["modules"])
    return fields


# --- rules


def _plain(frame: bytes) -> bytes:
    """Nothing but nil differs."""
    if b"-1\r\n" not in frame:
        return frame
    pieces: list[bytes] = []
    done = position = 0
    while position < len(frame):
        end = frame.index(b"\r\n", position) + 2
        kind = frame[position]
        if kind in b"*$" and frame[position + 1 : end] == b"-1\r\n":
            pieces += [frame[done:position], _NIL]
            done = end
        elif kind in b"$=!":
            end += int(frame[position + 1 : end - 2]) + 2
        position = end
    return b"".join([*pieces, frame[done:]])


def _elements(frame: bytes) -> list[bytes] | None:
    """Return the elements of an array; None: it is none."""
    return elements_of(frame) if frame[0] == _ARRAY and frame != b"*-1\r\n" else None


def _collect(kind: bytes, count: int, frames: list[bytes]) -> bytes:
    return b"%b%d\r\n%b" % (kind, count, b"".join(frames))


def _text(frame: bytes) -> bytes:
    return frame[frame.index(b"\r\n") + 2 : -2]


def _double(frame: bytes) -> bytes:
    """A string with a number; other spellings of infinity than Redis's are put right."""
    if frame[0] != _BULK or not _NUMBER.fullmatch(number := _text(frame)):
        return _plain(frame)
    if number[-1:] in b"fFnN":
        number = number.lower().lstrip(b"+")
    return b",%b\r\n" % number


def _verbatim(frame: bytes) -> bytes:
    if frame[0] != _BULK or frame == b"$-1\r\n":
        return _plain(frame)
    text = _text(frame)
    return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)


def _set(frame: bytes) -> bytes:
    return b"~" + _plain(frame[1:]) if _elements(frame) is not None else _plain(frame)


def _each(rule: Rule) -> Rule:
    def raise_each(frame: bytes) -> bytes:
        elements = _elements(frame)
        return _plain(frame) if elements is None else encode.array(map(rule, elements))

    return raise_each


def _set_of(rule: Rule) -> Rule:
    def raise_set(frame: bytes) -> bytes:
        elements = _elements(frame)
        return _plain(frame) if elements is None else _collect(b"~", len(elements), list(map(rule, elements)))

    return raise_set


def _tuple(*rules: Rule) -> Rule:
    """An array whose elements have a rule each; further ones have none."""

    def raise_tuple(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return _plain(frame)
        pairs = zip(rules, elements, strict=False)
        return encode.array([*(rule(one) for rule, one in pairs), *map(_plain, elements[len(rules) :])])

    return raise_tuple


def _pairs(rule: Rule) -> Rule:
    """A flat array of names and values that becomes an array of pairs."""

    def raise_pairs(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return _plain(frame)
        pairs = zip(elements[::2], elements[1::2], strict=True)
        return encode.array(b"*2\r\n" + name + rule(value) for name, value in pairs)

    return raise_pairs


def _map(rule: Rule, fields: Mapping[str, Rule] | None = None) -> Rule:
    """A flat array of names and values that becomes a map; some *fields* may have other rules."""
    by_frame = {encode.bulk(name): one for name, one in (fields or {}).items()}

    def raise_map(frame: bytes) -> bytes:
        elements = _elements(frame)
        if elements is None:
            return _plain(frame)
        parts: list[bytes] = []
        for name, value in zip(elements[::2], elements[1::2], strict=True):
            parts += [name, by_frame.get(name, rule)(value)]
        return _collect(b"%", len(parts) // 2, parts)

    return raise_map


def _record(**fields: Rule) -> Rule:
    """A map with rules by the names of its fields; a blank or a dash is an underscore here."""
    spelled = {name.replace("_", other): rule for name, rule in fields.items() for other in "_- "}
    return _map(_plain, spelled)


def _map_of_pairs(frame: bytes) -> bytes:
    """An array of pairs that becomes a map."""
    elements = _elements(frame)
    if elements is None:
        return _plain(frame)
    parts = [_plain(part) for pair in elements for part in elements_of(pair)]
    if len(parts) != 2 * len(elements):
        raise ValueError("not pairs")
    return _collect(b"%", len(elements), parts)


def _number_or_map(frame: bytes) -> bytes:
    return _map(_plain)(frame) if frame[0] == _ARRAY else _double(frame)


# --- commands whose reply depends on their arguments


def _has(word: bytes, args: Args) -> bool:
    return any(arg.upper() == word for arg in args)


def _with(word: bytes, start: int, rule: Rule) -> Callable[[Args], Rule | None]:
    """A rule for requests with a word from a position on."""
    return lambda args: rule if _has(word, args[start:]) else None


def _behind_keys(args: Args) -> Rule | None:
    """``ZUNION`` and its kin: keys may have any name."""
    count = parse_integer(args[1]) if len(args) > 1 else None
    return _SCORES if count is not None and _has(b"WITHSCORES", args[2 + max(count, 0) :]) else None


def _zadd(args: Args) -> Rule | None:
    for arg in args[2:]:
        word = arg.upper()
        if word == b"INCR":
            return _double
        if word not in (b"NX", b"XX", b"GT", b"LT", b"CH"):
            return None
    return None


_SCORES: Final = _pairs(_double)
_POINT: Final = _each(_double)
_MEMBERS: Final = _tuple(_plain, _each(_tuple(_plain, _double)))
_KEY_SPEC: Final = _record(
    flags=_set, begin_search=_record(spec=_map(_plain)), find_keys=_record(spec=_map(_plain))
)


def _subcommands(frame: bytes) -> bytes:
    """An array; Redis (not Valkey) says that there are none with an empty set."""
    return b"~0\r\n" if frame == b"*0\r\n" else _each(_command_info)(frame)


def _command_info(frame: bytes) -> bytes:
    return _tuple(
        _plain, _plain, _set, _plain, _plain, _plain, _set, _set, _set_of(_KEY_SPEC), _subcommands
    )(frame)  # fmt: skip


def _argument(frame: bytes) -> bytes:
    return _record(flags=_set, arguments=_each(_argument))(frame)


def _command_docs(frame: bytes) -> bytes:
    return _map(_record(doc_flags=_set, history=_set, arguments=_each(_argument), subcommands=_command_docs))(
        frame
    )


def _found(frame: bytes) -> bytes:
    """One place: its name and what was asked for; only coordinates are an array."""
    return _each(lambda one: _POINT(one) if one[0] == _ARRAY else _plain(one))(frame)


_FULL_GROUP: Final = _record(consumers=_each(_map(_plain)))

_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("HGETALL", "CONFIG GET"), _map(_plain)),
    **dict.fromkeys(("SMEMBERS", "SINTER", "SUNION", "SDIFF"), _set),
    **dict.fromkeys(("ZSCORE", "ZINCRBY"), _double),
    "ZMSCORE": _each(_double),
    **dict.fromkeys(("BZPOPMIN", "BZPOPMAX"), _tuple(_plain, _plain, _double)),
    **dict.fromkeys(("ZMPOP", "BZMPOP"), _MEMBERS),
    **dict.fromkeys(("XREAD", "XREADGROUP"), _map_of_pairs),
    **dict.fromkeys(("XINFO GROUPS", "XINFO CONSUMERS", "MODULE LIST"), _each(_map(_plain))),
    "XINFO STREAM": _record(groups=_each(_FULL_GROUP)),
    "GEOPOS": _each(_POINT),
    **dict.fromkeys(("COMMAND", "COMMAND INFO"), _each(_command_info)),
    "COMMAND DOCS": _command_docs,
    "COMMAND GETKEYSANDFLAGS": _each(_tuple(_plain, _set)),
    **dict.fromkeys(("INFO", "LOLWUT", "LATENCY DOCTOR", "MEMORY DOCTOR", "MEMORY MALLOC-STATS"), _verbatim),
    "MEMORY STATS": _map(_number_or_map),
    "LATENCY HISTOGRAM": _map(_record(histogram_usec=_map(_plain))),
    "FUNCTION LIST": _each(_record(functions=_each(_record(flags=_set)))),
    "FUNCTION STATS": _record(running_script=_map(_plain), engines=_map(_map(_plain))),
    "ACL GETUSER": _record(flags=_set, selectors=_each(_map(_plain))),
    "ACL LOG": _each(_record(age_seconds=_double)),
}

_BY_ARGUMENTS: Final[dict[str, Callable[[Args], Rule | None]]] = {
    "ZADD": _zadd,
    **dict.fromkeys(
        ("ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), _with(b"WITHSCORES", 4, _SCORES)
    ),
    "ZRANDMEMBER": _with(b"WITHSCORES", 3, _SCORES),
    **dict.fromkeys(("ZUNION", "ZINTER", "ZDIFF"), _behind_keys),
    **dict.fromkeys(
        ("ZPOPMIN", "ZPOPMAX"), lambda args: _SCORES if len(args) > 2 else _tuple(_plain, _double)
    ),
    **dict.fromkeys(("ZRANK", "ZREVRANK"), _with(b"WITHSCORE", 3, _tuple(_plain, _double))),
    "HRANDFIELD": _with(b"WITHVALUES", 3, _pairs(_plain)),
    "SPOP": lambda args: _set if len(args) > 2 else None,
    "LCS": _with(b"IDX", 3, _map(_plain)),
    **dict.fromkeys(("GEORADIUS", "GEORADIUS_RO"), _with(b"WITHCOORD", 6, _each(_found))),
    **dict.fromkeys(("GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO"), _with(b"WITHCOORD", 5, _each(_found))),
    "GEOSEARCH": _with(b"WITHCOORD", 2, _each(_found)),
}
