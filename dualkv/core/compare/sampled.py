"""Judging replies of which several would be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualkv.core.compare.arguments import name_of, sort_options
from dualkv.core.compare.model import MATCH, Detail, Reason, Verdict, inconclusive
from dualkv.core.compare.plain import judge_each, judge_nothing, judge_value
from dualkv.core.compare.values import is_list, pairs_of, same
from dualkv.core.script_facts import facts_of

__all__ = ["judge_script", "judge_sorted", "judge_subsequence"]


def judge_sorted(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``SORT``.

    Numbers have one order (equal ones by their bytes). Text is ordered by the server's locale, and without
    sorting (``BY`` something without ``*``) a set has the order it has.
    """
    verdict = judge_each(ours, theirs)
    options = sort_options(args)
    if verdict.kind is None or not options.keys() & {b"ALPHA", b"BY"}:
        return verdict
    if verdict.detail is Detail.ORDER:
        return inconclusive(Reason.TIES)
    if b"LIMIT" in options and is_list(ours) and is_list(theirs) and len(ours) == len(theirs):
        return inconclusive(Reason.WINDOW)
    return verdict


def judge_subsequence(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of ``LCS``: there may be several longest subsequences, all of one length."""
    options = {option.upper() for option in args[3:]}
    if b"LEN" in options:
        return judge_nothing(ours, theirs, 0) or judge_value(ours, theirs)
    if b"IDX" in options:
        one, other = pairs_of(ours), pairs_of(theirs)
        if same(one, other):
            return MATCH
        lengths = one.get(b"len"), other.get(b"len")
        if same(*lengths):
            return inconclusive(Reason.SEVERAL_ANSWERS)
        return judge_nothing(*lengths, 0) or judge_value(*lengths)
    verdict = judge_nothing(ours, theirs, b"") or judge_value(ours, theirs)
    is_text = isinstance(ours, bytes) and isinstance(theirs, bytes)
    return inconclusive(Reason.SEVERAL_ANSWERS) if is_text and len(ours) == len(theirs) else verdict


def judge_script(args: Sequence[bytes], ours: Any, theirs: Any) -> Verdict:
    """Judge two answers of a script that only reads.

    A difference counts if the script's text tells that it depends on nothing but data (no time, no chance,
    no order of a set). ``EVALSHA_RO`` has no text: whoever knows it asks as if for ``EVAL_RO`` with it. A
    function's text is not at hand.
    """
    verdict = judge_each(ours, theirs)
    if verdict.kind is None:
        return verdict
    is_told = name_of(args) == b"EVAL_RO" and len(args) > 1 and facts_of(args[1]).is_repeatable
    return verdict if is_told else inconclusive(Reason.SCRIPT)
