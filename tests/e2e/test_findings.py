"""What comparing has found, as operators see it: over HTTP and on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.core.coverage import Outcome
from dualkv.core.divergence import Divergence, DivergenceKind
from dualkv.net.lane import LaneState
from tests.e2e.test_http import get
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e

GAP, MISMATCH = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH


async def page(proxy: Proxy, path: str) -> tuple[int, Any]:
    """Return status and content of a page."""
    status, body = await get(proxy, path)
    return status, json.loads(body)


@attrs.frozen
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


async def dualkv(*arguments: str, **environment: str) -> Ended:
    """Run the command line as an operator would."""
    done = await trio.run_process(
        [sys.executable, "-m", "dualkv", *arguments],
        capture_stdout=True, capture_stderr=True, check=False,
        env={name: value for name, value in os.environ.items() if "DUALKV" not in name} | environment,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(name="proxy")
async def _proxy() -> AsyncIterator[Proxy]:
    """A proxy without stores: what it has found is told to it."""
    async with running_proxy("127.0.0.1:1", "127.0.0.1:1", divergence_ring=50) as proxy:
        yield proxy


def found(proxy: Proxy, count: int, kind: DivergenceKind = MISMATCH, key: bytes = b"user:%d") -> list[str]:
    """Let the proxy find divergences; return their ids."""
    findings = proxy.server.writer.findings
    return [
        findings.diverged(
            Divergence("get", kind, key % number, b"+secret\r\n", b"+other\r\n", time_seconds=1000.0 + number)
        ).id
        for number in range(count)
    ]


async def test_divergences_are_told_newest_last_and_filtered(proxy: Proxy) -> None:
    """Each parameter narrows; what follows an id can be asked for."""
    users, carts = found(proxy, 5), found(proxy, 3, GAP, b"cart:%d")

    async def asked(query: str) -> list[str]:
        status, body = await page(proxy, f"/divergences?{query}")
        assert status == 200
        return [record["id"] for record in body["divergences"]]

    assert await asked("") == users + carts
    assert await asked("limit=2") == carts[1:]
    assert await asked("kind=migration_gap") == carts
    assert await asked("command=GET&key_prefix=user%3A") == users
    assert await asked("command=hget") == []
    assert await asked("since=1003") == users[3:]
    assert await asked(f"after={users[1]}&limit=2") == users[2:4]
    _, body = await page(proxy, "/divergences")
    assert (body["remembered"], body["so_far"], body["values_shown"]) == (8, 8, False)
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(
    "query", ["kind=worse", "limit=all", "limit=-1", "limit=nan", "after=yesterday", "since=x", "keyprefix=a"]
)
async def test_a_question_that_is_not_understood_is_refused(proxy: Proxy, query: str) -> None:
    """An answer to another question would mislead."""
    status, body = await page(proxy, f"/divergences?{query}")

    assert status == 400
    assert body["error"].startswith(query.partition("=")[0] if query != "after=yesterday" else "'yesterday'")


async def test_one_divergence_is_told_by_its_id(proxy: Proxy) -> None:
    """Another one is not there."""
    (one,) = found(proxy, 1)

    status, body = await page(proxy, f"/divergences/{one}")
    assert (status, body["id"], body["key"]) == (200, one, "user:0")
    assert (await page(proxy, "/divergences/nothing"))[0] == 404


async def test_an_answer_is_bounded(proxy: Proxy) -> None:
    """Large records are told a few at a time; following them by id reaches all."""
    proxy.server.writer.findings.ring._max_bytes = 100 * 1024 * 1024
    for _ in range(30):
        proxy.server.writer.findings.diverged(
            Divergence("get", MISMATCH, b"k", b"", b"", args=(b"GET", b"x" * 300_000))
        )
    wanted = [divergence.id for divergence in proxy.server.writer.findings.ring]

    newest = (await page(proxy, "/divergences"))[1]["divergences"]
    assert 1 < len(newest) < 10
    assert newest[-1]["id"] == wanted[-1]
    reached, after = [], "00000000aaaa-1"
    while records := (await page(proxy, f"/divergences?after={after}"))[1]["divergences"]:
        reached += [record["id"] for record in records]
        after = reached[-1]
    assert reached == wanted


async def test_coverage_is_told_by_prefix(proxy: Proxy) -> None:
    """The most compared one first, and the sum."""
    findings = proxy.server.writer.findings
    findings.matched([b"a:1", b"b:1", b"b:2"])
    findings.coverage.note(Outcome.GAP, [b"c:1"])
    status, body = await page(proxy, "/coverage")

    assert status == 200
    assert [(one["prefix"], one["compared"]) for one in body["prefixes"]] == [("b:", 2), ("a:", 1), ("c:", 1)]
    assert (body["total"]["matched"], body["total"]["gaps"], body["delimiter"]) == (3, 1, ":")


async def test_it_is_not_ready_without_evidence_and_says_why(proxy: Proxy) -> None:
    """503, and reasons with numbers."""
    found(proxy, 2)
    await wait_until(lambda: proxy.metrics.backends["elastickv"].pool.events["dial_failed"] >= 3)
    status, body = await page(proxy, "/readiness")

    assert (status, body["ready"]) == (503, False)
    assert "1 prefix has fewer than 1,000 compared reads: user: (2)." in body["reasons"]
    assert any(reason.startswith("2 divergences in the last 10 minutes") for reason in body["reasons"])


async def test_a_mode_without_another_store_is_not_ready(pair: Pair) -> None:
    """There is nothing to go to."""
    async with running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy:
        status, body = await page(proxy, "/readiness")

    assert (status, body["reasons"]) == (
        503, ["Nothing is mirrored in this mode: no other store is being filled."],
    )  # fmt: skip


async def test_with_evidence_and_both_stores_up_it_is_ready(pair: Pair) -> None:
    """200, no reasons; the command ends with 0."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP and stream.is_connected)
        proxy.server.writer.findings.matched([b"user:1"] * 1000)
        status, body = await page(proxy, "/readiness")
        told = await dualkv("readiness", "--url", f"http://127.0.0.1:{proxy.http_port}")

    assert (status, body["ready"], body["reasons"]) == (200, True, [])
    assert (told.code, told.stdout) == (0, "ready\n")


