"""A backend of several nodes: who is asked, who waits, where connections lead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from dualkv.config import BackendOptions
from dualkv.config.backends import backend_address
from dualkv.core.leadership import MAX_FORMER, Refresh
from dualkv.errors import BackendUnavailable
from dualkv.net import leader_aware
from dualkv.net.backend import RedisBackend
from dualkv.net.connection import Connection
from dualkv.net.leader_aware import LeaderAwareBackend, backend_of
from dualkv.net.transport import close_socket
from dualkv.observe.metrics import PoolCounters
from dualkv.resp import encode
from dualkv.resp.encode import command
from tests.fakes.elastickv import Cluster
from tests.support.fake_backend import Args, FakeBackend, running_fake
from tests.support.proxy import wait_until


@attrs.define(eq=False)
class Bench:
    """A running backend."""

    backend: LeaderAwareBackend
    counters: PoolCounters

    async def open(self, use: str = "stream") -> str:
        """Open a connection and close it; return where it led."""
        sock, _ = await self.backend.open(use)
        host, port = sock.getpeername()
        close_socket(sock)
        self.backend.closed(use, lost=False)
        return f"{host}:{port}"

    async def wait_rounds(self, count: int) -> None:
        """Wait until the nodes have been asked so often."""
        await wait_until(lambda: self.counters.refreshes.total() >= count)

    async def wait_led_by(self, address: str) -> None:
        """Wait until commands go there."""
        await wait_until(lambda: self.backend.leader == address)


def made(*seeds: str, **changes: Any) -> tuple[LeaderAwareBackend, PoolCounters]:
    """Return a backend that does not run, and its counters."""
    options = BackendOptions("store", **backend_address(",".join(seeds)))
    options = attrs.evolve(options, seeds=options.seeds or ((options.host, options.port),), **changes)
    counters = PoolCounters()
    return LeaderAwareBackend(options, counters), counters


@asynccontextmanager
async def running(*seeds: str, **changes: Any) -> AsyncIterator[Bench]:
    """Run a backend for the block; in the end none of its connections may be open."""
    backend, counters = made(*seeds, **changes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backend.run)
        yield Bench(backend, counters)
        nursery.cancel_scope.cancel("the test is over")
    assert counters.connections.total() == 0


@asynccontextmanager
async def fakes(count: int) -> AsyncIterator[list[FakeBackend]]:
    """Run nodes that say what a test tells them to say."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_fake()) for _ in range(count)]


def names(fake: FakeBackend | str) -> bytes:
    """Return the words of a node that knows who leads."""
    return encode.bulk(
        f"# Replication\r\nraft_leader_redis:{fake if isinstance(fake, str) else fake.address}\r\n"
    )


def let_lead(leader: FakeBackend, *nodes: FakeBackend) -> None:
    """Have nodes say who leads."""

    def answer(args: Args) -> bytes:
        return names(leader) if args[0] == b"INFO" else encode.OK

    for node in nodes:
        node.answer = answer


def asked(fake: FakeBackend) -> int:
    """Return how often a node was asked who leads."""
    return fake.commands.count((b"INFO", b"replication"))


