"""A lane: one pipelined connection to the primary that many clients share.

The backend executes a lane's commands in the order we wrote them and answers in that order. So the replies
on the lane are the log of what the primary did: whoever waits for a reply is told at exactly that position.

Clients of both RESP versions share it: a ``HELLO`` between their commands switches the version. Commands
that leave in the same round are grouped by version, so there is at most one switch per round.

A lane is driven by the readiness hub: `Lane.submit` only appends, the bytes leave at the end of the hub's
round, replies are handed out as they arrive. `Lane.run` connects, watches, and connects again.
"""

from __future__ import annotations

import enum
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from dualkv.core.backoff import Backoff
from dualkv.core.context import Context, switches
from dualkv.core.identity import is_clear
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
from dualkv.net.backend import Backend
from dualkv.net.connection import Connection
from dualkv.net.hub import ReadinessHub
from dualkv.net.logins import Logins
from dualkv.net.transport import RECEIVE_BYTES, Greeting, receive_some, send_some
from dualkv.observe.metrics import PoolCounters
from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter, is_error

__all__ = ["Barrier", "Lane", "LaneState", "Waiting"]

_CONGESTED_BYTES: Final = 8 * 1024 * 1024
"""Unsent bytes from which on clients are not read."""
_JOINED_BYTES: Final = 256 * 1024
"""What is unsent leaves in one piece up to here; beyond, joining would copy large values again and again."""
_PING: Final = command("PING")
_LONG_READ_BYTES: Final = 256 * 1024
_CLOSED: Final = "closed"
_MOVED: Final = "another node leads now"
"""Reasons of our own to end a connection."""
_WATCHES_PER_TIMEOUT: Final = 4
_BEHIND_SECONDS: Final = 0.05
"""How often it is looked whether the lane is up that must be up first."""

_log = logging.getLogger("dualkv.lane")


class Waiting(Protocol):
    """Who waits on a lane. All calls come from the hub's round, in the order of the lane."""

    @property
    def missing(self) -> int:
        """Replies still to come; whoever implements this counts down in `on_replies`."""

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """The next of its replies, at most `missing` of them."""

    def on_lost(self) -> None:
        """The connection broke: the outcome of what is missing is unknown."""


class LaneState(enum.Enum):
    """Whether a lane can take commands."""

    CONNECTING = "connecting"
    """For the first time, or again after it was up: wait for the outcome."""
    UP = "up"
    DOWN = "down"
    """The newest attempt failed; it keeps trying."""
    CLOSED = "closed"


class _Switch:
    """Waits for the reply to a ``HELLO``, ``SELECT`` or ``AUTH`` of ours."""

    __slots__ = ("_answered", "missing")

    def __init__(self, answered: Callable[[bytes], None]) -> None:
        self._answered = answered
        self.missing = 1

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        self.missing = 0
        self._answered(frames[0])

    def on_lost(self) -> None:
        pass


class Barrier:
    """Tells when everything has been answered that was submitted before it.

    Args:
        passed: Called then.
        parts: How many pieces it has, each behind a part of what was submitted.
    """

    def __init__(self, passed: Callable[[], None], parts: int) -> None:
        self._passed = passed
        self._missing = parts

    def part(self) -> _Part:
        """Return what waits for the ``PING`` of one piece."""
        return _Part(self.arrive)

    def arrive(self) -> None:
        """One piece has been passed."""
        self._missing -= 1
        if not self._missing:
            self._passed()


class _Part:
    """Waits for a ``PING``, or for the loss of the connection: then nothing before it will be answered."""

    __slots__ = ("_arrived", "missing")

    def __init__(self, arrived: Callable[[], None]) -> None:
        self.missing = 1
        self._arrived = arrived

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        self.missing = 0
        self._arrived()

    def on_lost(self) -> None:
        self._arrived()


