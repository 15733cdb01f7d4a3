"""Whether two replies to the same read mean the same.

Frames that are equal as bytes match without looking further, and that is nearly all of them. What differs
is turned into values and compared as the command's meaning demands: servers order sets and hashes as they
like, and write the same score as ``0.1`` or ``0.10000000000000001``. Reads whose reply depends on the
server or the moment (``TTL``, ``SCAN``, ``RANDOMKEY``, ``OBJECT`` …) have no comparator and are not shadowed.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis

from dualkv.commands.table import CommandSpec
from dualkv.core.divergence import DivergenceKind
from dualkv.resp.replies import value_of

__all__ = ["Comparator", "comparator_for", "compare"]


class Comparator(enum.Enum):
    """What equality means for a command's replies."""

    EXACT = "exact"
    """Equal values in equal order."""
    COUNT = "count"
    """Equal numbers; 0 means that the data is missing."""
    TYPE = "type"
    """Equal words; ``none`` means that the data is missing."""
    UNORDERED = "unordered"
    """Equal elements in any order, counted."""
    MAP = "map"
    """Equal pairs in any order."""
    SCORES = "scores"
    """Equal numbers, however they are written."""
    SCORED_MEMBERS = "scored members"
    """Equal members (or a rank) in equal order, with equal scores if they were asked for."""
    SUMMED_MEMBERS = "summed members"
    """The same with scores that the server adds up, in an order of its own."""


_COMPARATORS: Final[dict[Comparator, str]] = {
    Comparator.EXACT: (
        "GET MGET GETRANGE SUBSTR HGET HMGET LINDEX LRANGE GETBIT BITPOS BITFIELD_RO LPOS GEOHASH "
        "SISMEMBER SMISMEMBER HEXISTS ZRANGEBYLEX ZREVRANGEBYLEX XRANGE XREVRANGE XREAD"
    ),
    Comparator.COUNT: (
        "STRLEN HSTRLEN HLEN LLEN SCARD ZCARD XLEN BITCOUNT EXISTS ZCOUNT ZLEXCOUNT SINTERCARD "
        "ZINTERCARD PFCOUNT"
    ),
    Comparator.TYPE: "TYPE",
    Comparator.UNORDERED: "HKEYS HVALS SMEMBERS SINTER SUNION SDIFF",
    Comparator.MAP: "HGETALL",
    Comparator.SCORES: "ZSCORE ZMSCORE",
    Comparator.SCORED_MEMBERS: "ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZDIFF ZRANK ZREVRANK",
    Comparator.SUMMED_MEMBERS: "ZUNION ZINTER",
}
_COMPARATOR_BY_NAME: Final = {
    name: comparator for comparator, names in _COMPARATORS.items() for name in names.split()
}


def comparator_for(spec: CommandSpec) -> Comparator | None:
    """Return how replies of a command are compared; None if they are not."""
    return _COMPARATOR_BY_NAME.get(spec.name)


def compare(
    comparator: Comparator, args: Sequence[bytes], expected: bytes, actual: bytes
) -> DivergenceKind | None:
    """Compare the replies of the primary and the secondary to one read.

    Args:
        comparator: What equality means.
        args: The read.
        expected: The primary's reply, raw.
        actual: The secondary's, raw, in the same RESP version.

    Returns:
        How they differ, or None if they mean the same.
    """
    if expected == actual:
        return None
    ours, theirs = value_of(expected), value_of(actual)
    if isinstance(ours, hiredis.ReplyError) or isinstance(theirs, hiredis.ReplyError):
        return _compare_errors(_error_code(ours), _error_code(theirs))
    if comparator in _WITH_SCORES and not _asks_for_scores(args):
        comparator = Comparator.EXACT
    equal = _EQUALITY[comparator]
    try:
        return None if equal(ours, theirs) else _kind(comparator, ours, theirs)
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"an odd reply: {error}") from None


_NOT_ABOUT_DATA: Final = frozenset(
    {
        "ERR", "LOADING", "BUSY", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "READONLY", "OOM", "MISCONF",
        "MASTERDOWN", "NOREPLICAS", "UNBLOCKED",
    }
)  # fmt: skip
"""Codes of errors that tell of the server's state, or that it does not understand the read."""


def _error_code(value: Any) -> str | None:
    return str(value).split(" ", 1)[0] if isinstance(value, hiredis.ReplyError) else None


def _compare_errors(ours: str | None, theirs: str | None) -> DivergenceKind | None:
    if ours == theirs:
        return None
    for code in (ours, theirs):
        if code in _NOT_ABOUT_DATA:
            raise ValueError(f"{code} says nothing about the data")
    return DivergenceKind.DATA_MISMATCH