@pytest.fixture(name="hurried")
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds follow each other quickly, and silent nodes are soon given up."""
    monkeypatch.setattr(leader_aware, "_REFRESH_SECONDS", 0.06)
    monkeypatch.setattr(leader_aware, "_PROBE_SECONDS", 0.1)


def test_the_promised_times_and_bounds_are_kept() -> None:
    """Nodes are asked every two seconds, at most a second each; 16 former leaders stay connected."""
    assert (leader_aware._REFRESH_SECONDS, leader_aware._PROBE_SECONDS, MAX_FORMER) == (2.0, 1.0, 16)


@pytest.mark.usefixtures("hurried")
async def test_nodes_are_asked_again_and_again_though_nobody_doubts() -> None:
    """So a leader that moves is noticed while nothing is written."""
    async with fakes(2) as (first, second):
        let_lead(first, first, second)
        async with running(first.address, second.address) as bench:
            await bench.wait_rounds(3)
            let_lead(second, first, second)
            await bench.wait_led_by(second.address)


# --- finding the leader


def test_a_backend_with_seeds_is_leader_aware() -> None:
    """One address is one server, unless the settings make a seed of it."""
    options = BackendOptions("store")

    assert type(backend_of(options, PoolCounters())) is RedisBackend
    assert type(backend_of(attrs.evolve(options, seeds=(("a", 1),)), PoolCounters())) is LeaderAwareBackend


async def test_commands_go_to_the_leader_whichever_seed_is_named(elastickv: Cluster) -> None:
    """A follower knows who leads."""
    assert elastickv.leader is not None
    async with running(elastickv.followers[0].address) as bench:
        assert await bench.open() == elastickv.leader.address
        assert bench.backend.leader == elastickv.leader.address
        assert bench.counters.refreshes == {Refresh.FOUND: 1}
        assert bench.counters.has_leader


async def test_the_first_command_waits_for_discovery() -> None:
    """It is not sent to a seed that happens to be named first."""
    async with fakes(2) as (one, leader), running(one.address) as bench:
        let_lead(leader, one)
        one.replies.shut()
        opened: list[str] = []

        async def open_one() -> None:
            opened.append(await bench.open())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_one)
            await wait_until(lambda: asked(one) == 1)
            assert opened == []
            one.replies.open()

        assert opened == [leader.address]


async def test_without_run_nobody_is_found() -> None:
    """Whoever makes a backend runs it."""
    backend, _ = made("127.0.0.1:1", dial_timeout_seconds=0.02)

    with pytest.raises(BackendUnavailable, match="nobody has been asked yet"):
        await backend.open("stream")


async def test_a_seed_that_is_down_is_passed_over(elastickv: Cluster) -> None:
    """The next one is asked in the same round."""
    assert elastickv.leader is not None
    async with running("127.0.0.1:1", elastickv.followers[0].address) as bench:
        assert await bench.open() == elastickv.leader.address
        assert bench.counters.refreshes == {Refresh.FOUND: 1}


@pytest.mark.usefixtures("hurried")
async def test_a_silent_node_is_given_up_in_time() -> None:
    """At most a second, in the test a tenth; then the next one is asked."""
    async with fakes(2) as (silent, leader):
        silent.is_mute = True
        let_lead(leader, leader)
        async with running(silent.address, leader.address) as bench:
            assert await bench.open() == leader.address


@pytest.mark.usefixtures("hurried")
async def test_the_known_leader_is_asked_first_on_the_same_connection() -> None:
    """Every two seconds, in the test more often; the seeds rest as long as it answers."""
    async with fakes(2) as (seed, leader):
        let_lead(leader, seed, leader)
        async with running(seed.address) as bench:
            await bench.wait_rounds(4)
            assert asked(seed) == 1
            assert [len(node.connections) for node in (seed, leader)] == [1, 1]
            assert bench.counters.connections == {"probe": 1}


async def test_if_nobody_can_be_reached_the_reason_is_told() -> None:
    """The words of the attempt that failed."""
    async with running("127.0.0.1:1") as bench:
        with pytest.raises(BackendUnavailable, match="Connection refused"):
            await bench.open()
        assert bench.backend.last_error is not None
        assert bench.backend.last_error.startswith("127.0.0.1:1: ")
        assert bench.counters.refreshes == {Refresh.UNREACHABLE: 1}
        assert not bench.counters.has_leader


async def test_a_plain_server_leads_itself(pair_port: int) -> None:
    """Redis says that it is nobody's replica."""
    async with running(f"127.0.0.1:{pair_port}") as bench:
        assert await bench.open() == f"127.0.0.1:{pair_port}"


@pytest.fixture(name="pair_port")
def _pair_port(valkey_port: int) -> int:
    """A real server's port."""
    return valkey_port


# --- one round, shared


async def test_all_who_wait_share_one_round() -> None:
    """A hundred callers, one question."""
    async with fakes(1) as (node,):
        let_lead(node, node)
        node.replies.shut()
        async with running(node.address, pool_size=200) as bench:
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(bench.open)
                await wait_until(lambda: asked(node) == 1)
                node.replies.open()

            assert asked(node) == 1
            assert bench.counters.refreshes == {Refresh.FOUND: 1}


