"""What comparing has found, over HTTP: ``/divergences``, ``/coverage``, ``/readiness``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dualkv.config import ProxyConfig
from dualkv.core.coverage import PrefixCoverage, shown_prefix
from dualkv.core.divergence import Divergence, DivergenceKind, order_of
from dualkv.core.divergence_ring import DivergenceFilter
from dualkv.core.printable import data_of
from dualkv.core.readiness import Readiness, ReadinessFacts, Thresholds, judge_readiness
from dualkv.net.writer import DualWriter

__all__ = ["MAX_LIMIT", "coverage_of", "findings_routes", "readiness_of"]

MAX_LIMIT: Final = 1000
"""So many divergences are told at once, at most."""
_DEFAULT_LIMIT: Final = 100
_MAX_ANSWER_BYTES: Final = 2 * 1024 * 1024
"""What the divergences of one answer take in memory, roughly; the others are left out."""


def findings_routes(get_writer: Callable[[], DualWriter]) -> list[Route]:
    """Return the pages.

    Args:
        get_writer: Returns what they tell about.
    """

    async def divergences(request: Request) -> Response:
        try:
            wanted, limit = _wanted(dict(request.query_params))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        findings, config = get_writer().findings, get_writer().config
        found = _bounded(findings.ring.find(wanted, limit), keeps_newest=not wanted.after)

        def answer() -> Response:
            return JSONResponse(
                {
                    "divergences": [findings.make_record(divergence) for divergence in found],
                    "remembered": len(findings.ring),
                    "so_far": findings.ring.added,
                    "values_shown": config.show_values,
                }
            )

        return await trio.to_thread.run_sync(answer)  # a thousand records would keep clients waiting

    async def one_divergence(request: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        findings = get_writer().findings
        found = findings.ring.get(request.path_params["id"])
        if found is None:
            return JSONResponse({"error": "no such divergence is remembered"}, status_code=404)
        return JSONResponse(findings.make_record(found))

    async def coverage(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(coverage_of(get_writer()))

    async def readiness(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        writer = get_writer()
        judged = readiness_of(writer)
        body = {
            "ready": judged.is_ready,
            "reasons": list(judged.reasons),
            "mode": writer.config.mode.value,
            "thresholds": attrs.asdict(_thresholds(writer.config)),
        }
        return JSONResponse(body, status_code=200 if judged.is_ready else 503)

    return [
        Route("/divergences", divergences),
        Route("/divergences/{id}", one_divergence),
        Route("/coverage", coverage),
        Route("/readiness", readiness),
    ]


def _wanted(parameters: dict[str, str]) -> tuple[DivergenceFilter, int]:
    """Return what a query asks for, and how many.

    Raises:
        ValueError: Something in it is not understood.
    """
    limit = _number(parameters, "limit", _DEFAULT_LIMIT)
    since_seconds = _number(parameters, "since", 0)
    kind = parameters.pop("kind", "")
    if kind and kind not in set(DivergenceKind):
        raise ValueError(f"kind: {kind!r} is not one of {', '.join(DivergenceKind)}")
    if after := parameters.pop("after", ""):
        order_of(after)
    wanted = DivergenceFilter(
        command=parameters.pop("command", "").lower(),
        kind=DivergenceKind(kind) if kind else None,
        key_prefix=data_of(parameters.pop("key_prefix", "")),
        after=after,
        since_seconds=since_seconds,
    )
    for unknown in parameters:
        raise ValueError(f"{unknown}: there is no such parameter")
    return wanted, min(int(limit), MAX_LIMIT)


def _number(parameters: dict[str, str], name: str, default: float) -> float:
    text = parameters.pop(name, None)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e12:
        raise ValueError(f"{name}: {text!r} is not a number, 0 or more")
    return number


def _bounded(found: list[Divergence], *, keeps_newest: bool) -> list[Divergence]:
    """Return as many of them as one answer may hold, at least one."""
    room = _MAX_ANSWER_BYTES
    kept: list[Divergence] = []
    for divergence in reversed(found) if keeps_newest else found:
        room -= divergence.size_bytes
        if room < 0 and kept:
            break
        kept.append(divergence)
    return kept[::-1] if keeps_newest else kept


def coverage_of(writer: DualWriter) -> dict[str, Any]:
    """Return what has been checked, by prefix, the most compared one first."""
    coverage = writer.findings.coverage
    by_prefix = sorted(coverage.by_prefix().items(), key=lambda item: (-item[1].compared, item[0]))
    return {
        "delimiter": writer.config.coverage_delimiter,
        "prefixes": [{"prefix": shown_prefix(prefix), **_counts(counts)} for prefix, counts in by_prefix],
        "total": _counts(coverage.total()),
    }


def _counts(counts: PrefixCoverage) -> dict[str, int]:
    return {"compared": counts.compared, **attrs.asdict(counts)}


def readiness_of(writer: DualWriter) -> Readiness:
    """Return whether the next mode is safe, and what speaks against it."""
    return judge_readiness(_facts(writer), _thresholds(writer.config))


def _thresholds(config: ProxyConfig) -> Thresholds:
    return Thresholds(
        min_reads=config.ready_min_reads,
        max_divergences=config.ready_max_divergences,
        max_gaps=config.ready_max_gaps,
        max_stream_age_seconds=config.ready_max_stream_age_seconds,
        max_dirty_keys=config.ready_max_dirty_keys,
        window_seconds=config.ready_window_seconds,
    )


def _facts(writer: DualWriter) -> ReadinessFacts:
    if writer.stream is None:
        return ReadinessFacts(is_mirroring=False)
    findings, dirty, journal = writer.findings, writer.dirty, writer.notes.journal
    recent = findings.recent_divergences()
    by_kind: Counter[DivergenceKind] = Counter()
    for (kind, _), count in recent.items():
        by_kind[kind] += count
    return ReadinessFacts(
        is_comparing=writer.shadows,
        coverage=findings.coverage.by_prefix(),
        divergences=by_kind,
        diverged_prefixes=_by_prefix(recent, are_gaps=False),
        gap_prefixes=_by_prefix(recent, are_gaps=True),
        writes_differed=findings.recent_writes_differed(),
        pending_confirmations=findings.pending_confirmations(),
        dirty_keys=len(dirty),
        has_dirty_functions=dirty.functions,
        resync_required=dirty.needs_resync,
        is_resyncing=writer.metrics.resync.is_running,
        stream_state=writer.stream.gate.state.value,
        stream_age_seconds=writer.stream.oldest_age_seconds(),
        not_holdable=writer.stream.translator.not_holdable,
        selftest_failure=writer.metrics.selftest.failure,
        journal_gap="" if journal is None else journal.statistics().gap.reason,
    )


def _by_prefix(recent: Mapping[tuple[DivergenceKind, bytes], int], *, are_gaps: bool) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for (kind, prefix), count in recent.items():
        if (kind is DivergenceKind.MIGRATION_GAP) is are_gaps:
            found[prefix] += count
    return found
