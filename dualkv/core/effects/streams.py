"""Streams; their consumer groups are in `groups`.

``XADD *`` names the id that came out. A rough limit (``~``) trims as the server's memory is laid out: the id
that is the first afterwards says exactly what it did.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import Questions, copies, effects, frames, integer, text
from dualkv.resp.replies import is_null

__all__ = ["QUESTIONS", "RULES"]


class _Options(NamedTuple):
    """The options of ``XADD`` or ``XTRIM``."""

    behind: int
    """The position behind them."""
    limit: Args = ()
    """``MAXLEN = n`` or ``MINID = id``."""
    is_rough: bool = False
    """Whether the limit was given with ``~``."""
    policy: Args = ()
    """``DELREF`` or ``ACKED``: what becomes of pending entries that are trimmed."""
    is_deduplicated: bool = False


def _options(args: Args) -> _Options:
    found = _Options(2)
    while found.behind < len(args):
        at = found.behind
        option = args[at].upper()
        if option in (b"MAXLEN", b"MINID"):
            sign = args[at + 1] if args[at + 1] in (b"=", b"~") else b""
            behind = at + (3 if sign else 2)
            limit = (option, b"=", args[behind - 1])
            found = found._replace(behind=behind, limit=limit, is_rough=sign == b"~")
        elif option in (b"DELREF", b"ACKED"):
            found = found._replace(behind=at + 1, policy=(option,))
        elif option in (b"NOMKSTREAM", b"KEEPREF"):
            found = found._replace(behind=at + 1)
        elif option == b"LIMIT":
            found = found._replace(behind=at + 2)
        elif option in (b"IDMP", b"IDMPAUTO"):
            found = found._replace(behind=at + (3 if option == b"IDMP" else 2), is_deduplicated=True)
        else:
            break
    return found


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
    entries = frames(answer)
    if not entries:  # not even a new entry has stayed
        return (b"MAXLEN", b"=", b"0", *found.policy)
    return (b"MINID", b"=", text(frames(entries[0])[0]), *found.policy)


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
    "XSETID": Verbatim(is_checked=False),
    "XCFGSET": Verbatim(is_checked=False),
}
