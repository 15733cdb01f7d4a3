"""A change of the mode while clients are served: one `DualWriter` takes over from another.

The new one is built for the new mode as at a start, connects beside the old one, and waits. Then clients'
commands are held back, what is under way ends, the stream is drained; clients go over to the new writer with
all that they have set, the old one ends, the new one begins. Until the clients have gone over, everything can
be taken back, and they go on where they were.

What is left over goes along: dirty keys, the keys of the last writes, the journal, known scripts. Who waits
for an element waits at the other store for the rest of its time; who watches keys has seen them change;
subscribers stay subscribed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

import trio

from dualkv.core.mode_change import ModeStep
from dualkv.errors import BackendUnavailable, ConnectionLost, LoginRefused, ModeChangeRefused
from dualkv.net.lane import LaneState
from dualkv.net.session import ClientSession
from dualkv.net.writer import DualWriter

__all__ = ["Takeover"]

_LOOK_SECONDS: Final = 0.002
_CONNECT_SECONDS: Final = 5.0
"""How long the stores may take to let the new writer in; clients do not wait for that."""
_FOLLOWER_SECONDS: Final = 1.0
"""The same for a store that will follow: without it the change is made all the same."""
_FEW_KEYS: Final = 64
_END_SECONDS: Final = 2.0
"""How long the old writer may take to end, when nothing is left to do."""

_log = logging.getLogger("dualkv.takeover")


class Takeover:
    """Lets one writer succeed another: `connect`, `drain`, then `complete`; before that, `abandon`.

    Both writers' `run` must be running.

    Args:
        before: Who serves the clients.
        after: Made for the new mode with ``before=``.
        sessions: Returns all clients.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        before: DualWriter,
        after: DualWriter,
        sessions: Callable[[], Iterable[ClientSession]],
        clock: Callable[[], float],
    ) -> None:
        self._before = before
        self._after = after
        self._sessions = sessions
        self._clock = clock
        self._step = ModeStep(before.config.mode, after.config.mode)
        self._paused_at: float | None = None
        after.lane.dbs |= before.lane.dbs
        after.lane.logins.adopt(before.lane.logins)

    async def connect(self) -> None:
        """Wait until the new writer has reached its stores.

        Raises:
            ModeChangeRefused: The store that is to answer cannot be reached.
        """
        after = self._after
        with trio.move_on_after(_CONNECT_SECONDS):
            await _until(lambda: after.lane.state is LaneState.UP)
        if after.lane.state is not LaneState.UP:
            why = after.primary.last_error or "it does not answer"
            raise ModeChangeRefused(f"{after.primary.name} cannot be reached: {why}")
        if (stream := after.stream) is not None:
            with trio.move_on_after(_FOLLOWER_SECONDS):
                await _until(lambda: stream.is_connected and after.time.is_settled)

    async def settle(self, wait_seconds: float) -> None:
        """Wait, while clients are served, until so little is left to copy that they can wait for it.

        Args:
            wait_seconds: How long, at most.
        """
        if not self._step.swaps:
            return
        with trio.move_on_after(wait_seconds):
            await _until(lambda: self._keys_to_copy <= _FEW_KEYS)

    async def drain(self, wait_seconds: float, *, accepts_loss: bool) -> None:
        """Hold clients' commands back, and wait until nothing is under way that must be over.

        Args:
            wait_seconds: How long, at most.
            accepts_loss: Go on if that is not enough; what is left then is not mirrored.

        Raises:
            ModeChangeRefused: It was not enough.
        """
        self._paused_at = self._clock()
        for session in self._sessions():
            session.pause()
        with trio.move_on_after(wait_seconds) as patience:
            await _until(lambda: self._is_quiet)
            await self._lanes_caught_up()
            await _until(lambda: self._obstacle() is None)
        if patience.cancelled_caught and not (accepts_loss and self._is_quiet):
            why = self._obstacle() if self._is_quiet else "the primary has not answered all commands"
            raise ModeChangeRefused(f"after {wait_seconds:g} s {why or 'something is still under way'}")

    @property
    def _keys_to_copy(self) -> int:
        return len(self._before.dirty) + self._before.metrics.copies_in_flight

    @property
    def _is_quiet(self) -> bool:
        return all(session.is_quiet for session in self._sessions())

    async def _lanes_caught_up(self) -> None:
        """Return when what was executed beside the lanes has been seen, too."""
        passed = trio.Event()
        self._before.lanes.when_settled(passed.set)
        await passed.wait()

    def _obstacle(self) -> str | None:
        """Return what has to be waited for; None: nothing."""
        before, stream = self._before, self._before.stream
        if stream is None or not self._step.drains:
            return None
        if stream.oldest_unsettled() < math.inf:
            return f"writes are still on their way to {stream.backend.name}"
        dirty = before.dirty
        if not self._step.swaps:
            return None
        if self._keys_to_copy or dirty.functions:
            return f"{self._keys_to_copy} keys have still to be copied to {stream.backend.name}"
        if dirty.needs_resync is not None:
            return f"{stream.backend.name} needs a resync: {dirty.needs_resync}"
        return None

    async def complete(self) -> float:
        """Let clients go over to the new writer, and end the old one.

        Returns:
            How long clients' commands were held back, in seconds.
        """
        before, after, step = self._before, self._after, self._step
        await self._select_new_databases()
        has_subscribers = await self._prepare_subscriptions()
        # In one step: from here on the new writer serves.
        if has_subscribers:
            after.subscriptions.take_over(before.subscriptions)
        for session in self._sessions():
            session.move_to(after)
        if elsewhere := sum(session.is_elsewhere for session in self._sessions()):
            extra = {"clients": elsewhere, "backend": after.primary.name}
            _log.warning("clients have selected databases that the store does not have apart", extra=extra)
        before.owns_notes, after.owns_notes = not after.shares_notes, True
        if not step.will_mirror:
            before.forsake(f"writes are not mirrored in {step.after.value}")
        if step.drains:  # then nothing is left to do
            before.close(0)
            with trio.move_on_after(_END_SECONDS):
                await before.ended.wait()
        else:
            before.close(before.config.drain_seconds)
        self._begin()
        return self._resume()

    def _begin(self) -> None:
        after, step, progress = self._after, self._step, self._after.metrics.resync
        if step.swaps or not step.will_mirror:
            progress.abandon()
        if after.mirroring is not None:
            # A resync makes the follower equal: nobody shall lose by that what only the follower has.
            is_automatic = not (step.swaps and after.dirty.needs_resync is not None)
            after.mirroring.resync.take_over(is_automatic=is_automatic)
            if not step.has_mirrored:
                after.dirty.require_resync(f"writes were not mirrored in {step.before.value}")
        if step.swaps:
            after.notes.turn(after.primary.name)
        if step.swaps or not step.has_mirrored:
            after.findings.begin_coverage_anew()
        after.begin()

    async def _select_new_databases(self) -> None:
        """Find out whether the new store has the databases, too, that clients have selected meanwhile."""
        after = self._after
        with trio.move_on_after(_END_SECONDS):  # noqa: ASYNC912 - mostly there is none
            for db in sorted(self._before.lane.dbs - after.lane.dbs):
                try:
                    lease = await after.leases.take(after.own_context._replace(db=db))
                except (BackendUnavailable, ConnectionLost, LoginRefused) as error:
                    _log.warning("a database is not there", extra={"db": db, "why": str(error)})
                else:
                    after.leases.give_back(lease)
                    after.lane.dbs.add(db)

    async def _prepare_subscriptions(self) -> bool:
        """Subscribe at the new store; return whether that was done."""
        try:
            with trio.fail_after(_END_SECONDS):
                await self._after.subscriptions.prepare(self._before.subscriptions)
        except (BackendUnavailable, ConnectionLost, LoginRefused, trio.TooSlowError) as error:
            _log.warning("subscribers are disconnected", extra={"why": str(error)})
            return False
        return True

    def abandon(self) -> None:
        """End the new writer; clients go on with the old one."""
        self._after.close(0)
        self._resume()

    def _resume(self) -> float:
        if self._paused_at is None:
            return 0.0
        waited_seconds, self._paused_at = self._clock() - self._paused_at, None
        for session in list(self._sessions()):
            session.resume()
        return waited_seconds


async def _until(is_so: Callable[[], bool]) -> None:
    """Return when something is so that tells nobody."""
    while not is_so():  # noqa: ASYNC110 - see above
        await trio.sleep(_LOOK_SECONDS)
