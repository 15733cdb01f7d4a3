"""Judging values, lists, sets, maps and counts.

Functions with *leaf* take a judge of single values for the elements. All return `MATCH` for what means the
same, whatever it looks like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from dualkv.core.compare.model import (
    EXTRA,
    GAP,
    MATCH,
    MISMATCHES,
    WRONG_TYPE,
    WRONG_VALUE,
    Detail,
    Reason,
    Verdict,
    inconclusive,
    merged,
)
from dualkv.core.compare.values import frozen, is_list, is_nothing, pairs_of, same

__all__ = [
    "detail_of", "judge_count", "judge_dicts", "judge_each", "judge_map", "judge_nothing", "judge_string",
    "judge_type", "judge_unordered", "judge_value",
]  # fmt: skip

Leaf = Callable[[Any, Any], Verdict]


def judge_nothing(ours: Any, theirs: Any, nothing: Any = None) -> Verdict | None:
    """Judge values of which at least one is nil, empty, or *nothing*; return None if none is."""
    ours_missing = is_nothing(ours) or (nothing is not None and ours == nothing)
    theirs_missing = is_nothing(theirs) or (nothing is not None and theirs == nothing)
    if ours_missing:
        return MATCH if theirs_missing else EXTRA
    return GAP if theirs_missing else None


def judge_value(ours: Any, theirs: Any) -> Verdict:
    """Judge two values that are equal or not."""
    if ours.__class__ is bytes is theirs.__class__ and ours and theirs:
        return MATCH if ours == theirs else WRONG_VALUE
    if same(ours, theirs):
        return MATCH
    verdict = judge_nothing(ours, theirs)
    if verdict is not None:
        return verdict
    if is_list(ours) and is_list(theirs):
        return MISMATCHES[detail_of(ours, theirs)]
    return WRONG_TYPE if is_list(ours) != is_list(theirs) else WRONG_VALUE


def judge_each(ours: Any, theirs: Any, leaf: Leaf = judge_value) -> Verdict:
    """Judge two arrays element by element; what is not two arrays, as two values."""
    if not (is_list(ours) and is_list(theirs)):
        return leaf(ours, theirs)
    if len(ours) != len(theirs):
        return judge_value(ours, theirs)
    if ours == theirs:
        return MATCH
    verdict = merged(map(leaf, ours, theirs))
    return MISMATCHES[detail_of(ours, theirs)] if verdict is WRONG_VALUE else verdict


def detail_of(ours: Sequence[Any], theirs: Sequence[Any]) -> Detail:
    """Return how arrays that are not equal differ: in their order, or in what they hold."""
    one, other = Counter(map(frozen, ours)), Counter(map(frozen, theirs))
    if one == other:
        return Detail.ORDER
    if other <= one:
        return Detail.MISSING
    return Detail.EXTRA if one <= other else Detail.VALUE


def judge_unordered(ours: Any, theirs: Any) -> Verdict:
    """Judge two arrays or sets whose order means nothing."""
    if not (is_list(ours) and is_list(theirs)):
        return judge_value(ours, theirs)
    verdict = judge_nothing(ours, theirs)
    if verdict is not None:
        return verdict
    try:
        if Counter(ours) == Counter(theirs):
            return MATCH
    except TypeError:  # an element that is an aggregate
        pass
    detail = detail_of(ours, theirs)
    return MATCH if detail is Detail.ORDER else MISMATCHES[detail]


def judge_map(ours: Any, theirs: Any) -> Verdict:
    """Judge two maps, each in any of its forms."""
    return judge_dicts(pairs_of(ours), pairs_of(theirs))


def judge_dicts(
    ours: Mapping[Any, Any], theirs: Mapping[Any, Any], is_equal: Callable[[Any, Any], bool] = same
) -> Verdict:
    """Judge two maps.

    Args:
        ours: The primary's.
        theirs: The secondary's.
        is_equal: Whether two values of them are equal.
    """
    if ours == theirs:
        return MATCH
    verdict = judge_nothing(ours, theirs)
    if verdict is not None:
        return verdict
    missing, extra = _only(ours, theirs), _only(theirs, ours)
    if any(not is_equal(item, theirs[key]) for key, item in ours.items() if key in theirs):
        return WRONG_VALUE
    if not missing and not extra:
        return MATCH
    return MISMATCHES[Detail.VALUE if missing and extra else Detail.MISSING if missing else Detail.EXTRA]


def _only(ours: Mapping[Hashable, Any], theirs: Mapping[Hashable, Any]) -> AbstractSet[Hashable]:
    return ours.keys() - theirs.keys()


# --- strings and counts ----------------------------------------------------------------------------------

_HLL: Final = b"HYLL"
_HLL_CACHE: Final = slice(8, 16)
"""Redis, ``hyperloglog.c``: magic, encoding, 3 unused bytes, 8 bytes of cached cardinality, registers."""
_HLL_ENCODING: Final = 4
_HLL_DENSE: Final = 0


def judge_string(ours: Any, theirs: Any) -> Verdict:
    """Judge two strings; HyperLogLogs without the count that ``PFCOUNT`` caches in them."""
    if ours.__class__ is bytes is theirs.__class__ and ours[:4] == _HLL == theirs[:4]:
        if ours[: _HLL_CACHE.start] == theirs[: _HLL_CACHE.start]:
            if ours[_HLL_CACHE.stop :] == theirs[_HLL_CACHE.stop :]:
                return MATCH
            if ours[_HLL_ENCODING] == _HLL_DENSE:
                return WRONG_VALUE
        return inconclusive(Reason.HYPERLOGLOG)
    return judge_value(ours, theirs)


def judge_count(ours: Any, theirs: Any) -> Verdict:
    """Judge two numbers of things; 0 of them means that nothing is there."""
    return MATCH if same(ours, theirs) else judge_nothing(ours, theirs, 0) or judge_value(ours, theirs)


def judge_type(ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``TYPE``."""
    if same(ours, theirs):
        return MATCH
    return judge_nothing(ours, theirs, b"none") or WRONG_TYPE
