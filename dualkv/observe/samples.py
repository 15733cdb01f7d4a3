"""The samples of the metrics: functions that read counters and add to a Prometheus family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from dualkv.commands.table import COMMANDS
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import DivergenceKind
from dualkv.core.gate import GateState
from dualkv.core.leadership import Refresh
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.pacing import Outcome, Refusal
from dualkv.core.pubsub_matching import Doubt
from dualkv.observe.divergence_log import DROP_REASONS
from dualkv.observe.metrics import DURATION_BUCKETS_SECONDS, PoolCounters, ProxyMetrics

__all__ = [
    "Fill",
    "MetricFamily",
    "by_backend",
    "by_queue",
    "command_durations",
    "commands",
    "counter",
    "dirty_keys",
    "dirty_keys_marked",
    "divergences",
    "drops_by_queue",
    "leader_refreshes",
    "leaders",
    "ledger",
    "log_drops",
    "migration_gaps",
    "pace_halved",
    "pool_connections",
    "pool_events",
    "pool_wait",
    "pubsub_divergences",
    "pubsub_inconclusive",
    "queue_delay",
    "single",
    "stream_gate",
    "transactions",
    "write_errors_by_reason",
]

MetricFamily = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
"""What samples are added to."""
Fill = Callable[[ProxyMetrics, MetricFamily], None]
"""Adds all samples of a family."""

_BOUNDS: Final = [*map(str, DURATION_BUCKETS_SECONDS), "+Inf"]


def single(read: Callable[[ProxyMetrics], float]) -> Fill:
    """Return what makes the only sample of a family: what *read* returns."""

    def fill(metrics: ProxyMetrics, family: MetricFamily) -> None:
        _add(family, (), read(metrics))

    return fill


def _add(family: MetricFamily, labels: Sequence[str], value: float) -> None:
    assert not isinstance(family, HistogramMetricFamily)
    family.add_metric(labels, value)


def _add_histogram(
    family: MetricFamily, labels: Sequence[str], counts: Sequence[int], sum_seconds: float
) -> None:
    assert isinstance(family, HistogramMetricFamily)
    total = 0
    buckets = []
    for bound, count in zip(_BOUNDS, counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric(labels, buckets, sum_seconds)


def commands(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Replies, by command, backend and whether they were errors."""
    for backend in metrics.backends.values():
        for spec, counters in zip(COMMANDS, backend.by_command, strict=True):
            if replies := sum(counters.counts):
                _add(family, (spec.label, backend.name, "ok"), replies - counters.errors)
                _add(family, (spec.label, backend.name, "error"), counters.errors)


def command_durations(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """How long commands took, by command and backend."""
    for backend in metrics.backends.values():
        for spec, counters in zip(COMMANDS, backend.by_command, strict=True):
            if any(counters.counts):
                _add_histogram(family, (spec.label, backend.name), counters.counts, counters.sum_seconds)


def write_errors_by_reason(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Failed mirrored writes, by command and reason."""
    for (index, reason), count in metrics.secondary_write_errors.items():
        _add(family, (COMMANDS[index].label, reason), count)


def divergences(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Confirmed differences, by command and kind."""
    for (index, kind), count in metrics.divergences.items():
        _add(family, (COMMANDS[index].label, kind.value), count)


def migration_gaps(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Those that only the primary has, by command."""
    for (index, kind), count in metrics.divergences.items():
        if kind is DivergenceKind.MIGRATION_GAP:
            _add(family, (COMMANDS[index].label,), count)


def drops_by_queue(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """What was dropped, by queue and reason."""
    for queue, counters in metrics.queues.items():
        for reason in DropReason:
            _add(family, (queue.value, reason.value), counters.ledger.dropped[reason])


def queue_delay(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """How long items have waited, by queue."""
    for queue, counters in metrics.queues.items():
        _add_histogram(family, (queue.value,), counters.delay.counts, counters.delay.sum_seconds)


def ledger(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """The accounts that must add up, by queue."""
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


def by_queue(read: Callable[[ProxyMetrics, Queue], float]) -> Fill:
    """Return what makes a sample for each queue: what *read* returns."""

    def fill(metrics: ProxyMetrics, family: MetricFamily) -> None:
        for queue in metrics.queues:
            _add(family, (queue.value,), read(metrics, queue))

    return fill


def by_backend(read: Callable[[ProxyMetrics, str], float]) -> Fill:
    """Return what makes a sample for each backend: what *read* returns."""

    def fill(metrics: ProxyMetrics, family: MetricFamily) -> None:
        for name in metrics.backends:
            _add(family, (name,), read(metrics, name))

    return fill


def pool_connections(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Open connections, by backend and use."""
    for backend in metrics.backends.values():
        for state, count in backend.pool.connections.items():
            _add(family, (backend.name, state), count)


def pool_events(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """What happened to connections, by backend."""
    for backend in metrics.backends.values():
        for event, count in backend.pool.events.items():
            _add(family, (backend.name, event), count)


def leader_refreshes(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Questions who leads, by backend and outcome."""
    for backend in metrics.backends.values():
        for outcome in Refresh if backend.pool.refreshes else ():
            _add(family, (backend.name, outcome.value), backend.pool.refreshes[outcome])


def leaders(read: Callable[[PoolCounters], int]) -> Fill:
    """Return what makes a sample for each backend that is several nodes: what *read* returns."""

    def fill(metrics: ProxyMetrics, family: MetricFamily) -> None:
        for backend in metrics.backends.values():
            if backend.pool.refreshes:
                _add(family, (backend.name,), read(backend.pool))

    return fill


def pool_wait(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """How long connections were waited for, by backend."""
    for backend in metrics.backends.values():
        wait = backend.pool.wait
        _add_histogram(family, (backend.name,), wait.counts, wait.sum_seconds)


def counter(read: Callable[[ProxyMetrics], Mapping[str, int]]) -> Fill:
    """Return what makes a sample for each label that *read* returns a number for."""

    def fill(metrics: ProxyMetrics, family: MetricFamily) -> None:
        for label, count in read(metrics).items():
            _add(family, (label,), count)

    return fill


def dirty_keys(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Keys that may differ now, by reason."""
    found = metrics.dirty.by_reason()
    for reason in DirtyReason:
        _add(family, (reason.value,), found[reason])


def dirty_keys_marked(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Keys that have become dirty, by reason."""
    for reason in DirtyReason:
        _add(family, (reason.value,), metrics.dirty.marked[reason])


def stream_gate(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """1 for what the stream does now."""
    for state in GateState:
        _add(family, (state.value,), int(metrics.gate is not None and metrics.gate.state is state))


def transactions(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """What became of transactions, by outcome."""
    for outcome in Outcome:
        _add(family, (outcome.value,), metrics.pacing.outcomes[outcome])


def pace_halved(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """How often the pace of transactions went down, by reason."""
    for refusal in Refusal:
        _add(family, (refusal.value,), metrics.pacing.halved[refusal])


def log_drops(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Records that are not in the file of divergences, by reason."""
    log = metrics.findings.log
    for reason in DROP_REASONS:
        _add(family, (reason,), 0 if log is None else log.dropped[reason])


def pubsub_divergences(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Messages that only one store has delivered, by kind."""
    for kind in DivergenceKind:
        _add(family, (kind.value,), metrics.pubsub_divergences[kind])


def pubsub_inconclusive(metrics: ProxyMetrics, family: MetricFamily) -> None:
    """Messages that could not be judged, by reason."""
    for doubt in Doubt:
        _add(family, (doubt.value,), metrics.pubsub.inconclusive[doubt])
