"""One client: its socket, its place in the order, its back-pressure.

The readiness hub calls `on_readable` and `on_writable`; ordinary commands go from there to the lane, and
replies come back through `replied`, without a task switch. The session's task (`run`) owns the life of the
connection: it waits for what cannot be done at once, and closes politely.

Order: replies of the lane come in the order of sending. A local answer that follows commands in flight is
hung onto the last of them as its trailer. What must not overlap with commands in flight (a change of the
RESP version, a lane that is not up) holds the client's further requests back until nothing is outstanding.

Back-pressure: beyond a number of outstanding commands, or while the lane is congested or the client does
not read its replies, the client is not read. A client that leaves too many bytes of replies unread is
disconnected.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

import trio

from dualkv.commands.keys import keys_of
from dualkv.core.routing import ON_LANES, ORDINARY, Plan, Route, plan_of
from dualkv.core.session import Replies, SessionState
from dualkv.core.subscriptions import Kind, push
from dualkv.core.transaction import whole_transaction
from dualkv.core.translator import NOT_ASKED
from dualkv.errors import RequestProtocolError
from dualkv.net.blocking_commands import BlockingCommands
from dualkv.net.client import Client
from dualkv.net.lane import Lane, LaneState
from dualkv.net.raised import RaisedBatch
from dualkv.net.special import SpecialCommands
from dualkv.net.transport import RECEIVE_BYTES, address_of, receive_some, send_some
from dualkv.net.waiting import AskingBatch, ClientBatch, TransactionBlock
from dualkv.net.writer import DualWriter
from dualkv.resp import encode
from dualkv.resp.requests import Request, RequestParser

__all__ = ["ClientSession"]

_POLITE_CLOSE_SECONDS: Final = 1.0
_SLOW_READER_BYTES: Final = 64 * 1024
"""Unread replies from which on a client is not read."""


class ClientSession:
    """One client's connection.

    Args:
        sock: Accepted, non-blocking; `run` closes it.
        writer: Where commands go.
        client_id: As ``CLIENT ID`` says.
        address: Whose connection it is, if a load balancer has told; else the socket is asked.
    """

    def __init__(
        self, sock: socket.socket, writer: DualWriter, client_id: int, address: bytes | None = None
    ) -> None:
        db = writer.primary.options.db
        self.state = SessionState(
            client_id,
            db,
            first_db=db,
            user=writer.users.initial(),
            address=address or address_of(sock.getpeername, sock.getsockname),
            local_address=address_of(sock.getsockname),
            connected_at=writer.clock(),
        )
        self.client = Client(writer, self.state)
        self.blocking = BlockingCommands(self.client)
        self._special = SpecialCommands(self)
        self._sock = sock
        self._writer = writer
        self._lane = writer.lane
        self._lanes = writer.lanes
        self._at: Lane | None = self._lane
        """Where everything outstanding was sent, since replies have one order; None: it is held."""
        self._fence = writer.fence
        self._hub = writer.hub
        self._parser = RequestParser()
        self._context = self.state.context
        self._is_plain = self.state.is_plain
        """Whether ordinary commands need no second look; `_refresh` keeps this."""
        self._raises = False
        """Whether replies of the primary are raised to RESP3; `_refresh` keeps this, too."""
        self._is_mute = False
        self._is_paused = False
        self._operation: Callable[[], Awaitable[bytes]] | None = None
        self._held_back: list[Request] = []
        self._outstanding = 0
        self._max_outstanding = writer.config.client_outstanding
        self._last: ClientBatch | TransactionBlock | None = None
        self._incomplete_bytes = 0
        """What has been read since the last whole request."""
        self._corked: list[bytes] | None = None
        """Local answers that leave together, while requests of one read are executed."""
        self._unsent: list[bytes | memoryview] = []
        self._unsent_bytes = 0
        self._interest = (True, False)
        self._has_ended = False  # the client has closed its side, has quit, or its bytes are not RESP
        self._is_aborted = False
        self._has_said_last_words = False
        self._error: Exception | None = None
        self._wants_lane = False
        self.was_active = True
        """Whether it has been heard since somebody has cleared this."""
        self._wakeup = trio.Event()

    def __repr__(self) -> str:
        return f"<ClientSession {self.state.client_id} outstanding={self._outstanding}>"

    # --- life

    async def run(self) -> None:
        """Serve the client until it leaves, quits, misbehaves or is drained; close the socket."""
        self._hub.register(self._sock, self)
        self._writer.clients[self.state.client_id] = self
        try:
            while not self._is_finished():
                await self._wakeup.wait()
                self._wakeup = trio.Event()
                if self._error is not None:
                    raise self._error
                if self._wants_lane:
                    await self._writer.wait_lane()
                    self._wants_lane = False
                    self._resume()
                if self._operation is not None:
                    await self._carry_out(self._operation)
        finally:
            del self._writer.clients[self.state.client_id]
            self._hub.unregister(self._sock)
            is_aborted, self._is_aborted = self._is_aborted, True
            self._special.close()
            try:
                if not is_aborted:
                    with trio.move_on_after(_POLITE_CLOSE_SECONDS, shield=True):
                        await self._close_politely()
            finally:
                self._sock.close()

    async def _carry_out(self, operation: Callable[[], Awaitable[bytes]]) -> None:
        """Wait for an operation, answer, and go on with what has been held back."""
        reply = await self.client.run(operation)
        self._operation = None
        if reply and not self._is_aborted:
            self.answer(reply)
        self._settle_replies()
        self._refresh()
        self._resume()

    def drain(self) -> None:
        """Answer what has been sent so far, then close. Who waits for an element gets an error."""
        self.blocking.drain()
        if self.state.subscriptions:
            self.abort("drained")
        try:
            self._sock.shutdown(socket.SHUT_RD)  # the kernel still hands out what it has
        except OSError:
            self.abort("gone")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is going on, and it does not wait for messages or elements."""
        is_busy = self._outstanding or self._held_back or self._unsent or self._operation
        return not (is_busy or self.state.subscriptions)

    def _is_finished(self) -> bool:
        """Whether nothing is left to be read, executed or sent."""
        if self._is_aborted:
            return True
        is_done = not (self._outstanding or self._held_back or self._unsent or self._operation)
        return self._has_ended and is_done

    async def _close_politely(self) -> None:
        """Say goodbye and read what still comes: closing with unread input would reset the connection."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                if receive_some(self._sock) == b"":
                    return
        except OSError:
            return

    def abort(self, reason: str) -> None:
        """Close without another word."""
        if not self._is_aborted:
            self._is_aborted = True
            self._writer.metrics.client_disconnects[reason] += 1
            self.blocking.leave()
            self._wakeup.set()

    # --- from the client

    def on_readable(self) -> None:
        """Take what the client has sent."""
        if self._is_aborted:
            return None
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return self.abort("gone")
        self.was_active = True
        if data:
            requests = self._parser.feed(data)
            if not requests:
                self._incomplete_bytes += len(data)
                if self._incomplete_bytes > self._writer.config.client_request_bytes:
                    return self.abort("request limit")
            else:
                self._incomplete_bytes = 0
            if self._held_back:
                self._held_back += requests
            elif requests:
                self._execute(requests)
                if self._held_back and not self._outstanding:
                    self._resume()  # all were answered here: no reply will call
            if self._operation is not None:
                self._update_interest()
        if not data or self._parser.has_failed:
            if self._operation is not None:
                self.blocking.leave()
            self.end_input()

    def on_failure(self, error: Exception) -> None:
        """A bug of ours in serving this client: end it, and let the session's boundary report it."""
        self._error = error
        self.abort("internal error")

    def end_input(self) -> None:
        """Read nothing more; close when everything so far is answered."""
        self._has_ended = True
        self._update_interest()
        if not self._held_back:
            self._say_last_words()

    def _say_last_words(self) -> None:
        """Answer a protocol error, behind everything else."""
        if self._parser.has_failed and not self.state.has_quit and not self._has_said_last_words:
            self._has_said_last_words = True
            try:
                self._parser.feed(b"")
            except RequestProtocolError as error:
                self.answer(encode.error(str(error)))
        self._wakeup.set()

    # --- while the mode changes

    def pause(self) -> None:
        """Execute nothing more for now: what the client sends is held back. `resume` ends it."""
        self._is_paused = True
        self._is_plain = False
        self.blocking.interrupt()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of the client is under way."""
        return not self._outstanding and self._operation is None

    def move_to(self, writer: DualWriter) -> None:
        """Send commands to another writer from now on. The session is paused, and quiet."""
        state, before = self.state, self._writer
        self._special.lose_watch()
        self.client.writer = writer
        if before.clients.pop(state.client_id, None) is not None:
            writer.clients[state.client_id] = self
        first_db = writer.primary.options.db
        if state.db == state.first_db:
            state.db = first_db
        state.first_db = first_db
        self._writer, self._fence = writer, writer.fence
        self._lane = self._at = writer.lane
        self._lanes = writer.lanes
        self.primary_connected()

    def resume(self) -> None:
        """Go on."""
        self._is_paused = False
        self.blocking.stay()
        self._refresh()
        self._resume()

    def primary_connected(self) -> None:
        """Take note that the primary may be another one than before, which speaks other versions of RESP."""
        self.state.is_raised = self.state.protocol not in self._lane.greeting.protocols
        self._refresh()

    # --- executing

    def _execute(self, requests: list[Request]) -> int:
        """Execute requests in order as far as that is possible now, hold back the others.

        Returns:
            How many were executed.
        """
        is_open = self._lane.is_open and self._lanes.is_single and not self._writer.is_choosy
        if self._is_plain and is_open and not self._unsent and not self._fence.is_up:
            limit = self._max_outstanding - self._outstanding  # until `replied`
            if len(requests) <= limit:
                ordinary = [ORDINARY.get(request.args[0]) for request in requests]
                if None not in ordinary:
                    self.send(requests, cast("list[Plan]", ordinary))
                    return len(requests)
                if not self._special.is_watching and (transaction := whole_transaction(requests, ordinary)):
                    wire = b"".join([request.raw for request in requests])
                    self._special.execute_whole(transaction, wire)
                    return len(requests)
        else:
            limit = self._limit_now()
        self._corked = []
        try:
            return self._execute_each(requests, limit)
        finally:
            corked, self._corked = self._corked, None
            if corked:
                self._send(b"".join(corked))

    def _execute_each(self, requests: list[Request], limit: int) -> int:
        """Do what `_execute` does, one request after the other."""
        run: list[Request] = []
        plans: list[Plan] = []
        done = 0
        for request in requests:
            if done >= limit:
                break
            plan = self._plan_of(request)
            if not self._lanes.is_single:
                if not self._finds_lane(request, plan, is_behind=bool(run)):
                    break
            elif self._fence.is_up and self._is_fenced(request, plan):
                break
            if self._is_plain and plan.route is Route.LANE and not self._is_looked_at(plan):
                run.append(request)
                plans.append(plan)
            else:
                if run:
                    self.send(run, plans)
                    run, plans = [], []
                if not self._execute_special(request, plan):
                    break
                if self._has_ended:  # QUIT: what follows is not executed
                    return len(requests)
                if self._operation is not None or self._skips_one:
                    limit = 0
            done += 1
        if run:
            self.send(run, plans)
        if done < len(requests):
            self._held_back += requests[done:]
            self._update_interest()
        return done

    def _plan_of(self, request: Request) -> Plan:
        plan = plan_of(request.args)
        if plan.route is Route.UNKNOWN:
            return self._writer.vocabulary.plan(request.args[0]) or plan
        return plan

    def _is_looked_at(self, plan: Plan) -> bool:
        """Whether a command's arguments decide if the primary may get it."""
        return plan.spec.kind == "script" and self._writer.is_choosy

    def _is_fenced(self, request: Request, plan: Plan) -> bool:
        """Return whether a command has to wait for a transaction on another connection."""
        transaction = self.state.transaction
        if transaction is not None:
            if plan.spec.name != "EXEC":
                return False
            keys = transaction.keys()
        else:
            keys = keys_of(plan.spec, request.args)
        if not self._fence.blocks(keys):
            return False
        self._fence.when_free(keys, self._resume)
        return True

    def _finds_lane(self, request: Request, plan: Plan, *, is_behind: bool) -> bool:
        """Return whether a command can be executed now, and remember where: all that is outstanding is there.

        Args:
            request: The command.
            plan: Its plan.
            is_behind: It follows others that are about to be sent.
        """
        transaction = self.state.transaction
        if plan.route in ON_LANES and transaction is None:
            commands = [(plan, request)]
        elif transaction is not None and plan.spec.name == "EXEC":
            commands = transaction.queued
        else:
            return True  # it is answered here, or waits until nothing is outstanding
        is_behind = is_behind or self._outstanding > 0
        lane = self._lanes.where(self._lanes.ordered_keys(commands), self._at if is_behind else None)
        if is_behind and (lane is None or lane is not self._at):
            return False
        if lane is not None and lane.is_congested:
            lane.when_uncongested(self._resume)
            return False
        self._at = lane
        return True

    def _execute_special(self, request: Request, plan: Plan) -> bool:
        """Execute a command that needs a second look; False if it has to wait."""
        if self.state.replies is Replies.SKIP:
            if self._outstanding:
                return False
            self._is_mute = True
            self.state.replies = Replies.ON
        if not self._special.execute(request, plan):
            return False
        self._settle_replies()
        self._refresh()
        return True

    @property
    def _skips_one(self) -> bool:
        """Whether a command is being executed that is not to be answered, though the next one is."""
        return self._is_mute and self.state.replies is not Replies.OFF

    def _settle_replies(self) -> None:
        """Be as mute as ``CLIENT REPLY`` wants, once what was not to be answered is over."""
        if self.state.replies is Replies.OFF:
            self._is_mute = True
        elif not self._outstanding and self._operation is None:
            self._is_mute = False

    def _refresh(self) -> None:
        """Take note of what a command has changed."""
        self._context = self.state.context
        self._raises = self.state.is_raised
        self._is_plain = (
            self.state.is_plain
            and not (self._is_mute or self._is_paused or self.is_elsewhere)
            and self._operation is None
        )

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is in a database that the primary, which has become another one, does not have apart."""
        return self._writer.select_refusal(self.state.db) is not None

    def _limit_now(self) -> int:
        """Return how many commands may be executed now; if none, somebody will call `_resume`."""
        lane = self._lane
        if self._operation is not None or self._skips_one or self._is_paused:
            return 0
        if lane.state is LaneState.CONNECTING:
            self._wants_lane = True
            self._wakeup.set()
            return 0
        if lane.is_congested:
            lane.when_uncongested(self._resume)
            return 0
        if self._unsent_bytes > _SLOW_READER_BYTES:
            return 0  # until `on_writable`
        return self._max_outstanding - self._outstanding

    def _resume(self) -> None:
        """Go on with what was held back, as far as it goes now."""
        while self._held_back and not self._is_aborted:
            requests, self._held_back = self._held_back, []
            if not self._execute(requests):
                return
        self._update_interest()
        if self._has_ended:
            self._say_last_words()

    # --- for those who execute

    def send(self, requests: list[Request], plans: list[Plan]) -> None:
        """Send ordinary commands to the primary."""
        if self._lane.state is not LaneState.UP:
            return self.answer(encode.PRIMARY_UNREACHABLE * len(requests))
        if self._corked:
            self._uncork()
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
        self._outstanding += len(requests)
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
        self._outstanding += len(requests)
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
            self._uncork()
        self._outstanding += 1
        self._last = waiting
        self._lanes.submit(wire, waiting, self._context, self._lanes.ordered_keys(commands), self._at)

    @property
    def has_outstanding(self) -> bool:
        """Whether a reply to the client is missing."""
        return self._outstanding > 0

    def begin(self, operation: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Let the session's task carry out an operation; what comes meanwhile is held back.

        Returns:
            Empty: what it returns will be answered. None: it has to wait until nothing is outstanding.
        """
        if self._outstanding:
            return None
        self._operation = operation
        self._wakeup.set()
        return b""

    def unmute(self) -> None:
        """Answer again, whatever was said before."""
        self._is_mute = False

    def put_back(self, request: Request) -> None:
        """Execute a request after all, before everything that is held back."""
        self._held_back.insert(0, request)

    # --- to the client

    def answer(self, data: bytes) -> None:
        """Send a local answer, behind the replies to everything before it."""
        if self._is_mute:
            return
        if self._last is not None:
            self._last.trailer += data
        elif self._corked is not None:
            self._corked.append(data)
        else:
            self._send(data)

    def _uncork(self) -> None:
        """Send the answers so far: a reply of the primary will follow."""
        if self._corked:
            data = b"".join(self._corked)
            self._corked.clear()
            self._send(data)

    def replied(self, count: int, data: bytes) -> None:
        """Pass on replies of the primary (called from the lane, in order)."""
        self._outstanding -= count
        if not self._outstanding:
            self._last = None
        if self._is_aborted:
            return
        if not self._is_mute:
            self._send(data)
        elif not self._outstanding:
            self._settle_replies()
            self._refresh()
        if self._held_back:
            if self._outstanding <= self._max_outstanding // 2:
                self._resume()
        elif self._has_ended and not self._outstanding:
            self._wakeup.set()

    def subscribed(self, kind: Kind, name: bytes) -> bytes:
        """Take note of a subscription; return its confirmation, as RESP2 writes it."""
        return self.state.subscriptions.subscribe(kind, name)

    def deliver(self, messages: list[bytes]) -> None:
        """Pass on messages of channels, as RESP2 writes them."""
        if not self._is_aborted:
            protocol = self.state.protocol
            self._send(b"".join([push(message, protocol) for message in messages]))

    def _send(self, data: bytes) -> None:
        if self._unsent:
            if self._unsent_bytes > self._writer.config.client_output_bytes:
                return self.abort("output limit")
            self._unsent.append(data)
            self._unsent_bytes += len(data)
            return None
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self.abort("gone")
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])
            self._unsent_bytes = len(data) - sent
            self._update_interest()

    def on_writable(self) -> None:
        """Send more of what did not fit."""
        if self._is_aborted:
            return None
        try:
            while self._unsent:
                data = self._unsent[0]
                sent = send_some(self._sock, data)
                self._unsent_bytes -= sent
                if sent < len(data):
                    self._unsent[0] = memoryview(data)[sent:]
                    break
                del self._unsent[0]
        except OSError:
            return self.abort("gone")
        if self._held_back and self._unsent_bytes <= _SLOW_READER_BYTES:
            self._resume()
        self._update_interest()
        if self._has_ended and not self._unsent:
            self._wakeup.set()

    def _update_interest(self) -> None:
        """Tell the hub what to wait for: nothing more to read while something is held back."""
        if self._is_aborted:
            return
        # While an operation waits, somebody must notice that the client leaves.
        held_back = len(self._held_back) > self._max_outstanding if self._operation else self._held_back
        reads = not (self._has_ended or held_back or self._unsent_bytes > _SLOW_READER_BYTES)
        interest = (reads, bool(self._unsent))
        if interest != self._interest:
            self._interest = interest
            self._hub.set_interest(self._sock, read=interest[0], write=interest[1])
