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
from typing import Final, cast

import trio

from dualkv.core.routing import ORDINARY, Plan, Route, plan_of
from dualkv.core.session import (
    SessionState,
    answer,
    hello_reply,
    parse_hello,
    switch_protocol,
    transaction_reply,
)
from dualkv.core.transaction import queue_command
from dualkv.errors import RequestProtocolError
from dualkv.net.lane import LaneState
from dualkv.net.transport import RECEIVE_BYTES, receive_some, send_some
from dualkv.net.waiting import ClientBatch, TransactionBlock
from dualkv.net.writer import DualWriter
from dualkv.resp import encode
from dualkv.resp.requests import Request, RequestParser

__all__ = ["ClientSession"]

_POLITE_CLOSE_SECONDS: Final = 1.0
_SLOW_READER_BYTES: Final = 64 * 1024
"""Unread replies from which on a client is not read."""

_ACT_AT_ONCE: Final = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "RESET", "QUIT"})
"""Not queued inside a transaction."""

_SWITCHES_PROTOCOL: Final = frozenset({"HELLO", "RESET"})


class ClientSession:
    """One client's connection.

    Args:
        sock: Accepted, non-blocking; `run` closes it.
        writer: Where commands go.
        client_id: As ``CLIENT ID`` says.
    """

    def __init__(self, sock: socket.socket, writer: DualWriter, client_id: int) -> None:
        self.state = SessionState(client_id)
        self._sock = sock
        self._writer = writer
        self._lane = writer.lane
        self._hub = writer.hub
        self._parser = RequestParser()
        self._held_back: list[Request] = []
        self._outstanding = 0
        self._max_outstanding = writer.config.client_outstanding
        self._last: ClientBatch | TransactionBlock | None = None
        self._unsent: list[bytes | memoryview] = []
        self._unsent_bytes = 0
        self._interest = (True, False)
        self._has_ended = False  # the client has closed its side, has quit, or its bytes are not RESP
        self._is_aborted = False
        self._has_said_last_words = False
        self._error: Exception | None = None
        self._wants_lane = False
        self._wakeup = trio.Event()

    def __repr__(self) -> str:
        return f"<ClientSession {self.state.client_id} outstanding={self._outstanding}>"

    # --- life

    async def run(self) -> None:
        """Serve the client until it leaves, quits, misbehaves or is drained; close the socket."""
        self._hub.register(self._sock, self)
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
        finally:
            self._hub.unregister(self._sock)
            is_aborted, self._is_aborted = self._is_aborted, True
            try:
                if not is_aborted:
                    with trio.move_on_after(_POLITE_CLOSE_SECONDS, shield=True):
                        await self._close_politely()
            finally:
                self._sock.close()

    def drain(self) -> None:
        """Answer what has been sent so far, then close."""
        try:
            self._sock.shutdown(socket.SHUT_RD)  # the kernel still hands out what it has
        except OSError:
            self._abort("gone")

    def _is_finished(self) -> bool:
        """Whether nothing is left to be read, executed or sent."""
        if self._is_aborted:
            return True
        is_done = not (self._outstanding or self._held_back or self._unsent)
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

    def _abort(self, reason: str) -> None:
        """Close without another word."""
        if not self._is_aborted:
            self._is_aborted = True
            self._writer.metrics.client_disconnects[reason] += 1
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
            return self._abort("gone")
        if data:
            requests = self._parser.feed(data)
            if self._held_back:
                self._held_back += requests
            elif requests:
                self._execute(requests)
                if self._held_back and not self._outstanding:
                    self._resume()  # all were answered here: no reply will call
        if not data or self._parser.has_failed:
            self._end_input()

    def on_failure(self, error: Exception) -> None:
        """A bug of ours in serving this client: end it, and let the session's boundary report it."""
        self._error = error
        self._abort("internal error")

    def _end_input(self) -> None:
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
                self._answer(encode.error(str(error)))
        self._wakeup.set()

    # --- executing

    def _execute(self, requests: list[Request]) -> int:
        """Execute requests in order as far as that is possible now, hold back the others.

        Returns:
            How many were executed.
        """
        if self._lane.is_open and not self._unsent:
            limit = self._max_outstanding - self._outstanding  # until `replied`
        else:
            limit = self._limit_now()
        if len(requests) <= limit and self.state.transaction is None:
            ordinary = [ORDINARY.get(request.args[0]) for request in requests]
            if None not in ordinary:
                self._submit(requests, cast("list[Plan]", ordinary))
                return len(requests)
        run: list[Request] = []
        plans: list[Plan] = []
        done = 0
        for request in requests:
            if done >= limit:
                break
            plan = plan_of(request.args)
            if plan.route is Route.LANE and self.state.transaction is None:
                run.append(request)
                plans.append(plan)
            else:
                if run:
                    self._submit(run, plans)
                    run, plans = [], []
                if not self._execute_special(request, plan):
                    break
                if self._has_ended:  # QUIT: what follows is not executed
                    return len(requests)
            done += 1
        if run:
            self._submit(run, plans)
        if done < len(requests):
            self._held_back += requests[done:]
            self._update_interest()
        return done

    def _limit_now(self) -> int:
        """Return how many commands may be executed now; if none, somebody will call `_resume`."""
        lane = self._lane
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

    def _submit(self, requests: list[Request], plans: list[Plan]) -> None:
        """Send ordinary commands to the primary."""
        if self._lane.state is not LaneState.UP:
            return self._answer(encode.PRIMARY_UNREACHABLE * len(requests))
        protocol = self.state.protocol
        batch = ClientBatch(self._writer, protocol, self, requests, plans)
        self._outstanding += len(requests)
        self._last = batch
        wire = requests[0].raw if len(requests) == 1 else b"".join([request.raw for request in requests])
        self._lane.submit(wire, batch, protocol)

    def _execute_special(self, request: Request, plan: Plan) -> bool:
        """Execute what is not simply sent to the primary.

        Returns:
            False if it has to wait until nothing is outstanding.
        """
        state, args, spec = self.state, request.args, plan.spec
        if plan.route is Route.HANG_UP:
            state.has_quit = True
            self._end_input()
        elif state.transaction is not None and spec.name not in _ACT_AT_ONCE:
            self._answer(queue_command(state.transaction, plan, request))
        elif spec.subcommands and len(args) > 1:
            self._answer(encode.unknown_subcommand(args))
        elif not spec.takes(len(args)):
            if state.transaction is not None:
                state.transaction.is_broken = True
            self._answer(encode.wrong_arity(spec.label))
        elif plan.route is Route.TRANSACTION:
            self._execute_transaction(spec.name, plan)
        elif plan.route is Route.REFUSED:
            self._answer(encode.refused(spec.name))
        elif plan.route is Route.UNSUPPORTED:
            self._answer(encode.not_supported(spec.name))
        elif spec.name in _SWITCHES_PROTOCOL and self._outstanding:
            return False
        elif spec.name == "HELLO":
            self._answer(self._hello(args))
        else:
            self._answer(answer(state, args, spec.label))
            if state.has_quit:
                self._end_input()
        return True

    def _hello(self, args: tuple[bytes, ...]) -> bytes:
        greeting = self._lane.greeting
        hello = parse_hello(self.state, args, greeting.protocols)
        if isinstance(hello, bytes):
            return hello
        switch_protocol(self.state, hello)
        return hello_reply(self.state, greeting.hello.get(hello.protocol, {}))

    def _execute_transaction(self, name: str, plan: Plan) -> None:
        """MULTI, EXEC, DISCARD, UNWATCH."""
        reply = transaction_reply(self.state, name)
        if reply is not None:
            return self._answer(reply)
        transaction, self.state.transaction = self.state.transaction, None
        assert transaction is not None
        if self._lane.state is not LaneState.UP:
            return self._answer(encode.PRIMARY_UNREACHABLE)
        protocol = self.state.protocol
        block = TransactionBlock(self._writer, protocol, self, plan, transaction.queued)
        self._outstanding += 1
        self._last = block
        self._lane.submit(transaction.wire(), block, protocol)

    # --- to the client

    def _answer(self, data: bytes) -> None:
        """Send a local answer, behind the replies to everything before it."""
        if self._last is not None:
            self._last.trailer += data
        else:
            self._send(data)

    def replied(self, count: int, data: bytes) -> None:
        """Pass on replies of the primary (called from the lane, in order)."""
        self._outstanding -= count
        if not self._outstanding:
            self._last = None
        if self._is_aborted:
            return
        self._send(data)
        if self._held_back:
            if self._outstanding <= self._max_outstanding // 2:
                self._resume()
        elif self._has_ended and not self._outstanding:
            self._wakeup.set()

    def _send(self, data: bytes) -> None:
        if self._unsent:
            if self._unsent_bytes > self._writer.config.client_output_bytes:
                return self._abort("output limit")
            self._unsent.append(data)
            self._unsent_bytes += len(data)
            return None
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._abort("gone")
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
            return self._abort("gone")
        if self._held_back and self._unsent_bytes <= _SLOW_READER_BYTES:
            self._resume()
        self._update_interest()
        if self._has_ended and not self._unsent:
            self._wakeup.set()

    def _update_interest(self) -> None:
        """Tell the hub what to wait for: nothing more to read while something is held back."""
        if self._is_aborted:
            return
        reads = not (self._has_ended or self._held_back or self._unsent_bytes > _SLOW_READER_BYTES)
        interest = (reads, bool(self._unsent))
        if interest != self._interest:
            self._interest = interest
            self._hub.set_interest(self._sock, read=interest[0], write=interest[1])
