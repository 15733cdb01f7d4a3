"""Who serves clients now, and how another mode takes over: one `DualWriter` after the other.

`dualkv.core.mode_change` says what a change means and what speaks against it, `dualkv.net.takeover` carries
it out; here the two meet, one change at a time.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import attrs
import trio

from dualkv.admin.findings import readiness_of
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.gate import GateState
from dualkv.core.mode_change import ChangeFacts, ModeChange, ModeStep
from dualkv.errors import ConfigError, ModeChangeRefused
from dualkv.net.hub import ReadinessHub
from dualkv.net.selftest_runs import keep_testing
from dualkv.net.session import ClientSession
from dualkv.net.start_check import refuse_one_server
from dualkv.net.takeover import Takeover
from dualkv.net.writer import DualWriter
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter

__all__ = ["Succession"]

_COMPLETE_SECONDS: Final = 10.0
"""Longer than a takeover takes once it cannot be taken back: each of its waits is bounded."""

_log = logging.getLogger("dualkv.mode")


async def _agree(_: ModeChange) -> None:  # noqa: ASYNC124 - nobody has to be asked
    """Let a change be completed."""


class Succession:
    """The writers of a server, one after the other.

    Args:
        config: The settings; their mode is the first one.
        metrics: Where all of them count.
        sentry: Where all of them report.
        hub: Watches their sockets, and is run and closed by somebody else.
        sessions: Returns all clients.
    """

    def __init__(
        self,
        config: ProxyConfig,
        metrics: ProxyMetrics,
        sentry: SentryReporter,
        hub: ReadinessHub,
        sessions: Callable[[], Iterable[ClientSession]],
    ) -> None:
        self.writer = DualWriter(config, metrics, sentry, hub=hub)
        """Who serves now."""
        self.since = time.time()
        """Since when, as Unix time."""
        self._metrics = metrics
        self._sentry = sentry
        self._hub = hub
        self._sessions = sessions
        self._nursery: trio.Nursery | None = None
        self._changing = trio.Lock()
        self._takeover: Takeover | None = None
        self._testing = trio.CancelScope()

    async def begin(self, nursery: trio.Nursery) -> None:
        """Let writers run in *nursery*; return when the first one does."""
        await nursery.start(self.writer.run)
        self._nursery = nursery

    async def end(self) -> None:
        """Let the mode change no more; return when nothing is changing."""
        async with self._changing:
            self._nursery = None

    @property
    def is_pausing(self) -> bool:
        """Whether clients' commands are held back."""
        return self._takeover is not None

    async def keep_testing(self) -> None:
        """Test whoever serves, anew after each change, until cancelled."""
        while True:
            with trio.CancelScope() as self._testing:
                await keep_testing(self.writer)
                await trio.sleep_forever()
            async with self._changing:
                pass

    async def change_mode(
        self,
        mode: ProxyMode,
        *,
        force: bool = False,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 2.0,
        agree: Callable[[ModeChange], Awaitable[None]] = _agree,
    ) -> ModeChange:
        """Let clients be served in another mode; nothing is lost, and they see at most a pause.

        Args:
            mode: Which.
            force: Do it although the other store has not proved itself.
            accept_loss: Do it although writes will be lost, too: after a disaster.
            dry_run: Only say what it would do.
            wait_seconds: How long clients' commands may wait while what is under way ends.
            agree: Called when it can be completed, while clients wait; what it raises prevents it.

        Returns:
            What was done, and what the operator should know of it.

        Raises:
            ModeChangeRefused: It would lose something, or makes no sense; all is as before.
        """
        async with self._changing:
            step = ModeStep(self.writer.config.mode, mode)
            notes = self._consider(step, force=force, accept_loss=accept_loss)
            change = ModeChange(step.before, mode, notes=notes, is_done=False)
            if dry_run:
                return change
            self._testing.cancel("the mode changes")
            try:
                change = await self._carry_out(change, wait_seconds, agree, accepts_loss=accept_loss)
            except ModeChangeRefused as refused:
                _log.warning("mode not changed", extra={"mode": mode.value, "why": str(refused)})
                raise
        waited = round(change.waited_seconds, 4)
        told = {"before": step.before.value, "after": mode.value, "waited_seconds": waited, "notes": notes}
        _log.warning("mode changed", extra=told)
        return change

    def _consider(self, step: ModeStep, *, force: bool, accept_loss: bool) -> tuple[str, ...]:
        """Return what the operator should know of a change.

        Raises:
            ModeChangeRefused: It must not be.
        """
        if self._nursery is None:
            raise ModeChangeRefused("dualkv is starting, or shutting down")
        if step.before is step.after:
            raise ModeChangeRefused(f"the mode is {step.after.value} already")
        facts = self._facts(step)
        losses, doubts = step.losses(facts), step.doubts(facts)
        speaks_against = (*(() if accept_loss else losses), *(() if force or accept_loss else doubts))
        if speaks_against:
            raise ModeChangeRefused("; ".join(speaks_against))
        return losses + doubts + step.consequences(facts)

    def _facts(self, step: ModeStep) -> ChangeFacts:
        writer, dirty = self.writer, self.writer.dirty
        return ChangeFacts(
            names=(writer.config.primary_name, writer.config.secondary_name),
            dirty_keys=len(dirty),
            has_dirty_functions=dirty.functions,
            needs_resync=dirty.needs_resync,
            is_resyncing=self._metrics.resync.is_running,
            gate=GateState.FLOWING if writer.stream is None else writer.stream.gate.state,
            unready=readiness_of(writer).reasons if step.asks_readiness else (),
        )

    async def _carry_out(
        self,
        change: ModeChange,
        wait_seconds: float,
        agree: Callable[[ModeChange], Awaitable[None]],
        *,
        accepts_loss: bool,
    ) -> ModeChange:
        """Let a new writer take over."""
        before = self.writer
        after = await self._make(attrs.evolve(before.config, mode=change.after))
        takeover = Takeover(before, after, self._sessions, before.clock)
        try:
            await takeover.connect()
            await takeover.settle(wait_seconds)
            self._takeover = takeover
            await takeover.drain(wait_seconds, accepts_loss=accepts_loss)
            await agree(change)
        except BaseException:
            self._takeover = None
            takeover.abandon()
            raise
        try:
            with trio.fail_after(_COMPLETE_SECONDS, shield=True):  # whoever asked may be gone: it is done
                after.adopt(before)
                self.writer, self.since = after, time.time()
                waited_seconds = await takeover.complete()
        finally:
            self._takeover = None
        gc.collect()  # who has served is a large heap of objects that refer to each other
        return attrs.evolve(change, waited_seconds=waited_seconds, is_done=True)

    async def _make(self, config: ProxyConfig) -> DualWriter:
        """Return a writer that waits for its turn."""
        assert self._nursery is not None
        try:
            after = DualWriter(config, self._metrics, self._sentry, hub=self._hub, before=self.writer)
            if after.mirrors and not self.writer.mirrors:
                await refuse_one_server(config)
                after.open_journal()
        except ConfigError as error:
            raise ModeChangeRefused(str(error)) from None
        await self._nursery.start(after.run)
        return after
