"""Stores of several nodes behind dualkv: ElasticKV, Redis with replicas, Redis with Sentinels."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from dualkv.admin.status import backend_states
from dualkv.config import ProxyMode
from dualkv.core.dirty import DirtyReason
from dualkv.core.leadership import Refresh
from dualkv.core.ledger import Queue
from dualkv.net.lane import LaneState
from dualkv.net.leader_aware import LeaderAwareBackend
from dualkv.resp import encode
from dualkv.servers import EmbeddedServer, free_port
from tests.fakes.elastickv import Cluster
from tests.fakes.elastickv.texts import BUSY, COMPACTED, NOT_LEADER
from tests.support.client import Client, connect
from tests.support.elastickv import elastickv, elastickv_store
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents, open_store
from tests.support.tls import Pems

__all__ = ["elastickv", "elastickv_store"]


@asynccontextmanager
async def mirrored(
    primary: EmbeddedServer, cluster: Cluster, **settings: Any
) -> AsyncIterator[tuple[Proxy, Client]]:
    """Run dualkv from a server to the cluster, with a client."""
    addresses = ",".join(cluster.addresses)
    async with (
        running_proxy(primary.address, addresses, ProxyMode.DUAL_WRITE, **settings) as proxy,
        connect(proxy.port) as client,
    ):
        stream = proxy.server.writer.stream
        assert stream is not None
        await wait_until(lambda: stream.is_connected)
        yield proxy, client


def errors(proxy: Proxy) -> dict[str, int]:
    """Return the failed mirrored writes by reason."""
    found: dict[str, int] = {}
    for (_, reason), count in proxy.metrics.secondary_write_errors.items():
        found[reason] = found.get(reason, 0) + count
    return found


async def check_equal(proxy: Proxy, primary: EmbeddedServer, cluster: Cluster) -> None:
    """Check that both stores are equal in the end, and that nothing harmful was sent."""
    await proxy.wait_repaired()
    assert contents(cluster.server) == contents(primary)
    assert cluster.harmful == 0


# --- ElasticKV as the secondary


async def test_a_mirrored_write_goes_to_the_leader(pair: Pair, elastickv: Cluster) -> None:
    """Whichever node is named first; the others are only asked who leads."""
    elastickv.elect(elastickv.nodes[2])
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        await client.call("SET", "k", "v")
        await check_equal(proxy, pair.primary, elastickv)

        assert [node.received["SET"] for node in elastickv.nodes] == [0, 0, 1]
        assert proxy.metrics.backends["elastickv"].pool.refreshes[Refresh.FOUND] >= 1


async def test_when_the_leader_moves_the_stream_follows(pair: Pair, elastickv: Cluster) -> None:
    """An answer of the former leader makes it ask; then it writes to the new one."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        await client.call("SET", "k", "0")
        await proxy.wait_drained()
        for number in range(3):
            elastickv.faults.add(NOT_LEADER, count=1)
            leader = await elastickv.move_leader()
            before = leader.received["SET"]
            await client.call("SET", "k", number)
            await proxy.wait_repaired()
            await client.call("SET", "other", number)
            await check_equal(proxy, pair.primary, elastickv)
            assert leader.received["SET"] > before

        assert errors(proxy) == {"not_leader": 3}
        assert proxy.metrics.backends["elastickv"].pool.moves == 3


async def test_a_write_that_was_answered_not_leader_is_not_sent_again(pair: Pair, elastickv: Cluster) -> None:
    """It may have been applied: its key is dirty, and its state is copied."""
    async with mirrored(pair.primary, elastickv, repair="off") as (proxy, client):
        elastickv.faults.add(NOT_LEADER, count=1, is_applied=True)
        await client.call("INCR", "n")
        await proxy.wait_drained()

        assert elastickv.received["INCR"] + elastickv.received["SET"] == 1
        assert proxy.server.writer.dirty.by_reason() == {DirtyReason.FAILED: 1}


