"""``dualkv status`` against a running dualkv."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from dualkv.config.admin import admin_tokens
from tests.e2e.test_findings import Ended, dualkv
from tests.support.proxy import Proxy, running_proxy

pytestmark = pytest.mark.e2e

TOKEN = "0123456789abcdef"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(name="proxy")
async def _proxy() -> AsyncIterator[Proxy]:
    """A proxy without stores, whose admin address asks for a token."""
    async with running_proxy("127.0.0.1:1", "127.0.0.1:1", admin_token=admin_tokens(f"ops:{TOKEN}")) as proxy:
        yield proxy


def address(port: int) -> str:
    """Return what to ask."""
    return f"http://127.0.0.1:{port}"


async def test_it_shows_whether_all_is_well(proxy: Proxy) -> None:
    """Told is exit code 0, whatever is told; as JSON it is what HTTP says."""
    shown = await dualkv("status", "--url", address(proxy.http_port))
    told = await dualkv("status", "--json", "--url", address(proxy.http_port))

    assert (shown.code, shown.stderr) == (0, "")
    assert "Clients are affected" in shown.stdout
    assert json.loads(told.stdout)["headline"]["condition"] == "trouble"


async def test_the_admin_address_wants_the_token(proxy: Proxy, tmp_path: Path) -> None:
    """Out of a file, which is that of the server; without it the answer says what to do."""
    file = tmp_path / "token"
    file.write_text(f"ops:{TOKEN}\n")
    url = address(proxy.admin_port)
    without = await dualkv("status", "--url", url)

    assert (await dualkv("status", "--json", "--url", url, "--token-file", str(file))).code == 0
    assert (without.code, without.stderr) == (2, f"dualkv: {url}: a token is missing (--token-file)\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--url", NOBODY), f"cannot reach dualkv at {NOBODY}: Connection refused"),
        (("--watch", "--url", NOBODY), f"cannot reach dualkv at {NOBODY}: Connection refused"),
        (("--url", "elsewhere"), "--url elsewhere: not an address such as http://127.0.0.1:9191"),
        (("--token-file", "/nonexistent"), "--token-file /nonexistent: No such file or directory"),
    ],
)
async def test_where_nobody_answers_it_says_so_in_one_line(arguments: tuple[str, ...], error: str) -> None:
    """Exit code 2, as of everything that could not be asked."""
    assert await dualkv("status", *arguments) == Ended(2, "", f"dualkv: {error}\n")


async def test_the_settings_say_whom_to_ask(proxy: Proxy) -> None:
    """On the machine where dualkv runs, no option is needed."""
    ended = await dualkv("status", DUALKV_METRICS=f"127.0.0.1:{proxy.http_port}")

    assert (ended.code, "Clients are affected" in ended.stdout) == (0, True)


async def test_watching_goes_on_until_it_is_interrupted(proxy: Proxy) -> None:
    """A line of JSON each second; Ctrl-C is how one ends it."""
    command = [sys.executable, "-u", "-m", "dualkv", "status", "--watch", "--json"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [*command, "--url", address(proxy.http_port)],
                stdout=subprocess.PIPE,
                check=False,
                # Who runs the tests in the background may have had it ignored.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        )
        received = b""
        with trio.fail_after(60):  # noqa: ASYNC912 - each round receives
            while received.count(b"\n") < 2:
                received += await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        with trio.fail_after(60):
            assert await process.wait() == 0

    assert {json.loads(line)["mode"] for line in received.splitlines()} == {"dual-write-shadow"}
