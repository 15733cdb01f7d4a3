"""Asks both stores what they have removed by themselves: when connections are new, and when they differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from dualkv.core.divergence import DivergenceKind
from dualkv.core.removals import ASKING, Removals, told_removed
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.backend import Backend
from dualkv.net.direct import DirectStore
from dualkv.resp.encode import pack

__all__ = ["RemovalsWatch"]

_PAUSE_SECONDS: Final = 0.25
"""Wishes of this time are one question: what has differed is confirmed later than that."""
_ASKING: Final = b"".join(map(pack, ASKING))


class RemovalsWatch:
    """What both stores have removed by themselves. `run` must be running for anything to be asked.

    It asks at most four times a second, and only when `ask_soon` was called; a connection lasts for one
    question.

    Args:
        primary: The store that answers.
        secondary: The one that follows.
        clock: Seconds, monotonic.
    """

    def __init__(self, primary: Backend, secondary: Backend, clock: Callable[[], float]) -> None:
        self.primary = Removals()
        """Of the store that answers."""
        self.secondary = Removals()
        """Of the one that follows."""
        self._stores = (
            (DirectStore(primary, "removals"), self.primary),
            (DirectStore(secondary, "removals"), self.secondary),
        )
        self._clock = clock
        self._wanted = trio.Event()

    def where_missing(self) -> dict[DivergenceKind, Removals]:
        """Return what the store has removed by itself that lacks the data, by how they differ."""
        return {DivergenceKind.MIGRATION_GAP: self.secondary, DivergenceKind.EXTRA_DATA: self.primary}

    def ask_soon(self) -> None:
        """Have both stores asked."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask when it is wanted, until cancelled. A store that cannot be asked is one that does not tell."""
        while True:
            await self._wanted.wait()
            await trio.sleep(_PAUSE_SECONDS)
            self._wanted = trio.Event()
            for store, removals in self._stores:
                try:
                    with suppress(BackendUnavailable, ConnectionLost, ReplyProtocolError):
                        replies = await store.ask(_ASKING, len(ASKING))
                        removals.learn(told_removed(replies), self._clock())
                finally:
                    store.close()