async def test_writes_survive_the_death_of_the_leader(pair: Pair, elastickv: Cluster) -> None:
    """What was in flight is dirty; followers that cannot reach the dead one are left for the next leader."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        for number in range(50):
            await client.call("RPUSH", f"l{number % 5}", number)
        elastickv.kill_leader()
        for number in range(50):
            await client.call("RPUSH", f"l{number % 5}", number)
        elastickv.elect()
        for number in range(50):
            await client.call("RPUSH", f"l{number % 5}", number)

        await check_equal(proxy, pair.primary, elastickv)


async def test_writes_that_were_applied_though_the_connection_broke_do_no_harm(
    pair: Pair, elastickv: Cluster
) -> None:
    """Their outcome is unknown: the keys are copied."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        elastickv.faults.add(None, probability=0.2, count=10, is_applied=True)
        for number in range(200):
            await client.call("LPUSH", f"l{number % 10}", number)

        await check_equal(proxy, pair.primary, elastickv)


async def test_without_a_leader_writes_wait_as_dirty_keys(pair: Pair, elastickv: Cluster) -> None:
    """Nothing is sent to nodes that would refuse it; readyz says that nobody leads."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        elastickv.step_down()
        for number in range(20):
            await client.call("SET", f"k{number}", number)
        await wait_until(lambda: not proxy.metrics.backends["elastickv"].pool.has_leader)
        states = backend_states(proxy.server.writer)
        assert states["secondary"]["leader"] is None
        assert states["secondary"]["seeds"] == elastickv.addresses
        assert "leader" not in states["primary"]

        elastickv.elect()
        assert elastickv.leader is not None
        await check_equal(proxy, pair.primary, elastickv)
        states = backend_states(proxy.server.writer)
        assert states["secondary"]["leader"] == elastickv.leader.address


async def test_what_the_store_refuses_for_the_moment_arrives(pair: Pair, elastickv: Cluster) -> None:
    """Overload and compaction are waited out; no key becomes dirty for them."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        elastickv.faults.add(BUSY, count=3)
        elastickv.faults.add(COMPACTED, count=2)
        await client.call("SET", "k", "v")
        await check_equal(proxy, pair.primary, elastickv)

        assert errors(proxy) == {}
        assert proxy.server.writer.dirty.marked.total() == 0
        assert proxy.metrics.ledger(Queue.WRITE).applied == 1


async def test_refusals_among_many_writes_on_few_keys_leave_the_stores_equal(
    pair: Pair, elastickv: Cluster
) -> None:
    """Nothing overtakes: what could only be sent again out of order is copied instead."""
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        elastickv.faults.add(BUSY, probability=0.1)
        commands = [("RPUSH", f"l{number % 3}", str(number)) for number in range(300)]
        commands += [("SET", f"s{number % 3}", str(number)) for number in range(300)]
        await client.pipeline(commands)

        await check_equal(proxy, pair.primary, elastickv)


async def test_a_popped_member_is_removed_fast_until_that_is_refused(pair: Pair, elastickv: Cluster) -> None:
    """What ``BZPOPMIN`` took leaves ElasticKV by its own command, and by ``ZREM`` if it does not take it.

    So it is if it comes alone: with others it goes in their transaction.
    """
    async with mirrored(pair.primary, elastickv) as (proxy, client):
        await client.call("ZADD", "z", "1", "a", "2", "b", "3", "c")
        await proxy.wait_drained()
        await client.call("BZPOPMIN", "z", "1")
        await check_equal(proxy, pair.primary, elastickv)
        assert (elastickv.received["ELASTICKV.ZREMFAST"], elastickv.received["ZREM"]) == (1, 0)

        elastickv.faults.add("ERR unsupported command 'ELASTICKV.ZREMFAST'", commands={"ELASTICKV.ZREMFAST"})
        await client.call("BZPOPMIN", "z", "1")
        await proxy.wait_drained()
        await client.call("BZPOPMIN", "z", "1")
        await check_equal(proxy, pair.primary, elastickv)
        assert (elastickv.received["ELASTICKV.ZREMFAST"], elastickv.received["ZREM"]) == (2, 2)