class Lane:
    """One shared connection.

    Args:
        backend: Where it leads.
        hub: Calls it when bytes arrive.
        counters: Where pending requests are counted.
        clock: Seconds, monotonic.
        introduction: Requests that are sent first on each new connection.
        on_connected: Called with the replies: the primary may be another one than before.
        before_sending: Called before the bytes of a round leave.
        behind: Another lane to the same backend: this one connects only while that one is up.
        on_lost: Called when the connection broke.
    """

    def __init__(
        self,
        backend: Backend,
        hub: ReadinessHub,
        counters: PoolCounters,
        clock: Callable[[], float],
        introduction: Sequence[bytes] = (),
        on_connected: Callable[[list[bytes]], None] = lambda _: None,
        before_sending: Callable[[], None] = lambda: None,
        behind: Lane | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_sending = before_sending
        self._behind = behind
        self._on_lost = on_lost
        self._introduction = introduction
        self._on_connected = on_connected
        self.state = LaneState.CONNECTING
        self.greeting = Greeting({})
        self._backend = backend
        self._hub = hub
        self._counters = counters
        self._clock = clock
        self._sock: socket.socket | None = None
        self._splitter = ReplySplitter()
        self._waiting: deque[Waiting] = deque()
        self._start_context = Context(db=backend.options.db)
        self._context = self._start_context  # behind everything that was submitted
        self._other_contexts: dict[Context, list[tuple[bytes, Waiting]]] = {}
        self._logging_in: Context | None = None
        """Whose user the primary is asked to accept; nothing is sent before it has answered."""
        self.logins: Logins = Logins(backend.options) if behind is None else behind.logins
        self.dbs: set[int] = {backend.options.db} if behind is None else behind.dbs
        """Databases that are known to exist: a shared connection must not fail to select one."""
        self.submissions = 0
        """How often something has been submitted."""
        self._unsent: list[bytes | memoryview] = []
        self._unsent_bytes = 0
        self.is_open = False
        """Whether it takes commands without a second thought: it is up and not congested."""
        self._flush_is_due = False
        self._has_write_interest = False
        self._when_uncongested: list[Callable[[], None]] = []
        self._receive_bytes = RECEIVE_BYTES
        self._last_progress = 0.0
        self.answered = 0
        """How many replies have come so far: positions are counted so."""
        self._has_served = False  # whether this connection has answered anything
        self._broken = trio.Event()
        self._settled = trio.Event()
        self._why = ""

    def __repr__(self) -> str:
        return f"<Lane {self._backend.name} {self.state.value} waiting={len(self._waiting)}>"

    # --- for those who send

    def submit(self, wire: bytes, waiting: Waiting, context: Context) -> None:
        """Send *wire*, whose replies go to *waiting*. The lane must be `LaneState.UP`.

        A client that changes its context must have no reply outstanding: within a round, commands of
        another context may be overtaken.
        """
        self.submissions += 1
        if context != self._context or self._logging_in:
            if context.protocol not in self.greeting.protocols or context.db not in self.dbs:
                return waiting.on_lost()  # the primary is another one than it was
            self._other_contexts.setdefault(context, []).append((wire, waiting))
        else:
            self._append(wire, waiting)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._hub.at_end_of_round(self._flush)

    def submit_barrier(self, passed: Callable[[], None]) -> None:
        """Call *passed* once all replies to what has been submitted so far have been seen, or are lost."""
        if self.is_idle or self._sock is None:
            return passed()
        # What waits for its context to be entered leaves behind what is sent now: each group has a part.
        barrier = Barrier(passed, 1 + len(self._other_contexts))
        self._append(_PING, barrier.part())
        for submitted in self._other_contexts.values():
            submitted.append((_PING, barrier.part()))
        if not self._flush_is_due:
            self._flush_is_due = True
            self._hub.at_end_of_round(self._flush)

    def _append(self, wire: bytes, waiting: Waiting) -> None:
        if not self._waiting:
            self._last_progress = self._clock()
        self._waiting.append(waiting)
        self._counters.pending_requests += waiting.missing
        self._unsent.append(wire)
        self._unsent_bytes += len(wire)

    def _switch_contexts(self) -> None:
        for context in sorted(self._other_contexts, key=lambda context: context.user != self._context.user):
            if context.user != self._context.user:
                self._logging_in = context
                self._append(self.logins.request(context.user), _Switch(self._on_login))
                return
            for request in switches(self._context, context):
                self._append(request, _Switch(self._on_switched))
            self._context = context
            for wire, waiting in self._other_contexts.pop(context):
                self._append(wire, waiting)

    def _on_switched(self, reply: bytes) -> None:
        if is_error(reply):
            raise ReplyProtocolError("the primary refused to switch the RESP version or the database")

    def _on_login(self, reply: bytes) -> None:
        context, self._logging_in = self._logging_in, None
        assert context is not None
        if is_error(reply):  # the user is another one than it was: nothing is executed
            for _, waiting in self._other_contexts.pop(context):
                waiting.on_replies([reply] * waiting.missing, self._clock())
        else:
            self._context = self._context._replace(user=context.user)
        if self._other_contexts and not self._flush_is_due:
            self._flush_is_due = True
            self._hub.at_end_of_round(self._flush)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply."""
        return not (self._waiting or self._other_contexts)

    @property
    def is_congested(self) -> bool:
        """Whether so much is unsent that clients should wait."""
        return self._unsent_bytes > _CONGESTED_BYTES

    def when_uncongested(self, resume: Callable[[], None]) -> None:
        """Call *resume* once when there is room again (or the lane is lost)."""
        self._when_uncongested.append(resume)

    async def wait_settled(self) -> LaneState:
        """Wait until an attempt to connect has ended; return the state."""
        await self._settled.wait()
        return self.state

    # --- the connection's life

    async def run(self) -> None:
        """Connect, and connect again when the connection is lost, until cancelled or refused."""
        backoff = Backoff()
        self._backend.when_moved.append(self.retire)
        try:
            while True:
                await self._wait_behind()
                try:
                    sock, self.greeting = await self._backend.open("lane")
                    introduced = await self._introduce(sock)
                except BackendUnavailable as error:
                    self._settle(LaneState.DOWN, str(error))
                    await trio.sleep(backoff.next_wait_seconds())
                    continue
                self._start(sock, introduced)
                await self._watch()
                self._tell(logging.WARNING, "lane lost", why=self._why)
                if self._has_served or self._why == _MOVED:
                    backoff.reset()
                else:  # somebody who says hello and hangs up: do not knock without a pause
                    await trio.sleep(backoff.next_wait_seconds())
        finally:
            self._backend.when_moved.remove(self.retire)
            if self._sock is not None:
                self._break(_CLOSED)
            self._settle(LaneState.CLOSED, "closed")

    async def _wait_behind(self) -> None:
        """Return when the lane is up that must be up first."""
        while self._behind is not None and await self._behind.wait_settled() is not LaneState.UP:  # noqa: ASYNC110
            await trio.sleep(_BEHIND_SECONDS)  # while it is down, nothing tells when it is up

    def _tell(self, level: int, message: str, **facts: object) -> None:
        """Log what happens to the lane; what happens to one of many is a detail."""
        level = level if self._behind is None else logging.DEBUG
        _log.log(level, message, extra={"backend": self._backend.name, **facts})

    async def _introduce(self, sock: socket.socket) -> list[bytes]:
        """Return what a new connection answers to the introduction.

        Each database that clients use is selected, too: the server may have fewer than before it went away.
        """
        own = self._start_context.db
        others = sorted(self.dbs - {own})
        selects = [command("SELECT", db) for db in [*others, own]] if others else []
        requests = [*self._introduction, *selects]
        if not requests:
            return []
        try:
            with trio.fail_after(self._backend.options.dial_timeout_seconds):
                replies = await Connection(sock, self.greeting).exchange(b"".join(requests), len(requests))
            if self._introduction and not is_clear(replies[: len(self._introduction)]):
                raise ConnectionLost("the introduction was not answered")
        except (ConnectionLost, ReplyProtocolError, trio.TooSlowError) as error:
            sock.close()
            self._backend.closed("lane", lost=True)
            raise BackendUnavailable(str(error)) from None
        except BaseException:
            sock.close()
            self._backend.closed("lane", lost=False)
            raise
        count = len(self._introduction)
        of_others = zip(others, replies[count:], strict=False)
        self.dbs -= {db for db, reply in of_others if is_error(reply)}
        return replies[:count]

    def _start(self, sock: socket.socket, introduced: list[bytes]) -> None:
        self._sock = sock
        self._splitter = ReplySplitter()
        self._context = self._start_context
        self._has_served = False
        self._broken = trio.Event()
        self._hub.register(sock, self)
        self._on_connected(introduced)
        self._settle(LaneState.UP, "")
        if not self._backend.is_current(self.greeting):
            self.retire()

    def retire(self) -> None:
        """Commands go to another node: take no more, and connect there once all has been answered."""
        if self.state is not LaneState.UP:
            return
        self.state = LaneState.CONNECTING
        self.is_open = False
        self._settled = trio.Event()
        if self.is_idle:
            self._break(_MOVED)

    def _settle(self, state: LaneState, why: str) -> None:
        if state is LaneState.DOWN and self.state is not LaneState.DOWN:
            self._tell(logging.WARNING, "primary unreachable", why=why)
        elif state is LaneState.UP:
            self._tell(logging.INFO, "lane up")
        self.state = state
        self.is_open = state is LaneState.UP
        self._settled.set()

    async def _watch(self) -> None:
        """Return when the connection is lost; give it up when a reply is overdue."""
        timeout = self._backend.options.read_timeout_seconds
        while not self._broken.is_set():
            with trio.move_on_after(timeout / _WATCHES_PER_TIMEOUT):
                await self._broken.wait()
                return
            if self._waiting and self._clock() - self._last_progress > timeout:
                self._break(f"no reply for {timeout:g} s")

    def _break(self, why: str) -> None:
        """Close the connection and tell everybody who waits. Idempotent."""
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        self._why = why
        self._hub.unregister(sock)
        sock.close()
        is_lost = why not in (_CLOSED, _MOVED)
        self._backend.closed("lane", lost=is_lost)
        if is_lost:
            self._on_lost()
        self.state = LaneState.CONNECTING
        self.is_open = False
        if self._settled.is_set():
            self._settled = trio.Event()
        self._unsent.clear()
        self._unsent_bytes = 0
        self._flush_is_due = False
        self._has_write_interest = False
        waiting, self._waiting = self._waiting, deque()
        self._counters.pending_requests -= sum(one.missing for one in waiting)
        for submitted in self._other_contexts.values():
            waiting.extend(one for _, one in submitted)
        self._other_contexts = {}
        self._logging_in = None
        for one in waiting:
            one.on_lost()
        self._broken.set()
        self._resume_senders()

    # --- called by the hub

    def on_readable(self) -> None:
        """Hand out the replies that have arrived."""
        if self._sock is None:
            return None
        try:
            data = receive_some(self._sock, self._receive_bytes)
            if data is None:
                return None
            if data == b"":
                return self._break("the primary closed the connection")
            # A read that stops inside a reply costs more than a long one.
            self._receive_bytes = _LONG_READ_BYTES if len(data) >= RECEIVE_BYTES else RECEIVE_BYTES
            frames = self._splitter.feed(data)
        except OSError as error:
            return self._break(str(error))
        except ReplyProtocolError as error:
            return self._break(f"not RESP: {error}")
        if not frames:
            self._last_progress = self._clock()
            return None
        self._last_progress = now = self._clock()
        self._has_served = True
        waiting = self._waiting
        total = len(frames)
        self.answered += total
        position = 0
        while position < total:
            if not waiting:
                return self._break("a reply that nobody asked for")
            one = waiting[0]
            count = min(one.missing, total - position)
            one.on_replies(frames[position : position + count], now)
            self._counters.pending_requests -= count
            position += count
            if not one.missing:
                waiting.popleft()
        if self.state is not LaneState.UP and self.is_idle:
            self._break(_MOVED)

    def on_writable(self) -> None:
        """Send more of what did not fit."""
        self._flush()

    def on_failure(self, error: Exception) -> None:
        """A bug of ours in handing out replies: the lane cannot be trusted any more."""
        _log.error("lane failed", exc_info=error)
        self._break(f"internal error: {error!r}")

    def _flush(self) -> None:
        """Send what there is room for; ask the hub to call again if that is not all."""
        self._flush_is_due = False
        if self._other_contexts and self._logging_in is None:
            self._switch_contexts()
        sock, unsent = self._sock, self._unsent
        if sock is None or not unsent:
            return None
        self._before_sending()
        try:
            while unsent:
                data = unsent[0]
                if len(unsent) > 1 and self._unsent_bytes <= _JOINED_BYTES:
                    data = b"".join(unsent)
                    unsent[:] = [data]
                sent = send_some(sock, data)
                self._unsent_bytes -= sent
                if sent < len(data):
                    unsent[0] = memoryview(data)[sent:]
                    break
                del unsent[0]
        except OSError as error:
            return self._break(str(error))
        if bool(unsent) != self._has_write_interest:
            self._has_write_interest = bool(unsent)
            self._hub.set_interest(sock, read=True, write=self._has_write_interest)
        self._flush_is_due = self._has_write_interest  # then the hub calls
        self.is_open = self.state is LaneState.UP and not self.is_congested
        if self._when_uncongested and self._unsent_bytes < _CONGESTED_BYTES // 2:
            self._resume_senders()

    def _resume_senders(self) -> None:
        resumes, self._when_uncongested = self._when_uncongested, []
        for resume in resumes:
            resume()
