"""Which rule a command's replies are compared by.

Reads that have none are not shadowed: their replies depend on the server or the moment (``RANDOMKEY``,
``OBJECT`` …), or on keys whose state nobody can vouch for at that position (``KEYS``, ``SCAN``, ``DBSIZE``
touch all keys, the dirty ones and those not yet copied included).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from dualkv.commands.table import CommandSpec
from dualkv.core.compare.arguments import geo_options, name_of, small_number, sort_options
from dualkv.core.compare.model import Reason

__all__ = ["CONDITIONAL", "Rule", "comparator_for", "excuse_of", "rule_of"]


class Rule(enum.Enum):
    """What equality means for a command's replies; the values stand in the documentation."""

    EXACT = "exact"
    """Equal values in equal order."""
    STRING = "exact, HyperLogLogs without their cache"
    COUNT = "count"
    """Equal numbers; 0 means that the data is missing."""
    ESTIMATE = "estimate"
    """Nearly equal counts."""
    TYPE = "type"
    """Equal words; ``none`` means that the data is missing."""
    TTL = "time left, within a tolerance"
    UNORDERED = "unordered"
    """Equal elements in any order, counted."""
    MAP = "map"
    """Equal pairs in any order."""
    FLOATS = "numbers"
    """Equal numbers, however they are written."""
    VECTOR = "numbers, quantised"
    RANK = "rank and score"
    SCORED = "scored members"
    """Equal members in equal order, with equal scores if they were asked for."""
    SUMMED = "summed members"
    """The same with scores that the server adds up, in an order of its own."""
    POSITIONS = "positions"
    DISTANCE = "distance"
    NEARBY = "places nearby"
    SUBSEQUENCE = "one of the longest"
    SORTED = "sorted"
    ENTRIES = "entries"
    STREAMS = "entries by stream"
    PENDING = "pending entries"
    STREAM_INFO = "facts about streams that data decides"
    SCAN = "elements, of a scan in one step"
    SCRIPT = "exact, of scripts that depend on nothing else"


_RULES: Final[dict[Rule, str]] = {
    Rule.EXACT: (
        "HGET HMGET LINDEX LRANGE GETBIT BITPOS BITFIELD_RO LPOS GEOHASH ZRANGEBYLEX ZREVRANGEBYLEX DIGEST "
        "ARGET ARMGET ARGETRANGE ARNEXT ARLASTITEMS ARGREP VRANGE VGETATTR"
    ),
    Rule.STRING: "GET MGET GETRANGE SUBSTR",
    Rule.COUNT: (
        "STRLEN HSTRLEN HLEN LLEN SCARD ZCARD XLEN BITCOUNT EXISTS ZCOUNT ZLEXCOUNT SINTERCARD "
        "ZINTERCARD SUNIONCARD SDIFFCARD ARLEN ARCOUNT VCARD VDIM SISMEMBER SMISMEMBER HEXISTS VISMEMBER"
    ),
    Rule.ESTIMATE: "PFCOUNT",
    Rule.TYPE: "TYPE",
    Rule.TTL: "TTL PTTL EXPIRETIME PEXPIRETIME HTTL HPTTL HEXPIRETIME HPEXPIRETIME",
    Rule.UNORDERED: "HKEYS HVALS SMEMBERS SINTER SUNION SDIFF",
    Rule.MAP: "HGETALL",
    Rule.FLOATS: "ZSCORE ZMSCORE AROP",
    Rule.VECTOR: "VEMB",
    Rule.RANK: "ZRANK ZREVRANK",
    Rule.SCORED: "ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZDIFF",
    Rule.SUMMED: "ZUNION ZINTER",
    Rule.POSITIONS: "GEOPOS",
    Rule.DISTANCE: "GEODIST",
    Rule.NEARBY: "GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO GEORADIUS GEORADIUSBYMEMBER",
    Rule.SUBSEQUENCE: "LCS",
    Rule.SORTED: "SORT_RO SORT",
    Rule.ENTRIES: "XRANGE XREVRANGE",
    Rule.STREAMS: "XREAD",
    Rule.PENDING: "XPENDING",
    Rule.STREAM_INFO: "XINFO|STREAM XINFO|GROUPS XINFO|CONSUMERS",
    Rule.SCAN: "SSCAN HSCAN ZSCAN",
    Rule.SCRIPT: "EVAL_RO EVALSHA_RO FCALL_RO",
}
_RULE_BY_NAME: Final = {
    name.replace("|", " "): rule for rule, names in _RULES.items() for name in names.split()
}


def rule_of(spec: CommandSpec) -> Rule | None:
    """Return the rule for a command's replies when it reads; None if they are never compared."""
    return _RULE_BY_NAME.get(spec.name)


def comparator_for(spec: CommandSpec) -> Rule | None:
    """Return how the replies of a read are compared; None if it is not shadowed, or may write."""
    return rule_of(spec) if spec.kind in ("read", "script_ro") else None


CONDITIONAL: Final = frozenset(
    {"SUNIONCARD", "SDIFFCARD", "GEORADIUS", "GEORADIUSBYMEMBER", "SORT", "SORT_RO", "XREAD", "XPENDING",
     "SSCAN", "HSCAN", "ZSCAN"}
)  # fmt: skip
"""Commands for which `excuse_of` may find something."""


def excuse_of(rule: Rule, args: Sequence[bytes]) -> Reason | None:
    """Return why a request is not compared though its command is; None if it is.

    Asked before the shadow read is sent, this saves the secondary the work.

    Args:
        rule: The command's rule.
        args: The request, as a client wrote it: it need not make sense.
    """
    find = _EXCUSES.get(rule)
    return find(args) if find is not None else None


def _excuse_of_count(args: Sequence[bytes]) -> Reason | None:
    # SUNIONCARD and SDIFFCARD count their keys, so that a key may be called APPROX.
    if name_of(args) not in (b"SUNIONCARD", b"SDIFFCARD") or len(args) < 2:
        return None
    options = map(bytes.upper, args[2 + small_number(args[1]) :])
    return Reason.APPROXIMATE if b"APPROX" in options else None


def _excuse_of_nearby(args: Sequence[bytes]) -> Reason | None:
    return Reason.WRITES if geo_options(args).keys() & {b"STORE", b"STOREDIST"} else None


def _excuse_of_sorted(args: Sequence[bytes]) -> Reason | None:
    options = sort_options(args)
    if b"STORE" in options:
        return Reason.WRITES
    patterns = options.get(b"BY", []) + options.get(b"GET", [])
    return Reason.OTHER_KEYS if any(b"*" in pattern for pattern in patterns) else None


def _excuse_of_streams(args: Sequence[bytes]) -> Reason | None:
    position = 1
    while position < len(args) and args[position].upper() != b"STREAMS":
        position += 2  # COUNT and BLOCK have a value
    ids = args[position + 1 + (len(args) - position - 1) // 2 :]
    return Reason.MOMENT if b"$" in ids or b"+" in ids else None


def _excuse_of_pending(args: Sequence[bytes]) -> Reason | None:
    return Reason.MOMENT if len(args) > 3 and args[3].upper() == b"IDLE" else None


def _excuse_of_scan(args: Sequence[bytes]) -> Reason | None:
    return None if len(args) > 2 and args[2] == b"0" else Reason.CURSOR


_EXCUSES: Final = {
    Rule.COUNT: _excuse_of_count,
    Rule.NEARBY: _excuse_of_nearby,
    Rule.SORTED: _excuse_of_sorted,
    Rule.STREAMS: _excuse_of_streams,
    Rule.PENDING: _excuse_of_pending,
    Rule.SCAN: _excuse_of_scan,
}
