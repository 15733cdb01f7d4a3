"""What a client sends next.

No I/O, no clock: everything comes from random numbers and what it is told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from dualkv.errors import ConfigError
from dualkv.torture.grammar import Template
from dualkv.torture.templates import HELD_WITH, TEMPLATES
from dualkv.torture.words import Memory, Words

__all__ = ["Args", "Generator", "Pipeline", "choose_templates", "known_commands"]

Args = tuple[bytes, ...]
Pipeline = list[Args]
"""Commands that are sent in one piece."""

SESSION_COMMANDS: Final = frozenset({"MULTI", "WATCH"})
"""What the generator adds to the templates, unless asked for other commands only."""


def known_commands(reply: Sequence[Any]) -> frozenset[str]:
    """Return the names that a server's ``COMMAND`` reply holds, as the command table has them.

    A container whose sub-commands the server does not tell (Redis 6.2) is there as ``XGROUP *``.
    """
    names: set[str] = set()
    for entry in reply:
        name = entry[0].decode().upper()
        if len(entry) > 9:
            names.update(sub[0].decode().upper().replace("|", " ") for sub in entry[9])
        else:
            names.add(f"{name} *")
        names.add(name)
    return frozenset(names)


def choose_templates(
    known: Collection[str],
    known_to_secondary: Collection[str],
    only: Collection[str] = (),
    without: Collection[str] = (),
    *,
    flushes: bool = True,
) -> list[Template]:
    """Return the templates of what the primary knows, and whose outcome the secondary can hold.

    Args:
        known: What the primary knows; see `known_commands`.
        known_to_secondary: The same of the secondary.
        only: Names of commands: no others. Empty: all.
        without: Names of commands to leave out.
        flushes: Whether to draw commands that empty or swap databases, now and then.

    Raises:
        ConfigError: A name is of no template, or nothing is left.
    """
    names = {template.name for template in TEMPLATES} | SESSION_COMMANDS
    if unknown := {*only, *without} - names:
        raise ConfigError(f"no such command to send: {', '.join(sorted(unknown))}")
    chosen = [
        template
        for template in TEMPLATES
        if (template.name in known or f"{template.name.split()[0]} *" in known)
        and HELD_WITH.get(template.name, "") in ("", *known_to_secondary)
        and (not only or template.name in only)
        and template.name not in without
        and (flushes or template.name not in ("FLUSHALL", "FLUSHDB", "SWAPDB"))
    ]
    if not chosen:
        raise ConfigError("the primary knows none of the commands to send")
    return chosen


class Generator:
    """One client's traffic.

    Args:
        rng: What is random comes from it.
        now_ms: Tells the time of day in milliseconds, for absolute expiry.
        memory: What replies have shown to any client.
        templates: The commands; see `choose_templates`.
        transactions: Whether to send ``MULTI``.
        watches: Whether to send ``WATCH``.
        databases: How many databases to use.
    """

    def __init__(
        self,
        rng: random.Random,
        now_ms: Callable[[], int],
        memory: Memory,
        templates: Sequence[Template],
        *,
        transactions: bool = True,
        watches: bool = True,
        databases: int = 3,
    ) -> None:
        self._rng = rng
        self._words = Words(rng, now_ms, memory, databases)
        self._templates = templates
        self._weights = [template.weight for template in templates]
        self._databases = databases
        self._turns: list[tuple[Callable[[], list[Pipeline]], float]] = [
            (self._commands, 80),
            (self._select, 6),
            (self._hello, 1),
            (self._transaction, 10 if transactions else 0),
            (self._discarded, 1 if transactions else 0),
            (self._watched, 4 if watches else 0),
        ]

    def turn(self) -> list[Pipeline]:
        """Return what to send next: a pipeline, or several, each after the replies to the one before."""
        makers, weights = zip(*self._turns, strict=True)
        make: Callable[[], list[Pipeline]] = self._rng.choices(makers, weights)[0]
        return make()

    def _draw(self, count: int) -> Pipeline:
        templates = self._rng.choices(self._templates, self._weights, k=count)
        return [template.draw(self._words) for template in templates]

    def _commands(self) -> list[Pipeline]:
        rng = self._rng
        return [self._draw(rng.choices((1, rng.randint(2, 8), rng.randint(9, 40), 150), (50, 40, 9, 1))[0])]

    def _select(self) -> list[Pipeline]:
        return [[(b"SELECT", b"%d" % self._rng.randrange(self._databases)), *self._draw(2)]]

    def _hello(self) -> list[Pipeline]:
        return [[(b"HELLO", self._rng.choice((b"2", b"3")))]]

    def _block(self) -> Pipeline:
        return [(b"MULTI",), *self._draw(self._rng.randint(1, 6)), (b"EXEC",)]

    def _transaction(self) -> list[Pipeline]:
        rng = self._rng
        return [self._draw(rng.randrange(3)) + self._block() + self._draw(rng.randrange(3))]

    def _discarded(self) -> list[Pipeline]:
        return [[(b"MULTI",), *self._draw(2), (b"DISCARD",), *self._draw(1)]]

    def _watched(self) -> list[Pipeline]:
        """Keys are watched; what comes in between may be another client's write, or our own."""
        watched = (b"WATCH", *(self._words.draw("any") for _ in range(self._rng.randint(1, 3))))
        return [[watched], self._draw(self._rng.randrange(1, 3)), self._block()]
