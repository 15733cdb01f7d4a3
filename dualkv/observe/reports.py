"""Confirmed divergences: counted, remembered, logged at a bounded rate, sent to Sentry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs

from dualkv.commands.table import CommandSpec
from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.observe.logs import RateLimit
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.sentry import SentryReporter

__all__ = ["DivergenceReports"]

LOG_INTERVAL_SECONDS: Final = 1.0
LOGGED_GAPS_ONE_IN: Final = 1000
"""Before back-fill most reads are migration gaps."""

_log = logging.getLogger("dualkv.divergence")


@attrs.define
class DivergenceReports:
    """Where confirmed divergences go.

    Logs name the divergence's id, the command and the kind. Keys and values are a client's data: they go
    to Sentry's context, and as far as the settings say to the file of divergences.
    """

    _metrics: ProxyMetrics
    _sentry: SentryReporter
    _clock: Callable[[], float]
    _gaps: int = attrs.field(init=False, default=0)
    _limits: dict[str, RateLimit] = attrs.field(init=False, factory=dict)

    def report(self, spec: CommandSpec, divergence: Divergence) -> None:
        """Count, remember, log and send one divergence; give it an id if it has none."""
        self._metrics.divergences[spec.index, divergence.kind] += 1
        divergence = self._metrics.findings.diverged(divergence)
        self._sentry.capture_divergence(divergence)
        if divergence.kind is DivergenceKind.MIGRATION_GAP:
            self._gaps += 1
            if self._gaps % LOGGED_GAPS_ONE_IN != 1:
                return
        limit = self._limits.setdefault(divergence.command, RateLimit(LOG_INTERVAL_SECONDS, self._clock))
        suppressed = limit.allow()
        if suppressed is not None:
            _log.warning(
                "divergence",
                extra={
                    "id": divergence.id,
                    "command": divergence.command,
                    "kind": divergence.kind.value,
                    "cause": divergence.cause.value,
                    "suppressed": suppressed,
                },
            )
