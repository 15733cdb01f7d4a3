"""The self-test between real stores: it passes, leaves nothing behind, and fails when a part is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.compare.model import EXTRA, MATCH, WRONG_VALUE
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence_ring import DivergenceFilter
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.selftest import KEY_PREFIX, Finding, SelfTestResult, SelfTestState, Step, steps_of
from dualkv.errors import ConfigError
from dualkv.net import selftest_runs
from dualkv.net.comparing import Comparing
from dualkv.net.lane import LaneState
from dualkv.net.selftest import SelfTest
from dualkv.net.selftest_runs import run_selftest
from dualkv.net.shadow import ShadowJudge
from dualkv.net.stream import SecondaryStream
from dualkv.net.writer import open_writer
from tests.e2e.test_http import get, readiness
from tests.fakes.elastickv import Cluster
from tests.support.client import connect
from tests.support.elastickv import elastickv, elastickv_store  # noqa: F401 - fixtures
from tests.support.fake_backend import running_fake
from tests.support.proxy import running_proxy, wait_until
from tests.support.sentry import RecordingSentry
from tests.support.servers import Pair
from tests.support.stores import contents, open_store
from tests.test_cli import run

pytestmark = pytest.mark.e2e

SHADOW = ProxyMode.DUAL_WRITE_SHADOW
QUICK: dict[str, Any] = {"confirm_after_seconds": 0.05}


def settings(pair: Pair, mode: ProxyMode = SHADOW, **more: Any) -> ProxyConfig:
    """Return settings for two stores, with quick confirmations."""
    return ProxyConfig(
        mode=mode, primary=pair.primary.address, secondary=pair.secondary.address, **QUICK | more
    )


async def result_of(config: ProxyConfig, patience_seconds: float = 20.0) -> SelfTestResult:
    """Return what comes out of a self-test."""
    async with open_writer(config) as writer:
        result = await SelfTest(writer, patience_seconds).run()
        assert writer.comparing.judge.canaries == {}
        assert writer.metrics.divergences == {}
    return result


def failed(result: SelfTestResult) -> dict[str, str]:
    """Return what is wrong, by step."""
    assert not result.is_passed
    return {finding.step.value: finding.why for finding in result.findings if not finding.is_ok}


# --- it passes


@pytest.mark.parametrize("mode", [SHADOW, ProxyMode.DUAL_WRITE, ProxyMode.ELASTICKV_PRIMARY])
async def test_it_passes_in_every_mode_that_mirrors(pair: Pair, mode: ProxyMode) -> None:
    """All steps where reads are compared; and nothing is left on the stores."""
    result = await result_of(settings(pair, mode))

    assert result.why == ""
    assert [finding.step for finding in result.findings] == list(
        steps_of(is_comparing=mode is not ProxyMode.DUAL_WRITE)
    )
    assert contents(pair.primary) == contents(pair.secondary) == {}


async def test_it_passes_with_databases_that_are_paired(pair: Pair) -> None:
    """The canaries are in the databases of the settings."""
    assert (await result_of(settings(pair, primary_db=2, secondary_db=5))).why == ""


async def test_it_passes_where_hardly_anything_is_sampled(pair: Pair) -> None:
    """Sampling is about clients' keys."""
    assert (await result_of(settings(pair, shadow_sample=0.001))).why == ""


async def test_it_passes_with_elastickv(pair: Pair, elastickv: Cluster) -> None:  # noqa: F811 - a fixture
    """With the few commands that an ElasticKV has."""
    assert elastickv.leader is not None
    address = elastickv.leader.address
    result = await result_of(
        ProxyConfig(mode=SHADOW, primary=pair.primary.address, secondary=address, **QUICK)
    )

    assert result.why == ""
    assert elastickv.harmful == 0


