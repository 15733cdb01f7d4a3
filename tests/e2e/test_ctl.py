"""``dualkv ctl`` against a running dualkv."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import typer

from dualkv.ask.control import ctl_app
from dualkv.config import ProxyMode
from dualkv.config.admin import admin_tokens
from tests.admin.test_admin_app import operations
from tests.e2e.test_findings import Ended, dualkv
from tests.e2e.test_repair import assert_equal
from tests.support.client import connect
from tests.support.process import serving
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e

TOKEN = "0123456789abcdef"
SHADOW, ALONE = ProxyMode.DUAL_WRITE_SHADOW, ProxyMode.REDIS_ONLY


async def ctl(proxy: Proxy, *words: str) -> Ended:
    """Run ``dualkv ctl`` against a proxy."""
    return await dualkv("ctl", *words, "--url", f"http://127.0.0.1:{proxy.admin_port}")


async def told(proxy: Proxy, *words: str) -> str:
    """Run a command that must work; return what it prints."""
    ended = await ctl(proxy, *words)
    assert (ended.code, ended.stderr) == (0, "")
    return ended.stdout


async def test_every_change_is_made_and_told(pair: Pair) -> None:
    """One after the other: each prints the value before and after, and what one should know."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, SHADOW, repair="manual") as proxy,
        connect(proxy.port) as client,
    ):
        assert await told(proxy, "mode") == "dual-write-shadow\n"
        assert await told(proxy, "pause") == "pause: no -> yes\n"
        await client.pipeline([("SET", "a", 1), ("SET", "b", 1)])
        resumed = await told(proxy, "resume")
        assert resumed.splitlines() == [
            "resume: yes -> no", "- 2 dirty keys: repair is manual, ask for it",
        ]  # fmt: skip
        assert await told(proxy, "repair") == "repair: no -> yes\n- 2 dirty keys to copy\n"
        await proxy.wait_repaired()
        assert await told(proxy, "sample", "0.1") == "sample: 1.0 -> 0.1\n"
        assert await told(proxy, "repair-rate", "500") == "repair-rate: 0 -> 500\n"
        assert await told(proxy, "drop-dirty") == "drop-dirty: 0 -> 0\n"
        assert await told(proxy, "resync") == "resync: idle -> requested\n"
        await proxy.wait_resynced()
        changed = await told(proxy, "mode", "set", "dual-write")
        assert changed.startswith("mode: dual-write-shadow -> dual-write (clients waited ")
        shown = await told(proxy, "show")
        assert {"mode: dual-write", "paused: no", "shadow sample: 0.1", "repair rate: 500"} <= set(
            shown.splitlines()
        )
    assert_equal(pair)


async def test_json_is_what_http_says(pair: Pair) -> None:
    """For programs: of what is told, of what was done, and of what was refused."""
    async with running_proxy(pair.primary.address, pair.secondary.address, ALONE) as proxy:
        assert json.loads(await told(proxy, "mode", "--json"))["answers"] == "primary"
        assert json.loads(await told(proxy, "show", "--json"))["paused"] is False
        assert json.loads(await told(proxy, "sample", "0.5", "--json"))["after"] == 0.5
        refused = await ctl(proxy, "pause", "--json")

    assert (refused.code, refused.stderr) == (1, "")
    assert json.loads(refused.stdout) == {"error": "nothing is mirrored in redis-only: no store follows"}


async def test_a_refusal_is_exit_code_1_with_the_reason(pair: Pair) -> None:
    """And a dry run is none, where it could be done."""
    async with running_proxy(pair.primary.address, pair.secondary.address, SHADOW) as proxy:
        refused = await ctl(proxy, "mode", "set", "elastickv-primary", "--dry-run")
        assert refused.code == 1
        assert refused.stderr.startswith("dualkv: refused: not ready: ")
        would = await told(proxy, "mode", "set", "elastickv-primary", "--dry-run", "--force")
        assert would.startswith("mode: dual-write-shadow -> elastickv-primary (nothing was changed)\n")
        assert proxy.server.config.mode is SHADOW


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("mode", "set", "dual"), "'dual' is not a mode ("),
        (("sample", "2"), "Invalid value for 'SHARE': "),
        (("log-level", "loud"), "level: 'loud' is not one of debug, info, warning, error"),
        (("pause", "--token-file", "/no/such/file"), "--token-file /no/such/file: No such file or directory"),
    ],
)
async def test_what_is_wrong_is_exit_code_2_and_one_line(words: tuple[str, ...], error: str) -> None:
    """Whether the command line notices it, or dualkv."""
    async with running_proxy("127.0.0.1:1") as proxy:
        ended = await ctl(proxy, *words)

    assert (ended.code, ended.stdout) == (2, "")
    assert error in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("show",), ("mode",), ("pause",), ("mode", "set", "redis-only")])
async def test_nobody_there_is_exit_code_2(words: tuple[str, ...]) -> None:
    """The line names the address."""
    ended = await dualkv("ctl", *words, "--url", "http://127.0.0.1:1")

    assert ended.code == 2
    assert ended.stderr == "dualkv: cannot reach dualkv at http://127.0.0.1:1: Connection refused\n"


async def test_the_token_comes_from_a_file_or_from_the_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the line says what to do; the log has its name, and who called."""
    caplog.set_level(logging.INFO, "dualkv")
    file = tmp_path / "token"
    file.write_text(f"ops:{TOKEN}\n")
    async with running_proxy("127.0.0.1:1", admin_token=admin_tokens(file.read_text())) as proxy:
        without = await ctl(proxy, "sample", "0.5")
        with_file = await ctl(proxy, "sample", "0.5", "--token-file", str(file))
        here = {"DUALKV_ADMIN": f"127.0.0.1:{proxy.admin_port}", "DUALKV_ADMIN_TOKEN_FILE": str(file)}
        with_settings = await dualkv("ctl", "sample", "0.25", **here)

    assert without.code == 2
    assert without.stderr.endswith(": a token is missing (--token-file)\n")
    assert (with_file.code, with_settings.code) == (0, 0)
    logged = [vars(record) for record in caplog.records if record.message == "changed"]
    assert [(line["token"], line["after"]) for line in logged] == [("ops", 0.5), ("ops", 0.25)]
    assert all("@" in line["user"] for line in logged)


async def test_drain_ends_the_process(pair: Pair) -> None:
    """With exit code 0, and the answer is told."""
    async with serving(pair) as process:
        ended = await dualkv("ctl", "drain", "--url", f"http://127.0.0.1:{process.admin_port}")
        assert (ended.code, ended.stdout.splitlines()[0]) == (0, "drain: no -> yes")
        code, _ = await process.wait()

    assert code == 0


def test_every_operation_has_a_command() -> None:
    """What can be changed over HTTP can be changed by hand."""
    names = set(typer.main.get_command(ctl_app).commands)  # type: ignore[attr-defined] # a group
    paths = {operation.path for operation in operations() if operation.changes}
    others = {"/api/shadow-sample": "sample"}
    assert {others.get(path, path.removeprefix("/api/")) for path in paths} == names - {"show"}
