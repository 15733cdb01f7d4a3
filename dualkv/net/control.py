"""What can be changed while dualkv runs: one method per action, whoever asks for it.

Each method returns what it did, or raises `ControlRefused` where it makes no sense. Each is logged by
``dualkv.control``, whatever the log level: who, what, the value before and after. What is changed stays so
over a change of the mode, but not over a restart: what is to last stands in the settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
import trio

from dualkv.config import ProxyMode
from dualkv.core.mode_change import ModeChange
from dualkv.core.words import some
from dualkv.errors import ControlRefused, ModeChangeRefused
from dualkv.net.mirroring import Mirroring
from dualkv.net.writer import DualWriter
from dualkv.observe.logs import AUDIT_LOGGER

__all__ = ["Asker", "Control", "Knobs", "ModeOutcome", "Modes", "Outcome", "outcome_of"]

_DUALKV_LOGGER: Final = "dualkv"
_KEYS_AT_ONCE: Final = 4096
"""To forget so many takes some milliseconds."""

_log = logging.getLogger(AUDIT_LOGGER)


class Modes(Protocol):
    """Who serves, and how the mode changes: `dualkv.succession.Succession`."""

    since: float
    """Since when the mode is what it is, as Unix time."""
    writer: DualWriter
    """Who serves now. A change of the mode replaces it: never keep it."""

    async def change_mode(
        self,
        mode: ProxyMode,
        *,
        force: bool = False,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 2.0,
    ) -> ModeChange:
        """Let clients be served in another mode."""


@attrs.frozen
class Asker:
    """Who wants something changed."""

    address: str
    """Where the request came from."""
    token: str = ""
    """The name of the token; empty: it has none."""
    user: str = ""
    """What somebody says of himself, whom nobody has asked for a proof; empty: nothing."""

    def __str__(self) -> str:
        return self.token or self.user or self.address


@attrs.frozen
class Outcome:
    """What an action did."""

    action: str
    before: Any
    """Plain data."""
    after: Any
    notes: tuple[str, ...] = ()
    """What the operator should know of it: sentences."""


@attrs.frozen
class ModeOutcome(Outcome):
    """What a change of the mode did."""

    done: bool = True
    """False: it was only asked what it would do."""
    waited_seconds: float = 0.0
    """How long clients' commands were held back."""


def outcome_of(change: ModeChange) -> ModeOutcome:
    """Return what a change of the mode did, as plain data."""
    waited_seconds = round(change.waited_seconds, 4)
    return ModeOutcome(
        "mode", change.before.value, change.after.value, change.notes, change.is_done, waited_seconds
    )


@attrs.frozen
class Knobs:
    """What can be changed, and how it stands."""

    paused: bool
    """Whether the store that follows is left alone."""
    shadow_sample: float
    repair_rate: int
    log_level: str
    repairing: bool
    """Whether dirty keys are copied, as far as both stores answer."""
    draining: bool


