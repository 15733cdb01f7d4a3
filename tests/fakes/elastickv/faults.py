"""Errors, cut connections and silence on demand, by command, by number or by chance."""

from __future__ import annotations

import random
from collections.abc import Collection

import attrs

from tests.fakes.elastickv.commands import COMMANDS

__all__ = ["Fault", "Faults"]


@attrs.define(eq=False)
class Fault:
    """Something that goes wrong. Attributes may be changed at any time."""

    text: str | None
    """The error that is answered; None: the connection is cut instead, or nothing is answered."""
    commands: frozenset[str]
    """To which commands it happens, by upper-case name."""
    probability: float = 1.0
    count: int | None = None
    """How often it still happens; None: without end."""
    is_applied: bool = False
    """Whether the command has been executed all the same."""
    is_silent: bool = False
    """Without a text: whether the connection stays, and the answer never comes."""
    hits: int = 0
    """How often it has happened."""


_WRITES = frozenset(name for name, row in COMMANDS.items() if row.flag == "write") | {"EXEC"}


class Faults:
    """All that goes wrong at present; what was added first happens first.

    Args:
        seed: Decides what is left to chance.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def add(
        self,
        text: str | None,
        *,
        commands: Collection[str] = _WRITES,
        probability: float = 1.0,
        count: int | None = None,
        is_applied: bool = False,
        is_silent: bool = False,
    ) -> Fault:
        """Let something go wrong from now on.

        Args:
            text: What is answered; None: the connection is cut.
            commands: To which, by upper-case name; all writes unless said. A transaction is ``EXEC``.
            probability: How probable it is for each.
            count: How often at most.
            is_applied: Execute the command before.
            is_silent: Without a text: do not cut, and never answer.
        """
        fault = Fault(text, frozenset(commands), probability, count, is_applied, is_silent)
        self._faults.append(fault)
        return fault

    def cut(self, *, probability: float = 1.0, count: int | None = None) -> Fault:
        """Cut connections when their write has been applied."""
        return self.add(None, probability=probability, count=count, is_applied=True)

    def clear(self) -> None:
        """Let everything go well again."""
        self._faults.clear()

    def for_command(self, name: str) -> Fault | None:
        """Return what goes wrong with the next command of that name, and count it."""
        for fault in self._faults:
            if name not in fault.commands or fault.count == 0:
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
            fault.hits += 1
            return fault
        return None

    def coin(self, probability: float) -> bool:
        """Return whether something happens that is left to chance."""
        return self._random.random() < probability
