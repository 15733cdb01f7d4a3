"""Samples the counters, so that the status can tell how fast they grow and how the last minutes were."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import trio

from dualkv.admin.status import status_of
from dualkv.core.series import STEP_SECONDS, Series
from dualkv.net.writer import DualWriter
from dualkv.observe.metrics import DURATION_BUCKETS_SECONDS
from dualkv.observe.sampling import sample_of

__all__ = ["Sampler"]

_LOOKS: Final = 5
"""How often the stream's age is looked at in one step of the series: it can rise and fall in less."""


class Sampler:
    """Looks at the counters now and then. `run` must be running for there to be any rates.

    Args:
        get_writer: Returns whose counters, which a change of the mode may replace.
        is_draining: Whether the server is shutting down.
        get_mode_since: Returns since when the mode is what it is, as Unix time.
    """

    def __init__(
        self,
        get_writer: Callable[[], DualWriter],
        is_draining: Callable[[], bool],
        get_mode_since: Callable[[], float],
    ) -> None:
        self.get_writer = get_writer
        self._is_draining = is_draining
        self._get_mode_since = get_mode_since
        self._started_at = time.time()
        self.series = Series(DURATION_BUCKETS_SECONDS)

    def __repr__(self) -> str:
        return f"<Sampler {self.series!r}>"

    def status(self) -> dict[str, Any]:
        """Return what is going on now, as plain data."""
        now = time.time()
        return status_of(
            self.get_writer(),
            self.series,
            now,
            uptime_seconds=now - self._started_at,
            mode_seconds=now - self._get_mode_since(),
            is_draining=self._is_draining(),
        )

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        self._take()
        while True:  # noqa: ASYNC913 - each round sleeps
            for _ in range(_LOOKS):
                await trio.sleep(STEP_SECONDS / _LOOKS)
                stream = self.get_writer().stream
                self.series.note_age(0.0 if stream is None else stream.oldest_age_seconds())
            self._take()

    def _take(self) -> None:
        writer = self.get_writer()
        follows = "" if writer.secondary is None else writer.secondary.name
        self.series.take(
            sample_of(writer.metrics, writer.clock()),
            time.time(),
            writer.primary.name,
            follows,
            len(writer.dirty),
        )
