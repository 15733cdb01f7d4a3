"""A bar for people: how far a resync is, on standard error, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dualkv.core.progress import Phase, ResyncProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ResyncBar"]


class ResyncBar:
    """Shows a resync while it runs; nothing anywhere else. `update` it now and then, `close` it at the end.

    Args:
        progress: What it shows.
        clock: Seconds, as for the progress.
    """

    def __init__(self, progress: ResyncProgress, clock: Callable[[], float]) -> None:
        self._progress = progress
        self._clock = clock
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody would see it."""
        return sys.stderr.isatty()

    def update(self) -> None:
        """Show what is now."""
        progress = self._progress
        if not progress.is_running:
            return self.close()
        if self._bar is None:
            self._open()
        assert self._bar is not None
        assert self._task is not None
        is_copying = progress.phase is Phase.COPYING
        rate = progress.keys_per_second(self._clock())
        self._bar.update(
            self._task,
            description=f"resync: {progress.phase.value}",
            total=max(progress.keys_total, progress.keys_done) if is_copying else None,
            completed=progress.keys_done,
            told=f"{progress.keys_done:,} keys, {progress.bytes_done / 1024**2:,.0f} MiB, {rate:,.0f} keys/s",
        )

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("resync", total=None, told="")
        self._bar.start()

    def close(self) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
