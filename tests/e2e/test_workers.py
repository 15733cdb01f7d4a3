"""Several workers behind one address are one dualkv to whoever looks at them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from dualkv.servers import free_port
from tests.support.client import connect
from tests.support.proxy import wait_until
from tests.support.servers import Pair
from tests.support.state import differences, state_of
from tests.support.workload import under_load

pytestmark = pytest.mark.e2e


@attrs.frozen
class Workers:
    """A running supervisor, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    http_port: int
    admin_port: int

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and content of a page of the metrics address."""
        return await trio.to_thread.run_sync(_http, f"http://127.0.0.1:{self.http_port}{path}")

    async def put_mode(self, **asked: Any) -> tuple[int, Any]:
        """Ask for another mode."""
        return await trio.to_thread.run_sync(_http, f"http://127.0.0.1:{self.admin_port}/api/mode", asked)

    async def metric(self, name: str, labels: str = "") -> float:
        """Return a metric's value."""
        _, text = await self.get("/metrics")
        found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def pids(self) -> set[int]:
        """Return the workers' processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(pid) for children in tasks for pid in children.read_text().split()}


def _http(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json"}, method="GET" if body is None else "PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    return status, json.loads(text) if text.startswith(("{", "[")) else text


@asynccontextmanager
async def workers(pair: Pair, *options: str, mode: str = "dual-write") -> AsyncIterator[Workers]:
    """Run two workers for the block; then they must end in order."""
    port, http_port, admin_port = free_port(), free_port(), free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - it only starts
        [
            sys.executable, "-m", "dualkv", "serve", "--workers", "2", "--mode", mode, "--selftest", "off",
            "--primary", pair.primary.address, "--secondary", pair.secondary.address,
            "--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{http_port}",
            "--admin", f"127.0.0.1:{admin_port}", *options,
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    running = Workers(process, port, http_port, admin_port)
    try:
        await _wait_ready(running)
        yield running
    finally:
        process.terminate()
        try:
            with trio.fail_after(30, shield=True):
                code = await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        finally:
            process.kill()
    assert code == 0


async def _wait_ready(running: Workers) -> None:
    with trio.fail_after(60):
        while True:
            try:
                status, body = await running.get("/readyz")
                if status == 200 and len(body["workers"]) == 2:
                    return
            except (urllib.error.URLError, ConnectionError):
                assert running.process.poll() is None
            await trio.sleep(0.1)


async def test_workers_are_one_dualkv(pair: Pair) -> None:
    """Clients reach both, counters are added up, and the stores are equal."""
    async with workers(pair) as running:
        assert len(running.pids()) == 2
        async with under_load(running.port, 16) as load:
            await _until(running, lambda status: status["clients"]["connected"] == 16)
            await wait_until(lambda: load.replies > 2000)
        assert not load.errors
        incr = await running.metric("proxy_command_total", '{backend="redis",command="incr",status="ok"}')
        assert incr >= sum(load.acknowledged.values())
        await _until(running, _is_settled)
        status, body = await running.get("/status")
        assert status == 200
        assert body["headline"]["condition"] != "trouble"
        assert body["ledger"]["applied"] > 0
    counters = {key.encode() for key in load.acknowledged}
    one, other = (
        {key: value for key, value in state_of(server.port).items() if key[1] in counters}
        for server in (pair.primary, pair.secondary)
    )
    assert len(one) == 16
    assert not differences(one, other)


async def _until(running: Workers, is_so: Callable[[Any], bool]) -> None:
    """Wait until the status of all is as wanted."""
    with trio.fail_after(40):
        while True:
            _, body = await running.get("/status")
            if is_so(body):
                return
            await trio.sleep(0.05)


def _is_settled(status: Any) -> bool:
    left = status["convergence"]
    return not (left["queued"] or left["dirty_keys"])


async def test_all_workers_change_the_mode_or_none(pair: Pair) -> None:
    """Under load no client sees an error; what one worker refuses, none does."""
    async with workers(pair) as running, under_load(running.port, 12) as load:
        await wait_until(lambda: load.replies > 500)
        await _until(running, lambda status: bool(status["convergence"]["dirty_keys"] < 50))
        status, body = await running.put_mode(mode="elastickv-primary", force=True)
        assert (status, body.get("before"), body.get("done")) == (200, "dual-write", True)
        replies = load.replies
        await wait_until(lambda: load.replies > replies + 500)
        status, body = await running.get("/readyz")
        assert {one["mode"] for one in body["workers"]} == {"elastickv-primary"}
        pair.primary.pause()  # it follows now
        try:
            await wait_until(lambda: load.replies > replies + 1000)
            status, body = await running.put_mode(mode="dual-write", wait_seconds=0.5)
            assert status == 409
        finally:
            pair.primary.resume()
        replies = load.replies
        await wait_until(lambda: load.replies > replies + 500)
        status, body = await running.get("/readyz")
        assert {one["mode"] for one in body["workers"]} == {"elastickv-primary"}
        assert not load.errors


async def test_dead_worker_is_replaced_and_its_journal_taken_over(pair: Pair, tmp_path: Any) -> None:
    """What was on its way when it was killed arrives, by another process in its place."""
    async with workers(pair, "--journal-dir", str(tmp_path)) as running:
        before = running.pids()
        pair.secondary.pause()
        try:
            for number in range(20):  # connections to both
                async with connect(running.port) as client:
                    assert await client.call("SET", f"k{number}", "v") == b"+OK\r\n"
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            await wait_until(lambda: len(running.pids()) == 2 and not running.pids() & before, 40)
        finally:
            pair.secondary.resume()
        await _wait_ready(running)
        await wait_until(lambda: len(state_of(pair.secondary.port)) == 20, 40)
        await _until(running, _is_settled)
    assert not differences(state_of(pair.primary.port), state_of(pair.secondary.port))


async def test_what_is_set_wrong_is_said_once(pair: Pair) -> None:
    """A directory that cannot be used ends all of it with one line."""
    del pair
    done = await trio.run_process(
        [
            sys.executable, "-m", "dualkv", "serve", "--workers", "2", "--journal-dir", "/proc/no",
            "--metrics", "off", "--admin", "off", "--listen", "127.0.0.1:0",
        ],
        check=False, capture_stderr=True, capture_stdout=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert b"journal_dir" in done.stderr
