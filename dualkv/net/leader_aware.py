"""A backend that is several nodes, of which one leads: connections go to that one.

`LeaderAwareBackend.run` asks the nodes who leads, one round at a time: at the start, every two seconds, and
whenever somebody has reason to doubt. Nobody else asks. So a round outlives the deadline of whoever wanted
it, and all who wait for it share it. What the answers mean is decided in `dualkv.core.leadership`.

Nobody's socket is closed from here: the owner of a connection closes it. A connection to a node that led
before the last few is shut down instead; its owner sees the end of it, as if the node had hung up.
"""

from __future__ import annotations

import logging
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from dualkv.config import BackendOptions
from dualkv.config.backends import Address, shown_address
from dualkv.core.leadership import (
    Leadership,
    Refresh,
    RefreshSchedule,
    Told,
    is_not_leader,
    told_by_info,
    told_by_sentinel,
)
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.backend import PROBE, RedisBackend
from dualkv.net.connection import Connection
from dualkv.net.transport import Greeting, dial
from dualkv.observe.metrics import PoolCounters
from dualkv.resp.encode import command

__all__ = ["LeaderAwareBackend", "backend_of"]

_REFRESH_SECONDS: Final = 2.0
"""How often the nodes are asked if nobody has reason to doubt."""
_PROBE_SECONDS: Final = 1.0
"""Longest time for one node: to connect and to answer."""
_PAUSE_SECONDS: Final = 0.05
"""Between two rounds, however many doubts there are."""

_INFO: Final = command("INFO", "replication")

_log = logging.getLogger("dualkv.backend")


