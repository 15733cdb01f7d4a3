"""A soak: one dualkv for a long time, round after round of traffic and faults, and nothing may pile up.

A round is a seed's traffic, and beside it *counting clients* as fast as it goes, whose counters must be
exact. When nothing is left to do, both stores are compared, and what the process holds is looked at: memory,
descriptors, tasks. The mode may change all the while.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable, ConnectionLost
from dualkv.net.connection import Connection
from dualkv.net.transport import dial
from dualkv.resp.encode import command
from dualkv.servers import free_port
from dualkv.torture.child import Child, Samples
from dualkv.torture.faults import Scene, plan_faults
from dualkv.torture.generate import choose_templates
from dualkv.torture.grammar import Template
from dualkv.torture.history import History
from dualkv.torture.modes import ModeChanges
from dualkv.torture.report import Result, details, line
from dualkv.torture.seed import (
    Options,
    compare_both,
    empty_store,
    links_before,
    settings_of,
    traffic,
    wait_converged,
)
from dualkv.torture.stores import Stores, open_store

__all__ = ["Held", "Soak", "run_soak", "soak_lines"]

_COUNTING_CLIENTS: Final = 4
_AT_ONCE: Final = 32
"""Commands of a counting client in one piece."""
_RECONNECT_SECONDS: Final = 0.05
_WARM_UP_SHARE: Final = 0.3
"""Of the rounds; what is held then may be held."""
_GROWTH: Final = 0.05
"""So much more memory may be held at the end."""
_SPARE: Final = 8
"""So many more descriptors or tasks: one that is about to end, idle connections in their pools."""
_UNFIT: Final = ("proxy-", "limits-", "primary-kill")
"""Faults that end the process, give it other settings, or let the primary forget what it has counted."""
_UNFIT_WITH_MODES: Final = (*_UNFIT, "secondary-kill")
"""The same where the secondary may be the one that answers."""


@attrs.frozen
class Held:
    """What a process holds when it has nothing to do."""

    resident_bytes: int
    descriptors: int
    tasks: int

    @classmethod
    def told_by(cls, samples: Samples) -> Held:
        """Return what its metrics tell."""
        return cls(
            int(samples["process_resident_memory_bytes", ""]),
            int(samples["process_open_fds", ""]),
            int(samples["proxy_tasks", ""]),
        )


@attrs.define
class Soak:
    """A soak, and what became of it.

    Args:
        child: The process.
        changes: Changes its mode; None: it stays.
    """

    child: Child
    changes: ModeChanges | None
    rounds: list[Result] = attrs.field(factory=list)
    held: list[Held] = attrs.field(factory=list)
    """After each round."""
    acknowledged: Counter[str] = attrs.field(factory=Counter)
    """What each counter has reached at least."""
    unknown: Counter[str] = attrs.field(factory=Counter)
    """By how much more it may have been counted up: nobody knows what became of that."""
    complaints: list[str] = attrs.field(factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing differed, was lost or piled up."""
        return not self.complaints and all(result.is_good for result in self.rounds)

    def judge(self) -> None:
        """Complain of what has piled up since the warm-up."""
        warm = self.held[int(len(self.held) * _WARM_UP_SHARE) :]
        if len(warm) < 2:
            self.complaints.append("too few rounds to tell whether anything piles up")
            return
        first, last = warm[0], warm[-1]
        growth = last.resident_bytes / first.resident_bytes - 1
        if growth > _GROWTH:
            self.complaints.append(f"memory has grown by {100 * growth:.1f} % since the warm-up")
        if last.descriptors > first.descriptors + _SPARE:
            self.complaints.append(f"{last.descriptors} descriptors, {first.descriptors} after the warm-up")
        if last.tasks > first.tasks + _SPARE:
            self.complaints.append(f"{last.tasks} tasks, {first.tasks} after the warm-up")

    # --- counting clients

    async def count(self, number: int) -> None:
        """Count up a counter of one's own, as fast as it goes, until cancelled."""
        key = f"soak:counter:{number}"
        wire = b"".join([command("INCR", key), command("GET", key)] * (_AT_ONCE // 2))
        while True:
            try:
                sock, greeting = await dial(self.child.options, f"soak-{number}")
            except BackendUnavailable:
                await trio.sleep(_RECONNECT_SECONDS)
                continue
            connection = Connection(sock, greeting)
            sent = False
            try:
                while True:
                    sent = True
                    frames = await connection.exchange(wire, _AT_ONCE)
                    sent = False
                    self._note(key, frames[::2])
            except ConnectionLost:
                await trio.sleep(_RECONNECT_SECONDS)
            finally:
                self.unknown[key] += sent * _AT_ONCE // 2
                connection.close()

    def _note(self, key: str, replies: Sequence[bytes]) -> None:
        for reply in replies:
            if reply[:1] == b":":
                self.acknowledged[key] += 1
            else:
                self.unknown[key] += 1

    async def check_counters(self, store: BackendOptions, result: Result) -> None:
        """Complain of counters that are not what they must be."""
        async with open_store(store) as opened:
            for key, count in self.acknowledged.items():
                value = int(await opened.call("GET", key) or 0)
                if not count <= value <= count + self.unknown[key]:
                    result.complaints.append(
                        f"{key} is {value}: counted up {count} times, perhaps {self.unknown[key]} more"
                    )

    # --- rounds

    async def run_round(
        self, scene: Scene, templates: Sequence[Template], options: Options, say: Callable[[str], None]
    ) -> Result:
        """Let traffic happen once, and compare."""
        number = len(self.rounds) + 1
        result, started = Result(number), trio.current_time()
        rng = random.Random(f"soak/{number}")
        planned, _ = plan_faults(rng, options.faults, options.longest_fault_seconds)
        history = History(options.history)
        async with trio.open_nursery() as nursery:
            if self.changes is not None:
                nursery.start_soon(self.changes.run)
            for client in range(_COUNTING_CLIENTS):
                nursery.start_soon(self.count, client)
            await traffic(number, scene, planned, templates, history, options, result, say)
            nursery.cancel_scope.cancel("the round is over")
        if self.changes is not None:
            await self.changes.go_home()
            result.complaints += self.changes.complaints
            self.changes.complaints.clear()
        if not options.faults:  # then nobody may have seen an error of dualkv's
            result.complaints += [
                f"{text}: {count}" for text, count in result.errors.items() if "dualkv" in text
            ]
        say(f"round {number}: settling")
        await wait_converged(scene.child, options, result)
        say(f"round {number}: comparing")
        await compare_both(scene.stores, history, options, result)
        await self.check_counters(scene.stores.primary, result)
        result.seconds = trio.current_time() - started
        return result


def soak_lines(soak: Soak) -> list[str]:
    """Return what became of a soak: a line per round, what is wrong, and what the process held."""
    lines: list[str] = []
    for result, held in zip(soak.rounds, soak.held, strict=True):
        lines += [f"{line(result).replace('seed', 'round', 1)}; {_held(held)}", *details(result)]
    lines += [f"  ! {complaint}" for complaint in soak.complaints]
    counted = sum(soak.acknowledged.values())
    operations = sum(result.operations for result in soak.rounds) + 2 * counted
    changes = soak.changes
    if changes is not None:
        lines.append(
            f"{changes.done} changes of the mode, {changes.refused} refused for the moment; "
            f"clients waited {1000 * changes.longest_wait_seconds:.0f} ms at most"
        )
    verdict = "nothing piled up, nothing was lost" if soak.is_good else "NOT GOOD"
    return [*lines, f"{len(soak.rounds)} rounds, {operations} operations, {counted} counted: {verdict}"]


def _held(held: Held) -> str:
    mebibytes = held.resident_bytes / 2**20
    return f"{mebibytes:.1f} MiB, {held.descriptors} descriptors, {held.tasks} tasks"


async def run_soak(
    stores: Stores, options: Options, seconds: float, say: Callable[[str], None], *, with_modes: bool
) -> Soak:
    """Run rounds for so long, and judge.

    Args:
        stores: The primary and the secondary; they are emptied.
        options: What a round is like. The process is never killed, and nothing is flushed.
        seconds: How long; the last round is finished.
        say: Called with what is going on.
        with_modes: Whether the mode changes all the while.
    """
    started = trio.current_time()
    unfit = _UNFIT_WITH_MODES if with_modes else _UNFIT
    faults = [name for name in options.faults if not name.startswith(unfit)]
    options = attrs.evolve(options, faults=faults, flushes=False)
    async with open_store(stores.primary) as primary, open_store(stores.secondary) as secondary:
        for store in (primary, secondary):
            await empty_store(store)
        templates = choose_templates(
            primary.commands, secondary.commands, options.only, options.without, flushes=False
        )
    rng = random.Random("soak")
    with tempfile.TemporaryDirectory(prefix="dualkv-soak-") as name:
        directory, admin_port = Path(name), free_port()
        async with links_before(stores, options, rng) as links:
            settings = settings_of(stores, links, options, (), directory)
            with Child({**settings, "admin": f"127.0.0.1:{admin_port}"}, directory) as child:
                await child.start()
                soak = Soak(child, ModeChanges(admin_port) if with_modes else None)
                scene = Scene(stores, links, child, rng, soak.complaints)
                while trio.current_time() < started + seconds:
                    soak.rounds.append(await soak.run_round(scene, templates, options, say))
                    soak.held.append(Held.told_by(await child.scrape()))
                if code := await child.terminate():
                    soak.complaints.append(f"dualkv ended with {code}")
                soak.complaints += child.faults()[:5]
    soak.judge()
    return soak
