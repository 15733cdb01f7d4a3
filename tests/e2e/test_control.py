"""What operators change while dualkv runs: it does what it says, clients see no error, nothing is lost."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from openapi_schema_validator import OAS31Validator

from dualkv.admin.admin_app import operations_of
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.config.admin import admin_tokens
from dualkv.core.dirty import DirtyReason
from dualkv.core.gate import GateState
from dualkv.core.ledger import DropReason, Queue
from dualkv.net.stream import SecondaryStream
from dualkv.serve import ProxyServer
from tests.e2e.test_repair import assert_equal, gauge, wait_replies, write_many
from tests.support.asking import Answer, ask
from tests.support.client import connect
from tests.support.process import serving
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.workload import under_load

pytestmark = pytest.mark.e2e

DUAL_WRITE, SHADOW, ALONE = ProxyMode.DUAL_WRITE, ProxyMode.DUAL_WRITE_SHADOW, ProxyMode.REDIS_ONLY
_SERVER = ProxyServer(ProxyConfig())
SCHEMAS: dict[tuple[str, str], Any] = {
    (operation.method, operation.path): operation.answer
    for operation in operations_of(_SERVER.control, _SERVER.sampler, has_tokens=True)
}
"""What answers are like, as the document tells."""


async def change(proxy: Proxy, name: str, body: object = None) -> Any:
    """Ask for a change, which must be possible; return what came of it."""
    method = "POST" if body is None else "PUT"
    answer = await ask(proxy.admin_port, method, f"/api/{name}", body)
    assert answer.status == 200, answer.body
    OAS31Validator(SCHEMAS[method, f"/api/{name}"]).validate(answer.json)
    return answer.json


async def refused(proxy: Proxy, name: str, body: object = None) -> Answer:
    """Ask for a change that makes no sense; return the answer."""
    answer = await ask(proxy.admin_port, "POST" if body is None else "PUT", f"/api/{name}", body)
    assert answer.status == 409, answer.body
    return answer


async def knobs(proxy: Proxy) -> Any:
    """Return what can be changed, and how it stands."""
    answer = await ask(proxy.admin_port, "GET", "/api/control")
    OAS31Validator(SCHEMAS["GET", "/api/control"]).validate(answer.json)
    return answer.json


def sent_to_secondary(proxy: Proxy) -> int:
    """Return how many items have been sent to the secondary so far."""
    ledgers = [proxy.metrics.ledger(queue) for queue in Queue]
    return sum(ledger.applied + ledger.failed + ledger.in_flight for ledger in ledgers)


def stream_of(proxy: Proxy) -> SecondaryStream:
    """Return the stream of who serves now."""
    stream = proxy.server.writer.stream
    assert stream is not None
    return stream


# --- the kill switch


@pytest.mark.parametrize("shards", [1, 4])
async def test_kill_switch_and_back_under_load(pair: Pair, shards: int) -> None:
    """Three times: nothing is sent meanwhile, clients see no error, and both stores are equal afterwards."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, SHADOW, secondary_write_concurrency=shards
    ) as proxy:
        await write_many(proxy, 20)
        async with under_load(proxy.port) as load:
            for _ in range(3):
                await wait_replies(load, 500)
                assert (await change(proxy, "pause"))["after"] is True
                await wait_until(lambda: proxy.metrics.total_ledger().in_flight == 0)
                sent = sent_to_secondary(proxy)
                await wait_replies(load, 500)
                assert sent == sent_to_secondary(proxy)
                assert (await knobs(proxy))["paused"] is True
                assert await gauge(proxy, 'proxy_stream_gate{state="paused"}') == 1
                assert proxy.metrics.dirty
                await change(proxy, "resume")
        assert not load.errors
        await proxy.wait_repaired()
        assert proxy.metrics.dirty.marked[DirtyReason.PAUSED] > 0
        assert proxy.metrics.ledger(Queue.SHADOW).dropped[DropReason.SUSPENDED] > 0
        assert not proxy.metrics.divergences
    assert_equal(pair)


