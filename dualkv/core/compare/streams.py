"""Judging streams: entries, pending entries, and the facts about a stream that its data decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dualkv.core.compare.arguments import name_of
from dualkv.core.compare.model import MATCH, Reason, Tolerance, Verdict, inconclusive, merged
from dualkv.core.compare.plain import judge_count, judge_dicts, judge_each, judge_nothing, judge_value
from dualkv.core.compare.values import Odd, frozen, integer, is_list, is_nothing, pairs_of, same

__all__ = ["judge_entries", "judge_info", "judge_pending", "judge_streams"]


def judge_entries(args: Sequence[bytes], ours: Any, theirs: Any, tolerance: Tolerance) -> Verdict:
    """Judge two arrays of entries, [id, [field, value …]] each, ascending (``XREVRANGE``: descending)."""
    verdict = judge_each(ours, theirs)
    if verdict.kind is None or tolerance.is_trimming_exact or not (is_list(ours) and is_list(theirs)):
        return verdict
    one, other = _entries(ours), _entries(theirs)
    if name_of(args) == b"XREVRANGE":
        one, other = one[::-1], other[::-1]
    if not one or not other:  # all of it may have been trimmed
        return inconclusive(Reason.TRIMMED)
    first = max(one[0][0], other[0][0])
    one, other = ([entry for entry in entries if entry[0] >= first] for entries in (one, other))
    if not one or not other:
        return inconclusive(Reason.TRIMMED)
    if len(ours) == len(theirs):  # COUNT cuts what begins later at a later end
        last = min(one[-1][0], other[-1][0])
        one, other = ([entry for entry in entries if entry[0] <= last] for entries in (one, other))
    return inconclusive(Reason.TRIMMED) if one == other else verdict


def _entries(value: list[Any]) -> list[tuple[tuple[int, int], Any]]:
    """Return entries with ids that can be compared."""
    found = []
    for entry in value:
        if not (is_list(entry) and len(entry) == 2 and isinstance(entry[0], bytes)):
            raise Odd
        milliseconds, _, number = entry[0].partition(b"-")
        found.append(((integer(milliseconds), integer(number)), frozen(entry[1])))
    return found


def judge_streams(args: Sequence[bytes], ours: Any, theirs: Any, tolerance: Tolerance) -> Verdict:
    """Judge two answers of ``XREAD``: entries by stream, one that has none left out."""
    one, other = pairs_of(ours), pairs_of(theirs)
    return merged(
        judge_entries(args, one.get(stream, []), other.get(stream, []), tolerance)
        for stream in one.keys() | other.keys()
    )


def judge_pending(args: Sequence[bytes], ours: Any, theirs: Any, tolerance: Tolerance) -> Verdict:
    """Judge two answers of ``XPENDING``, without the time that an entry has been waiting."""
    if not (is_list(ours) and is_list(theirs)):
        return judge_value(ours, theirs)
    if len(args) == 3:
        return _judge_summary(ours, theirs)
    width = 4 if tolerance.are_deliveries_counted else 3
    return judge_each(_without_idle(ours, width), _without_idle(theirs, width))


def _judge_summary(ours: list[Any], theirs: list[Any]) -> Verdict:
    """Judge two of [count, first id, last id, [[consumer, count] …]]."""
    if not len(ours) == len(theirs) == 4:
        raise Odd
    verdict = judge_nothing(ours[0], theirs[0], 0)
    if verdict is not None:
        return verdict
    return merged((judge_value(ours[:3], theirs[:3]), judge_dicts(pairs_of(ours[3]), pairs_of(theirs[3]))))


def _without_idle(entries: list[Any], width: int) -> list[Any]:
    """Return entries [id, consumer, idle, deliveries] without what is not compared."""
    if not all(is_list(entry) and len(entry) == 4 for entry in entries):
        raise Odd
    return [entry[:2] + entry[3:width] for entry in entries]


_STREAM_FACTS: Final = (b"length", b"last-generated-id", b"entries-added", b"first-entry", b"last-entry")
_GROUP_FACTS: Final = (b"last-delivered-id", b"pending")


def judge_info(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``XINFO``: only facts that the data decides, and that both servers know.

    Radix trees, idle times, lags and what newer servers added are left out; so are consumers that have
    nothing pending.
    """
    if is_nothing(ours) or is_nothing(theirs):
        return judge_value(ours, theirs)
    what = args[1].upper() if len(args) > 1 else b""
    if what == b"STREAM":
        return _judge_facts(pairs_of(ours), pairs_of(theirs), _STREAM_FACTS)
    if not (is_list(ours) and is_list(theirs)):
        raise Odd
    one, other = _by_name(ours), _by_name(theirs)
    if what == b"CONSUMERS":
        return judge_dicts(_pending_by_name(one), _pending_by_name(other))
    return merged(
        [judge_dicts(dict.fromkeys(one), dict.fromkeys(other))]
        + [_judge_facts(one[name], other[name], _GROUP_FACTS) for name in one.keys() & other.keys()]
    )


def _by_name(described: list[Any]) -> dict[Any, dict[Any, Any]]:
    maps = list(map(pairs_of, described))
    return {frozen(facts.get(b"name")): facts for facts in maps}


def _pending_by_name(consumers: dict[Any, dict[Any, Any]]) -> dict[Any, int]:
    counts = {name: integer(facts.get(b"pending")) for name, facts in consumers.items()}
    return {name: count for name, count in counts.items() if count}


def _judge_facts(ours: dict[Any, Any], theirs: dict[Any, Any], names: Sequence[bytes]) -> Verdict:
    known = [name for name in names if name in ours and name in theirs]
    one, other = ({name: facts[name] for name in known} for facts in (ours, theirs))
    if b"length" in known and not same(one[b"length"], other[b"length"]):
        verdict = judge_count(one[b"length"], other[b"length"])
        if verdict is not MATCH:
            return verdict
    return judge_dicts(one, other)
