"""What lanes, leases and plain backends do when another node leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from dualkv.config import BackendOptions
from dualkv.config.backends import backend_address
from dualkv.core.context import Context
from dualkv.net import backend as backend_module
from dualkv.net.backend import RedisBackend
from dualkv.net.lane import Lane, LaneState
from dualkv.net.leader_aware import backend_of
from dualkv.net.lease import LeasePool
from dualkv.net.logins import Logins
from dualkv.observe.metrics import PoolCounters
from dualkv.resp import encode
from dualkv.resp.encode import command
from tests.fakes.elastickv import Cluster
from tests.net.building import Clock, Waiter, backend_for, running_hub
from tests.support.fake_backend import echo, running_fake
from tests.support.proxy import wait_until

READONLY = encode.error("READONLY You can't write against a read only replica.")


@attrs.define(eq=False)
class Bench:
    """A lane to a backend, both running."""

    lane: Lane
    backend: RedisBackend
    counters: PoolCounters

    def submit(self, *args: bytes | str) -> Waiter:
        """Send a command; return who waits for its reply."""
        waiter = Waiter()
        self.lane.submit(command(*args), waiter, Context())
        return waiter

    async def ask(self, *args: bytes | str) -> bytes:
        """Return the reply to a command."""
        assert await self.lane.wait_settled() is LaneState.UP
        waiter = self.submit(*args)
        await waiter.wait_over()
        return waiter.frames[0]


@asynccontextmanager
async def lane_of(backend: RedisBackend, counters: PoolCounters) -> AsyncIterator[Bench]:
    """Run a backend and a lane to it for the block."""
    async with running_hub() as hub:
        lane = Lane(backend, hub, counters, trio.current_time)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.run)
            nursery.start_soon(lane.run)
            await lane.wait_settled()
            yield Bench(lane, backend, counters)
            nursery.cancel_scope.cancel("the test is over")
    assert counters.connections.total() == 0
    assert backend.when_moved == []


@asynccontextmanager
async def lane_to_cluster(cluster: Cluster) -> AsyncIterator[Bench]:
    """Run a lane to the cluster's leader for the block."""
    options = BackendOptions("store", **backend_address(",".join(cluster.addresses)))
    counters = PoolCounters()
    async with lane_of(backend_of(options, counters), counters) as bench:
        yield bench


def doubt(bench: Bench) -> None:
    """Tell the backend what a node that does not lead answers."""
    assert bench.backend.answered_error(encode.error("not leader"))


# --- lanes


async def test_a_lane_connects_to_the_new_leader_at_once(elastickv: Cluster) -> None:
    """It does not go on through a follower; nothing was lost on the way."""
    async with lane_to_cluster(elastickv) as bench:
        assert await bench.ask("SET", "k", "1") == encode.OK
        leader = await elastickv.move_leader()

        doubt(bench)
        await wait_until(lambda: bench.counters.moves == 1)

        assert await bench.ask("SET", "k", "2") == encode.OK  # a follower would say it as a bulk
        assert leader.received["SET"] == 1
        assert bench.counters.events["lost"] == 0


async def test_what_a_lane_has_in_flight_is_answered_before_it_moves() -> None:
    """Commands are not given up for that; new ones wait for the new connection."""
    async with running_fake(echo) as one, running_fake(echo) as other:
        leaders = {"now": one}

        def with_leader(args: tuple[bytes, ...]) -> bytes:
            if args[0] == b"INFO":
                return encode.bulk(f"raft_leader_redis:{leaders['now'].address}\r\n")
            return b"" if args[-1] == b"before" else echo(args)

        one.answer = other.answer = with_leader
        options = BackendOptions("store", **backend_address(f"{one.address},{other.address}"))
        counters = PoolCounters()
        async with lane_of(backend_of(options, counters), counters) as bench:
            waiter = bench.submit("GET", "before")
            await wait_until(lambda: (b"GET", b"before") in one.commands)
            leaders["now"] = other
            doubt(bench)
            await wait_until(lambda: bench.lane.state is LaneState.CONNECTING)
            assert waiter.losses == 0
            (used,) = [each for each in one.connections if (b"GET", b"before") in each.commands]
            await used.send(encode.bulk("before"))

            assert await bench.ask("GET", "after") == encode.bulk("after")
            assert (waiter.frames, waiter.losses) == ([encode.bulk("before")], 0)
            assert (b"GET", b"after") in other.commands
            assert (b"GET", b"after") not in one.commands