async def test_pause_leaves_what_waits_to_copies(pair: Pair) -> None:
    """A queue that is full because the store hangs is empty at once, and so is what was in flight soon."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, secondary_write_queue_size=5000
    ) as proxy:
        await write_many(proxy, 3)
        await proxy.wait_drained()
        pair.secondary.pause()
        try:
            await write_many(proxy, 100, value="w")
            assert proxy.metrics.total_ledger().in_flight > 0
            told = await change(proxy, "pause")
            assert "with a second to be answered" in " ".join(told["notes"])
            assert proxy.metrics.total_ledger().queued == 0
            with trio.fail_after(5):
                await wait_until(lambda: proxy.metrics.total_ledger().in_flight == 0)
        finally:
            pair.secondary.resume()
        assert proxy.metrics.dirty.needs_resync is None
        await change(proxy, "resume")
        await proxy.wait_repaired()
        assert proxy.metrics.resync.completed == 0
    assert_equal(pair)


async def test_what_names_no_keys_while_paused_makes_a_resync_necessary(pair: Pair) -> None:
    """FLUSHALL cannot be remembered by its keys: it is said, and made up for."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", "gone", 1), ("SET", "kept", 1)])
        await proxy.wait_drained()
        await change(proxy, "pause")
        await client.pipeline([("FLUSHALL",), ("SET", "kept", 2)])
        told = await change(proxy, "resume")
        assert "a resync is required" in " ".join(told["notes"])
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_a_resync_waits_while_paused_and_goes_on(pair: Pair) -> None:
    """It takes no step towards the store that is to be left alone."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, repair_rate=500
    ) as proxy:
        await write_many(proxy, 300)
        await proxy.wait_drained()
        progress = proxy.metrics.resync
        await change(proxy, "resync")
        await wait_until(lambda: progress.is_running and progress.keys_done > 0)
        await change(proxy, "pause")
        await wait_until(lambda: proxy.metrics.total_ledger().in_flight == 0)
        sent = sent_to_secondary(proxy)
        await trio.sleep(0.5)
        assert sent == sent_to_secondary(proxy)
        assert progress.is_running
        await change(proxy, "resume")
        await change(proxy, "repair-rate", {"keys_per_second": 0})
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_ending_while_paused_takes_no_time(pair: Pair) -> None:
    """Nobody waits for a store that is to be left alone; what differs is said in the last line."""
    async with serving(pair, "--drain", "20s") as process:
        async with connect(process.port) as client:
            assert (await ask(process.admin_port, "POST", "/api/pause")).status == 200
            await client.call("SET", "k", 1)
        with trio.fail_after(10):
            assert (await ask(process.admin_port, "POST", "/api/drain")).status == 200
            code, lines = await process.wait()

    assert code == 0
    assert lines[-1]["message"] == "stopped"
    assert lines[-1]["dirty_keys"] == 1


async def test_with_a_journal_what_was_paused_is_repaired_after_a_restart(pair: Pair, tmp_path: Any) -> None:
    """The next process knows the keys, and is not paused."""
    async with serving(pair, "--journal-dir", str(tmp_path)) as process:
        async with connect(process.port) as client:
            await ask(process.admin_port, "POST", "/api/pause")
            await client.call("SET", "k", 1)
        process.popen.kill()
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, journal_dir=str(tmp_path)
    ) as proxy:
        await proxy.wait_repaired()
        assert (await knobs(proxy))["paused"] is False
    assert_equal(pair)


# --- the mode


async def test_mode_is_told_and_changed_under_load(pair: Pair) -> None:
    """Forth and back by HTTP: clients see no error; what was changed before still counts."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        await change(proxy, "shadow-sample", {"share": 0.25})
        await change(proxy, "repair-rate", {"keys_per_second": 10_000})
        async with under_load(proxy.port) as load:
            for mode in ("dual-write-shadow", "dual-write", "dual-write-shadow"):
                await wait_replies(load, 200)
                told = await change(proxy, "mode", {"mode": mode})
                assert (told["after"], told["done"]) == (mode, True)
                assert told["waited_seconds"] < 2
                assert (await read_mode(proxy))["mode"] == mode
        assert not load.errors
        writer = proxy.server.writer
        assert writer.mirroring is not None
        assert writer.mirroring.copier.rate == 10_000
        assert writer.comparing.filter.is_trivial is False
        assert (await knobs(proxy))["shadow_sample"] == 0.25
        await proxy.wait_repaired()
    assert_equal(pair)


