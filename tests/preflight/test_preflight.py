"""``dualkv preflight`` against servers, and against a stand-in that dies of what would harm it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from dualkv.config import ProxyConfig
from dualkv.preflight.checks import check_all
from dualkv.preflight.model import Facts, Finding, Level, exit_code
from dualkv.preflight.run import gather_facts
from dualkv.servers import EmbeddedServer
from tests.fakes.elastickv import Cluster
from tests.support.servers import Pair
from tests.support.stores import open_store
from tests.test_cli import Outcome, run

SECRET = "5ecret"


async def preflight(*arguments: str) -> tuple[Outcome, Any]:
    """Run it as an operator would; return how it ended, and its JSON."""
    outcome = await trio.to_thread.run_sync(lambda: run("preflight", "--json", *arguments))
    return outcome, json.loads(outcome.stdout or "null")


async def look_at(primary: str, secondary: str, **settings: Any) -> tuple[Facts, list[Finding]]:
    """Return what is known and found in this process."""
    known = await gather_facts(ProxyConfig(primary=primary, secondary=secondary, **settings))
    return known, list(check_all(known))


def by_check(findings: list[Finding], check: str) -> dict[str, Finding]:
    """Return the last finding of a check, by store."""
    return {finding.store: finding for finding in findings if finding.check == check}


async def test_two_servers_are_fit(pair: Pair) -> None:
    """Everything that can be asked is told; nothing is left behind."""
    with open_store(pair.primary) as store:
        store.set("user:1", "x" * 100)
        store.set("session:1", "y", px=30_000)
        store.hset("hash", mapping={str(number): "v" for number in range(3000)})
    known, findings = await look_at(pair.primary.address, pair.secondary.address)

    assert exit_code(findings) == 0
    assert {"version", "latency", "memory", "clocks", "values", "copies", "two stores"} <= {
        finding.check for finding in findings
    }
    sample = known.primary.sample
    assert sample is not None
    assert (sample.keys, sample.types["hash"], sample.largest[0][3]) == (3, 1, b"hash")
    assert (sample.ttl_classes["none"], sample.ttl_classes["< 1 min"]) == (2, 1)
    assert known.primary.keys_by_db == {0: 3}
    assert abs(known.primary.clock_offset_seconds or 9.0) < 0.2
    with open_store(pair.primary) as store:
        assert store.dbsize() == 3


async def test_same_server_and_a_replica_fail(pair: Pair, server_binary: Path) -> None:
    """Whatever else is well."""
    _, findings = await look_at(pair.primary.address, f"localhost:{pair.primary.port}")
    assert by_check(findings, "two stores")["both"].level is Level.FAIL

    with EmbeddedServer(server_binary, "--replicaof", "127.0.0.1", str(pair.secondary.port)) as replica:
        _, findings = await look_at(pair.secondary.address, replica.address)
    assert by_check(findings, "two stores")["both"].level is Level.FAIL
    assert by_check(findings, "role")["secondary"].level is Level.FAIL


async def test_elastickv_is_not_harmed(pair: Pair, elastickv: Cluster) -> None:
    """It is recognised before anything else is asked, in either role; what it lacks is not tried."""
    address = elastickv.nodes[0].address
    with open_store(pair.primary) as store:
        store.set("k", "v")
    for primary, secondary in ((pair.primary.address, address), (address, pair.primary.address)):
        known, findings = await look_at(primary, secondary)
        assert "ElasticKV" in {finding.check for finding in findings}
        assert {store.error for store in known.stores} == {None}

    assert elastickv.harmful == 0
    assert set(elastickv.received) == {"CLIENT", "HELLO", "INFO", "COMMAND", "PING"}


async def test_cluster_of_several_nodes_is_asked_at_its_leader(pair: Pair, elastickv: Cluster) -> None:
    """As the proxy itself would connect."""
    nodes = ",".join(node.address for node in elastickv.nodes)
    _, findings = await look_at(pair.primary.address, nodes)

    assert by_check(findings, "reachable")["secondary"].level is Level.OK
    assert elastickv.harmful == 0


async def test_databases_that_would_be_mixed_fail(pair: Pair, elastickv: Cluster) -> None:
    """The other store has one keyspace."""
    for db in (0, 3):
        with open_store(pair.primary) as store:
            store.select(db)
            store.set("k", "v")
    _, findings = await look_at(pair.primary.address, elastickv.nodes[0].address)

    assert by_check(findings, "databases")["both"].level is Level.FAIL


async def test_user_without_rights_fails(pair: Pair) -> None:
    """A user that may be asked about is; one that may ask nothing is told as that."""
    with open_store(pair.secondary) as store:
        store.execute_command(
            "ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@all", "-eval", "-restore"
        )
        store.execute_command(
            "ACL", "SETUSER", "mute", "on", f">{SECRET}", "~*", "&*", "+@all", "-command", "-acl"
        )
    try:
        address = f"127.0.0.1:{pair.secondary.port}"
        _, findings = await look_at(pair.primary.address, f"redis://app:{SECRET}@{address}")
        rights = by_check(findings, "rights")["secondary"]
        known, mute = await look_at(pair.primary.address, f"redis://mute:{SECRET}@{address}")
    finally:
        with open_store(pair.secondary) as store:
            store.execute_command("ACL", "DELUSER", "app", "mute")

    assert (rights.level, rights.details) == (Level.FAIL, ("RESTORE", "EVAL"))
    assert not known.secondary.knows_commands
    assert by_check(mute, "version")["secondary"].level is Level.WARN
    assert SECRET not in repr(findings) + repr(mute)


@pytest.mark.parametrize("which", ["primary", "secondary"])
async def test_store_that_hangs_is_a_finding(pair: Pair, server_binary: Path, which: str) -> None:
    """In time, and without a traceback."""
    with EmbeddedServer(server_binary) as hanging:
        stores = {
            "primary": pair.primary.address,
            "secondary": pair.secondary.address,
            which: hanging.address,
        }
        hanging.pause()
        try:
            _, findings = await look_at(**stores, dial_timeout_seconds=0.2)
        finally:
            hanging.resume()

    assert by_check(findings, "reachable")[which].level is Level.FAIL
    assert "no answer in 0.2 s" in by_check(findings, "reachable")[which].text


async def test_exit_codes_and_secrets_as_an_operator_sees_them(pair: Pair, server_binary: Path) -> None:
    """0: nothing fails; 1: something does; 2: a wrong setting. Passwords are nowhere."""
    stores = ("--primary", pair.primary.address)
    good, body = await preflight(*stores, "--secondary", pair.secondary.address)
    assert (good.code, good.stderr, body["passed"]) == (0, "", True)

    with EmbeddedServer(server_binary, "--requirepass", SECRET + "2") as guarded:
        url = f"redis://:{SECRET}@127.0.0.1:{guarded.port}"
        bad, body = await preflight(*stores, "--secondary", url)
    assert (bad.code, bad.stderr, body["passed"]) == (1, "", False)
    assert SECRET not in bad.stdout

    wrong = await trio.to_thread.run_sync(lambda: run("preflight", "--primary", "nowhere"))
    assert "not an address" in wrong.complaint()


async def test_table_is_for_people(pair: Pair) -> None:
    """Without --json: rows, and a line that sums up."""
    flags = ("--primary", pair.primary.address, "--secondary", "127.0.0.1:1")
    outcome = await trio.to_thread.run_sync(lambda: run("preflight", *flags))

    assert outcome.code == 1
    assert "fail  reachable  " in outcome.stdout
    assert outcome.stdout.rstrip().endswith("1 fail: do not start before what fails is put right.")


async def test_facts_that_are_missing_raise_nothing(pair: Pair) -> None:
    """A store that tells next to nothing is judged by what it tells."""
    known, _ = await look_at(pair.primary.address, pair.secondary.address)
    silent = attrs.evolve(
        known.secondary,
        info={},
        settings={},
        latency_seconds=None,
        clock_offset_seconds=None,
        user="",
        sample=None,
    )

    assert exit_code(
        check_all(attrs.evolve(known, secondary=silent, primary=attrs.evolve(silent, which="primary")))
    ) in (0, 1)
