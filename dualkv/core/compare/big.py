"""Judging big replies in bounded memory.

Elements come one at a time out of a reader that is fed piece by piece, so that next to the two frames only
the element at hand and one piece of `_PIECE_BYTES` exist. Arrays are walked side by side. Of sets and maps,
the hashes of the elements (of each pair's bytes) are added up: equal sums and counts mean equal contents,
since Python's hash of bytes is keyed by a secret of the process (SipHash, 64 bits; PEP 456).

Two sets of 30,000 members of 10 bytes (1 MiB together) take 8 ms and 67 KB, two sorted sets 16 ms; a megabyte
of bigger elements takes less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any, Final

import hiredis

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
from dualkv.core.compare.numbers import judge_float
from dualkv.core.compare.plain import judge_nothing, judge_value
from dualkv.core.compare.values import Odd, frozen
from dualkv.core.compare.zsets import SUM_TOLERANCE
from dualkv.resp.replies import is_null, value_of

__all__ = [
    "BIG_BYTES",
    "MAX_BYTES",
    "NoValue",
    "judge_big_list",
    "judge_big_map",
    "judge_big_scored",
    "judge_big_set",
]

BIG_BYTES: Final = 1024 * 1024
"""Replies that are longer together are judged here, as far as their rule can be."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Longer ones are not judged: it would hold up everybody for 0.1 s or more (0.2 s for lists that have nothing
in common).
"""
_PIECE_BYTES: Final = 64 * 1024
_NOT_ENOUGH: Final = object()
_AGGREGATES: Final = frozenset(b"*~%")


class NoValue(Exception):
    """An element that Python cannot make a value of."""


def _elements(frame: bytes) -> Iterator[Any]:
    """Yield the elements of an aggregate, one at a time (a map's keys and values in turn)."""
    reader = hiredis.Reader(notEnoughData=_NOT_ENOUGH)
    try:
        for position in range(frame.index(b"\r\n") + 2, len(frame), _PIECE_BYTES):
            reader.feed(frame[position : position + _PIECE_BYTES])
            while (element := reader.gets()) is not _NOT_ENOUGH:
                yield element
    except (TypeError, hiredis.ProtocolError) as error:
        raise NoValue(str(error)) from None


def _pairs(frame: bytes) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of a map, a flat array or an array of pairs."""
    elements = _elements(frame)
    first = next(elements, None)
    if isinstance(first, list):
        for pair in chain((first,), elements):
            if not (isinstance(pair, list) and len(pair) == 2):
                raise Odd
            yield pair[0], pair[1]
    elif first is not None:
        yield from zip_longest(flat := chain((first,), elements), flat)


def _judge_without_elements(ours: bytes, theirs: bytes) -> Verdict | None:
    """Judge replies of which one is no aggregate, or empty; return None for two aggregates."""
    if ours[0] in _AGGREGATES and theirs[0] in _AGGREGATES:
        return judge_nothing(ours[1:3] != b"0\r" or None, theirs[1:3] != b"0\r" or None)
    if ours[0] not in _AGGREGATES and theirs[0] not in _AGGREGATES:
        return judge_value(value_of(ours), value_of(theirs))
    return EXTRA if is_null(ours) else GAP if is_null(theirs) else WRONG_TYPE


def judge_big_list(ours: bytes, theirs: bytes, leaf: Callable[[Any, Any], Verdict] = judge_value) -> Verdict:
    """Judge two big arrays, element by element; or two other replies of which one is big.

    Args:
        ours: The primary's reply, raw.
        theirs: The secondary's.
        leaf: Judges two elements.

    Raises:
        NoValue: An element makes none.
    """
    verdict = _judge_without_elements(ours, theirs)
    if verdict is not None:
        return verdict
    sizes, sums = [0, 0], [0, 0]
    found: set[Verdict] = set()
    for one, other in zip_longest(_elements(ours), _elements(theirs), fillvalue=_NOT_ENOUGH):
        if one == other:
            continue
        for index, element in enumerate((one, other)):
            if element is not _NOT_ENOUGH:
                sizes[index] += 1
                sums[index] += _hash(element)
        if sizes[0] == sizes[1]:
            found.add(leaf(one, other))
    if sizes[0] != sizes[1]:
        return MISMATCHES[Detail.MISSING if sizes[0] > sizes[1] else Detail.EXTRA]
    verdict = merged(found)
    return MISMATCHES[Detail.ORDER] if verdict is WRONG_VALUE and sums[0] == sums[1] else verdict


def judge_big_set(ours: bytes, theirs: bytes) -> Verdict:
    """Judge two big arrays or sets whose order means nothing."""
    verdict = _judge_without_elements(ours, theirs)
    return verdict or _judge_sums(_elements(ours), _elements(theirs))


def judge_big_map(ours: bytes, theirs: bytes) -> Verdict:
    """Judge two big maps, each in any of its forms."""
    verdict = _judge_without_elements(ours, theirs)
    return verdict or _judge_sums(_pairs(ours), _pairs(theirs))


def _judge_sums(ours: Iterable[Any], theirs: Iterable[Any]) -> Verdict:
    (size, total), (their_size, their_total) = _count_and_sum(ours), _count_and_sum(theirs)
    if size != their_size:
        return MISMATCHES[Detail.MISSING if size > their_size else Detail.EXTRA]
    return MATCH if total == their_total else WRONG_VALUE


def _count_and_sum(elements: Iterable[Any]) -> tuple[int, int]:
    size = total = 0
    for element in elements:
        size += 1
        total += _hash(element)
    return size, total


def _hash(element: Any) -> int:
    """Return a hash of bytes: that of a tuple is nearly linear in its parts, which is no good for sums."""
    if element.__class__ is bytes:
        return hash(element)
    if element.__class__ is tuple:  # a pair of a map
        key, value = element
        if key.__class__ is bytes is value.__class__:
            return hash(b"%d:%b%b" % (len(key), key, value))
        element = [key, value]
    return hash(repr(frozen(element)))


def judge_big_scored(ours: bytes, theirs: bytes, are_ties_open: bool) -> Verdict:
    """Judge two big arrays of members with scores.

    Args:
        ours: The primary's reply, raw.
        theirs: The secondary's.
        are_ties_open: Whether members with equal scores may stand in any order: if members differ then,
            nothing is said.
    """
    verdict = _judge_without_elements(ours, theirs)
    if verdict is not None:
        return verdict
    is_equal = True
    surplus = 0
    for one, other in zip_longest(_pairs(ours), _pairs(theirs)):
        if one is None or other is None:
            surplus += 1 if other is None else -1
        elif is_equal and one != other:
            is_equal = one[0] == other[0] and judge_float(one[1], other[1], SUM_TOLERANCE).is_match
    if surplus:
        return MISMATCHES[Detail.MISSING if surplus > 0 else Detail.EXTRA]
    if is_equal:
        return MATCH
    return inconclusive(Reason.TOO_BIG) if are_ties_open else WRONG_VALUE
