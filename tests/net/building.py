"""What the tests of `dualkv.net` share."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.config.backends import backend_address
from dualkv.core.context import Context
from dualkv.net.backend import RedisBackend
from dualkv.net.hub import ReadinessHub
from dualkv.net.lane import Lane, LaneState
from dualkv.observe.metrics import PoolCounters
from tests.support.fake_backend import FakeBackend
from tests.support.proxy import wait_until

__all__ = [
    "Clock",
    "LaneBench",
    "Waiter",
    "backend_for",
    "in_round",
    "lane_to",
    "options_for",
    "running_hub",
    "socket_pair",
]


@attrs.define
class Clock:
    """A clock that stands still until it is told otherwise."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


def options_for(fake: FakeBackend, **changes: Any) -> BackendOptions:
    """Return how to reach *fake*, with short timeouts unless *changes* say otherwise."""
    return BackendOptions(
        name="fake", **{**backend_address(fake.address), "dial_timeout_seconds": 5.0, **changes}
    )


def backend_for(fake: FakeBackend, counters: PoolCounters | None = None, **changes: Any) -> RedisBackend:
    """Return a backend that is *fake*."""
    return RedisBackend(options_for(fake, **changes), counters or PoolCounters())


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected, non-blocking sockets."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


@asynccontextmanager
async def running_hub() -> AsyncIterator[ReadinessHub]:
    """Run a hub for the block."""
    hub = ReadinessHub()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.run)
            yield hub
            nursery.cancel_scope.cancel("the test is over")
    finally:
        hub.close()


@attrs.define(eq=False)
class _Once:
    """Does its work in the hub's round in which its socket is ready."""

    hub: ReadinessHub
    sock: socket.socket
    work: Callable[[], object]
    done: trio.Event = attrs.field(factory=trio.Event)

    def on_readable(self) -> None:
        """Do the work."""
        self.hub.unregister(self.sock)
        self.done.set()
        self.work()

    def on_writable(self) -> None:
        """Nobody asks for this."""

    def on_failure(self, error: Exception) -> None:
        """The work has failed."""
        raise error


async def in_round(hub: ReadinessHub, work: Callable[[], object]) -> None:
    """Do *work* as a handler of the hub's next round does it; return when the round is over."""
    ours, theirs = socket_pair()
    with ours, theirs:
        once = _Once(hub, ours, work)
        hub.register(ours, once)
        theirs.send(b"x")
        await once.done.wait()


@attrs.define(eq=False)
class Waiter:
    """Waits on a lane, and writes down what it is told."""

    missing: int = 1
    log: list[tuple[str, Waiter]] = attrs.field(factory=list)
    """Shared between waiters: who was told what, in order."""
    frames: list[bytes] = attrs.field(factory=list)
    losses: int = 0

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        """Take replies."""
        assert 0 < len(frames) <= self.missing
        self.missing -= len(frames)
        self.frames += frames
        self.log.append(("replies", self))

    def on_lost(self) -> None:
        """Take note that the connection broke."""
        self.losses += 1
        self.log.append(("lost", self))

    async def wait_over(self) -> None:
        """Wait until it has everything, or its connection is lost."""
        await wait_until(lambda: not self.missing or self.losses > 0)


@attrs.define(eq=False)
class LaneBench:
    """A running lane and what belongs to it."""

    lane: Lane
    hub: ReadinessHub
    counters: PoolCounters
    scope: trio.CancelScope
    """Cancelling it ends the lane."""
    ended: trio.Event = attrs.field(factory=trio.Event)

    async def wait_state(self, state: LaneState) -> None:
        """Wait until the lane is in *state*."""
        await wait_until(lambda: self.lane.state is state)

    def submit(self, wire: bytes, missing: int = 1, protocol: int = 2, db: int = 0) -> Waiter:
        """Send *wire*; return who waits for its replies."""
        waiter = Waiter(missing)
        self.lane.submit(wire, waiter, Context(protocol, db))
        return waiter

    async def run(self) -> None:
        """Run the lane until the scope is cancelled."""
        with self.scope:
            await self.lane.run()
        self.ended.set()


@asynccontextmanager
async def lane_to(
    fake: FakeBackend, clock: Callable[[], float] = time.perf_counter, **options: Any
) -> AsyncIterator[LaneBench]:
    """Run a lane to *fake* for the block; when it begins, the first attempt to connect has ended."""
    counters = PoolCounters()
    async with running_hub() as hub:
        lane = Lane(backend_for(fake, counters, **options), hub, counters, clock)
        bench = LaneBench(lane, hub, counters, trio.CancelScope())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            await lane.wait_settled()
            yield bench
            bench.scope.cancel("the test is over")
        assert counters.connections.total() == 0