# --- ElasticKV as the primary


async def test_clients_of_the_cluster_follow_its_leader(pair: Pair, elastickv: Cluster) -> None:
    """The lane reconnects; a client sees at most errors of the moment, and no closed connection."""
    addresses = ",".join(elastickv.addresses)
    async with (
        running_proxy(pair.primary.address, addresses, ProxyMode.ELASTICKV_ONLY) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "0")
        leader = await elastickv.move_leader()
        elastickv.faults.add(NOT_LEADER, count=1)
        assert await client.call("SET", "k", "1") == encode.error(NOT_LEADER)
        await wait_until(lambda: proxy.metrics.backends["elastickv"].pool.moves == 1)

        assert await client.call("SET", "k", "2") == encode.OK
        assert leader.received["SET"] == 1


# --- Redis with replicas


async def test_a_demoted_secondary_is_left_for_the_seed_that_is_primary_now(
    pair: Pair, server_binary: Path
) -> None:
    """It answers READONLY: that is no leader, and who has become primary is found among the seeds."""
    with EmbeddedServer(server_binary) as other:
        seeds = f"{pair.secondary.address},{other.address}"
        async with (
            running_proxy(
                pair.primary.address, seeds, ProxyMode.DUAL_WRITE, recent_window_seconds=60.0
            ) as proxy,
            connect(proxy.port) as client,
        ):
            await client.call("SET", "before", "1")
            await proxy.wait_drained()
            await trio.to_thread.run_sync(_replicate, pair.secondary, other)
            try:
                await client.call("SET", "after", "2")
                await wait_until(lambda: proxy.metrics.backends["elastickv"].pool.moves == 1)
                await proxy.wait_repaired()

                assert contents(other) == contents(pair.primary)
                assert errors(proxy).get("not_leader", 0) <= 1
            finally:
                _promote(pair.secondary)


def _replicate(server: EmbeddedServer, master: EmbeddedServer) -> None:
    open_store(server).replicaof("127.0.0.1", master.port)


def _promote(server: EmbeddedServer) -> None:
    open_store(server).replicaof("NO", "ONE")


# --- Redis with Sentinels


