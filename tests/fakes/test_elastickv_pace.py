"""How fast ElasticKV writes, and how it fails: `elastickv.md`, "Speed", and the error classes."""

from __future__ import annotations

import pytest
import trio

from dualkv.resp.encode import command
from dualkv.resp.replies import value_of
from tests.fakes.elastickv import OBSERVED, PARALLEL, Cluster, ClusterProcess, Pace, texts
from tests.fakes.talk import ask, error_of, leader_client, until
from tests.support.client import connect
from tests.support.stores import contents

_SETS = "for i = 1, #KEYS do redis.call('SET', KEYS[i], 'v') end"


async def _seconds_for(
    cluster: Cluster, *args: bytes | str | int, connections: int = 1, each: int = 1
) -> float:
    """Return how long it takes to have one command executed several times."""

    async def repeat() -> None:
        async with leader_client(cluster) as client:
            for _ in range(each):
                assert not (await client.call(*args)).startswith(b"-")

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(repeat)
    return trio.current_time() - started


async def test_more_connections_write_no_faster_where_commits_are_serial(elastickv: Cluster) -> None:
    """About 2.35 ms each, whoever sends them."""
    elastickv.pipeline.pace = OBSERVED

    assert await _seconds_for(elastickv, "SET", "k", "v", connections=8, each=5) >= 40 * 0.00235 * 0.99


async def test_effects_in_one_script_save_the_commits(elastickv: Cluster) -> None:
    """Each key costs what a key costs, the commit is paid once."""
    elastickv.pipeline.pace = Pace(transaction_seconds=0.01, key_seconds=0.001)
    keys = [f"k{i}" for i in range(50)]
    seconds = await _seconds_for(elastickv, "EVAL", _SETS, 50, *keys)

    assert seconds >= 0.0599
    assert elastickv.pipeline.committed == 1


async def test_effects_on_one_key_cost_little(elastickv: Cluster) -> None:
    """The key is paid once, each element with a fraction."""
    elastickv.pipeline.pace = Pace(key_seconds=0.03, element_seconds=0.00001)
    script = "for i = 1, 200 do redis.call('RPUSH', 'l', i) end"

    assert 0.0319 <= await _seconds_for(elastickv, "EVAL", script, 0) < 200 * 0.03


async def test_a_read_costs_no_commit(elastickv: Cluster) -> None:
    """However slow commits are."""
    elastickv.pipeline.pace = Pace(commit_seconds=1000)
    async with leader_client(elastickv) as client:
        assert await ask(client, "GET k") is None


async def test_pipelined_commands_are_executed_one_after_the_other(elastickv: Cluster) -> None:
    """There is never more than one commit of a connection."""
    elastickv.pipeline.pace = PARALLEL
    async with leader_client(elastickv) as client:
        replies = await client.pipeline([("INCR", "k")] * 10)

    assert replies == [b":%d\r\n" % (i + 1) for i in range(10)]
    assert elastickv.pipeline.peak == 1


async def test_many_connections_commit_at_the_same_time(elastickv: Cluster) -> None:
    """As far as the settings allow."""
    elastickv.pipeline.pace = Pace(commit_seconds=0.02)
    together = await _seconds_for(elastickv, "SET", "k", "v", connections=10)
    elastickv.pipeline.pace = Pace(commit_seconds=0.02, commit_concurrency=2)
    by_twos = await _seconds_for(elastickv, "SET", "k", "v", connections=10)

    assert elastickv.pipeline.peak == 10
    assert together >= 0.0199
    assert by_twos >= 0.0999


async def test_transactions_can_be_limited_by_rate(elastickv: Cluster) -> None:
    """Two hundred a second: ten take at least 50 ms."""
    elastickv.pipeline.pace = Pace(transactions_per_second=200)

    assert await _seconds_for(elastickv, "SET", "k", "v", connections=5, each=2) >= 0.0499


async def test_too_many_commits_are_answered_busy(elastickv: Cluster) -> None:
    """Those above the limit, and they are not applied."""
    elastickv.pipeline.pace = Pace(commit_seconds=1000, busy_above=2)
    async with trio.open_nursery() as nursery:
        for key in "ab":
            nursery.start_soon(_seconds_for, elastickv, "SET", key, "v")
        await until(lambda: elastickv.pipeline.committing == 2)
        async with leader_client(elastickv) as client:
            assert await error_of(client, "SET", "c", "v") == "BUSY server overloaded"
        nursery.cancel_scope.cancel("nobody waits so long")

    assert elastickv.pipeline.refused == 1
    assert b"c" not in contents(elastickv.server)


@pytest.mark.parametrize("kind", ["multi", "script"])
async def test_a_transaction_can_be_too_big(elastickv: Cluster, kind: str) -> None:
    """It is an invalid request then, and nothing is applied."""
    elastickv.pipeline.pace = Pace(max_transaction_effects=10)
    keys = [f"k{i}" for i in range(11)]
    async with leader_client(elastickv) as client:
        if kind == "script":
            assert await error_of(client, "EVAL", _SETS, 11, *keys) == "invalid request"
            assert not (await client.call("EVAL", _SETS, 10, *keys[:10])).startswith(b"-")
        else:
            await client.pipeline([("MULTI",), *(("SET", key, "v") for key in keys)])
            assert await error_of(client, "EXEC") == "invalid request"
            assert await ask(client, "EXISTS k0") == 0