async def test_a_round_outlives_the_deadline_of_who_wanted_it() -> None:
    """The next caller finds its result."""
    async with fakes(1) as (node,):
        let_lead(node, node)
        node.replies.shut()
        async with running(node.address) as bench:
            await wait_until(lambda: asked(node) == 1)
            with trio.move_on_after(0.01) as impatience:
                await bench.open()
            assert impatience.cancelled_caught
            node.replies.open()

            assert await bench.open() == node.address
            assert asked(node) == 1


async def test_closing_in_the_middle_of_a_round_leaves_nothing_behind() -> None:
    """The question's connection is closed, whoever waits is cancelled."""
    async with fakes(1) as (node,):
        node.replies.shut()
        async with running(node.address) as bench:
            await wait_until(lambda: asked(node) == 1)
            assert bench.counters.connections == {"probe": 1}
        await wait_until(node.last.is_gone.is_set)


# --- reasons to doubt


async def test_a_lost_connection_makes_the_nodes_be_asked_again(elastickv: Cluster) -> None:
    """Who connects next waits for the answer, and is led to the new leader."""
    async with running(*elastickv.addresses) as bench:
        await bench.open()
        sock, _ = await bench.backend.open("stream")
        elastickv.kill_leader()
        elastickv.elect()
        assert elastickv.leader is not None
        close_socket(sock)
        bench.backend.closed("stream", lost=True)

        assert await bench.open() == elastickv.leader.address
        assert bench.counters.moves == 1


async def test_a_connection_that_was_closed_by_us_is_no_reason_to_doubt(elastickv: Cluster) -> None:
    """Nobody is asked for that."""
    async with running(*elastickv.addresses) as bench:
        for _ in range(3):
            await bench.open()

        assert bench.counters.refreshes.total() == 1


async def test_a_failed_attempt_to_connect_is_a_reason(elastickv: Cluster) -> None:
    """While the others still name a dead leader, connecting fails; afterwards it succeeds."""
    async with running(*elastickv.addresses) as bench:
        await bench.open()
        dead = elastickv.kill_leader()
        with pytest.raises(BackendUnavailable, match=dead.address):
            await bench.open()
        elastickv.elect()
        assert elastickv.leader is not None

        assert await bench.open() == elastickv.leader.address


@pytest.mark.parametrize(
    "text",
    ["not leader", "leader not found", "NOTLEADER leader not found",
     "dial tcp 127.0.0.1:1: connect: connection refused",
     "READONLY You can't write against a read only replica."],
)  # fmt: skip
async def test_an_answer_of_a_node_that_does_not_lead_is_a_reason(elastickv: Cluster, text: str) -> None:
    """In all its texts."""
    async with running(*elastickv.addresses) as bench:
        await bench.open()
        leader = await elastickv.move_leader()

        assert bench.backend.answered_error(encode.error(text))

        assert await bench.open() == leader.address


async def test_other_errors_are_none(elastickv: Cluster) -> None:
    """A leader answers them, too."""
    async with running(*elastickv.addresses) as bench:
        await bench.open()

        assert not bench.backend.answered_error(encode.error("WRONGTYPE no"))
        await bench.open()

        assert bench.counters.refreshes.total() == 1


# --- moves


async def test_when_the_leader_moves_connections_to_the_former_one_are_not_current(
    elastickv: Cluster,
) -> None:
    """Those who hold them are told; those to the new one are current."""
    told: list[str | None] = []
    async with running(*elastickv.addresses) as bench:
        backend = bench.backend
        backend.when_moved.append(lambda: told.append(backend.leader))
        sock, greeting = await backend.open("stream")
        assert backend.is_current(greeting)

        leader = await elastickv.move_leader()
        backend.doubt()
        other, new_greeting = await backend.open("stream")

        assert (backend.is_current(greeting), backend.is_current(new_greeting)) == (False, True)
        assert told == [leader.address]
        for one in (sock, other):
            close_socket(one)
            backend.closed("stream", lost=False)


