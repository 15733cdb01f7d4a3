"""What the application uses, against the other store."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.errors import ConfigError
from dualkv.preflight.model import Finding, Level
from dualkv.preflight.used import check_used
from tests.fakes.elastickv import Cluster
from tests.preflight.building import elastickv, facts
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.test_cli import run


def told(*uses: str, databases: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Return what ``/observed`` would tell: commands by label, each with its options."""
    return {
        "commands": [
            {"command": words[0], "options": [{"names": words[1:], "seen": 1}]}
            for words in map(str.split, uses)
        ],
        "databases": [{"db": db, "seen": 1} for db in databases],
    }


def judged(observed: Any) -> dict[str, list[Finding]]:
    """Return findings for an ElasticKV, by check."""
    findings: dict[str, list[Finding]] = {}
    for finding in check_used(facts(secondary={"dialect": elastickv()}), observed):
        findings.setdefault(finding.check, []).append(finding)
    return findings


def test_writes_are_told_by_the_form_in_which_they_arrive() -> None:
    """What cannot be held fails: its data would stay behind."""
    findings = judged(told("get", "sadd", "unlink", "sinterstore", "xreadgroup BLOCK"))["used writes"]

    assert [(finding.level, finding.details) for finding in findings] == [
        (Level.OK, ("SADD",)), (Level.OK, ("UNLINK",)), (Level.OK, ("SINTERSTORE",)),
        (Level.FAIL, ("XREADGROUP BLOCK",)),
    ]  # fmt: skip


def test_calls_that_would_be_refused_are_told() -> None:
    """Commands and options; not what dualkv answers by itself."""
    (finding,) = judged(
        told("mget", "set EX KEEPTTL", "set NX", "lpop COUNT", "client|setname", "hello 3", "other", "get")
    )["used calls"]

    assert finding.level is Level.WARN
    assert finding.details == ("LPOP COUNT", "MGET", "SET KEEPTTL")


def test_application_that_uses_nothing_special_can_move() -> None:
    """No warning without a reason."""
    findings = judged(told("get", "set EX", "del"))

    assert {finding.level for found in findings.values() for finding in found} == {Level.OK}


def test_several_databases_fail_where_all_are_one() -> None:
    """One is fine, whichever."""
    assert judged(told("get", databases=(0, 3)))["used databases"][0].level is Level.FAIL
    assert judged(told("get", databases=(3,)))["used databases"][0].level is Level.OK


def test_nothing_seen_is_a_warning() -> None:
    """It says nothing about the application."""
    assert judged(told())["used"][0].level is Level.WARN
    assert "No write" in judged(told("get"))["used writes"][0].text


def test_unreachable_secondary_judges_nothing() -> None:
    """What it holds is not known."""
    assert check_used(facts(secondary={"error": "away"}), told("get")) == ()


@pytest.mark.parametrize("body", [{}, {"commands": 1}, {"commands": [{}], "databases": []}, [], None])
def test_something_else_is_a_wrong_setting(body: Any) -> None:
    """The address is that of another program."""
    with pytest.raises(ConfigError, match="not an answer of dualkv"):
        judged(body)


async def test_running_proxy_is_asked(pair: Pair, elastickv: Cluster) -> None:
    """From the client's commands to the finding; the store is not harmed."""
    address = elastickv.nodes[0].address
    async with running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy:
        async with connect(proxy.port) as client:
            await client.pipeline(
                [("SET", "k", "v", "EX", 100), ("MGET", "k"), ("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")]
            )
        url = f"http://127.0.0.1:{proxy.http_port}"
        flags = ("--primary", pair.primary.address, "--secondary", address, "--url", url, "--json")
        outcome = await trio.to_thread.run_sync(lambda: run("preflight", *flags))

    findings = {
        (finding["check"], finding["level"]): finding["details"]
        for finding in json.loads(outcome.stdout)["findings"]
    }
    assert outcome.code == 1
    assert findings["used writes", "fail"] == ["XGROUP CREATE MKSTREAM"]
    assert findings["used calls", "warn"] == ["MGET", "XGROUP CREATE"]
    assert elastickv.harmful == 0


async def test_nobody_there_is_one_line(pair: Pair) -> None:
    """Exit code 2, as for every wrong address."""
    flags = ("--primary", pair.primary.address, "--secondary", pair.secondary.address)
    nobody = await trio.to_thread.run_sync(lambda: run("preflight", *flags, "--url", "http://127.0.0.1:1"))
    off = await trio.to_thread.run_sync(lambda: run("preflight", *flags, "--observed", "--metrics", "off"))

    assert "cannot reach dualkv at http://127.0.0.1:1" in nobody.complaint()
    assert "metrics: is off" in off.complaint()
