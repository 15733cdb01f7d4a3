"""What of clients' commands the store that answers must not get: it would do harm, or do it elsewhere.

A store of the same kind as the other one needs none of this. An ElasticKV goes down when its keys are listed
(``SCAN``, ``KEYS``, ``DBSIZE``), also from a script; it has one database under all numbers, so commands of
who has selected another one would write among the keys of the one that is mirrored; and it has no patterns.
"""

from __future__ import annotations

from typing import Final

from dualkv.core.dialect.model import ELASTICKV, Dialect
from dualkv.core.guarding import SCRIPT_RUNS
from dualkv.core.routing import LISTING, Plan
from dualkv.core.scripts import ScriptCache
from dualkv.resp import encode

__all__ = ["refusal_of", "select_refusal"]

_DATA: Final = frozenset({"read", "write", "script", "unknown"})
"""Kinds of commands that do something in the database that is selected."""

_INSTEAD: Final = {
    "PSUBSCRIBE": "subscribe to each channel by its name (SUBSCRIBE)",
    "SSUBSCRIBE": "use SUBSCRIBE and PUBLISH",
}


def refusal_of(
    plan: Plan,
    args: tuple[bytes, ...],
    dialect: Dialect,
    scripts: ScriptCache,
    *,
    may_list: bool,
    elsewhere: bytes | None,
) -> bytes | None:
    """Return the error for a command that the primary must not get; None: it may.

    Args:
        plan: The command's.
        args: The request; it has as many arguments as it needs.
        dialect: What the primary understands.
        scripts: Knows the bodies of scripts; learns that of an ``EVAL``.
        may_list: Whether keys may be listed.
        elsewhere: The error for commands on data (`select_refusal`), if the client is in a database that
            the primary does not have apart.
    """
    name, kind = plan.spec.name, plan.spec.kind
    if elsewhere is not None and (kind in _DATA or name == "WATCH"):
        return elsewhere
    if name in _INSTEAD and dialect.product == ELASTICKV and not dialect.has(name):
        return encode.not_had(name, dialect.product, _INSTEAD[name])
    if may_list:
        return None
    if name in LISTING:
        return encode.not_listed(name)
    if name in SCRIPT_RUNS:
        scripts.learn(name, args)
        for called in sorted(scripts.facts(name, args).calls & LISTING):
            return encode.not_listed(f"a script that calls {called}")
    return None


def select_refusal(db: int, own: tuple[int, int], dialect: Dialect) -> bytes | None:
    """Return the error for a database that the primary does not have apart; None: it has.

    Args:
        db: Its number.
        own: The numbers of the one that is mirrored, in either store; the first is what clients know.
        dialect: What the primary understands.
    """
    if dialect.has_databases or db in own:
        return None
    return encode.one_database(db, own[0], dialect.product)
