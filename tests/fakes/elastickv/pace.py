"""What a commit costs, and when the cluster has had enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from tests.fakes.elastickv.texts import BUSY, INVALID_REQUEST, TOO_LARGE
from tests.fakes.elastickv.work import Work

__all__ = ["OBSERVED", "PARALLEL", "PROMPT", "CommitPipeline", "Pace", "Turn"]


@attrs.frozen
class Pace:
    """How fast the cluster writes, and its limits. Reads cost nothing beyond their round trip."""

    commit_seconds: float = 0.0
    """What each write transaction waits for; several wait at the same time."""
    commit_concurrency: int | None = None
    """How many may; None: any number."""
    transaction_seconds: float = 0.0
    """What each costs one after the other, as CPU time does."""
    key_seconds: float = 0.0
    """The same for each key in it that is written."""
    element_seconds: float = 0.0
    """The same for each argument behind the key."""
    transactions_per_second: float | None = None
    busy_above: int | None = None
    """How many commits may wait or run; more are answered ``BUSY``, and nothing is done."""
    max_transaction_effects: int | None = None
    """Bigger ones are answered ``invalid request``, and nothing is done."""
    max_request_bytes: int = 64 * 1024 * 1024
    """Requests of this size are too large."""


PROMPT: Final = Pace()
"""As fast as it can."""

OBSERVED: Final = Pace(transaction_seconds=0.00175, key_seconds=0.0006, element_seconds=0.00001)
"""The figures of a real cluster on two cores: 300 to 430 ``SET``s a second, 1,700 effects in an ``EVAL``.

What a commit takes beyond that is how late the system wakes us: 1 ms.
"""

PARALLEL: Final = Pace(commit_seconds=0.003, key_seconds=0.0011)
"""A cluster that needs 3 ms for a commit and can do many at once, up to 900 keys a second."""


@attrs.define
class Turn:
    """When a connection's next command begins: not before the one before it was over."""

    at: float = 0.0


class CommitPipeline:
    """The commits of the leader, and how long each takes.

    What is serial is kept as the time when the leader will be free, and so is a connection's turn: the mean
    is right however inexactly the system sleeps.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._free_at = 0.0
        self._slots = _slots(pace)
        self.committing = 0
        """How many transactions wait or run now."""
        self.peak = 0
        """The most there have been."""
        self.committed = 0
        """How many have been applied."""
        self.refused = 0
        """How many were answered with ``BUSY`` for being too many."""

    @property
    def pace(self) -> Pace:
        """What it costs now; a new pace holds for the transactions that come."""
        return self._pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self._pace = pace
        self._slots = _slots(pace)
        self.forget()

    def forget(self) -> None:
        """Let the leader be free from now on: it is another one."""
        self._free_at = 0.0

    def objection(self, work: Work) -> str | None:
        """Return the error text if *work* is too much; a script tells how much it is when it has run."""
        pace = self._pace
        if work.size >= pace.max_request_bytes:
            return TOO_LARGE
        if pace.max_transaction_effects is not None and work.effects > pace.max_transaction_effects:
            return INVALID_REQUEST
        if pace.busy_above is not None and self.committing >= pace.busy_above:
            self.refused += 1
            return BUSY
        return None

    @asynccontextmanager
    async def transaction(self, work: Work, turn: Turn) -> AsyncIterator[None]:
        """Count a transaction for the block, and wait until it is committed."""
        self.committing += 1
        self.peak = max(self.peak, self.committing)
        try:
            if self._slots is None:
                await self._commit(work, turn)
                yield
            else:
                async with self._slots:
                    turn.at = trio.current_time()
                    await self._commit(work, turn)
                    yield
        finally:
            self.committing -= 1

    async def _commit(self, work: Work, turn: Turn) -> None:
        pace = self._pace
        rate = pace.transactions_per_second
        seconds = pace.transaction_seconds + (1 / rate if rate else 0)
        await self.spend(turn, work.keys, work.elements, seconds, pace.commit_seconds)

    async def spend(
        self,
        turn: Turn,
        keys: int,
        elements: int,
        serial_seconds: float = 0.0,
        parallel_seconds: float = 0.0,
    ) -> None:
        """Wait for what keys and elements cost, in turn, and other time."""
        pace = self._pace
        serial = serial_seconds + keys * pace.key_seconds + elements * pace.element_seconds
        if not serial and not parallel_seconds:
            return
        began = min(turn.at, trio.current_time())
        self._free_at = max(began, self._free_at) + serial
        turn.at = (self._free_at if serial else began) + parallel_seconds
        await trio.sleep_until(turn.at)


def _slots(pace: Pace) -> trio.Semaphore | None:
    return None if pace.commit_concurrency is None else trio.Semaphore(pace.commit_concurrency)
