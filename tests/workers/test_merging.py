"""What several workers say, as one answer."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from dualkv.observe.collector import FAMILIES, MetricsCollector
from dualkv.observe.metrics import ProxyMetrics
from dualkv.workers.merging import merged_metrics, merged_pages, merged_series


def scraped(metrics: ProxyMetrics) -> str:
    """Return what a worker with these figures tells Prometheus."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(metrics))
    return generate_latest(registry).decode()


def test_metrics_are_added_up_and_none_is_lost() -> None:
    """Counters, gauges and histograms of two workers are their sums."""
    one, other = ProxyMetrics(), ProxyMetrics()
    one.active_connections, other.active_connections = 3, 4
    one.primary_write_errors, other.primary_write_errors = 10, 20
    merged = merged_metrics([scraped(one), scraped(other)])
    values = {
        (sample.name, *sample.labels.values()): sample.value for each in merged for sample in each.samples
    }
    assert values["proxy_active_connections",] == 7
    assert values["proxy_primary_write_errors_total",] == 30
    assert {f"proxy_{family.name}" for family in FAMILIES} <= {family.name for family in merged}


def test_what_is_wrong_anywhere_is_wrong_for_all() -> None:
    """A resync that one worker requires is 1; a self-test that one has not passed is not passed."""
    one, other = ProxyMetrics(), ProxyMetrics()
    one.dirty.require_resync("because")
    other.dirty.require_resync("because")
    values = {
        sample.name: sample.value
        for family in merged_metrics([scraped(one), scraped(other)])
        for sample in family.samples
    }
    assert values["proxy_resync_required"] == 1
    assert values["proxy_selftest_passed"] == -1


@pytest.mark.parametrize(
    ("pages", "merged"),
    [
        ([{"ready": True}, {"ready": False}], {"ready": False}),
        ([{"draining": True}, {"draining": False}], {"draining": True}),
        ([{"queued": 2, "oldest_seconds": 0.5}, {"queued": 3, "oldest_seconds": 0.1}],
         {"queued": 5, "oldest_seconds": 0.5}),
        ([{"mode": "dual-write"}, {"mode": "dual-write"}], {"mode": "dual-write"}),
        ([{"state": "up"}, {"state": "down"}], {"state": "up, down"}),
        ([{"error": None}, {"error": "refused"}], {"error": "refused"}),
        ([{"why": None}, {"why": None}], {"why": None}),
        ([None, {"a": 1}], {"a": 1}),
        ([{"reasons": ["x", "y"]}, {"reasons": ["x"]}], {"reasons": ["x", "y"]}),
        ([{"prefixes": [{"prefix": "u:", "matched": 1}]},
          {"prefixes": [{"prefix": "v:", "matched": 5}, {"prefix": "u:", "matched": 2}]}],
         {"prefixes": [{"prefix": "u:", "matched": 3}, {"prefix": "v:", "matched": 5}]}),
        ([{"classes": [{"backend": "redis", "class": "read", "ops_per_second": 1.5, "p99_ms": 2.0}]},
          {"classes": [{"backend": "redis", "class": "read", "ops_per_second": 2.0, "p99_ms": 3.0}]}],
         {"classes": [{"backend": "redis", "class": "read", "ops_per_second": 3.5, "p99_ms": 3.0}]}),
        ([{"databases": [{"db": 3, "seen": 1}]}, {"databases": [{"db": 3, "seen": 4}]}],
         {"databases": [{"db": 3, "seen": 5}]}),
    ],
)  # fmt: skip
def test_pages_keep_their_shape(pages: list[Any], merged: Any) -> None:
    """Counts are added, times are the longest, what is named is merged by its name."""
    assert merged_pages(pages) == merged


def test_the_worst_headline_is_the_headline() -> None:
    """Reasons that not all workers give say whose they are."""
    well = {"condition": "well", "title": "All is well", "reasons": ["redis serves the clients."]}
    bad = {"condition": "trouble", "title": "Clients are affected", "reasons": ["redis is down."]}
    told = merged_pages([{"headline": well}, {"headline": bad}, {"headline": well}])["headline"]
    assert told["condition"] == "trouble"
    assert told["reasons"] == ["worker 0, 2: redis serves the clients.", "worker 1: redis is down."]
    assert merged_pages([{"headline": well}] * 2)["headline"] == well


def point(time: float, **figures: Any) -> dict[str, Any]:
    """Return a point of a worker's last minutes."""
    quiet = {"ops_per_second": 0.0, "p99_ms": None, "stream_age_seconds": 0.0, "dirty_keys": 0}
    return {"time": time, **quiet, **figures}


def test_points_of_one_step_are_one_point() -> None:
    """Replies are added up, of latencies and ages the greatest counts; clocks differ by less than a step."""
    one = [point(100.2, ops_per_second=10.0, p99_ms=3.0), point(105.2, ops_per_second=20.0)]
    other = [point(104.9, ops_per_second=5.0, p99_ms=7.0, dirty_keys=2), point(109.9, stream_age_seconds=4.0)]

    first, second = merged_series([one, other])
    assert first == point(104.9, ops_per_second=15.0, p99_ms=7.0, dirty_keys=2)
    assert second == point(109.9, ops_per_second=20.0, stream_age_seconds=4.0)


def test_a_step_that_one_of_them_has_not_told_yet_is_left_out() -> None:
    """It would look like half of the traffic; a worker that came later was not there before."""
    one, other = [point(100.0), point(105.0), point(110.0)], [point(106.0)]

    assert [each["time"] for each in merged_series([one, other, []])] == [100.0, 106.0]
    assert merged_series([[], []]) == []