# --- the command line


async def test_the_commands_ask_where_the_settings_say(proxy: Proxy) -> None:
    """Without --url, the address of ``metrics`` is asked, on this machine."""
    ids = found(proxy, 3)
    here = {"DUALKV_METRICS": f":{proxy.http_port}"}

    table = await dualkv("divergences", **here)
    assert (table.code, table.stderr) == (0, "")
    assert all(one in table.stdout for one in [*ids, "user:0", "data_mismatch", "9 bytes #"])
    lines = await dualkv("divergences", "--json", "--limit", "2", "--since", "1970-01-01T00:00Z", **here)
    assert [json.loads(line)["id"] for line in lines.stdout.splitlines()] == ids[1:]
    none = await dualkv("divergences", "--since", "1h", **here)
    assert none.stdout.startswith("No divergences.")
    covered = await dualkv("coverage", **here)
    assert covered.stdout.split()[:2] == ["prefix", "compared"]
    assert ["user:", "3"] in [line.split()[:2] for line in covered.stdout.splitlines()]
    readiness = await dualkv("readiness", **here)
    assert (readiness.code, readiness.stdout.splitlines()[0]) == (1, "not ready:")
    assert "- 1 prefix has fewer than 1,000 compared reads: user: (3)." in readiness.stdout.splitlines()


async def test_followers_see_new_divergences(proxy: Proxy) -> None:
    """Those there are, and then each once as it comes; Ctrl-C ends it with 0."""
    first, url = found(proxy, 1), f"http://127.0.0.1:{proxy.http_port}"
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-u", "-m", "dualkv", "divergences", "--follow", "--json", "--url", url],
                stdout=subprocess.PIPE,
                check=False,
                # Who runs the tests in the background may have had it ignored.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        )
        received = b""

        async def read_lines(count: int) -> None:
            nonlocal received
            with trio.fail_after(60):  # noqa: ASYNC912 - what is there already needs no waiting
                while received.count(b"\n") < count:
                    received += await process.stdout.receive_some()

        await read_lines(1)
        later = found(proxy, 2)
        await read_lines(3)
        process.send_signal(2)
        with trio.fail_after(60):
            assert await process.wait() == 0

    assert [json.loads(line)["id"] for line in received.splitlines()] == first + later


async def test_export_prints_a_script_or_says_that_there_is_none(proxy: Proxy) -> None:
    """0 and the script, or 1 and one line."""
    (one,) = found(proxy, 1)
    url = f"http://127.0.0.1:{proxy.http_port}"

    script = await dualkv("divergences", "export", one, "--url", url)
    assert (script.code, script.stdout.splitlines()[0]) == (0, "#!/bin/sh")
    missing = await dualkv("divergences", "export", "nothing", "--url", url)
    assert (missing.code, missing.stdout) == (1, "")
    assert missing.stderr == "dualkv: nothing: no such divergence is remembered\n"


@pytest.mark.parametrize("name", ["d.jsonl", "d.sqlite"])
async def test_a_real_difference_is_in_the_file_with_its_values(
    pair: Pair, tmp_path: Path, name: str
) -> None:
    """Somebody changes a key past dualkv; a read finds it; the file tells it with the values, as asked."""
    path = tmp_path / name
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, divergence_log=str(path), show_values=True,
            repair_divergences=False,
        ) as proxy,
        connect(proxy.port) as client,
    ):  # fmt: skip
        await client.call("SET", "user:1", "right")
        await proxy.wait_drained()
        with open_store(pair.secondary) as store:
            store.set("user:1", "wrong")
        await client.call("GET", "user:1")
        await wait_until(lambda: len(proxy.server.writer.findings.ring) > 0)

    told = await dualkv("divergences", "--file", str(path), "--json")
    (record,) = map(json.loads, told.stdout.splitlines())
    assert (record["kind"], record["key"]) == ("data_mismatch", "user:1")
    assert (record["expected"]["text"], record["actual"]["text"]) == (
        "$5\\x0d\\x0aright\\x0d\\x0a", "$5\\x0d\\x0awrong\\x0d\\x0a",
    )  # fmt: skip
    table = await dualkv("divergences", "--file", str(path))
    assert "right" in table.stdout