async def read_mode(proxy: Proxy) -> Any:
    """Return what is told of the mode."""
    answer = await ask(proxy.admin_port, "GET", "/api/mode")
    OAS31Validator(SCHEMAS["GET", "/api/mode"]).validate(answer.json)
    return answer.json


async def test_a_store_that_is_left_alone_stays_so_in_the_next_mode(pair: Pair) -> None:
    """The kill switch is not released by the way."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await change(proxy, "pause")
        paused_at = stream_of(proxy).paused_at
        assert paused_at is not None
        await change(proxy, "pause")
        await client.call("SET", "before", 1)
        await change(proxy, "mode", {"mode": "dual-write-shadow"})
        assert stream_of(proxy).paused_at == paused_at
        sent = sent_to_secondary(proxy)
        await client.call("SET", "behind", 1)
        await trio.sleep(0.1)
        assert sent == sent_to_secondary(proxy)
        assert (await knobs(proxy))["paused"] is True
        await change(proxy, "resume")
        assert stream_of(proxy).paused_at is None
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_a_mode_that_would_lose_something_is_refused_with_the_reason(pair: Pair) -> None:
    """And a dry run says what one would do; nothing is changed by either."""
    async with running_proxy(pair.primary.address, pair.secondary.address, SHADOW) as proxy:
        wanted = {"mode": "secondary-primary"}
        assert "not ready: No reads have been compared" in (await refused(proxy, "mode", wanted)).error
        await proxy.wait_drained()
        told = await change(proxy, "mode", {**wanted, "force": True, "dry_run": True})
        assert (told["before"], told["after"], told["done"]) == (
            "dual-write-shadow",
            "elastickv-primary",
            False,
        )
        await change(proxy, "pause")
        answer = await refused(proxy, "mode", {**wanted, "force": True})
        assert "writes do not flow to elastickv: paused" in answer.error
        assert (await refused(proxy, "mode", {"mode": "dual-write-shadow"})).error.endswith("already")
        assert (await read_mode(proxy))["mode"] == "dual-write-shadow"


# --- values


async def test_shadow_sample_counts_from_the_next_read_on(pair: Pair) -> None:
    """Nothing at 0, everything at 1."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, SHADOW) as proxy,
        connect(proxy.port) as client,
    ):
        assert await change(proxy, "shadow-sample", {"share": 0}) == {
            "action": "sample", "before": 1.0, "after": 0, "notes": [],
        }  # fmt: skip
        await client.pipeline([("GET", f"k{number}") for number in range(50)])
        await proxy.wait_drained()
        assert proxy.metrics.ledger(Queue.SHADOW).offered == 0
        assert (await change(proxy, "shadow-sample", {"share": 1.0}))["before"] == 0
        await client.pipeline([("GET", f"k{number}") for number in range(50)])
        await proxy.wait_drained()
        assert proxy.metrics.ledger(Queue.SHADOW).offered == 50


async def test_repair_rate_holds_back_and_lets_go(pair: Pair) -> None:
    """What is dirty is copied no faster, until it may be."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        await change(proxy, "pause")
        await write_many(proxy, 100)
        dirty = len(proxy.metrics.dirty)
        assert (await change(proxy, "repair-rate", {"keys_per_second": 20}))["before"] == 0
        await change(proxy, "resume")
        await trio.sleep(0.5)
        assert dirty - 50 < len(proxy.metrics.dirty) < dirty
        await change(proxy, "repair-rate", {"keys_per_second": 0})
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_log_level_counts_at_once_and_changes_are_logged_at_any(pair: Pair) -> None:
    """With ``error`` nothing is logged but who changed what."""
    async with serving(pair) as process:
        answer = await ask(process.admin_port, "PUT", "/api/log-level", {"level": "error"})
        assert (answer.json["before"], answer.json["after"]) == ("info", "error")
        await ask(process.admin_port, "POST", "/api/resync")
        await ask(process.admin_port, "POST", "/api/drain")
        code, lines = await process.wait()

    assert code == 0
    begun = next(number for number, line in enumerate(lines) if line.get("action") == "log-level")
    assert {line["logger"] for line in lines[begun:]} == {"dualkv.control"}
    assert [line["action"] for line in lines[begun:]] == ["log-level", "resync", "drain"]


# --- what differs


async def test_repair_by_hand_begins_when_it_is_asked_for(pair: Pair) -> None:
    """With ``repair=manual`` keys wait; they are told, and then copied."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, repair="manual"
    ) as proxy:
        await change(proxy, "pause")
        await write_many(proxy, 20)
        told = await change(proxy, "resume")
        dirty = len(proxy.metrics.dirty)
        assert f"{dirty} dirty keys: repair is manual" in told["notes"][0]
        await trio.sleep(0.2)
        assert dirty == len(proxy.metrics.dirty)
        told = await change(proxy, "repair")
        assert (told["before"], told["after"]) == (False, True)
        await proxy.wait_repaired()
        await wait_until(
            lambda: (
                proxy.server.writer.mirroring is not None
                and not proxy.server.writer.mirroring.copier.is_repairing
            )
        )
    assert_equal(pair)


