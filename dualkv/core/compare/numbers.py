"""Judging numbers that need not be equal to the last digit: scores, estimates, times to live."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from dualkv.core.compare.arguments import name_of
from dualkv.core.compare.model import (
    EXTRA,
    GAP,
    MATCH,
    WRONG_TTL,
    WRONG_VALUE,
    Reason,
    Tolerance,
    Verdict,
    inconclusive,
)
from dualkv.core.compare.plain import judge_count, judge_value
from dualkv.core.compare.values import integer, is_nothing, number

__all__ = ["close", "judge_estimate", "judge_float", "judge_ttl"]


def close(ours: float, theirs: float, tolerance: float = 0.0) -> bool:
    """Whether two numbers are equal but for the last digits, or differ by no more than *tolerance*."""
    return (
        ours == theirs
        or math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=tolerance)
        or (math.isnan(ours) and math.isnan(theirs))
    )


def judge_float(ours: Any, theirs: Any, tolerance: float = 0.0) -> Verdict:
    """Judge two numbers, written in any way."""
    one, other = number(ours), number(theirs)
    if one is None or other is None:
        return judge_value(ours, theirs)
    return MATCH if close(one, other, tolerance) else WRONG_VALUE


_GONE: Final = -2


def judge_ttl(args: Sequence[bytes], ours: Any, theirs: Any, tolerance: Tolerance) -> Verdict:
    """Judge two times to live or of expiry; the command tells the unit.

    -2 (gone) beside a time that is nearly over says nothing: it expires on both sides, one after the other.
    For times of expiry nobody knows here how near they are; reading again tells.
    """
    if is_nothing(ours) or is_nothing(theirs):
        return judge_value(ours, theirs)
    name = name_of(args)
    allowed = tolerance.ttl_milliseconds
    if not name.startswith((b"P", b"HP")):  # in seconds
        allowed = -(-allowed // 1000) + 1
    one, other = integer(ours), integer(theirs)
    if one == other:
        return MATCH
    if _GONE in (one, other):
        if not name.endswith(b"TIME") and 0 <= max(one, other) <= allowed:
            return inconclusive(Reason.NEAR_EXPIRY)
        return GAP if other == _GONE else EXTRA
    return MATCH if min(one, other) >= 0 and abs(one - other) <= allowed else WRONG_TTL


def judge_estimate(ours: Any, theirs: Any, share: float) -> Verdict:
    """Judge two estimates of a count, which may differ by a share of the bigger one."""
    one, other = integer(ours), integer(theirs)
    if abs(one - other) <= share * max(one, other):
        return MATCH
    return judge_count(ours, theirs)