@pytest.mark.usefixtures("hurried")
async def test_without_a_leader_commands_go_nowhere_and_nobody_is_asked_for_each(elastickv: Cluster) -> None:
    """Connections to who led last stay: it may be elected again."""
    async with running(*elastickv.addresses) as bench:
        sock, greeting = await bench.backend.open("stream")
        former = bench.backend.leader
        elastickv.step_down()
        await wait_until(lambda: bench.backend.leader is None)
        rounds = bench.counters.refreshes.total()

        for _ in range(50):
            with pytest.raises(BackendUnavailable, match="no leader at"):
                await bench.open()

        assert bench.counters.refreshes.total() - rounds <= 5  # those that were due anyway
        assert bench.backend.is_current(greeting)
        elastickv.elect(elastickv.nodes[0])
        await bench.wait_led_by(elastickv.nodes[0].address)
        assert bench.backend.is_current(greeting) is (former == elastickv.nodes[0].address)
        close_socket(sock)
        bench.backend.closed("stream", lost=False)


async def test_without_a_leader_subscriptions_go_to_a_seed(elastickv: Cluster) -> None:
    """Any node that is up."""
    elastickv.step_down()
    dead, alive, _ = elastickv.nodes
    elastickv.kill(dead)
    async with running(dead.address, alive.address) as bench:
        assert await bench.open("pubsub") == alive.address
        with pytest.raises(BackendUnavailable):
            await bench.open()


@pytest.mark.usefixtures("hurried")
async def test_of_many_former_leaders_the_oldest_is_disconnected() -> None:
    """Who holds a connection to it sees its end, and closes it; the others stay."""
    async with fakes(MAX_FORMER + 3) as (seed, *leaders), running(seed.address) as bench:
        held: list[Connection] = []
        for leader in leaders:
            let_lead(leader, seed, *leaders)
            bench.backend.doubt()
            await bench.wait_led_by(leader.address)
            held.append(Connection(*await bench.backend.open("leased")))

        await leaders[0].last.is_gone.wait()
        assert [connection.is_stale() for connection in held] == [True] + [False] * (len(leaders) - 1)
        for connection in held:
            connection.close()
            bench.backend.closed("leased", lost=False)


async def test_the_question_is_not_counted_against_the_pool(elastickv: Cluster) -> None:
    """The pool size is what commands may use."""
    async with running(*elastickv.addresses, pool_size=1) as bench:
        await bench.wait_rounds(1)

        await bench.open()


# --- Sentinel


def sentinel(primary: FakeBackend) -> dict[str, bytes]:
    """Return what Sentinels answer."""
    host, port = primary.address.split(":")
    return {"main": encode.array([encode.bulk(host), encode.bulk(port)])}


async def test_a_sentinel_names_the_primary() -> None:
    """It is asked by its own name and password; the store with the store's."""
    async with fakes(1) as (primary,), running_fake(password="guard", speaks=(2,)) as watcher:
        watcher.answer = lambda args: sentinel(primary).get(args[-1].decode(), b"*-1\r\n")
        text = f"sentinel://{watcher.address}/main?sentinel_password=guard&db=3"
        options = BackendOptions("store", **backend_address(text))
        counters = PoolCounters()
        backend = LeaderAwareBackend(options, counters)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.run)
            connection = Connection(*await backend.open("stream"))

            assert await connection.exchange(command("PING"), 1) == [encode.OK]
            assert watcher.commands == [(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"main")]
            assert (b"SELECT", b"3") in primary.last.introduction
            assert (b"SELECT", b"3") not in watcher.last.introduction
            connection.close()
            nursery.cancel_scope.cancel("the test is over")


async def test_a_name_that_no_sentinel_knows_is_told() -> None:
    """The error says who was asked."""
    async with fakes(1) as (watcher,):
        watcher.answer = lambda _: b"*-1\r\n"
        async with running(watcher.address, sentinel="other") as bench:
            with pytest.raises(BackendUnavailable, match=f"no Sentinel of {watcher.address} knows a primary"):
                await bench.open()
