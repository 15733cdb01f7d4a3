"""What comparing has found: remembered, counted by prefix, and on its way to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from dualkv.commands.table import find_command
from dualkv.config import ProxyConfig
from dualkv.core.coverage import MESSAGES, PrefixCoverage
from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.observe.findings import Findings
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.reports import DivergenceReports
from dualkv.observe.sentry import SentryReporter

GAP, MISMATCH = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH


class Clock:
    """A clock that somebody moves."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


def divergence(kind: DivergenceKind = MISMATCH, key: bytes = b"user:1", **facts: Any) -> Divergence:
    """Return one."""
    return Divergence("get", kind, key, b"+1\r\n", b"+2\r\n", **facts)


def test_a_divergence_gets_an_id_and_keeps_one(clock: Clock) -> None:
    """Whoever reports it need not think of names."""
    findings = Findings(ProxyConfig(), clock, 1_700_000_000)
    first, second = findings.diverged(divergence()), findings.diverged(divergence())

    assert first.id < second.id
    assert first.id.startswith("6553f100")
    assert findings.diverged(divergence(id="mine-1")).id == "mine-1"
    assert [found.id for found in findings.ring] == [first.id, second.id, "mine-1"]


def test_what_is_told_is_covered_by_prefix(clock: Clock) -> None:
    """Each outcome in its own count."""
    findings = Findings(ProxyConfig(), clock)
    findings.matched([b"user:1", b"user:2"])
    findings.inconclusive([b"user:3"])
    findings.writes_checked([b"user:4", b"cart:1"])
    findings.write_differed(b"user:5")
    findings.diverged(divergence())
    findings.diverged(divergence(GAP))

    assert findings.coverage.by_prefix() == {
        b"user:": PrefixCoverage(
            matched=2, gaps=1, diverged=1, inconclusive=1, writes_checked=1, writes_differed=1
        ),
        b"cart:": PrefixCoverage(writes_checked=1),
    }


def test_messages_are_divergences_and_no_compared_reads(clock: Clock) -> None:
    """A channel is no key: it is no evidence, and no prefix that wants more of it."""
    findings = Findings(ProxyConfig(), clock)
    findings.diverged(attrs.evolve(divergence(key=b"news:1"), command="psubscribe"))

    assert findings.coverage.by_prefix() == {}
    assert findings.recent_divergences() == {(MISMATCH, MESSAGES): 1}
    assert len(findings.ring) == 1


def test_what_is_older_than_the_window_is_not_recent(clock: Clock) -> None:
    """By kind and prefix; the records themselves stay."""
    findings = Findings(ProxyConfig(ready_window_seconds=60.0), clock)
    findings.diverged(divergence())
    findings.write_differed(b"user:1")
    clock.now += 50
    findings.diverged(divergence(GAP, b"cart:1"))
    assert findings.recent_divergences() == {(MISMATCH, b"user:"): 1, (GAP, b"cart:"): 1}
    assert findings.recent_writes_differed() == 1

    clock.now += 50
    assert findings.recent_divergences() == {(GAP, b"cart:"): 1}
    assert findings.recent_writes_differed() == 0
    assert len(findings.ring) == 2


def test_a_flood_of_gaps_leaves_the_file_to_the_others(clock: Clock, tmp_path: Path) -> None:
    """One gap in a tenth of a second is written, every mismatch is, and all are counted."""
    findings = Findings(ProxyConfig(divergence_log=str(tmp_path / "d.jsonl")), clock)
    findings.open_log()
    findings.open_log()  # a second time changes nothing
    assert findings.log is not None
    for _ in range(10):
        findings.diverged(divergence(GAP))
        findings.diverged(divergence())
    clock.now += 0.2
    findings.diverged(divergence(GAP))

    assert [found.kind for found in findings.log.take()].count(GAP) == 2
    assert findings.log.dropped == {"gap_limit": 9}


def test_a_report_is_remembered_under_the_id_that_the_log_names(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """From the line in the log to the record: by id. Key and values are not in the line."""
    metrics = ProxyMetrics()
    reports = DivergenceReports(metrics, SentryReporter.start("", clock), clock)
    reports.report(find_command(b"GET"), divergence())

    (found,) = metrics.findings.ring
    (line,) = caplog.records
    said = {name: vars(line)[name] for name in ("id", "command", "kind", "cause")}
    assert said == {"id": found.id, "command": "get", "kind": "data_mismatch", "cause": "unknown"}
    assert "user:1" not in str(vars(line))
