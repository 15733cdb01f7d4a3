"""The primary goes away: what is in flight has an unknown outcome, the rest is refused; it comes back."""

from __future__ import annotations

from pathlib import Path

import trio

from dualkv.config import ProxyMode
from dualkv.net.lane import LaneState
from dualkv.resp.encode import OUTCOME_UNKNOWN, PRIMARY_UNREACHABLE
from dualkv.servers import EmbeddedServer
from tests.support.client import connect
from tests.support.proxy import running_proxy, wait_until
from tests.support.workload import under_load


async def test_clients_get_a_clear_error_until_the_primary_appears(server_binary: Path) -> None:
    """Nothing listens at the primary's address at the start; later a server does, and is found."""
    with EmbeddedServer(server_binary) as primary:
        primary.kill()
        async with (
            running_proxy(primary.address, mode=ProxyMode.REDIS_ONLY) as proxy,
            connect(proxy.port) as client,
        ):
            assert await client.pipeline([("SET", "k", 1), ("PING",), ("GET", "k")]) == [
                PRIMARY_UNREACHABLE,
                b"+PONG\r\n",
                PRIMARY_UNREACHABLE,
            ]
            primary.restart()
            await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
            assert await client.call("SET", "k", 1) == b"+OK\r\n"


async def test_killed_primary_makes_outcomes_unknown_and_is_found_again(server_binary: Path) -> None:
    """Killed under load and started again: only the two kinds of errors, then normal service."""
    with EmbeddedServer(server_binary) as primary, EmbeddedServer(server_binary) as secondary:
        async with running_proxy(primary.address, secondary.address) as proxy:
            async with under_load(proxy.port) as load:
                await wait_until(lambda: load.replies > 1000)
                primary.kill()
                await wait_until(lambda: load.errors[PRIMARY_UNREACHABLE] > 10)
                primary.restart()
                await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
                seen = load.replies
                await wait_until(lambda: load.replies > seen + 100)
            assert set(load.errors) <= {PRIMARY_UNREACHABLE, OUTCOME_UNKNOWN}
            assert load.errors[OUTCOME_UNKNOWN] <= proxy.metrics.primary_outcomes_unknown


async def test_primary_that_stops_answering_is_given_up_after_the_read_timeout(server_binary: Path) -> None:
    """SIGSTOP: what is in flight gets the unknown outcome after the time-out; then it is unreachable."""
    with EmbeddedServer(server_binary) as primary:
        async with (
            running_proxy(
                primary.address, mode=ProxyMode.REDIS_ONLY, read_timeout_seconds=0.4, dial_timeout_seconds=0.4
            ) as proxy,
            connect(proxy.port) as client,
        ):
            await client.call("SET", "k", 1)
            primary.pause()
            try:
                started = trio.current_time()
                assert await client.call("INCR", "k") == OUTCOME_UNKNOWN
                assert 0.3 < trio.current_time() - started < 5
                assert await client.call("INCR", "k") == PRIMARY_UNREACHABLE
            finally:
                primary.resume()
            await wait_until(lambda: proxy.server.writer.lane.state is LaneState.UP)
            assert await client.call("GET", "k") in (b"$1\r\n1\r\n", b"$1\r\n2\r\n")
