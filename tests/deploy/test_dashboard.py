"""The Grafana dashboard, against a scrape of a dualkv that has done some work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dualkv.observe.collector import FAMILIES
from tests.deploy.behind import DEPLOY
from tests.deploy.expressions import metrics_in, unknown_in
from tests.deploy.scraping import Samples, at_work, scrape
from tests.support.servers import Pair

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dualkv.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

WITHOUT_SAMPLES = {"proxy_not_holdable_total", "proxy_shadow_errors_total", "proxy_shadow_skipped_total"}
"""Between two stores that know the same commands nothing is counted here. That they are there is seen."""

INTERVAL = re.compile(r"\$__rate_interval")


def expressions(panel: dict[str, Any]) -> list[str]:
    """Return what a panel asks for."""
    return [target["expr"] for target in panel["targets"]]


def labels_of(samples: Samples) -> dict[str, set[str]]:
    """Return the labels of each metric: those that were seen, or those that it is said to have."""
    said = {family.exposed_name: set(family.labels) for family in FAMILIES}
    return {
        name: set().union(*labels) if labels else said.get(name, set()) for name, labels in samples.items()
    }


async def test_every_metric_and_label_of_a_panel_is_in_a_real_scrape(pair: Pair, tmp_path: Path) -> None:
    """With samples, so that no panel stays empty for want of a right name."""
    async with at_work(pair, tmp_path) as proxy:
        _, samples = await scrape(proxy)

    shown = labels_of(samples)
    for panel in PANELS:
        for expression in expressions(panel):
            assert unknown_in(expression, shown) == set(), panel["title"]
            for metric in metrics_in(expression) - WITHOUT_SAMPLES:
                assert samples[metric], (panel["title"], metric)


async def test_values_that_panels_select_exist(pair: Pair, tmp_path: Path) -> None:
    """A matcher for one value, such as an account of the ledger, finds it in a scrape."""
    async with at_work(pair, tmp_path) as proxy:
        _, samples = await scrape(proxy)

    for panel in PANELS:
        for expression in expressions(panel):
            for metric, matchers in re.findall(r"\b(proxy_\w+)\{([^}]*)\}", expression):
                for label, values in re.findall(r"(\w+)(?:=|=~|!=)\"([^$\"]+)\"", matchers):
                    seen = {labels.get(label) for labels in samples[metric]}
                    assert set(values.split("|")) <= seen, (panel["title"], label)


def test_every_metric_is_on_the_dashboard() -> None:
    """None is forgotten, but those that others tell already, in more detail."""
    text = " ".join(expression for panel in PANELS for expression in expressions(panel))
    on_it = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in metrics_in(text)}

    assert {family.exposed_name for family in FAMILIES} - on_it == {
        "proxy_async_drops_total",
        "proxy_backend_leader_refreshes_total",
        "proxy_pubsub_shadow_errors_total",
        "proxy_pubsub_shadow_skipped_total",
        "proxy_secondary_write_errors_total",
    }


def test_every_panel_has_title_description_unit_and_data_source() -> None:
    """The data source is the dashboard's variable: it can be imported anywhere."""
    assert len(PANELS) > 30
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] for target in panel["targets"])
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query", "instance": "query"}


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    """24 columns, row by row, and the rows that one looks for."""
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        area = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not area & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= area
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        "Overview", "Stream to the other store", "Comparing", "Back-ends", "Repair and journal",
    ]  # fmt: skip
