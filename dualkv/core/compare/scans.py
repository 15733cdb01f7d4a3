"""Judging scans that are over in one step: of others, the cursors are each server's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualkv.core.compare.arguments import name_of
from dualkv.core.compare.model import Reason, Verdict, skipped
from dualkv.core.compare.numbers import judge_float
from dualkv.core.compare.plain import judge_dicts, judge_unordered
from dualkv.core.compare.values import Odd, frozen, is_list, same

__all__ = ["judge_scan"]


def judge_scan(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two scans that began and ended in this step; an element may come twice."""
    for value in (ours, theirs):
        if not (is_list(value) and len(value) == 2 and is_list(value[1])):
            raise Odd
    if (frozen(ours[0]), frozen(theirs[0])) != (b"0", b"0"):
        return skipped(Reason.CURSOR)
    one, other = ours[1], theirs[1]
    name = name_of(args)
    if name == b"SSCAN" or b"NOVALUES" in map(bytes.upper, args[3:]):
        return judge_unordered(list(set(map(frozen, one))), list(set(map(frozen, other))))
    is_equal = same if name == b"HSCAN" else _are_close
    return judge_dicts(_last_of_each(one), _last_of_each(other), is_equal)


def _last_of_each(elements: list[Any]) -> dict[Any, Any]:
    if len(elements) % 2:
        raise Odd
    return dict(zip(map(frozen, elements[::2]), elements[1::2], strict=True))


def _are_close(ours: Any, theirs: Any) -> bool:
    return judge_float(ours, theirs).is_match