async def test_dropped_dirty_keys_make_a_resync_required(pair: Pair) -> None:
    """Nobody knows any more which keys differ: that is said everywhere until all have been copied."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, resync="manual"
    ) as proxy:
        await change(proxy, "pause")
        await write_many(proxy, 20)
        dirty = len(proxy.metrics.dirty)
        told = await change(proxy, "drop-dirty")
        assert (told["before"], told["after"], len(proxy.metrics.dirty)) == (dirty, 0, 0)
        assert "has to be asked for" in told["notes"][0]
        assert await gauge(proxy, "proxy_resync_required") == 1
        await change(proxy, "resume")
        await proxy.wait_drained()
        assert await gauge(proxy, "proxy_resync_required") == 1
        await change(proxy, "resync")
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_with_an_automatic_resync_dropped_keys_are_made_up_for(pair: Pair) -> None:
    """It begins by itself, and the answer says so."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        await change(proxy, "pause")
        await write_many(proxy, 20)
        assert "begins by itself" in (await change(proxy, "drop-dirty"))["notes"][0]
        await change(proxy, "resume")
        await proxy.wait_resynced()
        await proxy.wait_repaired()
    assert_equal(pair)


async def test_where_nothing_is_dirty_nothing_is_dropped(pair: Pair) -> None:
    """And no resync becomes necessary."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        told = await change(proxy, "drop-dirty")
        assert (told["before"], told["after"], told["notes"]) == (0, 0, [])
        assert proxy.metrics.dirty.needs_resync is None


# --- the end


async def test_drain_ends_in_order_and_is_answered(pair: Pair) -> None:
    """As SIGTERM: clients get their replies, and the stream is emptied; a second one is refused."""
    async with serving(pair, "--lame-duck", "2s") as process:
        async with connect(process.port) as client:
            await client.pipeline([("SET", f"k{number}", number) for number in range(100)])
            answer = await ask(process.admin_port, "POST", "/api/drain")
            assert (answer.status, answer.json["after"]) == (200, True)
            again = await ask(process.admin_port, "POST", "/api/drain")
            assert (again.status, again.error) == (409, "dualkv is shutting down")
            assert (await ask(process.admin_port, "GET", "/api/control")).json["draining"] is True
        code, lines = await process.wait()

    assert code == 0
    ledger = lines[-1]["ledger"]
    assert isinstance(ledger, dict)
    assert ledger["offered"] == ledger["applied"] == 100
    assert_equal(pair)


# --- refusals, and who did what


@pytest.mark.parametrize("action", ["pause", "resume", "repair", "resync", "drop-dirty"])
async def test_where_nothing_is_mirrored_there_is_nothing_to_do(pair: Pair, action: str) -> None:
    """The reason names the mode."""
    async with running_proxy(pair.primary.address, pair.secondary.address, ALONE) as proxy:
        answer = await refused(proxy, action)

    assert answer.error == "nothing is mirrored in redis-only: no store follows"


@pytest.mark.parametrize("action", ["repair", "resync"])
async def test_what_would_send_something_is_refused_while_paused(pair: Pair, action: str) -> None:
    """The reason says what to do first."""
    async with running_proxy(pair.primary.address, pair.secondary.address, DUAL_WRITE) as proxy:
        await change(proxy, "pause")
        assert (await refused(proxy, action)).error == "the store that follows is paused: resume first"
        await change(proxy, "resume")
        await proxy.wait_drained()
        stream = proxy.server.writer.stream
        assert stream is not None
        assert stream.gate.state is GateState.FLOWING


async def test_a_second_resync_is_refused_while_one_runs(pair: Pair) -> None:
    """The reason says how far it is."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, DUAL_WRITE, repair_rate=10
    ) as proxy:
        await write_many(proxy, 30)
        await change(proxy, "resync")
        await wait_until(lambda: proxy.metrics.resync.is_running)
        assert (await refused(proxy, "resync")).error.startswith("a resync is under way: ")
        await change(proxy, "repair-rate", {"keys_per_second": 0})
        await proxy.wait_resynced()


