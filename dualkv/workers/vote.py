"""A worker's part of a change of the mode that all workers make, or none.

The supervisor asks each worker to prepare it. A worker holds its clients' commands back and drains its
stream, as it would alone, and says that it could go on; then it waits for the word. Only when all have said
so does any of them go on. If the word does not come in time, all is as before.
"""

from __future__ import annotations

from typing import Final

import trio

from dualkv.config import ProxyMode
from dualkv.core.mode_change import ModeChange
from dualkv.errors import ModeChangeRefused
from dualkv.succession import Succession

__all__ = ["ModeVote"]

_WORD_SECONDS: Final = 5.0
"""How long a worker waits for the word beyond what the others may take to prepare."""


class ModeVote:
    """One change of the mode at a time.

    Args:
        modes: Who changes it.
        nursery: Where the change runs between the supervisor's requests.
    """

    def __init__(self, modes: Succession, nursery: trio.Nursery) -> None:
        self._modes = modes
        self._nursery = nursery
        self._running: _Running | None = None

    async def prepare(
        self, mode: ProxyMode, *, force: bool = False, accept_loss: bool = False, wait_seconds: float = 2.0
    ) -> ModeChange:
        """Prepare a change; return what it will do.

        Raises:
            ModeChangeRefused: It must not be, or another one is under way.
        """
        if self._running is not None:
            raise ModeChangeRefused("the mode is changing already")
        running = self._running = _Running(wait_seconds + _WORD_SECONDS)
        self._nursery.start_soon(self._change, running, mode, force, accept_loss, wait_seconds)
        await running.is_prepared.wait()
        return running.outcome()

    async def complete(self) -> ModeChange:
        """Go on; return what was done.

        Raises:
            ModeChangeRefused: Nothing is prepared, or it is too late.
        """
        running = self._take()
        running.decide(goes_on=True)
        await running.is_over.wait()
        return running.outcome()

    async def abandon(self) -> None:
        """Leave everything as it is; return when clients are served again."""
        if self._running is not None:
            running = self._take()
            running.decide(goes_on=False)
            await running.is_over.wait()

    def _take(self) -> _Running:
        if self._running is None:
            raise ModeChangeRefused("no change of the mode is prepared")
        return self._running

    async def _change(
        self, running: _Running, mode: ProxyMode, force: bool, accept_loss: bool, wait_seconds: float
    ) -> None:
        try:
            running.change = await self._modes.change_mode(
                mode, force=force, accept_loss=accept_loss, wait_seconds=wait_seconds, agree=running.agree
            )
        except ModeChangeRefused as refused:
            running.refusal = str(refused)
        finally:
            self._running = None
            running.is_prepared.set()
            running.is_over.set()


class _Running:
    """A change between its preparation and the word."""

    def __init__(self, patience_seconds: float) -> None:
        self.change: ModeChange | None = None
        self.refusal = ""
        self.is_prepared = trio.Event()
        self.is_over = trio.Event()
        self._patience_seconds = patience_seconds
        self._is_decided = trio.Event()
        self._goes_on = False

    def decide(self, *, goes_on: bool) -> None:
        """Say the word."""
        self._goes_on = goes_on
        self._is_decided.set()

    async def agree(self, change: ModeChange) -> None:
        """Wait for the word."""
        self.change = change
        self.is_prepared.set()
        with trio.move_on_after(self._patience_seconds):
            await self._is_decided.wait()
        if not self._goes_on:
            raise ModeChangeRefused("not all workers could change the mode")

    def outcome(self) -> ModeChange:
        """Return what is known now.

        Raises:
            ModeChangeRefused: That it will not be.
        """
        if self.refusal or self.change is None:
            raise ModeChangeRefused(self.refusal or "a fault of dualkv, see the log")
        return self.change
