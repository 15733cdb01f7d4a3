"""The exposition: every metric that dashboards rely on, with its labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dualkv.commands.table import find_command
from dualkv.config import ProxyConfig
from dualkv.config.shadow_rules import parse_shadow_rules
from dualkv.core.divergence import DivergenceKind
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.pacing import Outcome, Pacing, Refusal
from dualkv.core.routing import plan_of
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.observe.collector import FAMILIES, MetricsCollector
from dualkv.observe.findings import Findings
from dualkv.observe.metrics import DURATION_BUCKETS_SECONDS, ProxyMetrics, bucket_of

PROMISED = {
    "proxy_command_total": {"command", "backend", "status"},
    "proxy_command_duration_seconds_count": {"command", "backend"},
    "proxy_primary_write_errors_total": set(),
    "proxy_secondary_write_errors_total": set(),
    "proxy_secondary_write_errors_by_reason_total": {"cmd", "reason"},
    "proxy_primary_read_errors_total": set(),
    "proxy_shadow_read_errors_total": set(),
    "proxy_divergences_total": {"command", "kind"},
    "proxy_migration_gap_total": {"command"},
    "proxy_active_connections": set(),
    "proxy_async_drops_total": set(),
    "proxy_async_drops_by_queue_total": {"queue", "reason"},
    "proxy_async_queue_depth": {"queue"},
    "proxy_async_queue_capacity": {"queue"},
    "proxy_async_queue_delay_seconds_count": {"queue"},
    "proxy_async_workers_active": {"queue"},
    "proxy_backend_pool_limit": {"backend"},
    "proxy_backend_pool_connections": {"backend", "state"},
    "proxy_backend_pool_pending_requests": {"backend"},
    "proxy_backend_pool_events_total": {"backend", "event"},
    "proxy_backend_pool_wait_duration_seconds_count": {"backend"},
    "proxy_pubsub_shadow_divergences_total": {"kind"},
    "proxy_pubsub_shadow_errors_total": set(),
}
"""Names and labels that must not change: whoever comes from the reference has dashboards with them."""

GET = find_command(b"GET").index


@pytest.fixture(name="metrics")
def _metrics() -> ProxyMetrics:
    """Counters in which something of every kind has happened."""
    metrics = ProxyMetrics()
    for backend in metrics.backends.values():
        backend.by_command[GET].counts[bucket_of(0.002)] += 3
        backend.by_command[GET].sum_seconds += 0.006
        backend.by_command[GET].errors += 1
        backend.pool.connections["lane"] += 1
        backend.pool.events["opened"] += 1
    metrics.secondary_write_errors[GET, "busy"] += 1
    metrics.divergences[GET, DivergenceKind.MIGRATION_GAP] += 2
    metrics.ledger(Queue.WRITE).refuse(DropReason.QUEUE_FULL)
    return metrics


def samples(metrics: ProxyMetrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return what a scrape shows, by name."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(metrics))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_promised_metric_is_there_with_its_labels(metrics: ProxyMetrics) -> None:
    """The names and labels of the system that dualkv replaces."""
    shown = samples(metrics)

    assert {name: set(shown[name][0][0]) for name in PROMISED} == PROMISED


def test_only_counters_are_called_total() -> None:
    """A name that ends so is one that only grows, which queries rely on."""
    assert [family.name for family in FAMILIES if family.name.endswith("_total")] == []


def test_replies_are_split_by_status(metrics: ProxyMetrics) -> None:
    """An error reply is a reply."""
    shown = samples(metrics)["proxy_command_total"]

    assert ({"command": "get", "backend": "redis", "status": "ok"}, 2.0) in shown
    assert ({"command": "get", "backend": "redis", "status": "error"}, 1.0) in shown


def test_histogram_counts_are_cumulative(metrics: ProxyMetrics) -> None:
    """Each bucket holds all that was not slower, the last one everything."""
    buckets = [
        value
        for labels, value in samples(metrics)["proxy_command_duration_seconds_bucket"]
        if labels["backend"] == "redis"
    ]

    faster = sum(bound < 0.002 for bound in DURATION_BUCKETS_SECONDS)
    assert buckets == [0.0] * faster + [3.0] * (len(DURATION_BUCKETS_SECONDS) + 1 - faster)


def test_migration_gaps_are_counted_by_command(metrics: ProxyMetrics) -> None:
    """They are among the divergences, and apart."""
    shown = samples(metrics)

    assert shown["proxy_migration_gap_total"] == [({"command": "get"}, 2.0)]
    assert shown["proxy_divergences_total"] == [({"command": "get", "kind": "migration_gap"}, 2.0)]


def test_what_is_not_in_the_file_of_divergences_is_shown_by_reason(
    metrics: ProxyMetrics, tmp_path: Path
) -> None:
    """All reasons are there from the start, also without a file."""
    assert {value for _, value in samples(metrics)["proxy_divergence_log_dropped_total"]} == {0.0}

    metrics.findings = Findings(ProxyConfig(divergence_log=str(tmp_path / "d.jsonl")))
    metrics.findings.open_log()
    assert metrics.findings.log is not None
    metrics.findings.log.dropped["disk"] += 3
    shown = samples(metrics)
    assert ({"reason": "disk"}, 3.0) in shown["proxy_divergence_log_dropped_total"]
    assert shown["proxy_divergence_log_written_total"] == [({}, 0.0)]


def test_rules_about_reads_are_shown_by_their_text_also_those_that_never_fitted(
    metrics: ProxyMetrics,
) -> None:
    """A rule that decides on nothing is a mistake that somebody can see."""
    metrics.shadow_filter = ShadowFilter(0.0, parse_shadow_rules("a* GET ignore; b* GET ignore"))
    for args in ((b"GET", b"a"), (b"GET", b"c")):
        assert not metrics.shadow_filter.admits(plan_of(args), args)
    shown = samples(metrics)

    assert shown["proxy_shadow_rule_total"] == [
        ({"rule": "a* GET ignore"}, 1.0), ({"rule": "b* GET ignore"}, 0.0),
    ]  # fmt: skip
    assert shown["proxy_shadow_unsampled_total"] == [({}, 1.0)]


def test_the_pace_of_transactions_is_shown(metrics: ProxyMetrics) -> None:
    """Every outcome and reason from the start; size and number as they are now."""
    assert {value for _, value in samples(metrics)["proxy_transactions_total"]} == {0.0}

    metrics.pacing = Pacing(8)
    metrics.pacing.outcomes[Outcome.SPLIT] += 2
    metrics.pacing.refused(metrics.pacing.begin(), 100, Refusal.BUSY)
    shown = samples(metrics)
    assert ({"outcome": "split"}, 2.0) in shown["proxy_transactions_total"]
    assert ({"reason": "busy"}, 1.0) in shown["proxy_transaction_pace_halved_total"]
    assert shown["proxy_transaction_effects_limit"] == [({}, 125.0)]
    assert shown["proxy_transactions_at_once_limit"] == [({}, 4.0)]


def test_the_ledger_is_shown_account_by_account(metrics: ProxyMetrics) -> None:
    """Whoever adds them up finds the same sum."""
    accounts = {
        labels["account"]: value
        for labels, value in samples(metrics)["proxy_async_ledger"]
        if labels["queue"] == "write"
    }

    assert accounts.pop("offered") == sum(accounts.values()) == 1.0
