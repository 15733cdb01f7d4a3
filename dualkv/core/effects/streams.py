"""Streams; their consumer groups are in `groups`.

``XADD *`` names the id that came out. A rough limit (``~``) trims as the server's memory is laid out: the id
that is the first afterwards says exactly what it did.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import Questions, copies, copies_of, effects, integer, text
from dualkv.resp.replies import is_null

__all__ = ["QUESTIONS", "RULES"]


class _Options(NamedTuple):
    """The options of ``XADD`` or ``XTRIM``."""

    behind: int
    """The position behind them."""
    limit: Args
    """``MAXLEN = n`` or ``MINID = id``."""
    is_rough: bool
    """Whether the limit was given with ``~``."""
    policy: Args
    """``DELREF`` or ``ACKED``: what becomes of pending entries that are trimmed."""
    is_deduplicated: bool
    """Whether an entry that was added before is not added again."""


def _options(args: Args) -> _Options:
    limit: Args = ()
    policy: Args = ()
    is_rough = is_deduplicated = False
    at = 2
    while at < len(args):
        option = args[at].upper()
        if option in (b"MAXLEN", b"MINID"):
            sign = args[at + 1]
            at += 3 if sign in (b"=", b"~") else 2
            limit, is_rough = (option, b"=", args[at - 1]), sign == b"~"
        elif option in (b"NOMKSTREAM", b"KEEPREF"):
            at += 1
        elif option == b"LIMIT":
            at += 2
        elif option in (b"DELREF", b"ACKED"):
            policy = (option,)
            at += 1
        elif option in (b"IDMP", b"IDMPAUTO"):
            is_deduplicated = True
            at += 3 if option == b"IDMP" else 2
        else:
            break
    return _Options(at, limit, is_rough, policy, is_deduplicated)


def _ask_for_first(args: Args) -> tuple[Args, ...]:
    return ((b"XRANGE", args[1], b"-", b"+", b"COUNT", b"1"),) if _options(args).is_rough else ()


_ACKED: Final = (b"ACKED",)


def _limit(found: _Options, execution: Execution) -> Args | None:
    """Return the options that trim exactly; None if there are none that do."""
    if found.policy == _ACKED and found.limit:  # how far it looks depends on the memory's layout, too
        return None
    if not found.is_rough:
        return found.limit + found.policy
    (answer,) = execution.answers
    first_id = _first_id(answer)
    if first_id is None:  # not even a new entry has stayed
        return (b"MAXLEN", b"=", b"0", *found.policy)
    return (b"MINID", b"=", first_id, *found.policy)


def _first_id(entries: bytes) -> bytes | None:
    """Return the id of the first entry in a range; None if there is none."""
    if entries == b"*0\r\n":
        return None
    kind, entry, _, entry_id, _ = entries.split(b"\r\n", 4)  # not parsed as a whole: entries may be big
    if kind != b"*1" or entry != b"*2":
        raise ValueError("not a range of one entry")
    return entry_id


def _add(execution: Execution) -> Effects:
    """``XADD``: always the id that the primary chose."""
    if is_null(execution.reply):
        return NOTHING
    key = execution.args[1]
    found = _options(execution.args)
    limit = _limit(found, execution)
    if limit is None or found.is_deduplicated:  # the id may be one that is there already
        return copies([key])
    fields = execution.args[found.behind + 1 :]
    return effects(Command((b"XADD", key, *limit, text(execution.reply), *fields)))


def _trim(execution: Execution) -> Effects:
    """``XTRIM``: an exact limit also trims what is there by mistake."""
    found = _options(execution.args)
    if integer(execution.reply) == 0 and (found.is_rough or found.policy == _ACKED):
        return NOTHING
    limit = _limit(found, execution)
    if limit is None:
        return copies([execution.args[1]])
    return effects(Command((b"XTRIM", execution.args[1], *limit), execution.reply))


QUESTIONS: Final[dict[str, Questions]] = {"XADD": _ask_for_first, "XTRIM": _ask_for_first}

RULES: Final[dict[str, Rule]] = {
    "XADD": _add,
    "XTRIM": _trim,
    "XDEL": Verbatim(is_checked=True),
    # They answer a code for each id, and have acknowledged even where they did not delete.
    "XDELEX": Verbatim(is_checked=False),
    "XACKDEL": Verbatim(is_checked=False),
    # Redis 7.0 takes an id below that of an entry that was deleted; others refuse what it took.
    "XSETID": copies_of,
    "XCFGSET": Verbatim(is_checked=False),
}
