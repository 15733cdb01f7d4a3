"""The counters as Prometheus families.

`FAMILIES` names every metric with its labels and meaning; the documentation is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dualkv.commands.table import COMMANDS
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import DivergenceKind
from dualkv.core.gate import GateState
from dualkv.core.leadership import Refresh
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.pubsub_matching import Doubt
from dualkv.core.rejection import Rejection
from dualkv.observe.divergence_log import DROP_REASONS
from dualkv.observe.metrics import DURATION_BUCKETS_SECONDS, PoolCounters, ProxyMetrics

__all__ = ["FAMILIES", "Family", "MetricsCollector"]

_BOUNDS: Final = [*map(str, DURATION_BUCKETS_SECONDS), "+Inf"]

_MetricFamily = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Fill = Callable[[ProxyMetrics, _MetricFamily], None]


@attrs.frozen
class Family:
    """One metric: its name, what it means, and how its samples are made."""

    name: str
    """Without ``proxy_``; counters without ``_total``."""
    kind: type[_MetricFamily]
    help: str
    labels: tuple[str, ...]
    fill: Fill

    @property
    def exposed_name(self) -> str:
        """The name as Prometheus shows it."""
        return f"proxy_{self.name}" + ("_total" if self.kind is CounterMetricFamily else "")


class MetricsCollector(Collector):
    """Makes all families when somebody scrapes."""

    def __init__(self, metrics: ProxyMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Return every family with its samples of this moment."""
        for family in FAMILIES:
            made = family.kind(f"proxy_{family.name}", family.help, labels=family.labels)
            family.fill(self._metrics, made)
            yield made


# --- how samples are made ---------------------------------------------------------------------------


def _single(read: Callable[[ProxyMetrics], float]) -> Fill:
    def fill(metrics: ProxyMetrics, family: _MetricFamily) -> None:
        _add(family, (), read(metrics))

    return fill


def _add(family: _MetricFamily, labels: Sequence[str], value: float) -> None:
    assert not isinstance(family, HistogramMetricFamily)
    family.add_metric(labels, value)