async def test_a_value_can_be_too_large(elastickv: Cluster) -> None:
    """The text has no ``ERR`` in front; the limit is 64 MiB unless set."""
    assert elastickv.pipeline.pace.max_request_bytes == 64 << 20
    elastickv.pipeline.pace = Pace(max_request_bytes=1000)
    async with leader_client(elastickv) as client:
        assert await error_of(client, "SET", "k", "v" * 1000) == "marshaled request too large"
        assert not (await client.call("SET", "k", "v" * 900)).startswith(b"-")


@pytest.mark.parametrize(
    "text",
    [
        texts.BUSY, texts.COMPACTED, texts.INVALID_REQUEST, texts.NOT_LEADER, texts.LEADER_NOT_FOUND,
        texts.WRITE_CONFLICT, texts.RETRY_LIMIT, texts.DEADLINE, texts.ALREADY_COMMITTED, texts.LOCKED,
    ],
)  # fmt: skip
async def test_each_error_can_be_had_so_many_times(elastickv: Cluster, text: str) -> None:
    """Then the write goes through."""
    elastickv.faults.add(text, count=2)
    async with leader_client(elastickv) as client:
        assert await error_of(client, "INCR", "k") == text
        assert await ask(client, "GET k") is None
        assert await error_of(client, "EVAL", "return 1", 0) == text
        assert await ask(client, "INCR k") == 1


async def test_errors_can_be_had_by_command(elastickv: Cluster) -> None:
    """Reads and ``EXEC`` too."""
    fault = elastickv.faults.add("deadline exceeded", commands={"GET", "EXEC"})
    async with leader_client(elastickv) as client:
        assert await error_of(client, "GET", "k") == "deadline exceeded"
        await client.pipeline([("MULTI",), ("SET", "k", "v")])
        assert await error_of(client, "EXEC") == "deadline exceeded"
        assert await client.call("SET", "k", "w") == b"+OK\r\n"
        elastickv.faults.clear()
        assert await ask(client, "GET k") == b"w"

    assert fault.hits == 2


async def test_errors_can_be_had_by_chance_and_the_seed_decides(elastickv: Cluster) -> None:
    """A test that fails can be run again with the same seed."""
    fault = elastickv.faults.add(texts.BUSY, probability=0.3)
    async with leader_client(elastickv) as client:
        replies = await client.pipeline([("SET", "k", "v")] * 100)

    assert replies.count(b"-BUSY server overloaded\r\n") == fault.hits == 18


async def test_a_write_can_be_applied_and_its_answer_be_an_error(elastickv: Cluster) -> None:
    """As a deadline does."""
    elastickv.faults.add(texts.DEADLINE, is_applied=True, count=1)
    async with leader_client(elastickv) as client:
        assert "deadline exceeded" in await error_of(client, "INCR", "k")
        assert await ask(client, "GET k") == b"1"


async def test_a_connection_can_be_cut_behind_a_write(elastickv: Cluster) -> None:
    """It has been applied; what stood behind it in the pipeline has not."""
    elastickv.faults.cut(count=1)
    async with leader_client(elastickv) as client:
        await client.send(command("INCR", "k") + command("INCR", "k"))
        assert await client.receive_until_closed() == b""
    async with leader_client(elastickv) as client:
        assert await ask(client, "GET k") == b"1"


async def test_an_answer_can_stay_away(elastickv: Cluster) -> None:
    """The connection stays open."""
    elastickv.faults.add(None, is_silent=True, count=1)
    async with leader_client(elastickv) as client:
        await client.send(b"SET k v\r\nPING\r\n")
        await until(lambda: elastickv.received["SET"])
        with trio.move_on_after(0.02) as waiting:
            await client.stream.receive_some()

    assert waiting.cancelled_caught
    assert elastickv.received["PING"] == 0


async def test_it_runs_in_a_process_of_its_own() -> None:
    """For load tests: it takes orders, and tells what it has seen."""
    with ClusterProcess("--nodes", "3", "--pace", "prompt", "--busy", "1.0") as process:
        port = int(process.addresses[1].rpartition(":")[2])
        async with connect(port) as client:
            assert await error_of(client, "SET", "k", "v") == "BUSY server overloaded"
            process.ask("clear-faults")
            process.ask('pace {"commit_seconds": 0.001}')
            assert value_of(await client.call("SET", "k", "v")) == b"OK"
            process.ask("kill-leader")
            process.ask("elect")
            assert await ask(client, "GET k") == b"v"
            process.ask("revive")
            state = process.ask('fault {"text": "txn locked", "count": 1}')
            assert await error_of(client, "SET", "k", "v") == "txn locked"
        async with connect(process.store_port) as client:
            assert await ask(client, "GET k") == b"v"

    assert state["received"] == {"SET": 2, "GET": 1}
    assert state["alive"] == process.addresses
    assert state["leader"] == process.addresses[1]
    assert state["harms"] == []
