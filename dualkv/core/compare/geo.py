"""Judging places: coordinates and distances that servers write with other digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dualkv.core.compare.arguments import geo_options, small_number
from dualkv.core.compare.model import MATCH, MISMATCHES, Detail, Reason, Verdict, inconclusive
from dualkv.core.compare.numbers import judge_float
from dualkv.core.compare.plain import judge_dicts, judge_each, judge_nothing, judge_value
from dualkv.core.compare.values import Odd, frozen, is_list, same

__all__ = ["judge_distance", "judge_nearby", "judge_positions"]

DEGREES: Final = 1e-6
"""Redis 8 writes 13.361389338970184 where Redis 7 and Valkey write 13.36138933897018433."""
DISTANCE: Final = 2e-4
"""Distances have 4 decimals: one in the last digit, and the rounding."""


def judge_positions(ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``GEOPOS``: arrays of nil or [longitude, latitude]."""
    return judge_each(ours, theirs, _judge_position)


def _judge_position(ours: Any, theirs: Any) -> Verdict:
    return judge_each(ours, theirs, lambda one, other: judge_float(one, other, DEGREES))


def judge_distance(ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``GEODIST``."""
    return judge_float(ours, theirs, DISTANCE)


def judge_nearby(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two lists of places nearby, with what was asked for about each.

    Without an order they are compared by member. With one, places at equal distances may change places: the
    distances tell if they were asked for. ``COUNT … ANY`` takes any places, if there are more.
    """
    if not (is_list(ours) and is_list(theirs)):
        return judge_value(ours, theirs)
    options = geo_options(args)
    facts: list[bytes] = [name for name in (b"WITHDIST", b"WITHHASH", b"WITHCOORD") if name in options]
    one, other = _by_member(ours, facts), _by_member(theirs, facts)
    verdict = judge_nothing(one, other) or judge_dicts(one, other, _are_close)
    if verdict.is_match:
        if not options.keys() & {b"ASC", b"DESC", b"COUNT"} or b"ANY" in options:
            return MATCH
        if list(one) == list(other) or _have_equal_distances(one, other, facts):
            return MATCH
        return MISMATCHES[Detail.ORDER] if facts[:1] == [b"WITHDIST"] else inconclusive(Reason.TIES)
    if len(one) == len(other) and len(one) == small_number((options.get(b"COUNT") or [b"0"])[0]):
        if b"ANY" in options:
            return inconclusive(Reason.SEVERAL_ANSWERS)
        if _have_equal_distances(one, other, facts):  # those at the edge are cut differently
            return inconclusive(Reason.WINDOW)
    return verdict


def _by_member(places: list[Any], facts: list[bytes]) -> dict[Any, list[Any]]:
    """Return places by member, in order, each with its facts (distance, hash, position)."""
    if not facts:
        found: dict[Any, list[Any]] = {frozen(place): [] for place in places}
    else:
        if not all(is_list(place) and len(place) == 1 + len(facts) for place in places):
            raise Odd
        found = {frozen(place[0]): list(zip(facts, place[1:], strict=True)) for place in places}
    if len(found) != len(places):
        raise Odd
    return found


def _are_close(ours: list[Any], theirs: list[Any]) -> bool:
    return all(_ARE_CLOSE[fact](one, other) for (fact, one), (_, other) in zip(ours, theirs, strict=True))


_ARE_CLOSE: Final[dict[bytes, Callable[[Any, Any], bool]]] = {
    b"WITHDIST": lambda one, other: judge_distance(one, other).is_match,
    b"WITHHASH": same,
    b"WITHCOORD": lambda one, other: _judge_position(one, other).is_match,
}


def _have_equal_distances(
    ours: Mapping[Any, list[Any]], theirs: Mapping[Any, list[Any]], facts: list[bytes]
) -> bool:
    """Whether the distances are known, and are equal place by place, whatever stands there."""
    return facts[:1] == [b"WITHDIST"] and all(
        judge_distance(one[0][1], other[0][1]).is_match
        for one, other in zip(ours.values(), theirs.values(), strict=True)
    )
