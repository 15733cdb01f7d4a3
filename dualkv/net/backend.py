"""One backend: its connections, counted and limited."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.core.leadership import is_not_leader
from dualkv.errors import BackendUnavailable, PoolExhausted
from dualkv.net.transport import Greeting, dial
from dualkv.observe.metrics import PoolCounters

__all__ = ["PROBE", "Backend", "PubSubBackend", "RedisBackend"]

PROBE: Final = "probe"
"""The use of a connection that asks who leads; the budget does not count it."""

_RENEWAL_SECONDS: Final = 2.0
"""A node that does not lead makes connections anew at most so often: its name may lead to another one."""

_log = logging.getLogger("dualkv.backend")


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


class Backend(PubSubBackend, Protocol):
    """A store: `RedisBackend` is one server, `LeaderAwareBackend` several, of which one leads."""

    when_moved: list[Callable[[], None]]
    """Called when commands go to another node from now on, or the same address has to be looked up anew."""

    @property
    def open_connections(self) -> int:
        """Connections open now, of all kinds."""

    def changed_use(self, before: str, now: str) -> None:
        """Take note that a connection is used for something else."""

    def is_current(self, greeting: Greeting) -> bool:
        """Whether a connection leads where commands go now; if not, it should be replaced."""

    def answered_error(self, frame: bytes) -> bool:
        """Take note of an error that a node answered; return whether it says that it does not lead."""

    async def run(self) -> None:
        """Do what goes on beside the connections, until cancelled; it must run for `open` to succeed."""


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
        self.when_moved: list[Callable[[], None]] = []
        """Called when connections should be made anew, since they lead to a node that does not lead."""
        self.lanes = 1
        """Connections that leases must leave: each lane may have to connect again."""
        self._term = 0
        self._may_renew_at = 0.0

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
        return await self._open(self.options, use)

    async def _open(self, options: BackendOptions, use: str) -> tuple[socket.socket, Greeting]:
        """Return a new connection to the node that *options* tell."""
        counters = self._counters
        taken = self.open_connections - counters.connections[PROBE]
        if taken >= self.options.pool_size or (use == "leased" and self._leases_are_spent):
            counters.events["exhausted"] += 1
            raise PoolExhausted(
                f"{self.options.address}: all {self.options.pool_size} connections are in use"
            )
        counters.connections[use] += 1
        started = self._clock()
        term = self._term
        try:
            with trio.fail_after(self.options.dial_timeout_seconds):
                sock, greeting = await dial(options, f"dualkv-{use}")
        except BaseException as error:
            counters.connections[use] -= 1
            if isinstance(error, trio.TooSlowError):
                error = BackendUnavailable(
                    f"{options.address}: no answer in {self.options.dial_timeout_seconds:g} s"
                )
            if isinstance(error, BackendUnavailable):
                counters.events["dial_failed"] += 1
                self.last_error = str(error)
                raise error from None
            raise
        counters.events["opened"] += 1
        counters.wait.observe(self._clock() - started)
        self.last_error = None
        return sock, attrs.evolve(greeting, term=term)

    @property
    def _leases_are_spent(self) -> bool:
        """Whether clients that wait would take what the lanes may need."""
        leases = self._counters.connections["leased"] + self._counters.connections["idle"]
        return leases >= self.options.pool_size - self.lanes

    def closed(self, use: str, *, lost: bool) -> None:
        """Take note that a connection is gone: *lost* without our will, or closed by us."""
        self._counters.connections[use] -= 1
        self._counters.events["lost" if lost else "closed"] += 1

    def changed_use(self, before: str, now: str) -> None:
        """Take note that a connection is used for something else."""
        self._counters.connections[before] -= 1
        self._counters.connections[now] += 1

    def is_current(self, greeting: Greeting) -> bool:
        """Whether a connection leads where commands go now; if not, it should be replaced."""
        return greeting.term == self._term

    def answered_error(self, frame: bytes) -> bool:
        """Take note of an error that a node answered; return whether it says that it does not lead.

        Then connections are made anew, so that the address is looked up again: behind a name or a load
        balancer there may be another node by now.
        """
        if not is_not_leader(frame):
            return False
        if self._clock() >= self._may_renew_at:
            self._may_renew_at = self._clock() + _RENEWAL_SECONDS
            _log.warning("the node does not lead", extra={"backend": self.name, "why": _words(frame)})
            self._move()
        return True

    def _move(self) -> None:
        """From now on commands go elsewhere: let everybody connect anew."""
        self._term += 1
        for tell in tuple(self.when_moved):
            tell()

    async def run(self) -> None:
        """There is nothing to do beside the connections."""
        await trio.lowlevel.checkpoint()


def _words(frame: bytes) -> str:
    """Return an error for the log. What clients have sent is not in the texts of those that do not lead."""
    return frame[1:120].decode(errors="replace").strip()
