"""One backend: its connections, counted and limited."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable, PoolExhausted
from dualkv.net.transport import Greeting, dial
from dualkv.observe.metrics import PoolCounters

__all__ = ["PubSubBackend", "RedisBackend"]


class PubSubBackend(Protocol):
    """What connections that subscribe need of a backend."""

    options: BackendOptions
    last_error: str | None

    @property
    def name(self) -> str:
        """Its label in metrics and logs."""

    async def open(self, use: str) -> tuple[socket.socket, Greeting]:
        """Return a new connection, as `RedisBackend.open` does."""

    def closed(self, use: str, *, lost: bool) -> None:
        """Take note that a connection is gone."""


class RedisBackend:
    """A Redis-protocol server, and the budget of connections to it.

    All kinds of connections (lanes, the stream's, leased ones) come out of one budget,
    `BackendOptions.pool_size`.
    """

    def __init__(
        self,
        options: BackendOptions,
        counters: PoolCounters,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.options = options
        self._counters = counters
        self._clock = clock
        counters.limit = options.pool_size
        self.last_error: str | None = None
        """Why the newest attempt to connect failed; None if it succeeded, or there was none."""

    def __repr__(self) -> str:
        return (
            f"<RedisBackend {self.options.name} {self.options.address} connections={self.open_connections}>"
        )

    @property
    def name(self) -> str:
        """Its label in metrics and logs."""
        return self.options.name

    @property
    def open_connections(self) -> int:
        """Connections open now, of all kinds."""
        return self._counters.connections.total()

    async def open(self, use: str) -> tuple[socket.socket, Greeting]:
        """Return a new connection; give it back with `closed`.

        Args:
            use: What for, as metrics show it: ``lane``, ``stream``.

        Raises:
            PoolExhausted: The budget is spent.
            BackendUnavailable: It cannot be reached within the dial timeout, or does not want us.
        """
        counters = self._counters
        if self.open_connections >= self.options.pool_size or (use == "leased" and self._leases_are_spent):
            counters.events["exhausted"] += 1
            raise PoolExhausted(
                f"{self.options.address}: all {self.options.pool_size} connections are in use"
            )
        counters.connections[use] += 1
        started = self._clock()
        try:
            with trio.fail_after(self.options.dial_timeout_seconds):
                sock, greeting = await dial(self.options, f"dualkv-{use}")
        except BaseException as error:
            counters.connections[use] -= 1
            if isinstance(error, trio.TooSlowError):
                error = BackendUnavailable(
                    f"{self.options.address}: no answer in {self.options.dial_timeout_seconds:g} s"
                )
            if isinstance(error, BackendUnavailable):
                counters.events["dial_failed"] += 1
                self.last_error = str(error)
                raise error from None
            raise
        counters.events["opened"] += 1
        counters.wait.observe(self._clock() - started)
        self.last_error = None
        return sock, greeting

    @property
    def _leases_are_spent(self) -> bool:
        """Clients that wait must leave one connection to the lane: it may have to connect again."""
        leases = self._counters.connections["leased"] + self._counters.connections["idle"]
        return leases >= self.options.pool_size - 1

    def closed(self, use: str, *, lost: bool) -> None:
        """Take note that a connection is gone: *lost* without our will, or closed by us."""
        self._counters.connections[use] -= 1
        self._counters.events["lost" if lost else "closed"] += 1

    def changed_use(self, before: str, now: str) -> None:
        """Take note that a connection is used for something else."""
        self._counters.connections[before] -= 1
        self._counters.connections[now] += 1
