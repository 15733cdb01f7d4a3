"""The options of commands: where they stand, and how many words belong to each.

What the command table does not tell. With it, the options of a request can be named without ever naming a
word of a client's data: only words of this table come out. Source: the syntax lines of Redis 8.2 and Valkey
9.1 (``COMMAND DOCS``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from dualkv.core.effects.model import Args

__all__ = ["OPTIONS", "OptionWords", "options_in"]


class OptionWords(NamedTuple):
    """Of one command."""

    start: int
    """The first argument that may be an option."""
    words: Mapping[bytes, int]
    """By upper-case name: the arguments that follow."""
    end_at_other: bool = False
    """Whether other words follow them, among which there are no options."""
    shape: Callable[[Args], tuple[str, ...]] | None = None
    """What else there is to tell, in words of this module."""


def _words(text: str) -> dict[bytes, int]:
    """Return options from ``NX PX:1``."""
    pairs = (word.partition(":") for word in text.split())
    return {name.encode(): int(count or 0) for name, _, count in pairs}


def _has_count(at: int) -> Callable[[Args], tuple[str, ...]]:
    return lambda args: ("COUNT",) if len(args) > at else ()


def _id_of_xadd(args: Args) -> tuple[str, ...]:
    position = 2
    while position < len(args):
        word = args[position].upper()
        if word in (b"MAXLEN", b"MINID"):
            position += 3 if args[position + 1 : position + 2] in ((b"=",), (b"~",)) else 2
        elif word == b"LIMIT":
            position += 2
        elif word in (b"NOMKSTREAM", b"KEEPREF", b"DELREF", b"ACKED"):
            position += 1
        else:
            break
    word = args[position] if position < len(args) else b"*"
    if word == b"*":
        return ()
    return ("PARTIAL-ID",) if b"-" not in word or word.endswith(b"-*") else ("EXPLICIT-ID",)


def _trim_sign(args: Args) -> tuple[str, ...]:
    return ("~",) if b"~" in args[2:6] else ()


def _of_xadd(args: Args) -> tuple[str, ...]:
    return _trim_sign(args) + _id_of_xadd(args)


def _operation(args: Args) -> tuple[str, ...]:
    word = args[1].upper().decode(errors="replace") if len(args) > 1 else ""
    return (word,) if word in ("AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE") else ()


def _names_no_keys(args: Args) -> tuple[str, ...]:
    return ("NO-KEYS",) if len(args) > 2 and args[2] == b"0" else ()


_EXPIRY: Final = "EX:1 PX:1 EXAT:1 PXAT:1"
_CONDITION: Final = _words("NX XX GT LT")
_SCAN: Final = _words("MATCH:1 COUNT:1 TYPE:1 NOVALUES NOSCORES")
_RANGE: Final = _words("BYSCORE BYLEX REV LIMIT:2 WITHSCORES")
_SCORED: Final = _words("WITHSCORES LIMIT:2")
_STORE: Final = _words("WEIGHTS:1 AGGREGATE:1 WITHSCORES")
_GEO: Final = _words(
    "FROMMEMBER:1 FROMLONLAT:2 BYRADIUS:2 BYBOX:3 BYPOLYGON:1 ASC DESC COUNT:1 ANY WITHCOORD WITHDIST "
    "WITHHASH STOREDIST"
)
_RADIUS: Final = _words("WITHCOORD WITHDIST WITHHASH COUNT:1 ANY ASC DESC STORE:1 STOREDIST:1")
_TRIM: Final = _words("NOMKSTREAM MAXLEN:1 MINID:1 LIMIT:1 KEEPREF DELREF ACKED")
_SORT: Final = _words("BY:1 LIMIT:2 GET:1 ASC DESC ALPHA STORE:1")

OPTIONS: Final[Mapping[str, OptionWords]] = {
    "SET": OptionWords(3, _words(f"NX XX GET KEEPTTL IFEQ:1 IFNE:1 IFDEQ:1 IFDNE:1 {_EXPIRY}")),
    "GETEX": OptionWords(2, _words(f"PERSIST {_EXPIRY}")),
    "EXPIRE": OptionWords(3, _CONDITION),
    "PEXPIRE": OptionWords(3, _CONDITION),
    "EXPIREAT": OptionWords(3, _CONDITION),
    "PEXPIREAT": OptionWords(3, _CONDITION),
    "COPY": OptionWords(3, _words("DB:1 REPLACE")),
    "RESTORE": OptionWords(4, _words("REPLACE ABSTTL IDLETIME:1 FREQ:1")),
    "SCAN": OptionWords(2, _SCAN),
    "HSCAN": OptionWords(3, _SCAN),
    "SSCAN": OptionWords(3, _SCAN),
    "ZSCAN": OptionWords(3, _SCAN),
    "SORT": OptionWords(2, _SORT),
    "SORT_RO": OptionWords(2, _SORT),
    "BITOP": OptionWords(9_999, {}, shape=_operation),
    "LPOP": OptionWords(9_999, {}, shape=_has_count(2)),
    "RPOP": OptionWords(9_999, {}, shape=_has_count(2)),
    "SPOP": OptionWords(9_999, {}, shape=_has_count(2)),
    "SRANDMEMBER": OptionWords(9_999, {}, shape=_has_count(2)),
    "ZPOPMIN": OptionWords(9_999, {}, shape=_has_count(2)),
    "ZPOPMAX": OptionWords(9_999, {}, shape=_has_count(2)),
    "LPOS": OptionWords(3, _words("RANK:1 COUNT:1 MAXLEN:1")),
    "ZADD": OptionWords(2, _words("NX XX GT LT CH INCR"), end_at_other=True),
    "GEOADD": OptionWords(2, _words("NX XX CH"), end_at_other=True),
    "ZRANGE": OptionWords(4, _RANGE),
    "ZRANGESTORE": OptionWords(5, _RANGE),
    "ZREVRANGE": OptionWords(4, _SCORED),
    "ZRANGEBYSCORE": OptionWords(4, _SCORED),
    "ZREVRANGEBYSCORE": OptionWords(4, _SCORED),
    "ZRANGEBYLEX": OptionWords(4, _SCORED),
    "ZREVRANGEBYLEX": OptionWords(4, _SCORED),
    "ZRANK": OptionWords(3, _words("WITHSCORE")),
    "ZREVRANK": OptionWords(3, _words("WITHSCORE")),
    "ZUNIONSTORE": OptionWords(4, _STORE),
    "ZINTERSTORE": OptionWords(4, _STORE),
    "GEOSEARCH": OptionWords(2, _GEO),
    "GEOSEARCHSTORE": OptionWords(3, _GEO),
    "GEORADIUS": OptionWords(6, _RADIUS),
    "GEORADIUSBYMEMBER": OptionWords(5, _RADIUS),
    "HEXPIRE": OptionWords(3, _CONDITION, end_at_other=True),
    "HPEXPIRE": OptionWords(3, _CONDITION, end_at_other=True),
    "HSETEX": OptionWords(2, _words(f"FNX FXX KEEPTTL {_EXPIRY}"), end_at_other=True),
    "HGETEX": OptionWords(2, _words(f"PERSIST {_EXPIRY}"), end_at_other=True),
    "XADD": OptionWords(2, _TRIM, end_at_other=True, shape=_of_xadd),
    "XTRIM": OptionWords(2, _TRIM, end_at_other=True, shape=_trim_sign),
    "XREAD": OptionWords(1, _words("COUNT:1 BLOCK:1"), end_at_other=True),
    "XREADGROUP": OptionWords(4, _words("COUNT:1 BLOCK:1 NOACK"), end_at_other=True),
    "XRANGE": OptionWords(4, _words("COUNT:1")),
    "XREVRANGE": OptionWords(4, _words("COUNT:1")),
    "XAUTOCLAIM": OptionWords(6, _words("COUNT:1 JUSTID")),
    "XGROUP CREATE": OptionWords(5, _words("MKSTREAM ENTRIESREAD:1")),
    "EVAL": OptionWords(9_999, {}, shape=_names_no_keys),
    "EVALSHA": OptionWords(9_999, {}, shape=_names_no_keys),
    "FLUSHALL": OptionWords(1, _words("ASYNC SYNC")),
    "FLUSHDB": OptionWords(1, _words("ASYNC SYNC")),
    "HELLO": OptionWords(
        2, _words("AUTH:2 SETNAME:1"), shape=lambda args: ("3",) if args[1:2] == (b"3",) else ()
    ),
}
"""By `CommandSpec.name`. A command that is not here has no options that matter."""


def options_in(name: str, args: Args) -> tuple[str, ...]:
    """Return the options in a request, sorted: only words of this module, never one of the client's.

    Args:
        name: The command's, as in the table.
        args: The request, name first.
    """
    known = OPTIONS.get(name)
    if known is None:
        return ()
    found = set(known.shape(args)) if known.shape is not None else set()
    position = known.start
    words = known.words
    while position < len(args):
        word = args[position].upper()
        taken = words.get(word)
        if taken is not None:
            found.add(word.decode())
            position += taken
            if (
                taken == 1
                and word in (b"MAXLEN", b"MINID")
                and args[position : position + 1] in ((b"=",), (b"~",))
            ):
                position += 1
        elif known.end_at_other:
            break
        position += 1
    return tuple(sorted(found))