async def test_the_server_tests_itself_and_counts_nothing_of_it(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passed in the metrics and on /readyz; no alarm anywhere, no coverage, nothing dirty, nothing left."""
    sentry, log = RecordingSentry(), tmp_path / "divergences.jsonl"
    async with running_proxy(
        pair.primary.address, pair.secondary.address, reporter=sentry.reporter, selftest="auto",
        divergence_log=str(log), fill_gaps=True, **QUICK,
    ) as proxy:  # fmt: skip
        assert proxy.metrics.selftest.gauge == -1
        await wait_until(lambda: proxy.metrics.selftest.gauge == 1)
        await proxy.wait_drained()
        metrics, findings = proxy.metrics, proxy.metrics.findings
        _, exposed = await get(proxy, "/metrics")
        _, told = await readiness(proxy)

        assert "proxy_selftest_passed 1.0" in exposed
        assert told["selftest"] == {"state": "passed", "why": None}
        assert metrics.divergences == metrics.shadow_inconclusive == {}
        assert (metrics.shadow_matches, metrics.shadow_transient) == (0, 0)
        assert findings.ring.find(DivergenceFilter(), 10) == []
        assert findings.coverage.by_prefix() == {}
        assert findings.pending_confirmations() == 0
        assert [metrics.dirty.marked[reason] for reason in (DirtyReason.DIVERGED, DirtyReason.GAP)] == [0, 0]
        assert contents(pair.primary) == contents(pair.secondary) == {}
    assert sentry.events == []
    assert not log.exists() or log.read_text() == ""


async def test_clients_are_compared_meanwhile(pair: Pair) -> None:
    """Their differences are alarms as ever, and are counted."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, selftest="auto", **QUICK) as proxy,
        connect(proxy.port) as client,
    ):
        canaries = proxy.server.writer.comparing.judge.canaries
        await wait_until(lambda: bool(canaries))
        with open_store(pair.primary) as store:
            store.set("user:1", "v")
        await client.call("GET", "user:1")
        await wait_until(lambda: proxy.metrics.divergences.total() == 1)
        await wait_until(lambda: proxy.metrics.selftest.gauge == 1)

        assert [key.decode() for key in proxy.metrics.findings.coverage.by_prefix()] == ["user:"]


async def test_a_client_that_reads_a_canary_raises_no_alarm(pair: Pair) -> None:
    """Whoever walks through all keys may meet one."""
    stores = (pair.primary.address, pair.secondary.address)
    async with (
        running_proxy(*stores, selftest="auto", fill_gaps=True, **QUICK) as proxy,
        connect(proxy.port) as client,
    ):
        canaries = proxy.server.writer.comparing.judge.canaries
        await wait_until(lambda: bool(canaries))
        keys = list(canaries)
        while proxy.metrics.selftest.gauge == -1:
            await client.pipeline([("GET", key) for key in keys] + [("MGET", "user:1", *keys)])
        await proxy.wait_drained()
        await wait_until(lambda: proxy.metrics.findings.pending_confirmations() == 0)

        assert proxy.metrics.selftest.failure == ""
        assert proxy.metrics.divergences == {}
        assert proxy.metrics.dirty.marked[DirtyReason.GAP] == 0


async def test_it_waits_until_the_other_store_is_there(pair: Pair) -> None:
    """Not run is not failed; /readyz says what it waits for."""
    async with running_proxy(pair.primary.address, "127.0.0.1:1", selftest="auto") as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        await wait_until(lambda: proxy.metrics.selftest.waits_for == "elastickv cannot be reached")
        _, told = await readiness(proxy)

        assert told["selftest"] == {"state": "waiting", "why": "elastickv cannot be reached"}
        assert proxy.metrics.selftest.gauge == -1


async def test_it_is_not_made_without_a_connection_to_spare(pair: Pair) -> None:
    """Clients come first; and that is no failure."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, selftest="auto", secondary_pool_size=1
    ) as proxy:
        await wait_until(lambda: "connections are in use" in proxy.metrics.selftest.waits_for)

        assert (proxy.metrics.selftest.gauge, proxy.metrics.selftest.failure) == (-1, "")


@pytest.mark.parametrize("more", [{"selftest": "off"}, {"selftest": "auto", "mode": ProxyMode.REDIS_ONLY}])
async def test_it_is_not_made_where_it_is_not_wanted(pair: Pair, more: dict[str, Any]) -> None:
    """Off, or in a mode that mirrors nothing."""
    async with running_proxy(pair.primary.address, pair.secondary.address, **more) as proxy:
        await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
        _, told = await readiness(proxy)

        assert told["selftest"] == {"state": "off", "why": None}


async def test_one_that_is_stopped_in_the_middle_removes_its_canaries(pair: Pair) -> None:
    """A shutdown does not wait for it."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, selftest="auto", confirm_after_seconds=30.0
    ) as proxy:

        def is_spread() -> bool:
            return len(contents(pair.secondary)) == 3

        while not await trio.to_thread.run_sync(is_spread):
            assert proxy.metrics.selftest.gauge == -1
        began = trio.current_time()
    assert trio.current_time() - began < 5
    assert contents(pair.primary) == contents(pair.secondary) == {}


