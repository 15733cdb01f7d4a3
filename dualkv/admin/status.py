"""What is going on, as plain data: for ``/status``, ``/readyz``, the status page and the demo's screen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from dualkv.admin.findings import readiness_of
from dualkv.config.backends import shown_address
from dualkv.core.divergence import DivergenceKind
from dualkv.core.headline import HeadlineFacts, judge_headline
from dualkv.core.journal import Gap
from dualkv.core.ledger import Ledger
from dualkv.core.modes import mode_plan
from dualkv.core.series import Rate, Series
from dualkv.net.about import INSTANCE, VERSION
from dualkv.net.lane import LaneState
from dualkv.net.leader_aware import LeaderAwareBackend
from dualkv.net.writer import DualWriter

__all__ = ["backend_states", "convergence", "is_ready", "status_of"]


def status_of(
    writer: DualWriter,
    series: Series,
    time_seconds: float,
    *,
    uptime_seconds: float,
    mode_seconds: float,
    is_draining: bool,
) -> dict[str, Any]:
    """Return all that is worth knowing at a glance; no keys, no values.

    Args:
        writer: Whose status.
        series: How fast things happen.
        time_seconds: The time, as Unix time.
        uptime_seconds: How long the server has been running.
        mode_seconds: How long the mode has been what it is.
        is_draining: Whether it is shutting down.
    """
    metrics, config = writer.metrics, writer.config
    backends, converging = backend_states(writer), convergence(writer)
    comparing, readiness = _comparing(writer), readiness_of(writer)
    selftest = metrics.selftest.told()
    headline = judge_headline(_headline_facts(writer, backends, converging, comparing, is_draining))
    return {
        "version": VERSION,
        "instance": INSTANCE,
        "time": round(time_seconds, 3),
        "uptime_seconds": round(uptime_seconds, 1),
        "headline": {
            "condition": headline.condition.value,
            "title": headline.condition.words,
            "reasons": list(headline.reasons),
        },
        "mode": config.mode.value,
        "mode_seconds": round(mode_seconds, 1),
        "draining": is_draining,
        "clients": {
            "connected": metrics.active_connections,
            "limit": config.max_clients,
            "refused": metrics.refused_connections,
        },
        "backends": backends,
        "traffic": _traffic(series, writer.primary.name),
        "stream": _stream(writer),
        "ledger": _books(metrics.total_ledger()),
        "convergence": converging,
        "comparing": comparing,
        "selftest": selftest,
        "readiness": {"ready": readiness.is_ready, "reasons": list(readiness.reasons)},
        "values_shown": config.show_values,
    }


def _traffic(series: Series, answers: str) -> dict[str, Any]:
    """Return rates of each store, the one that answers first."""
    rates = sorted(series.rates.items(), key=lambda item: (item[0][0] != answers, -item[1].ops_per_second))
    return {
        "over_seconds": round(series.over_seconds, 1),
        "backends": {
            name: _rate(rate)
            for name, rate in sorted(series.by_backend.items(), key=lambda item: item[0] != answers)
        },
        "classes": [
            {"backend": name, "class": category.value, **_rate(rate)} for (name, category), rate in rates
        ],
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "ops_per_second": round(rate.ops_per_second, 1),
        "errors_per_second": round(rate.errors_per_second, 1),
        "p50_ms": _milliseconds(rate.p50_seconds),
        "p99_ms": _milliseconds(rate.p99_seconds),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _stream(writer: DualWriter) -> dict[str, Any] | None:
    stream, metrics = writer.stream, writer.metrics
    if stream is None:
        return None
    return {
        "state": stream.gate.state.value,
        "paused_seconds": None if stream.paused_at is None else round(writer.clock() - stream.paused_at, 1),
        "oldest_seconds": round(stream.oldest_age_seconds(), 3),
        "bytes": stream.waiting_bytes,
        "max_bytes": writer.config.secondary_queue_bytes,
        "queues": {
            queue.value: {
                "queued": counters.ledger.queued,
                "capacity": counters.capacity,
                "failed": counters.ledger.failed,
                "dropped": counters.ledger.dropped.total(),
            }
            for queue, counters in metrics.queues.items()
        },
    }


def _books(ledger: Ledger) -> dict[str, int]:
    return {
        "offered": ledger.offered,
        "applied": ledger.applied,
        "failed": ledger.failed,
        "dropped": ledger.dropped.total(),
        "deferred": ledger.deferred,
        "queued": ledger.queued,
        "in_flight": ledger.in_flight,
    }


def _comparing(writer: DualWriter) -> dict[str, Any]:
    metrics, findings = writer.metrics, writer.findings
    so_far: Counter[DivergenceKind] = Counter()
    for (_, kind), count in metrics.divergences.items():
        so_far[kind] += count
    recent: Counter[DivergenceKind] = Counter()
    for (kind, _), count in findings.recent_divergences().items():
        recent[kind] += count
    coverage = findings.coverage.total()
    return {
        "is_on": writer.shadows,
        "share": round(metrics.shadow_budget.share, 3),
        "divergences": {
            "window_seconds": writer.config.ready_window_seconds,
            "recent": {kind.value: recent[kind] for kind in DivergenceKind},
            "so_far": {kind.value: so_far[kind] for kind in DivergenceKind},
        },
        "writes_differed": findings.recent_writes_differed(),
        "pending_confirmations": findings.pending_confirmations(),
        "coverage": {
            "prefixes": len(findings.coverage.by_prefix()),
            "compared": coverage.compared,
            **attrs.asdict(coverage),
        },
    }


def _headline_facts(
    writer: DualWriter,
    backends: dict[str, Any],
    converging: dict[str, Any] | None,
    comparing: dict[str, Any],
    is_draining: bool,
) -> HeadlineFacts:
    config, metrics = writer.config, writer.metrics
    by_role = {state["role"]: state for state in backends.values()}
    facts = HeadlineFacts(
        answers=by_role["answers"]["name"],
        answers_state=by_role["answers"]["state"],
        answers_error=by_role["answers"]["error"] or "",
        is_draining=is_draining,
        clients=metrics.active_connections,
        max_clients=config.max_clients,
    )
    if converging is None or writer.stream is None:
        return facts
    recent, resync = comparing["divergences"]["recent"], converging["resync"]
    gaps = recent[DivergenceKind.MIGRATION_GAP.value]
    is_copying = resync["phase"] == "copying" and resync["keys_total"]
    return attrs.evolve(
        facts,
        follows=by_role["follows"]["name"],
        follows_error=by_role["follows"]["error"] or "",
        objection=writer.stream.stores.objection or "",
        stream_state=converging["stream"],
        stream_age_seconds=converging["oldest_seconds"],
        max_stream_age_seconds=config.ready_max_stream_age_seconds,
        dirty_keys=converging["dirty_keys"],
        dirty_seconds=converging["dirty_for_seconds"] or 0.0,
        is_repairing=config.repair != "off",
        resync_required=converging["resync_required"] or "",
        is_resyncing=metrics.resync.is_running,
        resync_share=min(1.0, resync["keys_done"] / resync["keys_total"]) if is_copying else None,
        resync_eta_seconds=resync["eta_seconds"],
        is_seeded=metrics.resync.completed > 0,
        divergences=sum(recent.values()) - gaps,
        gaps=gaps,
        writes_differed=comparing["writes_differed"],
        window_seconds=config.ready_window_seconds,
        selftest_failure=metrics.selftest.failure,
        journal_gap=(converging["journal"] or {}).get("gap", ""),
    )


def is_ready(writer: DualWriter, *, is_draining: bool) -> bool:
    """Whether clients should be sent here: the primary is reachable, and we are not leaving."""
    return writer.lane.state is LaneState.UP and not is_draining


def backend_states(writer: DualWriter) -> dict[str, Any]:
    """Return each configured backend's state, by the settings' names."""
    plan = mode_plan(writer.config.mode)
    states: dict[str, Any] = {}
    for which in ("primary", "secondary"):
        options = writer.config.backend_options(which)
        state: dict[str, Any] = {"name": options.name, "address": options.address}
        if which == plan.answers:
            state |= {
                "role": "answers",
                "state": writer.lane.state.value,
                "error": writer.primary.last_error,
                "lanes": writer.lanes.up,
            }
        elif which == plan.follows:
            assert writer.stream is not None
            assert writer.secondary is not None
            is_up = writer.stream.is_connected
            state |= {
                "role": "follows",
                "state": "up" if is_up else "down",
                "error": writer.stream.stores.objection or (None if is_up else writer.secondary.last_error),
            }
        else:
            state |= {"role": "unused", "state": "unused", "error": None}
        if options.seeds:
            backend = {plan.answers: writer.primary, plan.follows: writer.secondary}.get(which)
            state["leader"] = backend.leader if isinstance(backend, LeaderAwareBackend) else None
            state["seeds"] = [shown_address(seed) for seed in options.seeds]
        states[which] = state
    return states


def convergence(writer: DualWriter) -> dict[str, Any] | None:
    """Return what is missing for both stores to be equal; None if nothing is mirrored."""
    stream, dirty, progress = writer.stream, writer.dirty, writer.metrics.resync
    if stream is None:
        return None
    now = writer.clock()
    since = dirty.oldest_since()
    eta_seconds = progress.eta_seconds(now)
    return {
        "stream": stream.gate.state.value,
        "queued": writer.metrics.total_ledger().queued,
        "oldest_seconds": round(stream.oldest_age_seconds(), 3),
        "dirty_keys": len(dirty),
        "dirty_by_reason": {reason.value: count for reason, count in dirty.by_reason().items()},
        "dirty_for_seconds": None if since is None else round(now - since, 1),
        "resync_required": dirty.needs_resync,
        "resync": {
            "phase": progress.phase.value,
            "why": progress.why or None,
            "keys_done": progress.keys_done,
            "keys_total": progress.keys_total,
            "bytes_done": progress.bytes_done,
            "keys_per_second": round(progress.keys_per_second(now)) if progress.is_running else 0,
            "eta_seconds": None if eta_seconds is None else round(eta_seconds),
        },
        "not_holdable": dict(stream.translator.not_holdable),
        "journal": attrs.asdict(writer.notes.journal.statistics(), value_serializer=_plain)
        if writer.notes.journal is not None
        else None,
    }


def _plain(_: object, __: object, value: Any) -> Any:
    return value.reason if isinstance(value, Gap) else value
