"""Connections to the primary that one client has for itself, for a while: WATCH, blocking commands.

They are given back and used again, never opened for one transaction each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from dualkv.core.context import Context, switches
from dualkv.errors import ConnectionLost, LoginRefused, ReplyProtocolError
from dualkv.net.backend import Backend
from dualkv.net.connection import Connection
from dualkv.net.logins import Logins
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error, value_of

__all__ = ["Lease", "LeasePool"]

_MAX_IDLE: Final = 32
_UNWATCH: Final = command("UNWATCH")


@attrs.define(eq=False)
class Lease:
    """A connection that one client has; end it with `LeasePool.give_back` or `LeasePool.close`."""

    connection: Connection
    context: Context
    logins: Logins
    has_watch: bool = False
    """Keys are watched on it."""

    @property
    def backend_client_id(self) -> int:
        """The id that the backend knows the connection by; 0 if it does not tell."""
        hello = self.connection.greeting.hello.get(2, {})
        found = value_of(hello["id"]) if "id" in hello else 0
        return found if isinstance(found, int) else 0

    async def call(self, wire: bytes, reply_count: int = 1) -> list[bytes]:
        """Send requests and return their raw replies. After any exception the connection is of no use.

        Raises:
            ConnectionLost: It broke: the outcome is unknown.
        """
        try:
            return await self.connection.exchange(wire, reply_count)
        except ReplyProtocolError as error:
            raise ConnectionLost(str(error)) from None

    async def enter(self, context: Context) -> None:
        """Switch to another context. After any exception the connection is of no use.

        Raises:
            ConnectionLost: It broke, or the server does not have what is asked for; nothing was executed.
            LoginRefused: The user is another one than it was.
        """
        if context.user != self.context.user:
            (reply,) = await self.call(self.logins.request(context.user))
            if is_error(reply):
                raise LoginRefused(reply)
            self.context = self.context._replace(user=context.user)
        requests = switches(self.context, context)
        if requests:
            self.context = context
            if any(map(is_error, await self.call(b"".join(requests), len(requests)))):
                raise ConnectionLost("the primary refused to switch the RESP version or the database")

    async def forget_watch(self) -> None:
        """Watch nothing any more. After any exception the connection is of no use."""
        if self.has_watch:
            self.has_watch = False
            await self.call(_UNWATCH)


class LeasePool:
    """Leased connections, those in use and those that wait for the next client.

    Args:
        backend: Where they lead; its budget bounds them.
        logins: The users' passwords.
    """

    def __init__(self, backend: Backend, logins: Logins) -> None:
        self._backend = backend
        self._logins = logins
        self._idle: deque[Lease] = deque()
        self._counter = trio.Lock()

    async def take(self, context: Context) -> Lease:
        """Return a connection in *context*, in the order of asking: who came first is served first.

        Raises:
            PoolExhausted: The budget is spent.
            BackendUnavailable: The backend cannot be reached.
            ConnectionLost: The connection broke; nothing was executed.
        """
        async with self._counter:
            lease = self._take_idle() or await self._open()
            with self.in_time(lease):
                await lease.forget_watch()
                await lease.enter(context)
            return lease

    @contextmanager
    def in_time(self, lease: Lease) -> Iterator[None]:
        """Let what is said on a lease take as long as a reply may; after any failure it is closed.

        Raises:
            ConnectionLost: No reply came in time.
        """
        try:
            with trio.fail_after(self._backend.options.read_timeout_seconds):
                yield
        except trio.TooSlowError:
            self.close(lease, lost=True)
            raise ConnectionLost("no reply from the primary") from None
        except BaseException:
            self.close(lease, lost=True)
            raise

    def _take_idle(self) -> Lease | None:
        while self._idle:
            lease = self._idle.pop()
            is_current = self._backend.is_current(lease.connection.greeting)
            if is_current and not lease.connection.is_stale():
                self._backend.changed_use("idle", "leased")
                return lease
            lease.connection.close()
            self._backend.closed("idle", lost=is_current)
        return None

    async def _open(self) -> Lease:
        sock, greeting = await self._backend.open("leased")
        return Lease(Connection(sock, greeting), Context(db=self._backend.options.db), self._logins)

    def give_back(self, lease: Lease) -> None:
        """Take back a connection that is as good as new, but for its context and watched keys."""
        is_current = self._backend.is_current(lease.connection.greeting)
        if len(self._idle) >= _MAX_IDLE or not is_current:
            return self.close(lease, lost=False)
        self._backend.changed_use("leased", "idle")
        self._idle.append(lease)

    def close(self, lease: Lease, *, lost: bool) -> None:
        """Close a connection that a reply may be missing on."""
        lease.connection.close()
        self._backend.closed("leased", lost=lost)

    def close_idle(self) -> None:
        """Close all that nobody uses."""
        while self._idle:
            self._idle.pop().connection.close()
            self._backend.closed("idle", lost=False)
