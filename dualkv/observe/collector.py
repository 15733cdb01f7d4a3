"""The counters as Prometheus families.

`FAMILIES` names every metric with its labels and meaning; the documentation is checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dualkv.core.rejection import Rejection
from dualkv.observe import samples
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.samples import Fill, MetricFamily

__all__ = ["FAMILIES", "Family", "MetricsCollector"]


@attrs.frozen
class Family:
    """One metric: its name, what it means, and how its samples are made."""

    name: str
    """Without ``proxy_``; counters without ``_total``."""
    kind: type[MetricFamily]
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


_C, _G, _H = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

FAMILIES: Final = (
    Family(
        "command",
        _C,
        "Replies, by command, backend and status.",
        ("command", "backend", "status"),
        samples.commands,
    ),
    Family(
        "command_duration_seconds",
        _H,
        "From sending a command to its reply.",
        ("command", "backend"),
        samples.command_durations,
    ),
    Family(
        "primary_write_errors",
        _C,
        "Writes that the primary answered with an error.",
        (),
        samples.single(lambda m: m.primary_write_errors),
    ),
    Family(
        "primary_read_errors",
        _C,
        "Reads that the primary answered with an error.",
        (),
        samples.single(lambda m: m.primary_read_errors),
    ),
    Family(
        "primary_outcome_unknown",
        _C,
        "Commands in flight when the connection to the primary was lost.",
        (),
        samples.single(lambda m: m.primary_outcomes_unknown),
    ),
    Family(
        "secondary_write_errors",
        _C,
        "Mirrored writes that failed.",
        (),
        samples.single(lambda m: m.secondary_write_errors.total()),
    ),
    Family(
        "secondary_write_errors_by_reason",
        _C,
        "The same, by command and reason.",
        ("cmd", "reason"),
        samples.write_errors_by_reason,
    ),
    Family(
        "write_replies_differed",
        _C,
        "Mirrored writes that the secondary answered otherwise than the primary: its state was another one.",
        (),
        samples.single(lambda m: m.write_replies_differed),
    ),
    Family("dirty_keys", _G, "Keys that may differ now, by reason.", ("reason",), samples.dirty_keys),
    Family(
        "dirty_functions",
        _G,
        "1 while the libraries of functions may differ.",
        (),
        samples.single(lambda m: int(m.dirty.functions)),
    ),
    Family("dirty_bytes", _G, "Memory they take.", (), samples.single(lambda m: m.dirty.size_bytes)),
    Family(
        "dirty_keys_marked", _C, "Keys that became dirty, by reason.", ("reason",), samples.dirty_keys_marked
    ),
    Family(
        "repaired_keys", _C, "Dirty keys that were copied.", (), samples.single(lambda m: m.dirty.repaired)
    ),
    Family(
        "repair_in_flight",
        _G,
        "Keys whose state is being read.",
        (),
        samples.single(lambda m: m.copies_in_flight),
    ),
    Family(
        "resync_required",
        _G,
        "1 while copying dirty keys is not enough: all keys must be copied, or are being copied.",
        (),
        samples.single(lambda m: int(m.dirty.needs_resync is not None or m.resync.is_running)),
    ),
    Family(
        "resync_keys_done",
        _G,
        "Keys the resync has copied.",
        (),
        samples.single(lambda m: m.resync.keys_done),
    ),
    Family(
        "resync_keys_expected",
        _G,
        "Keys there were when it began.",
        (),
        samples.single(lambda m: m.resync.keys_total),
    ),
    Family(
        "resyncs_completed",
        _C,
        "Resyncs that came to their end.",
        (),
        samples.single(lambda m: m.resync.completed),
    ),
    Family(
        "journal_bytes", _G, "What the journal takes on disk.", (), samples.single(lambda m: m.journal()[0])
    ),
    Family(
        "journal_failures",
        _C,
        "Calls that the disk refused the journal.",
        (),
        samples.single(lambda m: m.journal()[1]),
    ),
    Family(
        "journal_gap",
        _G,
        "1 while keys are missing in the journal: after kill -9 now, everything would be copied.",
        (),
        samples.single(lambda m: int(m.journal()[2])),
    ),
    Family(
        "not_holdable",
        _C,
        "Effects that the secondary cannot hold in any form, by command.",
        ("command",),
        samples.counter(lambda m: m.not_holdable),
    ),
    Family(
        "stream_gate",
        _G,
        "1 for what the stream does now: flowing, overloaded, unreachable, paused.",
        ("state",),
        samples.stream_gate,
    ),
    Family(
        "transactions",
        _C,
        "Transactions of effects for a store where each write costs a commit, by what became of them.",
        ("outcome",),
        samples.transactions,
    ),
    Family(
        "transaction_effects",
        _C,
        "Effects in those that were committed.",
        (),
        samples.single(lambda m: m.pacing.effects_committed),
    ),
    Family(
        "transaction_effects_limit",
        _G,
        "Effects that may be in one now.",
        (),
        samples.single(lambda m: m.pacing.effects),
    ),
    Family(
        "transactions_at_once_limit",
        _G,
        "Transactions that may be in flight now.",
        (),
        samples.single(lambda m: m.pacing.at_once),
    ),
    Family(
        "transaction_pace_halved",
        _C,
        "How often both, or only the first (`too_much`), went down by half, by reason.",
        ("reason",),
        samples.pace_halved,
    ),
    Family(
        "shadow_read_errors",
        _C,
        "Shadow reads without an answer of the secondary.",
        (),
        samples.single(lambda m: m.shadow_read_errors),
    ),
    Family(
        "shadow_matches",
        _C,
        "Shadow reads whose replies mean the same.",
        (),
        samples.single(lambda m: m.shadow_matches),
    ),
    Family(
        "shadow_inconclusive",
        _C,
        "Shadow reads that could not be compared, by reason.",
        ("reason",),
        samples.counter(lambda m: m.shadow_inconclusive),
    ),
    Family(
        "shadow_unsampled",
        _C,
        "Reads that were not compared since their keys are not in the sample.",
        (),
        samples.single(lambda m: m.shadow_filter.unsampled),
    ),
    Family(
        "shadow_budget_share",
        _G,
        "Share of the reads that are compared now; below 1, writes would be slowed by more.",
        (),
        samples.single(lambda m: m.shadow_budget.share),
    ),
    Family(
        "shadow_budget_shed",
        _C,
        "Reads that were not compared since that would have slowed writes.",
        (),
        samples.single(lambda m: m.shadow_budget.shed),
    ),
    Family(
        "shadow_rule",
        _C,
        "Reads that a rule of `shadow_rules` has decided on, by its text.",
        ("rule",),
        samples.counter(lambda m: m.shadow_filter.reads_by_rule()),
    ),
    Family(
        "shadow_transient",
        _C,
        "Differences that were gone when both stores were read again.",
        (),
        samples.single(lambda m: m.shadow_transient),
    ),
    Family(
        "shadow_errors",
        _C,
        "Comparisons that ended with an error: of one store alone, or of the comparing itself.",
        ("reason",),
        samples.counter(lambda m: m.shadow_errors),
    ),
    Family(
        "shadow_skipped",
        _C,
        "Shadow reads that there was nothing to compare of, by reason.",
        ("reason",),
        samples.counter(lambda m: m.shadow_skipped),
    ),
    Family(
        "divergences",
        _C,
        "Confirmed differences between the stores.",
        ("command", "kind"),
        samples.divergences,
    ),
    Family(
        "migration_gap",
        _C,
        "Confirmed differences where only the primary has the data.",
        ("command",),
        samples.migration_gaps,
    ),
    Family(
        "selftest_passed",
        _G,
        "1: the self-test has shown that writes arrive and differences raise alarms; 0: failed; -1: not run.",
        (),
        samples.single(lambda m: m.selftest.gauge),
    ),
    Family(
        "divergence_log_written",
        _C,
        "Divergences that are in the file of `divergence_log`.",
        (),
        samples.single(lambda m: 0 if m.findings.log is None else m.findings.log.written),
    ),
    Family(
        "divergence_log_dropped",
        _C,
        "Divergences that are not in it, by reason.",
        ("reason",),
        samples.log_drops,
    ),
    Family(
        "tasks",
        _G,
        "Tasks of the scheduler: a few, and one for each client.",
        (),
        samples.single(lambda m: m.count_tasks()),
    ),
    Family(
        "active_connections", _G, "Clients connected.", (), samples.single(lambda m: m.active_connections)
    ),
    Family(
        "refused_connections",
        _C,
        "Clients turned away at the limit.",
        (),
        samples.single(lambda m: m.refused_connections),
    ),
    Family(
        "rejected_connections",
        _C,
        "Connections that did not become clients, by reason.",
        ("reason",),
        samples.counter(lambda m: {reason.value: m.rejected_connections[reason] for reason in Rejection}),
    ),
    Family(
        "tls_reloads",
        _C,
        "How often the listener's certificate was read again: loaded, or failed (the old one stays).",
        ("outcome",),
        samples.counter(lambda m: {outcome: m.tls_reloads[outcome] for outcome in ("loaded", "failed")}),
    ),
    Family(
        "auth_failures",
        _C,
        "Wrong passwords of clients.",
        (),
        samples.single(lambda m: m.auth_failures),
    ),
    Family(
        "client_disconnects",
        _C,
        "Clients that dualkv disconnected, by reason.",
        ("reason",),
        samples.counter(lambda m: m.client_disconnects),
    ),
    Family(
        "async_drops",
        _C,
        "Items that never reached the secondary.",
        (),
        samples.single(lambda m: m.total_ledger().dropped.total()),
    ),
    Family(
        "async_drops_by_queue",
        _C,
        "The same, by queue and reason.",
        ("queue", "reason"),
        samples.drops_by_queue,
    ),
    Family(
        "async_queue_depth",
        _G,
        "Items waiting.",
        ("queue",),
        samples.by_queue(lambda m, q: m.queues[q].ledger.queued),
    ),
    Family(
        "async_queue_capacity",
        _G,
        "Items that may wait.",
        ("queue",),
        samples.by_queue(lambda m, q: m.queues[q].capacity),
    ),
    Family("async_queue_delay_seconds", _H, "How long items waited.", ("queue",), samples.queue_delay),
    Family(
        "async_workers_active",
        _G,
        "Workers busy with items of a queue.",
        ("queue",),
        samples.by_queue(lambda m, q: m.queues[q].active_workers),
    ),
    Family(
        "async_ledger",
        _G,
        "The books: offered = applied + failed + dropped + deferred + queued + in_flight.",
        ("queue", "account"),
        samples.ledger,
    ),
    Family(
        "backend_pool_limit",
        _G,
        "Most connections to a backend.",
        ("backend",),
        samples.by_backend(lambda m, b: m.backends[b].pool.limit),
    ),
    Family(
        "backend_pool_connections",
        _G,
        "Connections open, by use.",
        ("backend", "state"),
        samples.pool_connections,
    ),
    Family(
        "backend_pool_pending_requests",
        _G,
        "Requests waiting for a reply on the lanes.",
        ("backend",),
        samples.by_backend(lambda m, b: m.backends[b].pool.pending_requests),
    ),
    Family(
        "backend_pool_events", _C, "What happened to connections.", ("backend", "event"), samples.pool_events
    ),
    Family(
        "backend_pool_wait_duration_seconds",
        _H,
        "How long opening a connection took.",
        ("backend",),
        samples.pool_wait,
    ),
    Family(
        "backend_leader_refreshes",
        _C,
        "Rounds in which a backend's nodes were asked who leads, by how they ended.",
        ("backend", "outcome"),
        samples.leader_refreshes,
    ),
    Family(
        "backend_leader_changes",
        _C,
        "How often another node led than before.",
        ("backend",),
        samples.leaders(lambda pool: pool.moves),
    ),
    Family(
        "backend_leader_known",
        _G,
        "1 while it is known where commands go, for a backend that is several nodes.",
        ("backend",),
        samples.leaders(lambda pool: int(pool.has_leader)),
    ),
    Family(
        "pubsub_shadow_divergences",
        _C,
        "Messages that only one store delivered.",
        ("kind",),
        samples.pubsub_divergences,
    ),
    Family(
        "pubsub_shadow_errors",
        _C,
        "Failures of the shadow subscriber.",
        (),
        samples.single(lambda m: m.pubsub_errors),
    ),
    Family(
        "pubsub_shadow_matches",
        _C,
        "Messages that both stores delivered.",
        (),
        samples.single(lambda m: m.pubsub.matched),
    ),
    Family(
        "pubsub_shadow_inconclusive",
        _C,
        "Messages of one store that prove nothing, by reason.",
        ("reason",),
        samples.pubsub_inconclusive,
    ),
    Family(
        "pubsub_shadow_skipped",
        _C,
        "Notifications that stores make of their own keys: not compared.",
        (),
        samples.single(lambda m: m.pubsub.skipped),
    ),
)
"""Every metric, in the order of the documentation."""
