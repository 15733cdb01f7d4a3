"""Judging sorted sets: an order in which equals may change places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from dualkv.core.compare.arguments import asks_for_scores, is_window
from dualkv.core.compare.model import (
    MATCH,
    MISMATCHES,
    WRONG_VALUE,
    Detail,
    Reason,
    Tolerance,
    Verdict,
    inconclusive,
    merged,
)
from dualkv.core.compare.numbers import close, judge_float
from dualkv.core.compare.plain import judge_dicts, judge_each, judge_value
from dualkv.core.compare.values import is_list, scored_of

__all__ = ["SUM_TOLERANCE", "judge_rank", "judge_scored"]

SUM_TOLERANCE: Final = 1e-12
"""Sums of scores depend on the order of adding: what is left of 0.1 + 0.2 - 0.3 is as good as 0."""


def judge_rank(ours: Any, theirs: Any) -> Verdict:
    """Judge two ranks, with a score each or without."""
    if is_list(ours) and is_list(theirs) and len(ours) == len(theirs) == 2:
        return merged((judge_value(ours[0], theirs[0]), judge_float(ours[1], theirs[1])))
    return judge_value(ours, theirs)


def judge_scored(
    args: Sequence[bytes], ours: Any, theirs: Any, tolerance: Tolerance, *, are_sums: bool = False
) -> Verdict:
    """Judge two arrays of members in the order of their scores.

    Args:
        args: The read.
        ours: The primary's members, with scores if it asks for them.
        theirs: The secondary's.
        tolerance: Whether equal scores leave the order open.
        are_sums: Whether the server added the scores: what is equal may then be told apart by the last
            digits, so that equals have no order.
    """
    are_ties_open = are_sums or not tolerance.are_ties_ordered
    if not asks_for_scores(args):
        verdict = judge_each(ours, theirs)
        if are_ties_open and verdict.detail is Detail.ORDER and b"BYLEX" not in map(bytes.upper, args[4:]):
            return inconclusive(Reason.TIES)
        return verdict
    (members, scores), (their_members, their_scores) = scored_of(ours), scored_of(theirs)
    if not members or not their_members:
        return judge_value(members, their_members)
    allowed = SUM_TOLERANCE if are_sums else 0.0
    if len(members) == len(their_members) and (
        scores == their_scores
        or all(close(one, other, allowed) for one, other in zip(scores, their_scores, strict=True))
    ):
        if members == their_members:
            return MATCH
        if are_ties_open:
            differing = [
                (start, end)
                for start, end in _runs(scores, allowed)
                if sorted(map(repr, members[start:end])) != sorted(map(repr, their_members[start:end]))
            ]
            if not differing:
                return MATCH
            if is_window(args) and all(start == 0 or end == len(members) for start, end in differing):
                return inconclusive(Reason.WINDOW)
    return _difference(members, scores, their_members, their_scores)


def _runs(scores: Sequence[float], allowed: float) -> Iterator[tuple[int, int]]:
    """Yield where each run of equal scores begins and ends."""
    start = 0
    for position in range(1, len(scores) + 1):
        if position == len(scores) or not close(scores[position - 1], scores[position], allowed):
            yield start, position
            start = position


def _difference(
    members: list[Any], scores: list[float], their_members: list[Any], their_scores: list[float]
) -> Verdict:
    try:
        ours = dict(zip(members, scores, strict=True))
        theirs = dict(zip(their_members, their_scores, strict=True))
    except TypeError:  # a member that is an array
        return WRONG_VALUE
    verdict = judge_dicts(ours, theirs, lambda one, other: close(one, other, SUM_TOLERANCE))
    return MISMATCHES[Detail.ORDER] if verdict.is_match else verdict