async def test_values_for_another_mode_may_be_set_in_advance(pair: Pair) -> None:
    """They count later, and the answer says so."""
    async with running_proxy(pair.primary.address, pair.secondary.address, ALONE) as proxy:
        for name, body in (("shadow-sample", {"share": 0.1}), ("repair-rate", {"keys_per_second": 5})):
            assert "it counts in a mode that does" in (await change(proxy, name, body))["notes"][0]
        told = await knobs(proxy)

    assert (told["shadow_sample"], told["repair_rate"]) == (0.1, 5)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("shadow-sample", {"share": 1.5}, "share: must not be more than 1"),
        ("shadow-sample", {"share": -0.1}, "share: must not be less than 0"),
        ("shadow-sample", b'{"share": NaN}', "share: must not be less than 0"),
        ("shadow-sample", {"share": True}, "share: must be a number"),
        ("shadow-sample", {"share": "1"}, "share: must be a number"),
        ("shadow-sample", {}, "share: is missing"),
        ("shadow-sample", {"share": 1, "mode": "x"}, "mode: there is no such field (known: share)"),
        ("repair-rate", {"keys_per_second": 1.5}, "keys_per_second: must be an integer"),
        (
            "repair-rate",
            b'{"keys_per_second": 1' + b"0" * 400 + b"}",
            "keys_per_second: must not be more than 1000000",
        ),
        ("log-level", {"level": "loud"}, "level: 'loud' is not one of debug, info, warning, error"),
        ("log-level", [], "the body is not a JSON object"),
        ("log-level", b"{", "the body is not JSON: "),
        ("log-level", b"[" * 15000, "the body is not JSON: "),
        ("log-level", b"\xff", "the body is not JSON: "),
        ("mode", {"mode": "dual"}, "mode: 'dual' is not one of redis-only, dual-write, "),
        ("mode", {"mode": "dual-write", "force": 1}, "force: must be a boolean"),
        ("mode", {"mode": "dual-write", "wait_seconds": 61}, "wait_seconds: must not be more than 60"),
    ],
)
async def test_what_is_not_understood_changes_nothing(path: str, body: object, error: str) -> None:
    """400, with what is wrong, and all is as before."""
    async with running_proxy("127.0.0.1:1") as proxy:
        before = await knobs(proxy)
        answer = await ask(proxy.admin_port, "PUT", f"/api/{path}", body)
        assert (answer.status, await knobs(proxy)) == (400, before)

    assert answer.error.startswith(error)


async def test_each_change_and_each_refusal_is_logged_with_who_and_what(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """The token's name, the address, who somebody says he is; the values before and after."""
    caplog.set_level(logging.INFO, "dualkv")
    tokens = admin_tokens("alice:0123456789abcdef")
    async with running_proxy(pair.primary.address, pair.secondary.address, admin_token=tokens) as proxy:
        said = {"X-Dualkv-User": "eve\x80@host"}
        for method, path, body in (
            ("PUT", "/api/shadow-sample", {"share": 0.5}),
            ("POST", "/api/pause", None),
            ("POST", "/api/repair", None),
        ):
            await ask(proxy.admin_port, method, path, body, token=tokens[0].secret, headers=said)

    logged = [vars(record) for record in caplog.records if record.name == "dualkv.control"]
    assert [(line["msg"], line["action"]) for line in logged] == [
        ("changed", "sample"), ("changed", "pause"), ("refused", "repair"),
    ]  # fmt: skip
    assert (logged[0]["before"], logged[0]["after"]) == (1.0, 0.5)
    assert logged[2]["why"] == "the store that follows is paused: resume first"
    for line in logged:
        assert line["token"] == "alice"
        assert line["address"].startswith("127.0.0.1:")
        assert line["user"].startswith("eve")
        assert line["user"].isprintable()
        assert tokens[0].secret not in str(line)
