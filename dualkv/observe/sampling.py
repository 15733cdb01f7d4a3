"""The counters of one moment, for `dualkv.core.series`."""

from __future__ import annotations

from collections import Counter
from typing import Final

from dualkv.commands.classify import CommandCategory, category_of
from dualkv.commands.table import COMMANDS
from dualkv.core.divergence import DivergenceKind
from dualkv.core.series import Sample, Totals
from dualkv.observe.metrics import ProxyMetrics

__all__ = ["sample_of"]

_CATEGORIES: Final = tuple(category_of(spec, (spec.name.encode(),)) for spec in COMMANDS)
"""``XREAD`` counts as a read, waiting or not: one counter has both."""


def sample_of(metrics: ProxyMetrics, now: float) -> Sample:
    """Return a sample of the counters.

    Args:
        metrics: Whose.
        now: The time on our clock, in seconds.
    """
    counts: dict[tuple[str, CommandCategory], list[list[int]]] = {}
    errors: Counter[tuple[str, CommandCategory]] = Counter()
    for name, backend in metrics.backends.items():
        for category, counters in zip(_CATEGORIES, backend.by_command, strict=True):
            if any(counters.counts):
                counts.setdefault((name, category), []).append(counters.counts)
                errors[name, category] += counters.errors
    replies = {
        what: Totals(tuple(map(sum, zip(*each, strict=True))), errors[what]) for what, each in counts.items()
    }
    found = metrics.divergences.total()
    gaps = sum(
        count for (_, kind), count in metrics.divergences.items() if kind is DivergenceKind.MIGRATION_GAP
    )
    return Sample(now, replies, found - gaps, gaps)
