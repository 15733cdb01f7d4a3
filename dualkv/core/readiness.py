"""Whether the next mode is safe, and why not: facts against thresholds.

Nothing here proves that the stores are equal; it says what speaks against it. That nothing was found counts
only where something was looked at: zero divergences over zero comparisons is never ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Final

import attrs

from dualkv.core.coverage import PrefixCoverage, shown_prefix
from dualkv.core.divergence import DivergenceKind
from dualkv.core.words import some

__all__ = ["Readiness", "ReadinessFacts", "Thresholds", "judge_readiness"]

_NAMED: Final = 5
"""So many prefixes, kinds or commands are named in a reason."""


@attrs.frozen
class Thresholds:
    """What is asked for, as the settings ``ready_…`` say it."""

    min_reads: int = 1000
    """Compared reads of each prefix."""
    max_divergences: int = 0
    """In the window, gaps apart."""
    max_gaps: int = 0
    """In the window."""
    max_stream_age_seconds: float = 1.0
    max_dirty_keys: int = 0
    window_seconds: float = 600.0


@attrs.frozen
class ReadinessFacts:
    """What is known at one moment. By default nothing has been compared, and nothing is wrong."""

    is_mirroring: bool = True
    """Whether there is a store that follows."""
    is_comparing: bool = True
    """Whether reads are compared in this mode."""
    coverage: Mapping[bytes, PrefixCoverage] = attrs.field(factory=dict)
    """By prefix."""
    divergences: Mapping[DivergenceKind, int] = attrs.field(factory=dict)
    """In the window, by kind."""
    diverged_prefixes: Mapping[bytes, int] = attrs.field(factory=dict)
    """The same by prefix, gaps apart."""
    gap_prefixes: Mapping[bytes, int] = attrs.field(factory=dict)
    """Migration gaps in the window, by prefix."""
    writes_differed: int = 0
    """Mirrored writes in the window that the stores answered differently."""
    pending_confirmations: int = 0
    """Differences that have been seen once and are to be read again."""
    dirty_keys: int = 0
    has_dirty_functions: bool = False
    """Whether the libraries of functions may differ."""
    resync_required: str | None = None
    """Why all keys have to be copied; None: they need not."""
    is_resyncing: bool = False
    stream_state: str = "flowing"
    """Of the gate."""
    stream_age_seconds: float = 0.0
    """How long what waits longest for the secondary has waited."""
    not_holdable: Mapping[str, int] = attrs.field(factory=dict)
    """Effects that the secondary cannot hold, by command, so far."""
    selftest_failure: str = ""
    """Why the self-test failed; empty: it did not."""
    journal_gap: str = ""
    """Why keys are missing in the journal; empty: it is whole, or there is none."""


@attrs.frozen
class Readiness:
    """The answer."""

    is_ready: bool
    reasons: tuple[str, ...]
    """Why not: sentences with the numbers. Empty if ready."""


def judge_readiness(facts: ReadinessFacts, thresholds: Thresholds) -> Readiness:
    """Return whether the next mode is safe, and all that speaks against it.

    Args:
        facts: What is known.
        thresholds: What is asked for.
    """
    if not facts.is_mirroring:
        return Readiness(False, ("Nothing is mirrored in this mode: no other store is being filled.",))
    reasons = (
        *_about_coverage(facts, thresholds),
        *_about_differences(facts, thresholds),
        *_about_convergence(facts, thresholds),
    )
    return Readiness(not reasons, reasons)


def _about_coverage(facts: ReadinessFacts, thresholds: Thresholds) -> Iterable[str]:
    compared = {prefix: counts.compared for prefix, counts in facts.coverage.items()}
    if facts.selftest_failure:
        yield f"The self-test failed: {facts.selftest_failure}."
    if not facts.is_comparing:
        yield "Reads are not compared in this mode: there is no evidence."
    elif not sum(compared.values()):
        yield "No reads have been compared: there is no evidence."
    else:
        few = {prefix: count for prefix, count in compared.items() if count < thresholds.min_reads}
        if few:
            which = "1 prefix has" if len(few) == 1 else f"{len(few):,} prefixes have"
            fewest = nsmallest(_NAMED, ((count, prefix) for prefix, count in few.items()))
            named = _named([(count, shown_prefix(prefix)) for count, prefix in fewest], len(few))
            yield f"{which} fewer than {thresholds.min_reads:,} compared reads: {named}."


def _about_differences(facts: ReadinessFacts, thresholds: Thresholds) -> Iterable[str]:
    window = _duration(thresholds.window_seconds)
    gaps = facts.divergences.get(DivergenceKind.MIGRATION_GAP, 0)
    others = {
        kind.value: count
        for kind, count in facts.divergences.items()
        if count and kind.value != "migration_gap"
    }
    if sum(others.values()) > thresholds.max_divergences:
        yield (
            f"{some(sum(others.values()), 'divergence')} in the last {window} ({_most(others)})"
            f"{_where(facts.diverged_prefixes)}; {thresholds.max_divergences:,} allowed."
        )
    if gaps > thresholds.max_gaps:
        yield (
            f"{some(gaps, 'migration gap')} in the last {window}{_where(facts.gap_prefixes)}; "
            f"{thresholds.max_gaps:,} allowed."
        )
    if facts.writes_differed:
        yield (
            f"The stores answered {some(facts.writes_differed, 'mirrored write')} differently "
            f"in the last {window}."
        )
    if facts.pending_confirmations:
        yield f"{some(facts.pending_confirmations, 'difference')} not confirmed yet."


def _about_convergence(facts: ReadinessFacts, thresholds: Thresholds) -> Iterable[str]:
    if facts.is_resyncing:
        yield "All keys are being copied."
    if facts.resync_required is not None:
        yield f"All keys have to be copied: {facts.resync_required}."
    if facts.dirty_keys > thresholds.max_dirty_keys:
        yield f"{some(facts.dirty_keys, 'dirty key')}; {thresholds.max_dirty_keys:,} allowed."
    if facts.has_dirty_functions:
        yield "The libraries of functions may differ."
    if facts.stream_state != "flowing":
        yield f"Writes do not flow to the other store: the stream is {facts.stream_state}."
    if facts.stream_age_seconds > thresholds.max_stream_age_seconds:
        yield (
            f"The stream is {facts.stream_age_seconds:.1f} s behind; "
            f"{thresholds.max_stream_age_seconds:g} s allowed."
        )
    if facts.not_holdable:
        total = sum(facts.not_holdable.values())
        yield f"The other store cannot hold {some(total, 'effect')}: {_most(facts.not_holdable)}."
    if facts.journal_gap:
        yield f"Keys are missing in the journal: {facts.journal_gap}."


def _most(counts: Mapping[str, int]) -> str:
    return _named(
        sorted(((count, name) for name, count in counts.items()), key=lambda one: (-one[0], one[1]))
    )


def _where(counts: Mapping[bytes, int]) -> str:
    return (
        f", in {_most({shown_prefix(prefix): count for prefix, count in counts.items()})}" if counts else ""
    )


def _named(counts: list[tuple[int, str]], total: int = 0) -> str:
    """Return the first few with their counts, and how many more there are of *total*, or of these."""
    more = max(total, len(counts)) - _NAMED
    named = ", ".join(f"{name} ({count:,})" for count, name in counts[:_NAMED])
    return f"{named} and {more:,} more" if more > 0 else named


def _duration(seconds: float) -> str:
    if seconds >= 60 and seconds % 60 == 0:
        return some(int(seconds // 60), "minute")
    return f"{seconds:g} s"