_WITH_SCORES: Final = frozenset({Comparator.SCORED_MEMBERS, Comparator.SUMMED_MEMBERS})
_COUNTS_ITS_KEYS: Final = frozenset({b"ZUNION", b"ZINTER", b"ZDIFF"})


def _asks_for_scores(args: Sequence[bytes]) -> bool:
    """Whether a read of a sorted set has the option; a key may be called like it."""
    first_option = 2 + int(args[1]) if args[0].upper() in _COUNTS_ITS_KEYS else 3
    return any(option.upper() in (b"WITHSCORES", b"WITHSCORE") for option in args[first_option:])


def _kind(comparator: Comparator, ours: Any, theirs: Any) -> DivergenceKind:
    """Tell missing data on either side from data that differs."""
    differing = [(ours, theirs)]
    if _is_list(ours) and _is_list(theirs) and len(ours) == len(theirs):
        # MGET and its like: look only at the elements that differ.
        equal = _equal_scores if comparator is Comparator.SCORES else _equal
        differing = [(one, other) for one, other in zip(ours, theirs, strict=True) if not equal(one, other)]
    ours_missing = all(_is_missing(comparator, one) for one, _ in differing)
    theirs_missing = all(_is_missing(comparator, other) for _, other in differing)
    if theirs_missing and not ours_missing:
        return DivergenceKind.MIGRATION_GAP
    if ours_missing and not theirs_missing:
        return DivergenceKind.EXTRA_DATA
    return DivergenceKind.DATA_MISMATCH


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_NOTHING: Final = {Comparator.COUNT: 0, Comparator.TYPE: b"none"}


def _is_missing(comparator: Comparator, value: Any) -> bool:
    return value is None or value in ([], {}, _NOTHING.get(comparator))


def _freeze(value: Any) -> Any:
    """Return *value* as something that can be counted."""
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    if isinstance(value, dict):
        return frozenset((_freeze(key), _freeze(item)) for key, item in value.items())
    return value


def _equal_unordered(ours: Any, theirs: Any) -> bool:
    if not (_is_list(ours) and _is_list(theirs)):
        return bool(ours == theirs)
    return Counter(map(_freeze, ours)) == Counter(map(_freeze, theirs))


def _equal_maps(ours: Any, theirs: Any) -> bool:
    return _equal(_pairs(ours), _pairs(theirs))


def _pairs(value: Any) -> Any:
    if not _is_list(value):
        return value  # RESP3: a dict
    if value and all(_is_list(pair) and len(pair) == 2 for pair in value):
        return dict(value)
    return dict(zip(value[::2], value[1::2], strict=False))


def _equal_scores(ours: Any, theirs: Any, tolerance: float = 0.0) -> bool:
    if _is_list(ours) and _is_list(theirs):
        return len(ours) == len(theirs) and all(
            _equal_scores(one, other, tolerance) for one, other in zip(ours, theirs, strict=True)
        )
    if ours == theirs:
        return True
    one, other = _number(ours), _number(theirs)
    if one is None or other is None:
        return False
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=tolerance) or (
        math.isnan(one) and math.isnan(other)
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _equal_scored_members(ours: Any, theirs: Any, tolerance: float = 0.0) -> bool:
    """Members equal and scores close; RESP2 answers a flat list, RESP3 pairs."""
    if not (_is_list(ours) and _is_list(theirs)) or len(ours) != len(theirs):
        return bool(ours == theirs)
    if any(map(_is_list, ours)):
        return all(
            _is_list(one) and _is_list(other) and _equal_scored_members(one, other, tolerance)
            for one, other in zip(ours, theirs, strict=True)
        )
    return bool(ours[::2] == theirs[::2]) and _equal_scores(ours[1::2], theirs[1::2], tolerance)


def _equal_summed_members(ours: Any, theirs: Any) -> bool:
    return _equal_scored_members(ours, theirs, tolerance=1e-12)


def _equal(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs)


_EQUALITY: Final[dict[Comparator, Callable[[Any, Any], bool]]] = {
    Comparator.EXACT: _equal,
    Comparator.COUNT: _equal,
    Comparator.TYPE: _equal,
    Comparator.UNORDERED: _equal_unordered,
    Comparator.MAP: _equal_maps,
    Comparator.SCORES: _equal_scores,
    Comparator.SCORED_MEMBERS: _equal_scored_members,
    Comparator.SUMMED_MEMBERS: _equal_summed_members,
}
