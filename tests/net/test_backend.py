"""A backend's budget of connections and its counters."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from dualkv.errors import BackendUnavailable, PoolExhausted
from dualkv.observe.metrics import PoolCounters
from tests.net.building import backend_for
from tests.support.fake_backend import running_fake


async def test_limit_is_told_from_the_start() -> None:
    """The limit stands in the counters before anything is opened."""
    counters = PoolCounters()
    async with running_fake() as fake:
        backend = backend_for(fake, counters, pool_size=7)

        assert counters.limit == 7
        assert backend.open_connections == 0
        assert backend.last_error is None


async def test_opening_and_closing_is_counted_by_use() -> None:
    """Each connection counts for its use while it is open, and as opened and closed or lost for ever."""
    counters = PoolCounters()
    async with running_fake() as fake:
        backend = backend_for(fake, counters)
        lane, _ = await backend.open("lane")
        stream, _ = await backend.open("stream")
        with lane, stream:
            assert counters.connections == {"lane": 1, "stream": 1}
            assert backend.open_connections == 2
            assert [one.introduction[0] for one in fake.connections] == [
                (b"CLIENT", b"SETNAME", b"dualkv-lane"),
                (b"CLIENT", b"SETNAME", b"dualkv-stream"),
            ]
            backend.closed("lane", lost=False)
            backend.closed("stream", lost=True)

        assert backend.open_connections == 0
        assert counters.events == {"opened": 2, "closed": 1, "lost": 1}
        assert sum(counters.wait.counts) == 2


async def test_budget_is_shared_by_all_uses() -> None:
    """With the budget spent nothing more is dialled; a connection given back makes room."""
    counters = PoolCounters()
    async with running_fake() as fake:
        backend = backend_for(fake, counters, pool_size=1)
        sock, _ = await backend.open("lane")
        with sock:
            with pytest.raises(PoolExhausted, match="all 1 connections are in use"):
                await backend.open("stream")

            assert counters.events["exhausted"] == 1
            assert counters.connections.total() == 1
            assert len(fake.connections) == 1
            backend.closed("lane", lost=False)
        again, _ = await backend.open("stream")
        again.close()

        assert counters.connections == {"lane": 0, "stream": 1}


async def test_leases_leave_a_connection_to_each_lane() -> None:
    """Each lane may have to connect again: clients that block do not take what it needs."""
    counters = PoolCounters()
    async with running_fake() as fake:
        backend = backend_for(fake, counters, pool_size=4)
        backend.lanes = 3
        lease, _ = await backend.open("leased")
        with pytest.raises(PoolExhausted):
            await backend.open("leased")
        for _ in range(3):
            lane, _ = await backend.open("lane")
            lane.close()
        lease.close()

        assert counters.connections == {"leased": 1, "lane": 3}


async def test_connections_being_dialled_count() -> None:
    """The budget holds while several connections are being made at once."""
    counters = PoolCounters()
    async with running_fake() as fake:
        fake.is_mute = True
        backend = backend_for(fake, counters, pool_size=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.open, "lane")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(PoolExhausted):
                await backend.open("lane")
            nursery.cancel_scope.cancel("enough")

        assert counters.connections.total() == 0


async def test_failed_attempts_are_counted_and_explained() -> None:
    """The newest failure stays readable until an attempt succeeds; it holds no place in the budget."""
    counters = PoolCounters()
    async with running_fake() as fake:
        fake.hangs_up_at_once = True
        backend = backend_for(fake, counters)
        with pytest.raises(BackendUnavailable):
            await backend.open("lane")

        assert backend.last_error is not None
        assert fake.address in backend.last_error
        assert counters.events == {"dial_failed": 1}
        assert backend.open_connections == 0

        fake.hangs_up_at_once = False
        sock, _ = await backend.open("lane")
        sock.close()
        assert backend.last_error is None


async def test_cancelled_attempt_leaves_nothing_behind() -> None:
    """Cancelling while the server keeps silent closes the socket and gives the place back."""
    counters = PoolCounters()
    async with running_fake() as fake:
        fake.is_mute = True
        backend = backend_for(fake, counters)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.open, "lane")
            await trio.testing.wait_all_tasks_blocked()
            assert counters.connections.total() == 1
            nursery.cancel_scope.cancel("enough")
        with trio.fail_after(5):
            await fake.last.is_gone.wait()

        assert counters.connections.total() == 0
        assert counters.events.total() == 0
        assert backend.last_error is None


async def test_repr_is_a_status_line() -> None:
    """It says where and how many, and nothing secret."""
    async with running_fake(password="secret") as fake:
        backend = backend_for(fake, password="secret")

        assert repr(backend) == f"<RedisBackend fake {fake.address} connections=0>"
