"""What comparing has found: the last divergences, their file, coverage, and what happened lately.

One object that whoever compares tells, and whoever is asked (HTTP, readiness) looks at. Everything here is
cheap and synchronous.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from dualkv.config import ProxyConfig
from dualkv.core.coverage import MESSAGES, Coverage, Outcome
from dualkv.core.divergence import Divergence, DivergenceIds, DivergenceKind
from dualkv.core.divergence_record import RecordMaker
from dualkv.core.divergence_ring import DivergenceRing
from dualkv.core.window import WindowCounter
from dualkv.observe.divergence_log import DivergenceLog, open_divergence_log
from dualkv.observe.logs import RateLimit

__all__ = ["Findings"]

GAP_LOG_SECONDS: Final = 0.1
"""Before a back-fill most reads are gaps: one in this time goes to the file, so that others stay there."""

_WRITE_DIFFERED: Final = "write_differed"


class Findings:
    """What comparing has found in one process.

    Args:
        config: The settings.
        clock: Seconds, monotonic.
        started_seconds: When the process started, as Unix time: ids begin with it.
    """

    def __init__(
        self, config: ProxyConfig, clock: Callable[[], float] = lambda: 0.0, started_seconds: float = 0.0
    ) -> None:
        self._config = config
        self._clock = clock
        self._ids = DivergenceIds(started_seconds, os.urandom(2))
        self._recent: WindowCounter[tuple[str, bytes]]
        self._gap_limit = RateLimit(GAP_LOG_SECONDS, clock)
        self.make_record: Callable[[Divergence], dict[str, Any]] = RecordMaker(
            config.show_values, os.urandom(16)
        )
        """Returns a divergence as plain data, without its values unless ``show_values`` is on."""
        self.ring = DivergenceRing(config.divergence_ring)
        self.begin_coverage_anew()
        self.log: DivergenceLog | None = None
        self.pending_confirmations: Callable[[], int] = lambda: 0
        """Returns how many differences have been seen once and are to be read again."""

    def __repr__(self) -> str:
        return f"<Findings {self.ring!r} {self.coverage!r}>"

    def begin_coverage_anew(self) -> None:
        """Forget what has been compared: another store is to prove itself now."""
        self.coverage = Coverage(self._config.coverage_delimiter.encode(), self._config.coverage_prefixes)
        self._recent = WindowCounter(self._config.ready_window_seconds)

    def open_log(self) -> None:
        """Open the file of ``divergence_log``, if there is to be one.

        Raises:
            ConfigError: It cannot be written.
        """
        if self.log is None:
            self.log = open_divergence_log(
                self._config.divergence_log, self._config.divergence_log_bytes, self.make_record
            )

    # --- told by whoever compares

    def matched(self, keys: Iterable[bytes]) -> None:
        """Take note of reads that matched, by their first keys; once per batch, with all of them."""
        self.coverage.note_matches(keys)

    def inconclusive(self, keys: Iterable[bytes]) -> None:
        """Take note of reads that could not be compared, by their first keys."""
        self.coverage.note(Outcome.INCONCLUSIVE, keys)

    def writes_checked(self, keys: Iterable[bytes]) -> None:
        """Take note of mirrored writes that both stores answered alike, by their first keys."""
        self.coverage.note(Outcome.WRITE_CHECKED, keys)

    def write_differed(self, key: bytes) -> None:
        """Take note of a mirrored write that the stores answered differently, by its first key."""
        self.coverage.note(Outcome.WRITE_DIFFERED, (key,))
        self._recent.add((_WRITE_DIFFERED, self.coverage.group_of(key)), self._clock())

    def diverged(self, divergence: Divergence) -> Divergence:
        """Remember a confirmed divergence, and let it be written to the file.

        Returns:
            The divergence with its id.
        """
        if not divergence.id:
            divergence = attrs.evolve(divergence, id=self._ids.next())
        is_gap = divergence.kind is DivergenceKind.MIGRATION_GAP
        self.ring.add(divergence)
        if divergence.is_message:
            prefix = MESSAGES
        else:
            self.coverage.note(Outcome.GAP if is_gap else Outcome.DIVERGED, (divergence.key,))
            prefix = self.coverage.group_of(divergence.key)
        self._recent.add((divergence.kind.value, prefix), self._clock())
        if self.log is not None:
            if is_gap and self._gap_limit.allow() is None:
                self.log.note_dropped((divergence,), "gap_limit")
            else:
                self.log.offer(divergence)
        return divergence

    # --- looked at by whoever is asked

    def recent_divergences(self) -> Counter[tuple[DivergenceKind, bytes]]:
        """Return the divergences of the last ``ready_window``, by kind and prefix of the key."""
        recent = self._recent.total(self._clock())
        return Counter(
            {
                (DivergenceKind(what), prefix): count
                for (what, prefix), count in recent.items()
                if what != _WRITE_DIFFERED
            }
        )

    def recent_writes_differed(self) -> int:
        """Return how many mirrored writes of the last ``ready_window`` were answered differently."""
        recent = self._recent.total(self._clock())
        return sum(count for (what, _), count in recent.items() if what == _WRITE_DIFFERED)