class LeaderAwareBackend(RedisBackend):
    """A store of several nodes, and the budget of connections to all of them.

    It behaves as `RedisBackend` does; `run` must be running, or `open` gives up after the dial timeout.

    Args:
        options: How to reach it; `BackendOptions.seeds` are the nodes that are asked first, or Sentinels.
        counters: Where connections and rounds are counted.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        options: BackendOptions,
        counters: PoolCounters,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        super().__init__(options, counters, clock)
        self._leadership = Leadership(options.seeds, has_sentinels=options.sentinel is not None)
        self._schedule = RefreshSchedule()
        self._asked = trio.Event()
        self._round_over = trio.Event()
        self._probe: tuple[Address, Connection] | None = None
        self._sockets: dict[Address, weakref.WeakSet[socket.socket]] = {}
        """All connections by node, as long as somebody holds them."""
        self._why = ""
        """Why the newest node that did not answer did not."""

    def __repr__(self) -> str:
        return f"<LeaderAwareBackend {self.name} {self.leader} of {self.options.address}>"

    @property
    def leader(self) -> str | None:
        """Where commands go now, ``host:port``; None: nowhere."""
        target = self._leadership.target
        return None if target is None else shown_address(target)

    # --- connections

    async def open(self, use: str) -> tuple[socket.socket, Greeting]:
        """Return a new connection to the leader; waits until it is known, as long as the dial timeout.

        Without a leader a connection that subscribes leads to a seed. Otherwise as `RedisBackend.open`.
        """
        with trio.move_on_after(self.options.dial_timeout_seconds):  # noqa: ASYNC912 - mostly it is known
            while not self._schedule.is_settled:
                await self._round_over.wait()
        target = self._leadership.target
        nodes = self._leadership.for_subscribing() if use == "pubsub" else [target] if target else []
        if not nodes:
            self._counters.events["dial_failed"] += 1
            raise BackendUnavailable(self.last_error or f"{self.options.address}: nobody has been asked yet")
        *others, last = nodes
        for node in others:
            with suppress(BackendUnavailable):
                return await self._open_at(node, use)
        return await self._open_at(last, use)

    async def _open_at(self, node: Address, use: str) -> tuple[socket.socket, Greeting]:
        try:
            sock, greeting = await self._open(self.options.at(node), use)
        except BackendUnavailable:
            self.doubt()
            raise
        self._sockets.setdefault(node, weakref.WeakSet()).add(sock)
        return sock, greeting

    def closed(self, use: str, *, lost: bool) -> None:
        """Take note that a connection is gone; if it is *lost*, the leader may be another one."""
        super().closed(use, lost=lost)
        if lost:
            self.doubt()

    def answered_error(self, frame: bytes) -> bool:
        """Take note of an error that a node answered; return whether it says that it does not lead."""
        if not is_not_leader(frame):
            return False
        self.doubt()
        return True

    def doubt(self) -> None:
        """Have the nodes asked soon; who connects waits for what they say."""
        self._schedule.ask()
        self._asked.set()

    # --- asking

    async def run(self) -> None:
        """Ask the nodes who leads, again and again, until cancelled."""
        try:
            while True:
                self._asked = trio.Event()
                self._schedule.begin()
                await self._refresh()
                self._schedule.end()
                over, self._round_over = self._round_over, trio.Event()
                over.set()
                await trio.sleep(_PAUSE_SECONDS)
                with trio.move_on_after(_REFRESH_SECONDS - _PAUSE_SECONDS):
                    await self._asked.wait()
        finally:
            self._drop_probe(lost=False)

    async def _refresh(self) -> None:
        """Ask one node after the other until one names a leader; draw the conclusions."""
        answers: dict[Address, Told | None] = {}
        for node in self._leadership.to_ask():
            answers[node] = told = await self._ask(node)
            if told is not None and told.leader is not None:
                break
        before = self._leadership.target
        learnt = self._leadership.learn(answers)
        self._counters.refreshes[learnt.outcome] += 1
        self._counters.has_leader = self._leadership.target is not None
        if self._leadership.target is None:
            is_dark = learnt.outcome is Refresh.UNREACHABLE
            self.last_error = self._why if is_dark else self._leadership.describe()
        for node in learnt.to_close:
            self._shut_down(node)
        if self._leadership.target != before:
            _log.info(
                "leader", extra={"backend": self.name, "node": self.leader, "told": learnt.outcome.value}
            )
        if learnt.has_moved:
            self._counters.moves += 1
            self._move()

    async def _ask(self, node: Address) -> Told | None:
        """Return what one node says; None: nothing in time."""
        with trio.move_on_after(_PROBE_SECONDS):  # noqa: ASYNC912 - asking waits
            try:
                return await self._exchange(node)
            except (BackendUnavailable, ConnectionLost, ReplyProtocolError) as error:
                self._why = str(error)
                return None
        self._why = f"{shown_address(node)}: no answer in {_PROBE_SECONDS:g} s"
        return None

    async def _exchange(self, node: Address) -> Told | None:
        """Ask one node, on the connection that is open if it leads there."""
        if self._probe is not None and (self._probe[0] != node or self._probe[1].is_stale()):
            self._drop_probe(lost=False)
        name = self.options.sentinel
        if self._probe is None:
            options = self.options.at(node) if name is None else self.options.at_sentinel(node)
            self._probe = node, Connection(*await dial(options, "dualkv-probe"))
            self._counters.connections[PROBE] += 1
            self._counters.events["opened"] += 1
        asked = _INFO if name is None else command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        is_answered = False
        try:
            (reply,) = await self._probe[1].exchange(asked, 1)
            is_answered = True
        finally:
            if not is_answered:
                self._drop_probe(lost=True)
        return told_by_info(node, reply) if name is None else told_by_sentinel(node, reply)

    def _drop_probe(self, *, lost: bool) -> None:
        if self._probe is not None:
            self._probe[1].close()
            self._probe = None
            super().closed(PROBE, lost=lost)

    def _shut_down(self, node: Address) -> None:
        """End all connections to *node*; their owners close them."""
        for sock in self._sockets.pop(node, ()):
            with suppress(OSError):  # closed already, or never connected
                sock.shutdown(socket.SHUT_RDWR)


def backend_of(
    options: BackendOptions, counters: PoolCounters, clock: Callable[[], float] = trio.current_time
) -> RedisBackend:
    """Return the backend for *options*: leader-aware if they name seeds."""
    made = LeaderAwareBackend if options.seeds else RedisBackend
    return made(options, counters, clock)
