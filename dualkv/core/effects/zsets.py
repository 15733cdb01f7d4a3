"""Sorted sets and places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import Questions, amount, copies, effects, frames, text
from dualkv.resp.replies import is_null

__all__ = ["QUESTIONS", "RULES"]

_FLAGS: Final = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"})
_CONDITIONS: Final = frozenset({b"NX", b"XX", b"GT", b"LT"})


def _split(args: Args) -> tuple[frozenset[bytes], Args]:
    """Return the flags of ``ZADD`` or ``GEOADD``, and what stands behind them."""
    position = 2
    while args[position].upper() in _FLAGS:
        position += 1
    return frozenset(word.upper() for word in args[2:position]), args[position:]


# --- conditions: the scores as they are afterwards -------------------------------------------------------


def _ask_for_scores(width: int) -> Questions:
    """Conditions are the primary's to judge: ask what came out, member by member.

    Args:
        width: How many words belong to a member, itself the last: a score, or longitude and latitude.
    """

    def questions(args: Args) -> tuple[Args, ...]:
        flags, words = _split(args)
        if b"INCR" in flags or not flags & _CONDITIONS:
            return ()
        return tuple((b"ZSCORE", args[1], member) for member in dict.fromkeys(words[width - 1 :: width]))

    return questions


def _add(execution: Execution) -> Effects:
    """``ZADD``, ``GEOADD``."""
    flags, words = _split(execution.args)
    key = execution.args[1]
    if b"INCR" in flags:
        if is_null(execution.reply):
            return NOTHING
        return effects(Command((b"ZADD", key, text(execution.reply), words[1])))
    if not flags & _CONDITIONS or not execution.answers:
        return effects(Command(execution.args, execution.reply))
    width = 2 if execution.spec.name == "ZADD" else 3
    members = dict.fromkeys(words[width - 1 :: width])
    scored: list[bytes] = []
    for member, answer in zip(members, execution.answers, strict=True):
        if not is_null(answer):
            scored += (text(answer), member)
    return effects(Command((b"ZADD", key, *scored))) if scored else NOTHING


def _count(execution: Execution) -> Effects:
    """``ZINCRBY``."""
    _, key, _, member = execution.args
    return effects(Command((b"ZADD", key, text(execution.reply), member)))


# --- pops ------------------------------------------------------------------------------------------------


def _without(key: bytes, members: Sequence[bytes]) -> Effects:
    return effects(Command((b"ZREM", key, *members), amount(len(members)))) if members else NOTHING


def _members(scored: list[bytes]) -> list[bytes]:
    """Return the members among frames: member and score in turn (RESP2), or pairs of them (RESP3)."""
    if scored and scored[0][:1] == b"*":
        return [text(frames(pair)[0]) for pair in scored]
    return [text(frame) for frame in scored[::2]]


def _pop(execution: Execution) -> Effects:
    """``ZPOPMIN``, ``ZPOPMAX``."""
    return _without(execution.args[1], _members(frames(execution.reply)))


def _pop_first(execution: Execution) -> Effects:
    """``BZPOPMIN``, ``BZPOPMAX``: key, member, score."""
    if is_null(execution.reply):
        return NOTHING
    key, member, _ = frames(execution.reply)
    return _without(text(key), [text(member)])


def _pop_many(execution: Execution) -> Effects:
    """``ZMPOP``, ``BZMPOP``: a key, and pairs of member and score."""
    if is_null(execution.reply):
        return NOTHING
    key, scored = frames(execution.reply)
    return _without(text(key), _members(frames(scored)))


# --- places ----------------------------------------------------------------------------------------------


def _search(first_option: int) -> Rule:
    """``GEORADIUS``, ``GEORADIUSBYMEMBER``: reads, unless they store."""

    def rule(execution: Execution) -> Effects:
        words = execution.args
        options = [word.upper() for word in words]
        stored = [at for at in range(first_option, len(words)) if options[at] in (b"STORE", b"STOREDIST")]
        if not stored:
            return NOTHING
        return _stored(execution, words[stored[-1] + 1], first_option)

    return rule


def _search_and_store(execution: Execution) -> Effects:
    """``GEOSEARCHSTORE``: target, source, and options only."""
    return _stored(execution, execution.args[1], 3)


def _stored(execution: Execution, target: bytes, first_option: int) -> Effects:
    """Which are the nearest is open among equals, and distances are rounded as the machine likes."""
    options = {word.upper() for word in execution.args[first_option:]}
    if options & {b"COUNT", b"STOREDIST"}:
        return copies([target])
    return effects(Command(execution.args, execution.reply))


QUESTIONS: Final[dict[str, Questions]] = {"ZADD": _ask_for_scores(2), "GEOADD": _ask_for_scores(3)}

RULES: Final[dict[str, Rule]] = {
    "ZADD": _add,
    "ZINCRBY": _count,
    "ZREM": Verbatim(is_checked=True),
    "ZREMRANGEBYSCORE": Verbatim(is_checked=True),
    "ZREMRANGEBYLEX": Verbatim(is_checked=True),
    "ZREMRANGEBYRANK": Verbatim(is_checked=True),
    "ZPOPMIN": _pop,
    "ZPOPMAX": _pop,
    "BZPOPMIN": _pop_first,
    "BZPOPMAX": _pop_first,
    "ZMPOP": _pop_many,
    "BZMPOP": _pop_many,
    "ZRANGESTORE": Verbatim(is_checked=True),
    "ZUNIONSTORE": Verbatim(is_checked=True),
    "ZINTERSTORE": Verbatim(is_checked=True),
    "ZDIFFSTORE": Verbatim(is_checked=True),
    "GEOADD": _add,
    "GEORADIUS": _search(6),
    "GEORADIUSBYMEMBER": _search(5),
    "GEOSEARCHSTORE": _search_and_store,
}
