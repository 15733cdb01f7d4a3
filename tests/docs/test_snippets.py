"""Whatever a reader copies from the documents is run by a test, or there is a reason why not."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import redis
import trio

from dualkv.servers import free_port
from tests.clients.stage import stage
from tests.docs.snippets import PATIENCE_SECONDS, ROOT, Block, blocks_of, run_page
from tests.fakes.elastickv import Cluster
from tests.support.servers import Pair

SPOKEN = ("console", "python", "yaml")
"""What a reader copies. Settings (`toml`) are loaded by `test_docs.py`; `json` and `text` are shown only."""

RUN_HERE = {
    "README.md": None,
    "docs/discussion/comparing.md": None,
    "docs/how-to/before-an-application.md": None,
    "docs/how-to/control.md": "dual-write-shadow",
    "docs/how-to/go-back.md": "elastickv-primary",
    "docs/how-to/modes.md": "redis-only",
    "docs/how-to/preflight.md": "redis-only",
    "docs/how-to/runbook.md": "dual-write-shadow",
    "docs/how-to/watch.md": "dual-write-shadow",
    "docs/reference/settings.md": None,
    "docs/tutorial/migration.md": None,
}
"""Pages between two servers, and the mode of the dualkv that they are about, if it runs already."""

RUN_APART = ("docs/how-to/migrate-to-elastickv.md", "docs/tutorial/demo.md")
"""By a test of their own, below."""

RUN_ELSEWHERE = {
    ("docs/how-to/clients.md", "import redis"): (
        "tests/docs/test_snippets.py::test_redis_py_needs_nothing_but_the_address"
    ),
    ("docs/how-to/compare-from-python.md", "from dualkv import"): (
        "tests/net/test_shadow_reader.py::test_the_example_of_the_guide_works"
    ),
    ("docs/how-to/compare-from-python.md", "import time"): (
        "tests/net/test_shadow_reader.py::test_the_example_with_sentry_works"
    ),
    ("docs/how-to/kubernetes.md", "# values.yaml"): (
        "tests/deploy/test_chart.py::test_values_in_the_how_to_are_what_the_chart_takes"
    ),
    ("docs/how-to/tls.md", "$ "): "tests/e2e/test_tls.py::test_commands_of_the_how_to_work",
    ("docs/reference/cli.md", "$ dualkv --install-completion"): (
        "tests/package/test_completion.py::test_commands_are_offered"
    ),
}
"""How the first line of a block begins, and the test that runs it."""

NOT_RUN = {
    ("README.md", "$ make run"): "CI begins with it; the demo itself: tests/test_demo.py",
    ("README.md", "$ pip install ."): "tests/package installs the wheel that this would build",
    ("docs/discussion/performance.md", "$ make bench"): "ten minutes of full load",
    ("docs/how-to/kubernetes.md", "$ docker build"): "needs an engine, a registry and a cluster",
    ("docs/how-to/kubernetes.md", "$ kubectl scale"): "needs a cluster",
    ("docs/how-to/migrate-to-elastickv.md", "$ dualkv torture"): (
        "takes minutes; with fewer operations: tests/torture/test_elastickv_seeds.py"
    ),
    ("docs/how-to/torture.md", "$ dualkv torture"): (
        "takes minutes; with fewer operations: tests/torture/test_run.py, test_stores.py"
    ),
    ("docs/how-to/watch.md", "$ dualkv status"): (
        "one goes on until Ctrl-C, one is about another machine: tests/e2e/test_status.py"
    ),
    ("docs/tutorial/demo.md", "$ make run"): "the test of this page starts the demo itself",
}
"""The same, and why not."""

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "deploy" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    )
)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_its_language(page: str) -> None:
    """So that none escapes the test below."""
    assert [block.first_line for block in blocks_of(page) if not block.language] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_run_or_has_a_reason_why_not(page: str) -> None:
    """By a test here, or by one that is named, or it is named with the reason."""
    for block in blocks_of(page):
        if block.language in SPOKEN and block not in not_run_here(page):
            assert (block.language, page in (*RUN_HERE, *RUN_APART)) == ("console", True), block.first_line


def is_meant(block: Block, entry: tuple[str, str]) -> bool:
    """Return whether an entry of the lists is about *block*."""
    page, beginning = entry
    return block.page == page and block.first_line.startswith(beginning)


def not_run_here(page: str) -> list[Block]:
    """Return the blocks of a page that the lists are about."""
    return [
        block
        for block in blocks_of(page)
        if any(is_meant(block, entry) for entry in (*RUN_ELSEWHERE, *NOT_RUN))
    ]


def test_the_lists_have_no_blocks_that_there_are_not() -> None:
    """A reason for something that was removed is removed, too."""
    blocks = [block for page in PAGES for block in blocks_of(page)]

    for entry in (*RUN_ELSEWHERE, *NOT_RUN):
        assert any(is_meant(block, entry) for block in blocks), entry
    assert {*RUN_HERE, *RUN_APART} <= set(PAGES)


@pytest.mark.parametrize("test", sorted(set(RUN_ELSEWHERE.values())))
def test_what_is_said_to_be_run_elsewhere_is(test: str) -> None:
    """There is such a test."""
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text())

    assert name in {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.fixture(name="ports")
def _ports() -> dict[str, object]:
    """What the ports in the documents stand for: some that nobody uses."""
    found: dict[str, object] = {"dualkv:9191": f"127.0.0.1:{(http := free_port())}", "9191": http}
    return found | {port: free_port() for port in ("6479", "9192", "7001", "7002")}


@pytest.mark.parametrize("page", RUN_HERE)
def test_commands_of_a_page_work(page: str, pair: Pair, ports: dict[str, object], tmp_path: Path) -> None:
    """They print what the page says that they print."""
    hosts: dict[str, object] = {
        "redis.internal:6379": pair.primary.address,
        "redis:6379": pair.primary.address,
        "new-store.internal:6379": pair.secondary.address,
        "new-store:6379": pair.secondary.address,
    }
    run_page(page, tmp_path, hosts | ports, leave_out=not_run_here(page), serving=RUN_HERE[page])


async def test_commands_of_the_way_to_elastickv_work(
    pair: Pair, elastickv: Cluster, ports: dict[str, object], tmp_path: Path
) -> None:
    """With the stand-in for ElasticKV."""
    page = "docs/how-to/migrate-to-elastickv.md"
    nodes = ",".join(node.address for node in elastickv.nodes)
    hosts = {
        "redis.internal:6379": pair.primary.address,
        "kv1.internal:6380,kv2.internal:6380,kv3.internal:6380": nodes,
    }

    await trio.to_thread.run_sync(
        lambda: run_page(page, tmp_path, hosts | ports, leave_out=not_run_here(page))
    )


def test_commands_of_the_demo_work(ports: dict[str, object], tmp_path: Path) -> None:
    """Of a demo that runs in another terminal."""
    page = "docs/tutorial/demo.md"
    with subprocess.Popen(
        [sys.executable, "-m", "dualkv", "demo"], stdout=subprocess.PIPE, text=True
    ) as demo:
        try:
            assert demo.stdout is not None
            told = next(line for line in demo.stdout if line.startswith("connect: "))
            clients, http = re.findall(r"\d{4,}", told)
            with urlopen(f"http://127.0.0.1:{http}/status") as answer:
                secondary = json.load(answer)["backends"]["secondary"]["address"].rpartition(":")[2]
            # Faster than any reader, the script would find the set before the first write to it, and what
            # is odd about a key at its first write is mended without a divergence.
            with redis.Redis(port=int(secondary)) as store:
                while not store.exists("demo:tags:7"):
                    time.sleep(0.05)
            theirs = {"40391": clients, "49013": secondary, "33955": http}
            run_page(page, tmp_path, theirs | ports, leave_out=not_run_here(page))
        finally:
            demo.terminate()
            rest = demo.communicate(timeout=PATIENCE_SECONDS)[0]

    assert demo.returncode == 0
    assert "ended: dual-write-shadow" in rest


async def test_redis_py_needs_nothing_but_the_address(pair: Pair) -> None:
    """The example of the page about clients."""
    (block,) = [one for one in blocks_of("docs/how-to/clients.md") if one.language == "python"]
    found: dict[str, Any] = {}
    async with stage(pair) as proxy:
        text = block.text.replace('"dualkv"', '"127.0.0.1"').replace("6479", str(proxy.port))
        await trio.to_thread.run_sync(exec, text, found)
        assert await trio.to_thread.run_sync(found["client"].get, "greeting") == "hello"
        found["client"].close()
