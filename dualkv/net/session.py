"""One client: what it sends is executed, at once or when it can be.

The readiness hub calls `on_readable` and `on_writable`; ordinary commands go from there to the lane, and
replies come back through `ClientOrder.replied`, without a task switch. The session's task (`run`) owns the
life of the connection: it waits for what cannot be done at once, and closes politely.

What cannot be executed yet is held back with all that follows: what must not overlap with commands in flight
(a change of the RESP version, another lane: `dualkv.net.client_order`), what the lane is not up for, and what
is beyond a number of outstanding commands. While anything is held back, or the client does not read its
replies (`dualkv.net.client_socket`), the client is not read.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import trio

from dualkv.commands.keys import keys_of
from dualkv.core.routing import ON_LANES, ORDINARY, Plan, Route, plan_of
from dualkv.core.session import Replies, SessionState
from dualkv.core.subscriptions import Kind, push
from dualkv.core.transaction import whole_transaction
from dualkv.errors import RequestProtocolError
from dualkv.net.blocking_commands import BlockingCommands
from dualkv.net.client import Client
from dualkv.net.client_order import ClientOrder
from dualkv.net.client_socket import ClientSocket
from dualkv.net.lane import LaneState
from dualkv.net.special import SpecialCommands
from dualkv.net.transport import address_of
from dualkv.net.writer import DualWriter
from dualkv.resp import encode
from dualkv.resp.requests import Request, RequestParser

__all__ = ["ClientSession"]

_POLITE_CLOSE_SECONDS: Final = 1.0


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
        self._sock = sock
        self._socket = ClientSocket(sock, writer.hub, writer.config.client_output_bytes, self.abort)
        self.order = ClientOrder(writer, self.state, self._socket, self._on_replied)
        self.client = Client(writer, self.state)
        self.blocking = BlockingCommands(self.client)
        self._special = SpecialCommands(self)
        self._writer = writer
        self._lane = writer.lane
        self._lanes = writer.lanes
        self._fence = writer.fence
        self._parser = RequestParser()
        self._is_plain = self.state.is_plain
        """Whether ordinary commands need no second look; `_refresh` keeps this."""
        self._is_paused = False
        self._operation: Callable[[], Awaitable[bytes]] | None = None
        self._held_back: list[Request] = []
        self._max_outstanding = writer.config.client_outstanding
        self._incomplete_bytes = 0
        """What has been read since the last whole request."""
        self._has_ended = False  # the client has closed its side, has quit, or its bytes are not RESP
        self._is_aborted = False
        self._has_said_last_words = False
        self._error: Exception | None = None
        self._wants_lane = False
        self.was_active = True
        """Whether it has been heard since somebody has cleared this."""
        self._wakeup = trio.Event()

    def __repr__(self) -> str:
        return f"<ClientSession {self.state.client_id} {self.order!r}>"

    # --- life

    async def run(self) -> None:
        """Serve the client until it leaves, quits, misbehaves or is drained; close the socket."""
        self._socket.register(self)
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
            self._socket.unregister()
            is_aborted, self._is_aborted = self._is_aborted, True
            self._special.close()
            try:
                if not is_aborted:
                    with trio.move_on_after(_POLITE_CLOSE_SECONDS, shield=True):
                        await self._socket.say_goodbye()
            finally:
                self._sock.close()

    async def _carry_out(self, operation: Callable[[], Awaitable[bytes]]) -> None:
        """Wait for an operation, answer, and go on with what has been held back."""
        reply = await self.client.run(operation)
        self._operation = None
        if reply and not self._is_aborted:
            self.order.answer(reply)
        self._settle_replies()
        self._refresh()
        self._resume()

    def drain(self) -> None:
        """Answer what has been sent so far, then close. Who waits for an element gets an error."""
        self.blocking.drain()
        if self.state.subscriptions:
            self.abort("drained")
        self._socket.end_input()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is going on, and it does not wait for messages or elements."""
        return not (self._is_busy or self.state.subscriptions)

    @property
    def _is_busy(self) -> bool:
        """Whether something is left to be executed or sent."""
        return bool(
            self.order.outstanding or self._held_back or self._socket.unsent or self._operation is not None
        )

    def _is_finished(self) -> bool:
        """Whether nothing is left to be read, executed or sent."""
        return self._is_aborted or (self._has_ended and not self._is_busy)

    def abort(self, reason: str) -> None:
        """Close without another word."""
        if not self._is_aborted:
            self._is_aborted = True
            self._socket.give_up()
            self._writer.metrics.client_disconnects[reason] += 1
            self.blocking.leave()
            self._wakeup.set()

    # --- from the client

    def on_readable(self) -> None:
        """Take what the client has sent."""
        if self._is_aborted:
            return None
        data = self._socket.receive()
        if data is None:
            return None
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
                if self._held_back and not self.order.outstanding:
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
                self.order.answer(encode.error(str(error)))
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
        return not self.order.outstanding and self._operation is None

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
        self._lane, self._lanes = writer.lane, writer.lanes
        self.order.move_to(writer)
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
        if self._is_plain and is_open and not self._socket.unsent and not self._fence.is_up:
            limit = self._max_outstanding - self.order.outstanding  # until `replied`
            if len(requests) <= limit:
                ordinary = [ORDINARY.get(request.args[0]) for request in requests]
                if None not in ordinary:
                    self.order.send(requests, cast("list[Plan]", ordinary))
                    return len(requests)
                if not self._special.is_watching and (transaction := whole_transaction(requests, ordinary)):
                    wire = b"".join([request.raw for request in requests])
                    self._special.execute_whole(transaction, wire)
                    return len(requests)
        else:
            limit = self._limit_now()
        self.order.cork()
        try:
            return self._execute_each(requests, limit)
        finally:
            self.order.uncork()

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
                    self.order.send(run, plans)
                    run, plans = [], []
                if not self._execute_special(request, plan):
                    break
                if self._has_ended:  # QUIT: what follows is not executed
                    return len(requests)
                if self._operation is not None or self._skips_one:
                    limit = 0
            done += 1
        if run:
            self.order.send(run, plans)
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
        return self.order.finds_lane(commands, self._resume, is_behind=is_behind)

    def _execute_special(self, request: Request, plan: Plan) -> bool:
        """Execute a command that needs a second look; False if it has to wait."""
        if self.state.replies is Replies.SKIP:
            if self.order.outstanding:
                return False
            self.order.is_mute = True
            self.state.replies = Replies.ON
        if not self._special.execute(request, plan):
            return False
        self._settle_replies()
        self._refresh()
        return True

    @property
    def _skips_one(self) -> bool:
        """Whether a command is being executed that is not to be answered, though the next one is."""
        return self.order.is_mute and self.state.replies is not Replies.OFF

    def _settle_replies(self) -> None:
        """Be as mute as ``CLIENT REPLY`` wants, once what was not to be answered is over."""
        if self.state.replies is Replies.OFF:
            self.order.is_mute = True
        elif not self.order.outstanding and self._operation is None:
            self.order.is_mute = False

    def _refresh(self) -> None:
        """Take note of what a command has changed."""
        self.order.refresh()
        self._is_plain = (
            self.state.is_plain
            and not (self.order.is_mute or self._is_paused or self.is_elsewhere)
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
        if self._socket.is_slow:
            return 0  # until `on_writable`
        return self._max_outstanding - self.order.outstanding

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

    def begin(self, operation: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Let the session's task carry out an operation; what comes meanwhile is held back.

        Returns:
            Empty: what it returns will be answered. None: it has to wait until nothing is outstanding.
        """
        if self.order.outstanding:
            return None
        self._operation = operation
        self._wakeup.set()
        return b""

    def unmute(self) -> None:
        """Answer again, whatever was said before."""
        self.order.is_mute = False

    def put_back(self, request: Request) -> None:
        """Execute a request after all, before everything that is held back."""
        self._held_back.insert(0, request)

    # --- to the client

    def _on_replied(self) -> None:
        """A reply of the primary has been passed on: perhaps more can be executed."""
        if self._is_aborted:
            return
        order = self.order
        if order.is_mute and not order.outstanding:
            self._settle_replies()
            self._refresh()
        if self._held_back:
            if order.outstanding <= self._max_outstanding // 2:
                self._resume()
        elif self._has_ended and not order.outstanding:
            self._wakeup.set()

    def subscribed(self, kind: Kind, name: bytes) -> bytes:
        """Take note of a subscription; return its confirmation, as RESP2 writes it."""
        return self.state.subscriptions.subscribe(kind, name)

    def deliver(self, messages: list[bytes]) -> None:
        """Pass on messages of channels, as RESP2 writes them."""
        if not self._is_aborted:
            protocol = self.state.protocol
            self._socket.send(b"".join([push(message, protocol) for message in messages]))

    def on_writable(self) -> None:
        """Send more of what did not fit."""
        if not self._is_aborted:
            self._socket.send_more()
        if self._is_aborted:
            return
        if self._held_back and not self._socket.is_slow:
            self._resume()
        self._update_interest()
        if self._has_ended and not self._socket.unsent:
            self._wakeup.set()

    def _update_interest(self) -> None:
        """Read nothing more while something is held back."""
        # While an operation waits, somebody must notice that the client leaves.
        held_back = len(self._held_back) > self._max_outstanding if self._operation else self._held_back
        self._socket.want_more(not (self._has_ended or held_back))
