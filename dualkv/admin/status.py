"""What is going on, as plain data: for ``/readyz`` and for the demo's screen."""

from __future__ import annotations

from typing import Any

import attrs

from dualkv.config.backends import shown_address
from dualkv.core.journal import Gap
from dualkv.core.modes import mode_plan
from dualkv.net.lane import LaneState
from dualkv.net.leader_aware import LeaderAwareBackend
from dualkv.net.writer import DualWriter

__all__ = ["backend_states", "convergence", "is_ready"]


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
        "not_holdable": dict(writer.translator.not_holdable),
        "journal": attrs.asdict(writer.notes.journal.statistics(), value_serializer=_plain)
        if writer.notes.journal is not None
        else None,
    }


def _plain(_: object, __: object, value: Any) -> Any:
    return value.reason if isinstance(value, Gap) else value
