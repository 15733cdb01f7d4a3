"""One meaning in several forms: RESP2 and RESP3 write nil, numbers and maps differently, and so do servers.

Values are what `dualkv.resp.replies.value_of` makes of a frame.
"""

from __future__ import annotations

import math
from typing import Any

import hiredis

__all__ = ["Odd", "frozen", "integer", "is_list", "is_nothing", "number", "pairs_of", "same", "scored_of"]


class Odd(Exception):
    """A value that has not the form that the command's replies have: it is compared as it is."""


def is_list(value: Any) -> bool:
    """Whether a value is an array or a set."""
    return isinstance(value, list)


def is_nothing(value: Any) -> bool:
    """Whether a value is nil or an empty aggregate: the forms of "nothing there", which differ by version."""
    return value is None or value in ([], {})


def frozen(value: Any) -> Any:
    """Return a value in the one form for all that mean the same, as something that can be counted.

    Integers become their text (RESP2 has numbers as bulk strings where RESP3 has not, and some servers have
    it the other way round), errors their code, arrays tuples.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, list):
        return tuple(map(frozen, value))
    if isinstance(value, dict):
        return frozenset((frozen(key), frozen(item)) for key, item in value.items())
    if isinstance(value, float) and math.isnan(value):
        return float  # any object that equals itself
    if isinstance(value, hiredis.ReplyError):
        return (hiredis.ReplyError, str(value).split(" ", 1)[0])
    return value


def same(ours: Any, theirs: Any) -> bool:
    """Whether two values mean the same without knowing the command."""
    return bool(ours == theirs) or frozen(ours) == frozen(theirs)


def number(value: Any) -> float | None:
    """Return a number however it is written; None if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def integer(value: Any) -> int:
    """Return an integer that is one or is written as text.

    Raises:
        Odd: It is none.
    """
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise Odd from None


def pairs_of(value: Any) -> dict[Any, Any]:
    """Return a map: RESP3's, RESP2's flat array, or an array of pairs.

    Raises:
        Odd: Not a map, or one that has a key twice.
    """
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    if not isinstance(value, list):
        raise Odd
    try:
        if value and isinstance(value[0], list):
            if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
                raise Odd
            found, size = dict(value), len(value)
        else:
            found, size = dict(zip(value[::2], value[1::2], strict=True)), len(value) // 2
    except (TypeError, ValueError):  # a key that is an array; a key without a value
        raise Odd from None
    if len(found) != size:
        raise Odd
    return found


def scored_of(value: Any) -> tuple[list[Any], list[float]]:
    """Return members and scores of RESP2's flat array or RESP3's array of pairs.

    Raises:
        Odd: It is neither.
    """
    if not isinstance(value, list):
        raise Odd
    if value and isinstance(value[0], list):
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            raise Odd
        members, scores = [pair[0] for pair in value], [pair[1] for pair in value]
    else:
        members, scores = value[::2], value[1::2]
    if len(members) != len(scores):
        raise Odd
    try:
        return members, list(map(float, scores))
    except (TypeError, ValueError, OverflowError):
        raise Odd from None