class Control:
    """Changes a running server, and writes down who did.

    Args:
        modes: Who serves, and how the mode changes.
        is_draining: Returns whether the server is shutting down.
        stop: Begins the orderly shutdown.
    """

    def __init__(self, modes: Modes, is_draining: Callable[[], bool], stop: Callable[[], None]) -> None:
        self._modes = modes
        self._is_draining = is_draining
        self._stop = stop

    @property
    def _writer(self) -> DualWriter:
        return self._modes.writer

    def knobs(self) -> Knobs:
        """Return what can be changed, and how it stands."""
        config, writer = self._writer.config, self._writer
        return Knobs(
            paused=writer.stream is not None and writer.stream.gate.is_paused,
            shadow_sample=config.shadow_sample,
            repair_rate=config.repair_rate,
            log_level=_log_level(),
            repairing=writer.mirroring is not None and writer.mirroring.copier.is_repairing,
            draining=self._is_draining(),
        )

    # --- the mode

    def mode(self) -> tuple[ProxyMode, float]:
        """Return the mode, and since when it is that, as Unix time."""
        return self._writer.config.mode, self._modes.since

    async def change_mode(
        self,
        mode: ProxyMode,
        asker: Asker,
        *,
        force: bool = False,
        accept_loss: bool = False,
        dry_run: bool = False,
        wait_seconds: float = 2.0,
    ) -> ModeOutcome:
        """Let clients be served in another mode (`dualkv.succession.Succession.change_mode`).

        Args:
            mode: Which.
            asker: Who wants it.
            force: Do it although the other store has not proved itself.
            accept_loss: Do it although writes will be lost.
            dry_run: Only say what it would do.
            wait_seconds: How long clients' commands may wait.

        Raises:
            ControlRefused: It would lose something, or makes no sense; all is as before.
        """
        try:
            change = await self._modes.change_mode(
                mode, force=force, accept_loss=accept_loss, dry_run=dry_run, wait_seconds=wait_seconds
            )
        except ModeChangeRefused as error:
            raise self._refused("mode", str(error), asker) from None
        outcome = outcome_of(change)
        if change.is_done:
            self._done(outcome, asker)
        return outcome

    # --- the store that follows

    def pause(self, asker: Asker) -> Outcome:
        """Leave the store that follows alone: keys of writes are remembered, reads are not compared.

        Raises:
            ControlRefused: Nothing is mirrored.
        """
        stream = self._mirroring("pause", asker).stream
        was_paused, waiting = stream.gate.is_paused, self._writer.metrics.total_ledger()
        if not was_paused:
            stream.pause()
        notes = ["it was paused already"] if was_paused else []
        if waiting.queued and not was_paused:
            notes.append(f"{some(waiting.queued, 'command')} that waited: left to copies of their keys")
        if waiting.in_flight and not was_paused:
            notes.append(f"in flight: {some(waiting.in_flight, 'command')}, with a second to be answered")
        return self._done(Outcome("pause", was_paused, True, tuple(notes)), asker)

    def resume(self, asker: Asker) -> Outcome:
        """Let writes flow to the store that follows again; what was remembered is copied.

        Raises:
            ControlRefused: Nothing is mirrored.
        """
        mirroring = self._mirroring("resume", asker)
        was_paused = mirroring.stream.gate.is_paused
        if was_paused:
            mirroring.stream.resume()
        notes = [] if was_paused else ["it was not paused"]
        dirty = self._writer.dirty
        if dirty and not mirroring.copier.is_repairing:
            notes.append(
                f"{some(len(dirty), 'dirty key')}: repair is {self._writer.config.repair}, ask for it"
            )
        elif dirty:
            notes.append(f"{some(len(dirty), 'dirty key')} to copy: that begins now")
        if dirty.needs_resync is not None:
            notes.append(f"a resync is required: {dirty.needs_resync}")
        return self._done(Outcome("resume", was_paused, False, tuple(notes)), asker)

    # --- values

    def sample(self, share: float, asker: Asker) -> Outcome:
        """Compare reads of another share of the keys.

        Args:
            share: 0 to 1.
            asker: Who wants it.

        Raises:
            ControlRefused: dualkv is shutting down.
        """
        self._refuse_when_draining("sample", asker)
        writer, before = self._writer, self._writer.config.shadow_sample
        self._change_settings(shadow_sample=share)
        notes = (
            []
            if writer.shadows
            else [f"reads are not compared in {self._mode}: it counts in a mode that does"]
        )
        return self._done(Outcome("sample", before, share, tuple(notes)), asker)

    def repair_rate(self, keys_per_second: int, asker: Asker) -> Outcome:
        """Copy another number of dirty keys per second, at most; 0: no limit.

        Raises:
            ControlRefused: dualkv is shutting down.
        """
        self._refuse_when_draining("repair-rate", asker)
        writer, before = self._writer, self._writer.config.repair_rate
        self._change_settings(repair_rate=keys_per_second)
        notes = (
            [] if writer.mirrors else [f"nothing is mirrored in {self._mode}: it counts in a mode that does"]
        )
        return self._done(Outcome("repair-rate", before, keys_per_second, tuple(notes)), asker)

    def log_level(self, level: str, asker: Asker) -> Outcome:
        """Log from another level on: ``debug``, ``info``, ``warning``, ``error``."""
        before = _log_level()
        self._change_settings(log_level=level)
        logging.getLogger(_DUALKV_LOGGER).setLevel(level.upper())
        return self._done(Outcome("log-level", before, level), asker)

    # --- what differs

    def repair(self, asker: Asker) -> Outcome:
        """Copy what is dirty now, whatever the settings say, until nothing is.

        Raises:
            ControlRefused: Nothing is mirrored, or the store that follows is to be left alone.
        """
        mirroring = self._mirroring("repair", asker, may_send=True)
        dirty, was_repairing = self._writer.dirty, mirroring.copier.is_repairing
        mirroring.copier.repair_now()
        notes = [f"{some(len(dirty), 'dirty key')} to copy" if dirty else "no key is dirty"]
        if dirty.needs_resync is not None:
            notes.append(f"that is not all that may differ; a resync is required: {dirty.needs_resync}")
        if not mirroring.stream.gate.answers:
            notes.append("the store that follows does not answer: it begins when it does")
        return self._done(Outcome("repair", was_repairing, True, tuple(notes)), asker)

    def resync(self, asker: Asker) -> Outcome:
        """Copy all keys to the store that follows, as soon as that is possible.

        Raises:
            ControlRefused: Nothing is mirrored, the store that follows is to be left alone, or a resync runs.
        """
        mirroring = self._mirroring("resync", asker, may_send=True)
        progress = self._writer.metrics.resync
        if progress.is_running:
            how_far = f"{progress.keys_done} of {progress.keys_total} keys, {progress.phase.value}"
            raise self._refused("resync", f"a resync is under way: {how_far}", asker)
        mirroring.resync.request(f"asked for by {asker}")
        notes = []
        if not mirroring.stream.gate.answers:
            notes.append("the store that follows does not answer: it begins when it does")
        return self._done(Outcome("resync", progress.phase.value, "requested", tuple(notes)), asker)

    async def drop_dirty(self, asker: Asker) -> Outcome:
        """Forget which keys are dirty. They still may differ: so a resync is required from then on.

        Raises:
            ControlRefused: Nothing is mirrored.
        """
        self._mirroring("drop-dirty", asker)
        dirty, config = self._writer.dirty, self._writer.config
        before = len(dirty)
        dropped = 0
        while count := dirty.clear(min(_KEYS_AT_ONCE, before - dropped)):
            dropped += count
            # Each time: a resync that has just begun has left these keys to the repair.
            dirty.require_resync(f"dirty keys forgotten: {asker} asked for it")
            await trio.lowlevel.checkpoint()  # clients wait meanwhile
        notes = []
        if len(dirty):
            notes.append(f"{some(len(dirty), 'key')} kept: being copied")
        if dropped:
            begins_alone = config.resync == "auto" and config.repair != "off"
            notes.append(
                f"{some(dropped, 'key')} may differ, and nobody knows which: a resync is required, "
                + ("and begins by itself" if begins_alone else "and has to be asked for")
            )
        return self._done(Outcome("drop-dirty", before, len(dirty), tuple(notes)), asker)

    # --- the end

    def drain(self, asker: Asker) -> Outcome:
        """Say that dualkv is to end in order; whoever asks calls `end` when the asker knows.

        Raises:
            ControlRefused: It ends already.
        """
        self._refuse_when_draining("drain", asker)
        config, clients = self._writer.config, self._writer.metrics.active_connections
        note = (
            f"{some(clients, 'client')} connected; clients, copies, and what waits for the other store have "
            f"{config.drain_seconds:g} s each, after {config.lame_duck_seconds:g} s for load balancers"
        )
        return self._done(Outcome("drain", False, True, (note,)), asker)

    def end(self) -> None:
        """Begin the orderly shutdown, unless it has begun: a second call would skip its waits."""
        if not self._is_draining():
            self._stop()

    # --- saying no, and writing down

    def _change_settings(self, **values: Any) -> None:
        self._writer.change_settings(attrs.evolve(self._writer.config, **values))

    @property
    def _mode(self) -> str:
        return self._writer.config.mode.value

    def _mirroring(self, action: str, asker: Asker, *, may_send: bool = False) -> Mirroring:
        """Return what mirrors.

        Raises:
            ControlRefused: Nothing does; or, if something is to be sent, that is not wanted.
        """
        self._refuse_when_draining(action, asker)
        writer = self._writer
        if writer.mirroring is None:
            raise self._refused(action, f"nothing is mirrored in {self._mode}: no store follows", asker)
        if may_send and writer.mirroring.stream.gate.is_paused:
            raise self._refused(action, "the store that follows is paused: resume first", asker)
        return writer.mirroring

    def _refuse_when_draining(self, action: str, asker: Asker) -> None:
        if self._is_draining():
            raise self._refused(action, "dualkv is shutting down", asker)

    def _refused(self, action: str, why: str, asker: Asker) -> ControlRefused:
        _log.warning("refused", extra={"action": action, "why": why, **attrs.asdict(asker)})
        return ControlRefused(why)

    def _done(self, outcome: Outcome, asker: Asker) -> Outcome:
        _log.warning("changed", extra={**attrs.asdict(outcome), **attrs.asdict(asker)})
        return outcome


def _log_level() -> str:
    return logging.getLevelName(logging.getLogger(_DUALKV_LOGGER).getEffectiveLevel()).lower()
