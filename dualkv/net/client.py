"""One client, as its commands know it: what it has set, where they go, how to ask the primary for it alone.

Ordinary commands do not come by here: its session sends them on the lane.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dualkv.core.context import Context
from dualkv.core.session import SessionState
from dualkv.errors import BackendUnavailable, ConnectionLost, LoginRefused
from dualkv.net.calls import Call
from dualkv.net.lane import Lane, LaneState
from dualkv.net.lease import Lease
from dualkv.resp import encode

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Client"]


class Client:
    """What a client's commands have in common.

    Args:
        writer: Where they go.
        state: What the client has set.
    """

    def __init__(self, writer: DualWriter, state: SessionState) -> None:
        self.writer = writer
        """Where commands go now: a change of the mode replaces it while nothing is under way."""
        self.state = state
        self.is_leaving = False
        """Whether nothing waits for it any more: it has gone, or is drained."""
        self.is_moving = False
        """Whether nothing waits now: its commands will go to another writer."""

    @property
    def lane(self) -> Lane:
        """The first lane: the one that tells who the primary is."""
        return self.writer.lane

    def require_lane(self) -> None:
        """Make sure that the primary can be asked.

        Raises:
            BackendUnavailable: It cannot be reached.
        """
        if self.lane.state is not LaneState.UP:
            raise BackendUnavailable("the primary cannot be reached")

    async def run(self, operation: Callable[[], Awaitable[bytes]]) -> bytes:
        """Carry out an operation; return the reply, or an error reply."""
        try:
            return await operation()
        except LoginRefused as refusal:
            reply: bytes = refusal.args[0]
            return reply
        except BackendUnavailable as error:
            return encode.error(f"ERR dualkv: {error}: nothing was executed")
        except ConnectionLost:
            self.writer.metrics.primary_outcomes_unknown += 1
            return encode.OUTCOME_UNKNOWN

    async def ask(self, wire: bytes) -> bytes:
        """Send a request of dualkv's own on a lane; return the reply.

        Raises:
            BackendUnavailable: The primary cannot be reached.
            ConnectionLost: The lane broke.
        """
        self.require_lane()
        call = Call()
        self.writer.lanes.submit(wire, call, self.writer.own_context)
        (reply,) = await call.wait()
        return reply

    async def call(
        self, lease: Lease, wire: bytes, reply_count: int = 1, context: Context | None = None
    ) -> list[bytes]:
        """Send requests on a lease; after any failure it is closed.

        Args:
            lease: Taken, and given back, by the caller.
            wire: The requests.
            reply_count: How many they are.
            context: Where they are executed; the client's if None.

        Raises:
            ConnectionLost: The connection broke, or no reply came in time.
            LoginRefused: The primary does not accept the client's user.
        """
        with self.writer.leases.in_time(lease):
            await lease.enter(context or self.state.context)
            return await lease.call(wire, reply_count)

    async def call_alone(self, wire: bytes) -> bytes:
        """Send a request on a connection of its own; return the reply. Raises as `call`."""
        lease = await self.writer.leases.take(self.state.context)
        (reply,) = await self.call(lease, wire)
        self.writer.leases.give_back(lease)
        return reply