async def test_a_barrier_on_a_lane_that_moves_waits_for_what_is_in_flight() -> None:
    """What it stands behind is still being answered."""
    async with running_fake(echo) as fake:
        counters = PoolCounters()
        async with lane_of(backend_for(fake, counters), counters) as bench:
            fake.reads.shut()
            waiter = bench.submit("GET", "k")
            assert bench.backend.answered_error(READONLY)
            passed: list[list[bytes]] = []
            bench.lane.submit_barrier(lambda: passed.append([*waiter.frames]))
            assert passed == []
            fake.reads.open()

            await wait_until(lambda: len(passed) == 1)
            assert passed == [[encode.bulk("k")]]


async def test_a_lane_whose_leader_dies_comes_back_with_the_next_one(elastickv: Cluster) -> None:
    """Its connection is lost, the nodes are asked, and the next leader is connected to."""
    async with lane_to_cluster(elastickv) as bench:
        await bench.ask("SET", "k", "1")
        elastickv.kill_leader()
        await wait_until(lambda: bench.lane.state is not LaneState.UP)
        elastickv.elect()
        await wait_until(lambda: bench.lane.state is LaneState.UP)

        assert await bench.ask("SET", "k", "2") == encode.OK
        assert elastickv.leader is not None
        assert elastickv.leader.received["SET"] == 1


# --- plain backends


async def test_a_server_that_has_become_a_replica_is_looked_up_again() -> None:
    """Behind the same name there may be another server by now; the lane connects anew, and loses nothing."""
    async with running_fake(echo) as fake:
        counters = PoolCounters()
        async with lane_of(backend_for(fake, counters), counters) as bench:
            assert bench.backend.answered_error(READONLY)
            await bench.ask("GET", "k")

            assert len(fake.connections) == 2
            assert counters.events["lost"] == 0


async def test_a_replica_is_not_connected_to_again_and_again() -> None:
    """Each of its answers says the same; every two seconds is enough."""
    async with running_fake(echo) as fake:
        clock = Clock()
        backend = RedisBackend(backend_for(fake).options, PoolCounters(), clock)
        moves: list[float] = []
        backend.when_moved.append(lambda: moves.append(clock.now))

        for _ in range(5):
            assert backend.answered_error(READONLY)
            clock.now += backend_module._RENEWAL_SECONDS / 2

        assert moves == [1000.0, 1002.0, 1004.0]


async def test_an_error_that_has_nothing_to_do_with_leaders_renews_nothing() -> None:
    """The connection stays."""
    async with running_fake(echo) as fake:
        backend = backend_for(fake)
        moves: list[int] = []
        backend.when_moved.append(lambda: moves.append(1))

        assert not backend.answered_error(encode.error("WRONGTYPE no"))
        assert moves == []


# --- leases


@pytest.mark.parametrize("is_in_use", [True, False])
async def test_a_leased_connection_to_a_former_leader_is_not_used_again(is_in_use: bool) -> None:
    """Neither one that waits for its next client, nor one that comes back."""
    async with running_fake(echo) as fake:
        counters = PoolCounters()
        backend = backend_for(fake, counters)
        pool = LeasePool(backend, Logins(backend.options))
        lease = await pool.take(Context())
        if not is_in_use:
            pool.give_back(lease)
        assert backend.answered_error(READONLY)
        if is_in_use:
            pool.give_back(lease)

        other = await pool.take(Context())

        assert other is not lease
        assert len(fake.connections) == 2
        assert counters.events["lost"] == 0
        pool.close(other, lost=False)
        assert counters.connections.total() == 0