# --- it fails


Break = Callable[[pytest.MonkeyPatch], None]


def _always(verdict: object) -> Break:
    """Let comparing always come to the same."""
    return lambda patch: patch.setattr("dualkv.net.shadow.judge", lambda *_: verdict)


def _drop(patch: pytest.MonkeyPatch, which: Callable[[StreamItem], bool]) -> None:
    offer = SecondaryStream.offer

    def lossy(stream: SecondaryStream, items: list[StreamItem]) -> None:
        offer(stream, [item for item in items if not which(item)])

    patch.setattr(SecondaryStream, "offer", lossy)


def _never_read_again(patch: pytest.MonkeyPatch) -> None:
    async def reread(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr(Comparing, "reread", reread)


def _never_confirm(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShadowJudge, "_pursue", lambda *_: None)


def _confirm_at_once_and_twice(patch: pytest.MonkeyPatch) -> None:
    report = ShadowJudge._report

    def twice(*args: Any) -> None:
        report(*args)
        report(*args)

    patch.setattr(ShadowJudge, "_report", twice)


ALARMS = ("migration_gap", "data_mismatch", "extra_data")

BREAKS: dict[str, tuple[Break, dict[str, str]]] = {
    "a comparator that always matches": (_always(MATCH), dict.fromkeys(ALARMS, "came out as match")),
    "a comparator that never matches": (
        _always(WRONG_VALUE),
        dict.fromkeys(("match", "migration_gap", "extra_data"), "came out as data_mismatch"),
    ),
    "a comparator that takes one side for the other": (
        _always(EXTRA),
        dict.fromkeys(("match", "migration_gap", "data_mismatch"), "came out as extra_data"),
    ),
    "a stream that drops writes": (
        partial(_drop, which=lambda item: item.queue is Queue.WRITE),
        {"write": "not done within 1 s"},
    ),
    "a stream that drops reads": (
        partial(_drop, which=lambda item: item.queue is Queue.SHADOW),
        dict.fromkeys(("match", *ALARMS), "was never judged"),
    ),
    "a stream that drops the second readings": (
        partial(_drop, which=lambda item: item.suspicion is not None),
        dict.fromkeys(ALARMS, "was never judged"),
    ),
    "differences that are never read again": (
        _never_read_again, dict.fromkeys(ALARMS, "was never judged"),
    ),
    "differences that are never confirmed": (_never_confirm, dict.fromkeys(ALARMS, "was never judged")),
    "alarms that come twice": (
        _confirm_at_once_and_twice, {alarm: f"came out as {alarm}, {alarm}" for alarm in ALARMS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
async def test_it_fails_when_a_part_is_broken(pair: Pair, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A self-test that cannot fail is worthless."""
    break_it, complaints = BREAKS[what]
    break_it(monkeypatch)

    assert failed(await result_of(settings(pair), patience_seconds=1.0)) == complaints


async def test_a_store_that_refuses_the_canaries_is_told(pair: Pair) -> None:
    """With its own words, at once."""
    with open_store(pair.secondary) as store:
        store.execute_command("ACL", "SETUSER", "narrow", "on", "nopass", "+@all", "~app:*")
    try:
        address = f"redis://narrow:any@{pair.secondary.address}"
        config = ProxyConfig(mode=SHADOW, primary=pair.primary.address, secondary=address)
        why = failed(await result_of(config))
    finally:
        with open_store(pair.secondary) as store:
            store.execute_command("ACL", "DELUSER", "narrow")

    assert list(why) == ["secondary"]
    assert "NOPERM" in why["secondary"]


async def test_a_store_that_is_away_is_told_at_once(pair: Pair) -> None:
    """Which one, and why; the steps that need it are not tried."""
    config = ProxyConfig(mode=SHADOW, primary=pair.primary.address, secondary="127.0.0.1:1")
    result = await result_of(config)

    assert [str(finding.step) for finding in result.findings] == ["primary", "secondary"]
    assert "127.0.0.1:1" in failed(result)["secondary"]


async def test_a_store_that_does_not_answer_does_not_hold_it_up(pair: Pair) -> None:
    """It has its time, and no more."""
    async with running_fake(lambda _: b"") as silent:
        config = ProxyConfig(
            mode=SHADOW, primary=pair.primary.address, secondary=silent.address, read_timeout_seconds=0.2
        )
        why = failed(await result_of(config))

    assert "no answer in 0.2 s" in why["secondary"]


async def test_failure_of_a_server_is_told_everywhere(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the gauge, on /readyz with the reason, and the next mode is not safe."""
    _always(MATCH)(monkeypatch)
    async with running_proxy(pair.primary.address, pair.secondary.address, selftest="auto", **QUICK) as proxy:
        await wait_until(lambda: proxy.metrics.selftest.gauge == 0)
        status, told = await readiness(proxy)
        _, judged = await get(proxy, "/readiness")

        assert (status, told["selftest"]["state"]) == (200, "failed")
        assert "migration_gap: came out as match" in told["selftest"]["why"]
        assert any(reason.startswith("The self-test failed: ") for reason in json.loads(judged)["reasons"])


async def test_a_bug_in_it_does_not_end_the_server(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients go on; it is reported, and told as what it is."""

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    monkeypatch.setattr(SelfTest, "run", fail)
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, selftest="auto") as proxy,
        connect(proxy.port) as client,
    ):
        await wait_until(lambda: "a fault of dualkv" in proxy.metrics.selftest.waits_for)

        assert await client.call("PING") == b"+PONG\r\n"
        assert proxy.metrics.selftest.gauge == -1


# --- on demand


async def test_it_harms_no_running_server(pair: Pair) -> None:
    """A dualkv that serves the same stores sees nothing of it, and its journal is left alone."""
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        result = await run_selftest(settings(pair, journal_dir="/nonexistent/journal"), lambda _: None)
        await proxy.wait_drained()

        assert result.why == ""
        assert proxy.metrics.divergences == {}


async def test_it_is_refused_where_nothing_is_mirrored(pair: Pair) -> None:
    """Also where both stores are one."""
    with pytest.raises(ConfigError, match="nothing is mirrored in redis-only"):
        await run_selftest(settings(pair, ProxyMode.REDIS_ONLY), lambda _: None)
    one = ProxyConfig(mode=SHADOW, primary=pair.primary.address, secondary=pair.primary.address)
    with pytest.raises(ConfigError, match="are the same server"):
        await run_selftest(one, lambda _: None)


async def test_the_command_prints_each_step(pair: Pair) -> None:
    """Exit code 0; a line for each step, and one at the end."""
    flags = ("--mode", SHADOW.value, "--primary", pair.primary.address, "--confirm-after", "50ms")
    outcome = await trio.to_thread.run_sync(
        lambda: run("selftest", *flags, "--secondary", pair.secondary.address)
    )

    *steps, last = outcome.stdout.splitlines()
    assert (outcome.code, outcome.stderr) == (0, "")
    assert [line.split()[0] for line in steps] == [step.value for step in Step]
    assert all(line.endswith(": ok") for line in steps)
    assert last.startswith("passed after ")


async def test_the_command_says_what_failed(pair: Pair) -> None:
    """Exit code 1; no trace, no log."""
    flags = ("--mode", SHADOW.value, "--primary", pair.primary.address, "--secondary", "127.0.0.1:1")
    outcome = await trio.to_thread.run_sync(lambda: run("selftest", *flags))

    _, secondary, last = outcome.stdout.splitlines()
    assert (outcome.code, outcome.stderr) == (1, "")
    assert ": FAILED: " in secondary
    assert last.startswith("FAILED after ")
    with open_store(pair.primary) as store:
        assert not list(store.scan_iter(KEY_PREFIX + b"*"))


async def test_the_command_speaks_json(pair: Pair) -> None:
    """One object: each step, and the reason where one fails; the exit code is the same."""
    flags = ("--mode", SHADOW.value, "--primary", pair.primary.address, "--confirm-after", "50ms", "--json")
    good = await trio.to_thread.run_sync(
        lambda: run("selftest", *flags, "--secondary", pair.secondary.address)
    )
    bad = await trio.to_thread.run_sync(lambda: run("selftest", *flags, "--secondary", "127.0.0.1:1"))

    told = json.loads(good.stdout)
    assert (good.code, good.stderr, told["passed"], told["seconds"] > 0) == (0, "", True, True)
    assert [(step["step"], step["passed"], step["why"]) for step in told["steps"]] == [
        (step.value, True, None) for step in Step
    ]
    told = json.loads(bad.stdout)
    assert (bad.code, bad.stderr, told["passed"]) == (1, "", False)
    assert "127.0.0.1:1" in told["steps"][-1]["why"]


# --- again and again


def hurry(patch: pytest.MonkeyPatch, *, repeat_seconds: float = 600.0) -> None:
    """Do not wait long between two self-tests."""
    patch.setattr(selftest_runs, "_SETTLE_SECONDS", 0.02)
    patch.setattr(selftest_runs, "_REPEAT_SECONDS", repeat_seconds)
    patch.setattr(selftest_runs, "_RETRY_SECONDS", 0.02)


def script(patch: pytest.MonkeyPatch, whys: str, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
    """Let self-tests pass (``.``) or fail (``F``) in this order; return what is still to come."""
    left = list(whys)

    async def pretend(_: SelfTest) -> SelfTestResult:
        await trio.lowlevel.checkpoint()
        if not left:
            await trio.sleep_forever()
        meanwhile()
        return SelfTestResult((Finding(Step.WRITE, "" if left.pop(0) == "." else "lost"),), 0.1)

    patch.setattr(SelfTest, "run", pretend)
    return left


async def test_it_is_repeated_and_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has passed says nothing of what breaks later; the canaries of each are removed."""
    hurry(monkeypatch, repeat_seconds=0.04)
    async with running_proxy(pair.primary.address, pair.secondary.address, selftest="auto", **QUICK) as proxy:
        state = proxy.metrics.selftest
        for _ in range(3):
            before = state.result
            await wait_until(lambda: state.result is not before)  # noqa: B023
            assert state.gauge == 1
        assert proxy.metrics.divergences == {}
    assert contents(pair.primary) == contents(pair.secondary) == {}


async def test_it_is_repeated_when_connections_are_new(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the store that follows, as well as to the one that answers: it may be another one."""
    hurry(monkeypatch)
    async with running_proxy(pair.primary.address, pair.secondary.address, selftest="auto", **QUICK) as proxy:
        state = proxy.metrics.selftest
        await wait_until(lambda: state.gauge == 1)
        for server in (pair.secondary, pair.primary):
            before = state.result
            with open_store(server) as store:
                store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await wait_until(lambda: state.result is not before)  # noqa: B023

            assert state.gauge == 1


@pytest.mark.parametrize(
    ("whys", "gauges"),
    [("F", [0]), (".F", [1]), (".FF", [1, 0]), (".F.", [1]), (".FF.", [1, 0, 1]), ("F.F.FF", [0, 1, 0])],
)
async def test_one_failure_after_it_has_passed_is_no_alarm(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, whys: str, gauges: list[int]
) -> None:
    """A store that is busy for a moment would ring it; two in a row count."""
    hurry(monkeypatch, repeat_seconds=0.02)
    left = script(monkeypatch, whys)
    seen: list[int] = []
    tell = selftest_runs._tell

    def tell_and_look(state: SelfTestState, result: SelfTestResult) -> None:
        tell(state, result)
        if [state.gauge] != seen[-1:]:
            seen.append(state.gauge)

    monkeypatch.setattr(selftest_runs, "_tell", tell_and_look)
    async with running_proxy(pair.primary.address, pair.secondary.address, selftest="auto"):
        await wait_until(lambda: not left and len(seen) >= len(gauges))
        await trio.sleep(0.1)

    assert seen == gauges


async def test_failure_while_connections_were_made_anew_does_not_count(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even that of the first one."""
    hurry(monkeypatch)
    async with running_proxy(pair.primary.address, pair.secondary.address, selftest="auto") as proxy:
        writer, seen = proxy.server.writer, list[int]()

        def reconnect() -> None:
            seen.append(writer.metrics.selftest.gauge)
            writer.connections_made += 1

        script(monkeypatch, "FF.", reconnect)
        await wait_until(lambda: writer.metrics.selftest.gauge != -1)

    assert seen == [-1, -1, -1]
    assert writer.metrics.selftest.gauge == 1
