"""One client's place in the order: what it has outstanding on the lanes, and what is answered in between.

Replies of a lane come in the order of sending, and all that is outstanding is on one lane. A local answer
that follows commands in flight is hung onto the last of them as its trailer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dualkv.core.routing import Plan
from dualkv.core.session import SessionState
from dualkv.core.translator import NOT_ASKED
from dualkv.net.client_socket import ClientSocket
from dualkv.net.lane import Lane, LaneState
from dualkv.net.raised import RaisedBatch
from dualkv.net.waiting import AskingBatch, ClientBatch, TransactionBlock
from dualkv.resp import encode
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["ClientOrder"]


class ClientOrder:
    """Sends a client's commands on the lanes, and hands it all replies in order.

    Args:
        writer: Whose lanes they are, until `move_to`.
        state: What the client has set; `refresh` takes note of changes.
        socket: The client's.
        on_replied: Called behind each reply of the primary.
    """

    def __init__(
        self, writer: DualWriter, state: SessionState, socket: ClientSocket, on_replied: Callable[[], None]
    ) -> None:
        self._writer = writer
        self._lane = writer.lane
        self._lanes = writer.lanes
        self._at: Lane | None = self._lane
        """Where everything outstanding was sent, since replies have one order; None: it is held."""
        self._state = state
        self._context = state.context
        self._raises = False
        """Whether replies of the primary are raised to RESP3."""
        self._socket = socket
        self._on_replied = on_replied
        self.is_mute = False
        """Whether nothing is answered."""
        self.outstanding = 0
        """How many replies of the primary the client has not got yet."""
        self._last: ClientBatch | TransactionBlock | None = None
        self._corked: list[bytes] | None = None
        """Local answers that leave together, while requests of one read are executed."""

    def __repr__(self) -> str:
        return f"<ClientOrder outstanding={self.outstanding}>"

    def move_to(self, writer: DualWriter) -> None:
        """Send commands on the lanes of another writer from now on; nothing is outstanding."""
        self._writer = writer
        self._lane = self._at = writer.lane
        self._lanes = writer.lanes

    def refresh(self) -> None:
        """Take note of what the client has set."""
        self._context = self._state.context
        self._raises = self._state.is_raised

    # --- to the lanes

    def finds_lane(
        self, commands: Sequence[tuple[Plan, Request]], resume: Callable[[], None], *, is_behind: bool
    ) -> bool:
        """Return whether commands can be sent now, and remember where: all that is outstanding is there.

        Args:
            commands: Which.
            resume: Called when it is worth trying again, unless a reply is what they wait for.
            is_behind: They follow others that are about to be sent.
        """
        is_behind = is_behind or self.outstanding > 0
        lane = self._lanes.where(self._lanes.ordered_keys(commands), self._at if is_behind else None)
        if is_behind and (lane is None or lane is not self._at):
            return False
        if lane is not None and lane.is_congested:
            lane.when_uncongested(resume)
            return False
        self._at = lane
        return True

    def send(self, requests: list[Request], plans: list[Plan]) -> None:
        """Send ordinary commands to the primary."""
        if self._lane.state is not LaneState.UP:
            return self.answer(encode.PRIMARY_UNREACHABLE * len(requests))
        if self._corked:
            self._send_corked()
        writer, context = self._writer, self._context
        if writer.mirrors:
            if plans[0].is_set and plans.count(plans[0]) == len(plans):  # a bulk load, mostly
                writer.notes.note_keys(context.db, [request.args[1] for request in requests])
            else:
                writer.notes.note(context.db, plans, requests)
                if True in [plan.may_ask for plan in plans]:
                    return self._send_asking(requests, plans)
        if self._raises:
            return self._send_asking(requests, plans)
        batch = ClientBatch(writer, context, self, requests, plans)
        wire = requests[0].raw if len(requests) == 1 else b"".join([request.raw for request in requests])
        self.outstanding += len(requests)
        self._last = batch
        if self._lanes.is_single:
            self._lane.submit(wire, batch, context)
        else:
            self._submit(wire, batch, plans, requests)

    def _send_asking(self, requests: list[Request], plans: list[Plan]) -> None:
        """Send commands with what has to be asked directly behind some of them."""
        writer, context = self._writer, self._context
        asked = [NOT_ASKED] * len(requests)
        if (mirroring := writer.mirroring) is not None:
            both = zip(plans, requests, strict=True)
            asked = [mirroring.ask(plan, request, context) for plan, request in both]
        kind = RaisedBatch if self._raises else AskingBatch
        batch = kind(writer, context, self, requests, plans, asked)
        pieces: list[bytes] = []
        for request, one in zip(requests, asked, strict=True):
            pieces.append(request.raw)
            pieces += one.wires
        self.outstanding += len(requests)
        self._last = batch
        self._submit(b"".join(pieces), batch, plans, requests)

    def _submit(self, wire: bytes, batch: ClientBatch, plans: list[Plan], requests: list[Request]) -> None:
        keys = self._lanes.ordered_keys(zip(plans, requests, strict=True))
        self._lanes.submit(wire, batch, self._context, keys, self._at)

    def submit(
        self, wire: bytes, waiting: ClientBatch | TransactionBlock, commands: Sequence[tuple[Plan, Request]]
    ) -> None:
        """Send *commands* on the lane; the client gets one reply to them. The lane must be up."""
        if self._corked:
            self._send_corked()
        self.outstanding += 1
        self._last = waiting
        self._lanes.submit(wire, waiting, self._context, self._lanes.ordered_keys(commands), self._at)

    # --- to the client

    def answer(self, data: bytes) -> None:
        """Send a local answer, behind the replies to everything before it."""
        if self.is_mute:
            return
        if self._last is not None:
            self._last.trailer += data
        elif self._corked is not None:
            self._corked.append(data)
        else:
            self._socket.send(data)

    def cork(self) -> None:
        """Hold local answers back until `uncork`, so that they leave together."""
        self._corked = []

    def uncork(self) -> None:
        """Send what was held back, and hold back no more."""
        self._send_corked()
        self._corked = None

    def _send_corked(self) -> None:
        """Send the answers so far: a reply of the primary will follow."""
        if self._corked:
            data = b"".join(self._corked)
            self._corked.clear()
            self._socket.send(data)

    def replied(self, count: int, data: bytes) -> None:
        """Pass on replies of the primary (called from the lane, in order)."""
        self.outstanding -= count
        if not self.outstanding:
            self._last = None
        if not self.is_mute:
            self._socket.send(data)
        self._on_replied()
