"""Each alert is quiet while nothing is wrong, fires when it should, and leads to its part of the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

from dualkv.observe.collector import FAMILIES
from tests.deploy.behind import DEPLOY
from tests.deploy.expressions import metrics_in, unknown_in
from tests.deploy.programs import find_program, package
from tests.deploy.scraping import at_work, scrape
from tests.support.servers import Pair

pytestmark = pytest.mark.deploy

RULES = DEPLOY / "prometheus" / "rules.yml"
RUNBOOK = DEPLOY.parent / "docs" / "how-to" / "runbook.md"


@attrs.frozen
class Case:
    """Series, a value a minute, and when the alert must be quiet and when it must fire."""

    alert: str
    series: dict[str, str]
    """By metric and labels; those of the target are added. ``0x5 7x10``: six times 0, then 11 times 7."""
    quiet: tuple[int, ...]
    """Minutes at which it must not fire."""
    fires: int
    """The minute at which it must."""
    labels: dict[str, str] = attrs.field(factory=dict)
    """What the alert says beyond target and severity."""


GATE = 'proxy_stream_gate{state="%s"}'
CASES = [
    Case("DualkvDown", {"up": "1x5 0x10"}, (5, 6), 7),
    Case(
        "DualkvPrimaryUnreachable",
        {'proxy_backend_pool_connections{backend="redis",state="lane"}': "1x5 0x10 1x5"},
        (5, 6, 20),
        7,
    ),
    Case("DualkvPrimaryUnreachable", {"proxy_active_connections": "0x10"}, (0,), 2),
    Case("DualkvOutcomeUnknown", {"proxy_primary_outcome_unknown_total": "0x5 7x10"}, (5, 12), 7),
    Case(
        "DualkvLeaderUnknown",
        {'proxy_backend_leader_known{backend="redis"}': "1x5 0x10"},
        (5,),
        7,
        {"backend": "redis"},
    ),
    *(
        Case(
            "DualkvPoolExhausted",
            {'proxy_backend_pool_events_total{backend="redis",event="exhausted"}': values},
            (5, 14),
            7,
            {"backend": "redis", "event": "exhausted"},
        )
        for values in ("_x6 1x10", "1x5 2x10")
    ),
    Case("DualkvClientsRefused", {"proxy_refused_connections_total": "0x5 3x10"}, (5, 12), 7),
    Case("DualkvAuthFailures", {"proxy_auth_failures_total": "0x5 2x5 100x10"}, (5, 7, 10), 12),
    Case("DualkvBreakerOpen", {GATE % "unreachable": "0x5 1x10"}, (5, 6), 7, {"state": "unreachable"}),
    Case("DualkvOverloaded", {GATE % "overloaded": "0x10 1x15"}, (10, 13), 17, {"state": "overloaded"}),
    Case("DualkvPaused", {GATE % "paused": "0x5 1x60"}, (5, 30), 37, {"state": "paused"}),
    Case(
        "DualkvStreamOld",
        {
            'proxy_async_queue_delay_seconds_bucket{queue="write",le="1.0"}': "0+100x5 500x20",
            'proxy_async_queue_delay_seconds_bucket{queue="write",le="2.5"}': "0+100x25",
            'proxy_async_queue_delay_seconds_bucket{queue="write",le="+Inf"}': "0+100x25",
        },
        (5, 9),
        15,
    ),
    Case(
        "DualkvQueueFilling",
        {
            'proxy_async_queue_depth{queue="write"}': "400x5 4000x10",
            'proxy_async_queue_capacity{queue="write"}': "6144x15",
            'proxy_async_queue_depth{queue="shadow"}': "1000x15",
            'proxy_async_queue_capacity{queue="shadow"}': "1024x15",
        },
        (5, 7),
        9,
        {"queue": "write"},
    ),
    Case(
        "DualkvDropping",
        {
            'proxy_async_drops_by_queue_total{queue="write",reason="queue_full"}': "0x5 9x10",
            'proxy_async_drops_by_queue_total{queue="shadow",reason="shed"}': "0+9x15",
        },
        (5, 12),
        7,
        {"queue": "write", "reason": "queue_full"},
    ),
    Case("DualkvSecondaryWriteErrors", {"proxy_secondary_write_errors_total": "0x5 9x10"}, (5, 12), 7),
    *(
        Case(
            "DualkvNotHoldable",
            {'proxy_not_holdable_total{command="xgroup|create"}': values},
            (60, 130),
            62,
            {"command": "xgroup|create"},
        )
        for values in ("_x61 1x80", "1x60 2x80")
    ),
    Case(
        "DualkvLedgerBroken",
        {
            'proxy_async_ledger{queue="write",account="offered"}': "0+5x5 25x10",
            'proxy_async_ledger{queue="write",account="applied"}': "0+4x5 20x10",
            'proxy_async_ledger{queue="write",account="queued"}': "0+1x5 4x10",
        },
        (0, 5),
        6,
        {"queue": "write"},
    ),
    Case(
        "DualkvDirtyKeysStay",
        {
            'proxy_dirty_keys{reason="failed"}': "0x5 100-2x30 40x40",
            'proxy_dirty_keys{reason="overload"}': "0x80",
        },
        (5, 25, 35),
        60,
    ),
    Case("DualkvResyncRequired", {"proxy_resync_required": "0x5 1x10 0x5"}, (5, 18), 6),
    Case(
        "DualkvResyncStuck",
        {"proxy_resync_required": "0x5 1x60", "proxy_resync_keys_done": "0x5 0+100x20 2000x40"},
        (5, 24, 40),
        50,
    ),
    Case("DualkvJournalTrouble", {"proxy_journal_gap": "0x5 1x5 0x5"}, (5, 13), 7),
    Case("DualkvJournalTrouble", {"proxy_journal_failures_total": "0x5 1x10"}, (5, 12), 7),
    *(
        Case(
            "DualkvDivergences",
            {
                'proxy_divergences_total{command="get",kind="data_mismatch"}': values,
                'proxy_divergences_total{command="get",kind="migration_gap"}': "0+1x40",
            },
            (20, 40),
            22,
            {"command": "get", "kind": "data_mismatch"},
        )
        for values in ("_x21 1x30", "1x20 2x30")
    ),
    *(
        Case(
            "DualkvMigrationGaps",
            {'proxy_migration_gap_total{command="get"}': values},
            (20, 40),
            22,
            {"command": "get"},
        )
        for values in ("_x21 1x30", "1x20 2x30")
    ),
    Case("DualkvWriteRepliesDiffered", {"proxy_write_replies_differed_total": "0x5 1x30"}, (5, 30), 7),
    Case(
        "DualkvMessagesDiffer",
        {'proxy_pubsub_shadow_divergences_total{kind="extra_data"}': "0x5 1x30"},
        (5, 30),
        7,
        {"kind": "extra_data"},
    ),
    Case(
        "DualkvComparingBlind",
        {
            'proxy_async_ledger{queue="shadow",account="offered"}': "0+50x90",
            "proxy_shadow_unsampled_total": "0x90",
            "proxy_shadow_budget_shed_total": "0x90",
            "proxy_shadow_matches_total": "0+50x30 1500x60",
        },
        (20, 40, 50),
        70,
    ),
    Case(
        "DualkvComparingBlind",
        {
            'proxy_async_ledger{queue="shadow",account="offered"}': "0x90",
            "proxy_shadow_unsampled_total": "0x30 0+50x60",
            "proxy_shadow_budget_shed_total": "0x90",
            "proxy_shadow_matches_total": "0x90",
        },
        (30, 40),
        60,
    ),
    Case("DualkvSelftestFailed", {"proxy_selftest_passed": "-1x3 1x3 0x10"}, (3, 6), 8),
]


def rules() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    groups = package("yaml").safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str | Path) -> str:
    """Run promtool; return what it says if it is content."""
    program = find_program("promtool")
    assert program is not None, "Debian has it in a package: prometheus"
    found = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


TARGET = {"job": "dualkv", "instance": "10.0.0.1:9191"}


def named(series: str) -> str:
    """Return a series with the labels of its target."""
    name, _, labels = series.rstrip("}").partition("{")
    all_labels = [labels] if labels else []
    all_labels += [f'{key}="{value}"' for key, value in TARGET.items()]
    return f"{name}{{{','.join(all_labels)}}}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_alert_fires_when_it_should_and_not_before(case: Case, tmp_path: Path) -> None:
    """With its labels; and it is quiet before, and where it can be, afterwards."""
    rule = rules()[case.alert]
    alert = {
        "exp_labels": TARGET | case.labels | rule["labels"],
        "exp_annotations": rule["annotations"],
    }
    expected: list[tuple[int, list[Any]]] = [*((minute, []) for minute in case.quiet), (case.fires, [alert])]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": named(name), "values": values} for name, values in case.series.items()
                ],
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts}
                    for minute, alerts in expected
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(test))

    assert "SUCCESS" in promtool("test", "rules", file)


def test_every_alert_is_tested() -> None:
    """None is there without a case."""
    assert {case.alert for case in CASES} == set(rules())


def test_every_alert_leads_to_its_section_of_the_runbook() -> None:
    """Which says what it means, what to look at, and what to do; and there is no section of no alert."""
    text = RUNBOOK.read_text()
    sections = dict(re.findall(r"^### (Dualkv\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))

    assert set(sections) == set(rules())
    for name, rule in rules().items():
        assert rule["annotations"]["runbook_url"].endswith(f"docs/how-to/runbook.md#{name.lower()}")
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert all(f"**{part}**" in sections[name] for part in ("Means.", "Look.", "Do."))


def test_rules_name_only_what_dualkv_shows() -> None:
    """Metrics and labels by their names."""
    shown = {family.exposed_name: set(family.labels) for family in FAMILIES}
    for name, labels in list(shown.items()):
        if name.endswith("_seconds"):
            shown[f"{name}_bucket"] = labels | {"le"}

    for name, rule in rules().items():
        assert unknown_in(rule["expr"], shown) == set(), name


async def test_rules_name_only_metrics_of_a_real_scrape(pair: Pair, tmp_path: Path) -> None:
    """Those that dualkv shows when it has done some work."""
    async with at_work(pair, tmp_path) as proxy:
        _, samples = await scrape(proxy)

    for name, rule in rules().items():
        assert metrics_in(rule["expr"]) <= samples.keys(), name


def test_expressions_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """With its variables as Grafana fills them in."""
    panels = json.loads((DEPLOY / "grafana" / "dualkv.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [
        expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", "a|b")
        for expression in expressions
    ]
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(filled)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": recorded}]}))

    assert f"{len(expressions)} rules found" in promtool("check", "rules", file)
    assert not [text for text in filled if "$" in text]
