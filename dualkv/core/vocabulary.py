"""Commands that are not in the table, as the primary describes them (``COMMAND INFO``).

They pass to the primary. What may write is mirrored as it is; what only reads is neither mirrored nor
compared.
"""

from __future__ import annotations

from typing import Final

import attrs

from dualkv.commands.table import UNKNOWN, KeySpec
from dualkv.core.ledger import Queue
from dualkv.core.routing import Plan, Route, plan_for
from dualkv.resp.replies import elements_of, is_null, value_of

__all__ = ["Vocabulary"]

_MAX_WORDS: Final = 1024
_MISSING_SECONDS: Final = 10.0
"""So long a command that does not exist is believed not to: a module may be loaded."""


class Vocabulary:
    """What is known of commands outside the table."""

    def __init__(self) -> None:
        self._plans: dict[bytes, Plan] = {}
        self._missing_until: dict[bytes, float] = {}

    def plan(self, name: bytes) -> Plan | None:
        """Return the plan of a command that exists, if that is known."""
        return self._plans.get(name.lower())

    def is_missing(self, name: bytes, now: float) -> bool:
        """Return whether the primary has said lately that it has no such command."""
        return self._missing_until.get(name.lower(), now) > now

    def learn(self, name: bytes, facts: bytes, now: float) -> None:
        """Remember what the primary says of a command.

        Args:
            name: The command's name.
            facts: The element of ``COMMAND INFO``'s reply, raw; nil if there is no such command.
            now: The time in seconds, on any clock.
        """
        name = name.lower()
        # A server compares names up to a NUL: what it knows may be another command.
        if is_null(facts) or value_of(elements_of(facts)[0]) != name:
            if len(self._missing_until) >= _MAX_WORDS:
                self._missing_until.clear()
            self._missing_until[name] = now + _MISSING_SECONDS
            return
        if len(self._plans) >= _MAX_WORDS:
            self._plans.clear()
        self._plans[name] = _plan(name, elements_of(facts))

    def forget(self) -> None:
        """Forget everything: the primary may be another server now."""
        self._plans.clear()
        self._missing_until.clear()


def _plan(name: bytes, facts: list[bytes]) -> Plan:
    arity, flag_list, first, last, step = (value_of(fact) for fact in facts[1:6])
    flags = frozenset(_text(flag) for flag in flag_list)
    keys = (KeySpec("W", first, ("range", last - first if last > 0 else last, step, 0)),) if first > 0 else ()
    is_read = "readonly" in flags
    spec = attrs.evolve(
        UNKNOWN,
        name=name.decode(errors="replace").upper(),
        arity=arity,
        kind="read" if is_read else "unknown",
        flags=flags,
        key_specs=keys,
    )
    route = Route.REFUSED if "admin" in flags else Route.BLOCKING if "blocking" in flags else Route.LANE
    is_mirrored = route is not Route.REFUSED and not is_read
    return attrs.evolve(
        plan_for(UNKNOWN),
        spec=spec,
        arity=arity,
        route=route,
        queue=Queue.WRITE if is_mirrored else None,
        comparator=None,
    )


def _text(flag: object) -> str:
    return flag.decode(errors="replace") if isinstance(flag, bytes) else str(flag)
