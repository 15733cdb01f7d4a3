"""Transactions of one client: ``MULTI``, ``EXEC``, ``DISCARD``, ``WATCH``, ``UNWATCH``.

What is between MULTI and EXEC is queued here, and goes to the lane as one block. Keys are watched on a
connection for the client alone; its EXEC goes there, behind a fence around the keys. A transaction that
changes the client's session begins when nothing of the client is outstanding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.raising import raised
from dualkv.core.routing import Plan, Route, plan_of
from dualkv.core.session import parse_select, transaction_reply
from dualkv.core.transaction import Transaction, is_local
from dualkv.core.translator import NOT_ASKED, Asked
from dualkv.net.lane import LaneState
from dualkv.net.lease import Lease
from dualkv.net.subscription_commands import corrected
from dualkv.net.waiting import TransactionBlock
from dualkv.resp import encode
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error, is_null
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["TransactionCommands"]

_EXEC_PLAN: Final = plan_of((b"EXEC",))


class TransactionCommands:
    """One client's transactions, and the connection on which it watches keys.

    Args:
        session: The client's.
        answer_locally: Answers a command that the primary is not asked.
    """

    def __init__(self, session: ClientSession, answer_locally: Callable[[Request, Plan], bytes]) -> None:
        self._session = session
        self._client = session.client
        self._state = session.state
        self._answer_locally = answer_locally
        self._watch: Lease | None = None
        self._has_lost_watch = False  # keys were watched on a connection that broke

    def execute(self, request: Request, plan: Plan) -> bytes | None:
        """Execute a command of this family; returns as `SpecialCommands` says."""
        state, name = self._state, plan.spec.name
        if name == "WATCH":
            if state.transaction is not None:
                return encode.error("ERR WATCH inside MULTI is not allowed")
            return self._session.begin(partial(self._watch_keys, request))
        if name == "UNWATCH":
            self.unwatch()
            return encode.OK
        had_transaction = state.transaction is not None
        reply = transaction_reply(state, name)
        if reply is not None:
            if had_transaction and name != "MULTI":
                self.unwatch()
            return reply
        transaction = state.transaction
        assert transaction is not None
        if self.is_watching or transaction.changes_session:
            if self._session.order.outstanding:
                return None
            state.transaction = None
            return self._session.begin(partial(self._execute_alone, plan, transaction))
        state.transaction = None
        return self._send(plan, transaction)

    # --- watched keys

    @property
    def is_watching(self) -> bool:
        """Whether keys are watched."""
        return self._watch is not None or self._has_lost_watch

    async def _watch_keys(self, request: Request) -> bytes:
        """``WATCH``, outside of a transaction."""
        lease, self._watch = self._watch, None
        if lease is None:
            lease = await self._client.writer.leases.take(self._state.context)
        try:
            (reply,) = await self._client.call(lease, request.raw)
        except BaseException:
            self._has_lost_watch = lease.has_watch
            raise
        lease.has_watch = True
        self._watch = lease
        return reply

    def unwatch(self) -> None:
        """Watch no keys, and give the connection back."""
        self._has_lost_watch = False
        if self._watch is not None:
            lease, self._watch = self._watch, None
            self._client.writer.leases.give_back(lease)

    def lose_watch(self) -> None:
        """Give the connection back; if keys are watched, nobody knows any more whether they are written."""
        has_lost_watch = self.is_watching
        self.unwatch()
        self._has_lost_watch = has_lost_watch

    def _ask(self, transaction: Transaction) -> Asked:
        """Take note of what a transaction will write; return what to ask behind its EXEC."""
        mirroring = self._client.writer.mirroring
        if mirroring is None:
            return NOT_ASKED
        return mirroring.ask_transaction(transaction.queued, self._state.context)

    # --- on the lane, when it is the client's turn there

    def execute_whole(self, transaction: Transaction, wire: bytes) -> None:
        """Execute a transaction that came in one piece, with nothing unusual about it."""
        writer, context = self._client.writer, self._state.context
        asked = self._ask(transaction)
        finish = self._finishing(transaction) if self._state.is_raised else None
        block = TransactionBlock(
            writer, context, self._session.order, _EXEC_PLAN, transaction, 0, finish, asked
        )
        block.head = encode.OK + encode.QUEUED * len(transaction.queued)
        block.wire = wire
        wire = b"".join([wire, *asked.wires]) if asked.wires else wire
        self._session.order.submit(wire, block, transaction.queued)

    def _send(self, plan: Plan, transaction: Transaction) -> bytes:
        writer, context = self._client.writer, self._state.context
        if not transaction.queued:
            return encode.array([])
        if writer.lane.state is not LaneState.UP:
            return encode.PRIMARY_UNREACHABLE
        finish = None
        if writer.subscriptions or self._state.is_raised:
            finish = self._finishing(transaction)
        asked = self._ask(transaction)
        block = TransactionBlock(writer, context, self._session.order, plan, transaction, 0, finish, asked)
        wire = b"".join([transaction.wire(), *asked.wires])
        self._session.order.submit(wire, block, transaction.queued)
        return b""

    # --- when nothing of the client is outstanding

    async def _execute_alone(self, plan: Plan, transaction: Transaction) -> bytes:
        """``EXEC`` of a transaction that changes the session, or whose client watches keys."""
        if self._has_lost_watch:  # nobody knows whether the keys were written
            self._has_lost_watch = False
            return encode.null_array(self._state.protocol)
        lease, self._watch = self._watch, None
        if lease is None:
            return await self._execute_on_lane(plan, transaction)
        writer = self._client.writer
        keys = transaction.keys()
        try:
            fenced = await writer.lanes.raise_fence(keys)
        except BaseException:
            writer.leases.close(lease, lost=False)
            raise
        try:
            await self._lanes_caught_up()
            return await self._execute_on_lease(lease, plan, transaction)
        finally:
            writer.fence.lower(fenced)

    async def _lanes_caught_up(self) -> None:
        """Return when everything that was sent on the lanes has been answered, or is lost."""
        passed = trio.Event()
        self._client.writer.lanes.when_answered(passed.set)
        await passed.wait()

    async def _execute_on_lease(self, lease: Lease, plan: Plan, transaction: Transaction) -> bytes:
        writer, context = self._client.writer, self._state.context
        asked = self._ask(transaction)
        finish = self._finishing(transaction)
        block = TransactionBlock(writer, context, _Reply(), plan, transaction, 0, finish, asked)
        own_count = len(transaction.queued) + 2
        wire = b"".join([transaction.wire(), *asked.wires])
        beside = writer.notes.begin_beside(context.db, transaction.queued)
        try:
            frames = await self._client.call(lease, wire, own_count + len(asked.wires))
        except BaseException:
            if writer.mirroring is not None:
                writer.mirroring.lost(context, transaction.queued)
            raise
        finally:
            writer.notes.end_beside(beside)
        lease.has_watch = False
        if transaction.selects:
            lease.context = lease.context._replace(db=-1)
        writer.leases.give_back(lease)
        own, answers = frames[:own_count], frames[own_count:]
        reply = block.settle(own[-1], writer.clock(), answers, own[:-1])
        return encode.null_array(self._state.protocol) if is_null(reply) else reply

    async def _execute_on_lane(self, plan: Plan, transaction: Transaction) -> bytes:
        writer, context = self._client.writer, self._state.context
        wire = transaction.wire()
        behind = 0
        if transaction.selects:  # and back: others share the lane
            wire += command("SELECT", context.db)
            behind = 1
        if not transaction.queued:
            return encode.array([])
        self._client.require_lane()
        reply = _Reply()
        asked = self._ask(transaction)
        wire += b"".join(asked.wires)
        finish = self._finishing(transaction)
        block = TransactionBlock(writer, context, reply, plan, transaction, behind, finish, asked)
        writer.lanes.submit(wire, block, context, writer.lanes.ordered_keys(transaction.queued))
        return await reply.wait()

    # --- the results

    def _finishing(self, transaction: Transaction) -> Callable[[list[bytes]], list[bytes]]:
        """Return what makes the client's results of the primary's."""
        return partial(self._finish, transaction, self._state.is_raised)

    def _finish(self, transaction: Transaction, is_raised: bool, results: list[bytes]) -> list[bytes]:
        """Execute what of a transaction is ours, and put its answers in place."""
        writer = self._client.writer
        finished = []
        for (plan, request), told in zip(transaction.queued, results, strict=True):
            result = told
            if is_local(plan):
                result = self._answer_locally(request, plan)
            elif plan.spec.name == "SELECT" and not is_error(told):
                db = parse_select(request.args)
                assert isinstance(db, int)
                writer.lane.dbs.add(db)
                self._state.db = db
            elif plan.route is Route.RECEIVERS:
                result = corrected(writer.subscriptions, plan, request, told)
            elif is_raised:
                result = raised(plan.spec, request.args, told)
            finished.append(result)
        return finished


class _Reply:
    """Receives what a session would."""

    def __init__(self) -> None:
        self._data = b""
        self._done = trio.Event()

    def replied(self, count: int, data: bytes) -> None:  # noqa: ARG002 - as `Receiver`
        """Take the reply."""
        self._data = data
        self._done.set()

    async def wait(self) -> bytes:
        """Return the reply."""
        await self._done.wait()
        return self._data
