"""A real Prometheus beside a real dualkv: it evaluates the rules, and answers what panels ask."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from tests.deploy.behind import DEPLOY, fetch, quiet_port
from tests.deploy.programs import find_program
from tests.deploy.scraping import at_work
from tests.deploy.test_dashboard import PANELS, WITHOUT_SAMPLES, expressions
from tests.support.proxy import running_proxy
from tests.support.servers import Pair

pytestmark = pytest.mark.deploy

PATIENCE_SECONDS = 30


async def ask(port: int, path: str, **parameters: str) -> Any:
    """Return what Prometheus' API says; None while it is not ready."""
    page = f"/api/v1/{path}?{urlencode(parameters)}"
    status, body = await trio.to_thread.run_sync(fetch, port, page)
    return json.loads(body)["data"] if status == HTTPStatus.OK else None


@asynccontextmanager
async def prometheus(folder: Path, *http_ports: int) -> AsyncIterator[int]:
    """Run Prometheus with our rules, scraping each second; yield its port when it has scraped for a while."""
    program = find_program("prometheus")
    assert program is not None, "Debian has it as a package"
    targets = [f"127.0.0.1:{port}" for port in http_ports]
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(DEPLOY / "prometheus" / "rules.yml")],
        "scrape_configs": [{"job_name": "dualkv", "static_configs": [{"targets": targets}]}],
    }
    file = folder / "prometheus.json"
    file.write_text(json.dumps(config))
    port = quiet_port()
    popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
        [
            program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ]
    )  # fmt: skip
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                assert popen.poll() is None
                try:
                    found = await ask(
                        port, "query", query="count_over_time(proxy_active_connections[1m]) > 5"
                    )
                    if found is not None and len(found["result"]) == len(targets):
                        break
                except OSError:
                    pass  # it has just been started
                await trio.sleep(0.1)
        yield port
    finally:
        popen.kill()
        popen.wait()


async def test_rules_and_panels_can_be_evaluated(pair: Pair, tmp_path: Path) -> None:
    """With two dualkv at once no rule has an error, and every panel has something to show."""
    async with (
        at_work(pair, tmp_path) as proxy,
        running_proxy(pair.primary.address, pair.secondary.address) as other,
        prometheus(tmp_path, proxy.http_port, other.http_port) as port,
    ):
        groups = (await ask(port, "rules"))["groups"]
        with trio.fail_after(PATIENCE_SECONDS):  # noqa: ASYNC912 - they may all be known
            while any(rule["health"] == "unknown" for rule in groups[0]["rules"]):
                groups = (await ask(port, "rules"))["groups"]
        answers = {}
        for panel in PANELS:
            for expression in expressions(panel):
                query = expression.replace("$__rate_interval", "1m").replace("$job", "dualkv")
                query = query.replace("$instance", ".*")
                answers[expression] = (await ask(port, "query", query=query))["result"]

    assert {
        rule["name"]: rule.get("lastError") for rule in groups[0]["rules"] if rule["health"] != "ok"
    } == {}
    may_be_empty = (*WITHOUT_SAMPLES, "> 0")
    empty = {expression for expression, found in answers.items() if not found}
    assert {
        expression for expression in empty if not any(part in expression for part in may_be_empty)
    } == set()
    firing = {rule["name"] for rule in groups[0]["rules"] if rule["state"] == "firing"}
    assert "DualkvDivergences" in firing
    assert not firing & {"DualkvPrimaryUnreachable", "DualkvBreakerOpen", "DualkvLedgerBroken", "DualkvDown"}
