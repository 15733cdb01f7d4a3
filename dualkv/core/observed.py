"""What the application really uses: options of commands, and databases, beside the counters of commands.

The first requests of each command are looked at, then all requests of one batch of many: an option that is
used once in a million calls may stay unseen, a command never. Only words of our own tables are kept, never
one of a client's (`dualkv.core.option_words`), and a bounded number of them.

Who handles requests counts `Observed.passing` down for each batch, and remembers which commands are new: that
is all that the others cost. Measured: 8 to 12 ns for each command in batches of 16, 40 to 80 ns for one
alone, half a percent of what handling it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import attrs

from dualkv.commands.table import COMMANDS, CommandSpec
from dualkv.core.effects.model import Args
from dualkv.core.option_words import options_in

__all__ = ["Observed", "Use"]

_FULLY: Final = 1000
"""So many requests of each command are looked at one by one."""
_STRIDE: Final = 1009
"""Then one batch of so many; a prime, so that a pattern of an application does not hide behind it."""
_OPTION_SETS: Final = 64
_DATABASES: Final = 256

Options = tuple[str, ...]


@attrs.define
class Use:
    """How one command is used."""

    looked_at: int = 0
    option_sets: Counter[Options] = attrs.field(factory=Counter)
    """How often which options were seen together; of more than a bound only the first ones."""
    other_sets: int = 0
    """Requests with sets beyond that."""


class Observed:
    """What has been seen so far."""

    def __init__(self) -> None:
        self._uses: dict[int, Use] = {}
        self._databases: Counter[int] = Counter()
        self.passing = _STRIDE
        """Batches that pass before the next one is looked at; whoever handles one counts it down."""

    def __repr__(self) -> str:
        return f"<Observed commands={len(self._uses)} databases={len(self._databases)}>"

    @property
    def uses(self) -> Mapping[CommandSpec, Use]:
        """Return how commands are used; all that are in no table are one of them (`UNKNOWN`)."""
        return {COMMANDS[index]: use for index, use in self._uses.items()}

    @property
    def databases(self) -> Mapping[int, int]:
        """Return in which databases requests were seen, and how many of them."""
        return self._databases

    def take_turn(self) -> bool:
        """Return whether all of the batch is looked at that was just counted; then others pass again."""
        if self.passing > 0:
            return False
        self.passing = _STRIDE
        return True

    def note(self, spec: CommandSpec, args: Args, db: int) -> bool:
        """Look at one request.

        Args:
            spec: Its command.
            args: The request, name first. Nothing of it is kept.
            db: Where it was executed.

        Returns:
            Whether the command is still new: the next request is looked at, too.
        """
        use = self._uses.get(spec.index)
        if use is None:
            use = self._uses[spec.index] = Use()
        use.looked_at += 1
        if db in self._databases or len(self._databases) < _DATABASES:
            self._databases[db] += 1
        options = options_in(spec.name, args)
        if options in use.option_sets or len(use.option_sets) < _OPTION_SETS:
            use.option_sets[options] += 1
        else:
            use.other_sets += 1
        return use.looked_at < _FULLY