@contextmanager
def running_sentinel(
    directory: Path, primary: EmbeddedServer, pems: Pems | None = None, tls_port: int = 0
) -> Iterator[int]:
    """Run a Sentinel that watches *primary* as ``main``; return its port.

    Args:
        directory: Where it may write.
        primary: Whom it watches.
        pems: Certificates, if it is to speak TLS.
        tls_port: Where it speaks TLS to the primary as well; 0: it does not.
    """
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    assert binary is not None
    port = free_port()
    config = directory / "sentinel.conf"
    listening = f"port {port}\n"
    if pems is not None:
        listening = (
            f"port 0\ntls-port {port}\ntls-cert-file {pems.cert}\ntls-key-file {pems.key}\n"
            f"tls-ca-cert-file {pems.ca}\ntls-auth-clients no\n"
            f"tls-replication {'yes' if tls_port else 'no'}\n"
        )
    config.write_text(
        f"{listening}dir {directory}\nbind 127.0.0.1\n"
        f"sentinel monitor main 127.0.0.1 {tls_port or primary.port} 1\n"
        "sentinel down-after-milliseconds main 200\nsentinel failover-timeout main 2000\n"
    )
    with subprocess.Popen([binary, config, "--sentinel"], stdout=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.terminate()


async def test_the_primary_is_followed_as_sentinels_name_it(
    pair: Pair, server_binary: Path, tmp_path: Path
) -> None:
    """After a failover clients go on at the new primary, and the other store becomes equal to it."""
    with (
        EmbeddedServer(server_binary) as first,
        EmbeddedServer(server_binary, "--replicaof", "127.0.0.1", str(first.port)) as second,
        running_sentinel(tmp_path, first) as port,
    ):
        url = f"sentinel://127.0.0.1:1,127.0.0.1:{port}/main"
        async with (
            running_proxy(url, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
            connect(proxy.port) as client,
        ):
            lane = proxy.server.writer.lane
            await wait_until(lambda: lane.state is LaneState.UP)
            assert await client.call("SET", "k", "1") == encode.OK
            await wait_until(lambda: b"k" in contents(second))
            await wait_until(lambda: _knows_replica(port))

            first.kill()
            primary = proxy.server.writer.primary
            assert isinstance(primary, LeaderAwareBackend)
            await wait_until(lambda: primary.leader == second.address, 30)
            await wait_until(lambda: lane.state is LaneState.UP)
            await wait_until(lambda: _is_primary(second))
            assert await client.call("INCR", "k") == b":2\r\n"

            await proxy.wait_repaired()
            assert contents(pair.secondary) == contents(second)
            assert proxy.metrics.backends["redis"].pool.moves == 1


@pytest.mark.parametrize("has_store_tls", [True, False])
async def test_sentinels_are_spoken_to_in_tls(pair: Pair, tmp_path: Path, has_store_tls: bool) -> None:
    """They name the primary, which is reached with TLS as well, or without."""
    pems, tls_port = Pems(tmp_path), free_port()
    with (
        tls_store(pems, tls_port) as primary,
        running_sentinel(tmp_path, primary, pems, tls_port if has_store_tls else 0) as port,
    ):
        url = f"sentinels://localhost:{port}/main" if has_store_tls else (
            f"sentinel://localhost:{port}/main?sentinel_tls=true"
        )  # fmt: skip
        async with (
            running_proxy(url, pair.secondary.address, ProxyMode.DUAL_WRITE, primary_tls_ca=pems.ca) as proxy,
            connect(proxy.port) as client,
        ):
            await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
            assert await client.call("SET", "k", "v") == encode.OK
            await proxy.wait_repaired()
            assert proxy.server.writer.primary.leader == (  # type: ignore[attr-defined] # it has one
                f"127.0.0.1:{tls_port if has_store_tls else primary.port}"
            )
            assert contents(pair.secondary) == contents(primary)


async def test_a_sentinel_that_shows_another_name_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    """Whoever could pretend to be a Sentinel could send all clients elsewhere."""
    pems, tls_port = Pems(tmp_path), free_port()
    with tls_store(pems, tls_port) as primary:
        pems.issue("somebody.else")
        with running_sentinel(tmp_path, primary, pems) as port:
            url = f"sentinel://localhost:{port}/main?sentinel_tls=true"
            async with running_proxy(
                url, pair.secondary.address, ProxyMode.DUAL_WRITE, primary_tls_ca=pems.ca
            ) as proxy:
                backend = proxy.server.writer.primary
                await wait_until(lambda: "certificate" in (backend.last_error or ""))
                assert proxy.server.writer.lane.state is not LaneState.UP


def tls_store(pems: Pems, tls_port: int) -> EmbeddedServer:
    """Return a store that speaks TLS on one port and not on another."""
    binary = shutil.which("redis-server")
    assert binary is not None
    return EmbeddedServer(
        Path(binary), "--tls-port", str(tls_port), "--tls-cert-file", pems.cert, "--tls-key-file", pems.key,
        "--tls-ca-cert-file", pems.ca, "--tls-auth-clients", "no",
    )  # fmt: skip


def _knows_replica(port: int) -> bool:
    return bool(redis.Redis(port=port).sentinel_slaves("main"))


def _is_primary(server: EmbeddedServer) -> bool:
    return bool(open_store(server).info("replication")["role"] == "master")
