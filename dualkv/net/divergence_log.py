"""Writes divergences to their file, in a thread: a slow disk delays nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from dualkv.observe.divergence_log import DivergenceLog
from dualkv.observe.logs import RateLimit

__all__ = ["DivergenceLogWriter"]

GATHER_SECONDS: Final = 0.05
"""What comes in this time after the first one goes in the same batch."""
AFTER_FAILURE_SECONDS: Final = 1.0
AT_END_SECONDS: Final = 2.0
"""How long the end of the process waits for the disk."""
_LOG_SECONDS: Final = 60.0

_log = logging.getLogger("dualkv.divergence_log")


class DivergenceLogWriter:
    """Empties a `DivergenceLog`.

    Args:
        log: Which.
        clock: Seconds, monotonic.
    """

    def __init__(self, log: DivergenceLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._limit = RateLimit(_LOG_SECONDS, clock)
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._is_waiting = trio.Event()
        log.on_waiting = self._wake

    def _wake(self) -> None:
        self._is_waiting.set()

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                if not len(self._log):
                    self._is_waiting = trio.Event()
                    await self._is_waiting.wait()
                    await trio.sleep(GATHER_SECONDS)
                if not await self._write_batch():
                    await trio.sleep(AFTER_FAILURE_SECONDS)
        finally:
            with trio.move_on_after(AT_END_SECONDS, shield=True):  # noqa: ASYNC912 - perhaps nothing is left
                while len(self._log) and await self._write_batch():
                    pass
            while batch := self._log.take():
                self._log.note_dropped(batch, "shutdown")

    async def _write_batch(self) -> bool:
        """Write one batch; return whether the disk has taken it."""
        batch = self._log.take()
        outcome = "shutdown"  # unless the thread comes back: it may write the batch or not
        try:
            await trio.to_thread.run_sync(
                self._log.write, batch, limiter=self._one_at_a_time, abandon_on_cancel=True
            )
            outcome = ""
        except OSError as error:
            outcome = "disk"
            if (suppressed := self._limit.allow()) is not None:
                _log.warning(
                    "cannot write divergences",
                    extra={"error": error.strerror or str(error), "suppressed": suppressed},
                )
        except Exception:  # noqa: BLE001 - whatever a record holds, writing it must not end the proxy
            outcome = "fault"
            _log.exception("cannot write divergences")
        finally:
            if outcome:
                self._log.note_dropped(batch, outcome)
            else:
                self._log.note_written(batch)
        return not outcome