def _add_histogram(
    family: _MetricFamily, labels: Sequence[str], counts: Sequence[int], sum_seconds: float
) -> None:
    assert isinstance(family, HistogramMetricFamily)
    total = 0
    buckets = []
    for bound, count in zip(_BOUNDS, counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric(labels, buckets, sum_seconds)


def _commands(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        for spec, counters in zip(COMMANDS, backend.by_command, strict=True):
            if replies := sum(counters.counts):
                _add(family, (spec.label, backend.name, "ok"), replies - counters.errors)
                _add(family, (spec.label, backend.name, "error"), counters.errors)


def _command_durations(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        for spec, counters in zip(COMMANDS, backend.by_command, strict=True):
            if any(counters.counts):
                _add_histogram(family, (spec.label, backend.name), counters.counts, counters.sum_seconds)


def _write_errors_by_reason(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for (index, reason), count in metrics.secondary_write_errors.items():
        _add(family, (COMMANDS[index].label, reason), count)


def _divergences(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for (index, kind), count in metrics.divergences.items():
        _add(family, (COMMANDS[index].label, kind.value), count)


def _migration_gaps(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for (index, kind), count in metrics.divergences.items():
        if kind is DivergenceKind.MIGRATION_GAP:
            _add(family, (COMMANDS[index].label,), count)


def _drops_by_queue(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for queue, counters in metrics.queues.items():
        for reason in DropReason:
            _add(family, (queue.value, reason.value), counters.ledger.dropped[reason])


def _queue_delay(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for queue, counters in metrics.queues.items():
        _add_histogram(family, (queue.value,), counters.delay.counts, counters.delay.sum_seconds)


def _ledger(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for queue, counters in metrics.queues.items():
        ledger = counters.ledger
        for account, count in (
            ("offered", ledger.offered),
            ("applied", ledger.applied),
            ("failed", ledger.failed),
            ("dropped", ledger.dropped.total()),
            ("deferred", ledger.deferred),
            ("queued", ledger.queued),
            ("in_flight", ledger.in_flight),
        ):
            _add(family, (queue.value, account), count)


def _by_queue(read: Callable[[ProxyMetrics, Queue], float]) -> Fill:
    def fill(metrics: ProxyMetrics, family: _MetricFamily) -> None:
        for queue in metrics.queues:
            _add(family, (queue.value,), read(metrics, queue))

    return fill


def _by_backend(read: Callable[[ProxyMetrics, str], float]) -> Fill:
    def fill(metrics: ProxyMetrics, family: _MetricFamily) -> None:
        for name in metrics.backends:
            _add(family, (name,), read(metrics, name))

    return fill


def _pool_connections(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        for state, count in backend.pool.connections.items():
            _add(family, (backend.name, state), count)


def _pool_events(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        for event, count in backend.pool.events.items():
            _add(family, (backend.name, event), count)


def _leader_refreshes(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        for outcome in Refresh if backend.pool.refreshes else ():
            _add(family, (backend.name, outcome.value), backend.pool.refreshes[outcome])


def _leaders(read: Callable[[PoolCounters], int]) -> Fill:
    def fill(metrics: ProxyMetrics, family: _MetricFamily) -> None:
        for backend in metrics.backends.values():
            if backend.pool.refreshes:
                _add(family, (backend.name,), read(backend.pool))

    return fill


def _pool_wait(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for backend in metrics.backends.values():
        wait = backend.pool.wait
        _add_histogram(family, (backend.name,), wait.counts, wait.sum_seconds)


def _counter(read: Callable[[ProxyMetrics], Mapping[str, int]]) -> Fill:
    def fill(metrics: ProxyMetrics, family: _MetricFamily) -> None:
        for label, count in read(metrics).items():
            _add(family, (label,), count)

    return fill


def _dirty_keys(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    found = metrics.dirty.by_reason()
    for reason in DirtyReason:
        _add(family, (reason.value,), found[reason])


def _dirty_keys_marked(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for reason in DirtyReason:
        _add(family, (reason.value,), metrics.dirty.marked[reason])


def _stream_gate(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for state in GateState:
        _add(family, (state.value,), int(metrics.gate is not None and metrics.gate.state is state))


def _log_drops(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    log = metrics.findings.log
    for reason in DROP_REASONS:
        _add(family, (reason,), 0 if log is None else log.dropped[reason])


def _pubsub_divergences(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for kind in DivergenceKind:
        _add(family, (kind.value,), metrics.pubsub_divergences[kind])


def _pubsub_inconclusive(metrics: ProxyMetrics, family: _MetricFamily) -> None:
    for doubt in Doubt:
        _add(family, (doubt.value,), metrics.pubsub.inconclusive[doubt])


_C, _G, _H = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

FAMILIES: Final = (
    Family(
        "command", _C, "Replies, by command, backend and status.", ("command", "backend", "status"), _commands
    ),
    Family(
        "command_duration_seconds",
        _H,
        "From sending a command to its reply.",
        ("command", "backend"),
        _command_durations,
    ),
    Family(
        "primary_write_errors",
        _C,
        "Writes that the primary answered with an error.",
        (),
        _single(lambda m: m.primary_write_errors),
    ),
    Family(
        "primary_read_errors",
        _C,
        "Reads that the primary answered with an error.",
        (),
        _single(lambda m: m.primary_read_errors),
    ),
    Family(
        "primary_outcome_unknown",
        _C,
        "Commands in flight when the connection to the primary was lost.",
        (),
        _single(lambda m: m.primary_outcomes_unknown),
    ),
    Family(
        "secondary_write_errors",
        _C,
        "Mirrored writes that failed.",
        (),
        _single(lambda m: m.secondary_write_errors.total()),
    ),
    Family(
        "secondary_write_errors_by_reason",
        _C,
        "The same, by command and reason.",
        ("cmd", "reason"),
        _write_errors_by_reason,
    ),
    Family(
        "write_replies_differed",
        _C,
        "Mirrored writes that the secondary answered otherwise than the primary: its state was another one.",
        (),
        _single(lambda m: m.write_replies_differed),
    ),
    Family("dirty_keys", _G, "Keys that may differ now, by reason.", ("reason",), _dirty_keys),
    Family(
        "dirty_functions",
        _G,
        "1 while the libraries of functions may differ.",
        (),
        _single(lambda m: int(m.dirty.functions)),
    ),
    Family("dirty_bytes", _G, "Memory they take.", (), _single(lambda m: m.dirty.size_bytes)),
    Family("dirty_keys_marked", _C, "Keys that became dirty, by reason.", ("reason",), _dirty_keys_marked),
    Family("repaired_keys", _C, "Dirty keys that were copied.", (), _single(lambda m: m.dirty.repaired)),
    Family(
        "repair_in_flight",
        _G,
        "Keys whose state is being read.",
        (),
        _single(lambda m: m.copies_in_flight),
    ),
    Family(
        "resync_required",
        _G,
        "1 while copying dirty keys is not enough: all keys must be copied, or are being copied.",
        (),
        _single(lambda m: int(m.dirty.needs_resync is not None or m.resync.is_running)),
    ),
    Family("resync_keys_done", _G, "Keys the resync has copied.", (), _single(lambda m: m.resync.keys_done)),
    Family(
        "resync_keys_total", _G, "Keys there were when it began.", (), _single(lambda m: m.resync.keys_total)
    ),
    Family(
        "resyncs_completed", _C, "Resyncs that came to their end.", (), _single(lambda m: m.resync.completed)
    ),
    Family("journal_bytes", _G, "What the journal takes on disk.", (), _single(lambda m: m.journal()[0])),
    Family(
        "journal_failures",
        _C,
        "Calls that the disk refused the journal.",
        (),
        _single(lambda m: m.journal()[1]),
    ),
    Family(
        "journal_gap",
        _G,
        "1 while keys are missing in the journal: after kill -9 now, everything would be copied.",
        (),
        _single(lambda m: int(m.journal()[2])),
    ),
    Family(
        "not_holdable",
        _C,
        "Effects that the secondary cannot hold in any form, by command.",
        ("command",),
        _counter(lambda m: m.not_holdable),
    ),
    Family(
        "stream_gate",
        _G,
        "1 for what the stream does now: flowing, overloaded, unreachable, paused.",
        ("state",),
        _stream_gate,
    ),
    Family(
        "shadow_read_errors",
        _C,
        "Shadow reads without an answer of the secondary.",
        (),
        _single(lambda m: m.shadow_read_errors),
    ),
    Family(
        "shadow_matches",
        _C,
        "Shadow reads whose replies mean the same.",
        (),
        _single(lambda m: m.shadow_matches),
    ),
    Family(
        "shadow_inconclusive",
        _C,
        "Shadow reads that could not be compared, by reason.",
        ("reason",),
        _counter(lambda m: m.shadow_inconclusive),
    ),
    Family(
        "shadow_unsampled",
        _C,
        "Reads that were not compared since their keys are not in the sample.",
        (),
        _single(lambda m: m.shadow_filter.unsampled),
    ),
    Family(
        "shadow_budget_share",
        _G,
        "Share of the reads that are compared now; below 1, writes would be slowed by more.",
        (),
        _single(lambda m: m.shadow_budget.share),
    ),
    Family(
        "shadow_budget_shed",
        _C,
        "Reads that were not compared since that would have slowed writes.",
        (),
        _single(lambda m: m.shadow_budget.shed),
    ),
    Family(
        "shadow_rule",
        _C,
        "Reads that a rule of `shadow_rules` has decided on, by its text.",
        ("rule",),
        _counter(lambda m: m.shadow_filter.reads_by_rule()),
    ),
    Family(
        "shadow_transient",
        _C,
        "Differences that were gone when both stores were read again.",
        (),
        _single(lambda m: m.shadow_transient),
    ),
    Family(
        "shadow_errors",
        _C,
        "Comparisons that ended with an error: of one store alone, or of the comparing itself.",
        ("reason",),
        _counter(lambda m: m.shadow_errors),
    ),
    Family(
        "shadow_skipped",
        _C,
        "Shadow reads that there was nothing to compare of, by reason.",
        ("reason",),
        _counter(lambda m: m.shadow_skipped),
    ),
    Family("divergences", _C, "Confirmed differences between the stores.", ("command", "kind"), _divergences),
    Family(
        "migration_gap",
        _C,
        "Confirmed differences where only the primary has the data.",
        ("command",),
        _migration_gaps,
    ),
    Family(
        "selftest_passed",
        _G,
        "1: the self-test has shown that writes arrive and differences raise alarms; 0: failed; -1: not run.",
        (),
        _single(lambda m: m.selftest.gauge),
    ),
    Family(
        "divergence_log_written",
        _C,
        "Divergences that are in the file of `divergence_log`.",
        (),
        _single(lambda m: 0 if m.findings.log is None else m.findings.log.written),
    ),
    Family(
        "divergence_log_dropped", _C, "Divergences that are not in it, by reason.", ("reason",), _log_drops
    ),
    Family("active_connections", _G, "Clients connected.", (), _single(lambda m: m.active_connections)),
    Family(
        "refused_connections",
        _C,
        "Clients turned away at the limit.",
        (),
        _single(lambda m: m.refused_connections),
    ),
    Family(
        "rejected_connections",
        _C,
        "Connections that did not become clients, by reason.",
        ("reason",),
        _counter(lambda m: {reason.value: m.rejected_connections[reason] for reason in Rejection}),
    ),
    Family(
        "tls_reloads",
        _C,
        "How often the listener's certificate was read again: loaded, or failed (the old one stays).",
        ("outcome",),
        _counter(lambda m: {outcome: m.tls_reloads[outcome] for outcome in ("loaded", "failed")}),
    ),
    Family(
        "auth_failures",
        _C,
        "Wrong passwords of clients.",
        (),
        _single(lambda m: m.auth_failures),
    ),
    Family(
        "client_disconnects",
        _C,
        "Clients that dualkv disconnected, by reason.",
        ("reason",),
        _counter(lambda m: m.client_disconnects),
    ),
    Family(
        "async_drops",
        _C,
        "Items that never reached the secondary.",
        (),
        _single(lambda m: m.total_ledger().dropped.total()),
    ),
    Family(
        "async_drops_by_queue", _C, "The same, by queue and reason.", ("queue", "reason"), _drops_by_queue
    ),
    Family(
        "async_queue_depth",
        _G,
        "Items waiting.",
        ("queue",),
        _by_queue(lambda m, q: m.queues[q].ledger.queued),
    ),
    Family(
        "async_queue_capacity",
        _G,
        "Items that may wait.",
        ("queue",),
        _by_queue(lambda m, q: m.queues[q].capacity),
    ),
    Family("async_queue_delay_seconds", _H, "How long items waited.", ("queue",), _queue_delay),
    Family(
        "async_workers_active",
        _G,
        "Workers busy with items of a queue.",
        ("queue",),
        _by_queue(lambda m, q: m.queues[q].active_workers),
    ),
    Family(
        "async_ledger",
        _G,
        "The books: offered = applied + failed + dropped + deferred + queued + in_flight.",
        ("queue", "account"),
        _ledger,
    ),
    Family(
        "backend_pool_limit",
        _G,
        "Most connections to a backend.",
        ("backend",),
        _by_backend(lambda m, b: m.backends[b].pool.limit),
    ),
    Family(
        "backend_pool_connections", _G, "Connections open, by use.", ("backend", "state"), _pool_connections
    ),
    Family(
        "backend_pool_pending_requests",
        _G,
        "Requests waiting for a reply on the lanes.",
        ("backend",),
        _by_backend(lambda m, b: m.backends[b].pool.pending_requests),
    ),
    Family("backend_pool_events", _C, "What happened to connections.", ("backend", "event"), _pool_events),
    Family(
        "backend_pool_wait_duration_seconds",
        _H,
        "How long opening a connection took.",
        ("backend",),
        _pool_wait,
    ),
    Family(
        "backend_leader_refreshes",
        _C,
        "Rounds in which a backend's nodes were asked who leads, by how they ended.",
        ("backend", "outcome"),
        _leader_refreshes,
    ),
    Family(
        "backend_leader_changes",
        _C,
        "How often another node led than before.",
        ("backend",),
        _leaders(lambda pool: pool.moves),
    ),
    Family(
        "backend_leader_known",
        _G,
        "1 while it is known where commands go, for a backend that is several nodes.",
        ("backend",),
        _leaders(lambda pool: int(pool.has_leader)),
    ),
    Family(
        "pubsub_shadow_divergences",
        _C,
        "Messages that only one store delivered.",
        ("kind",),
        _pubsub_divergences,
    ),
    Family(
        "pubsub_shadow_errors",
        _C,
        "Failures of the shadow subscriber.",
        (),
        _single(lambda m: m.pubsub_errors),
    ),
    Family(
        "pubsub_shadow_matches",
        _C,
        "Messages that both stores delivered.",
        (),
        _single(lambda m: m.pubsub.matched),
    ),
    Family(
        "pubsub_shadow_inconclusive",
        _C,
        "Messages of one store that prove nothing, by reason.",
        ("reason",),
        _pubsub_inconclusive,
    ),
    Family(
        "pubsub_shadow_skipped",
        _C,
        "Notifications that stores make of their own keys: not compared.",
        (),
        _single(lambda m: m.pubsub.skipped),
    ),
)
"""Every metric, in the order of the documentation."""
