"""Blocking commands: they wait on a connection of their own, and what they took is mirrored.

A blocking command is tried on the lane first, where it never blocks: what it gets there has a position as
anything else. Only what finds nothing waits beside the lane. What it gets in the end has no position: what
there is of it is looked at on the lane, or the state of its keys is copied.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.commands.keys import keys_of
from dualkv.core.blocking import gives_back, wait_seconds
from dualkv.core.effects import effects_after_waiting, questions_after_waiting
from dualkv.core.effects.model import Execution
from dualkv.core.ledger import Queue
from dualkv.core.mirror import commands_item
from dualkv.core.routing import Plan
from dualkv.core.translator import NOT_ASKED, Translation
from dualkv.errors import BackendUnavailable, ConnectionLost
from dualkv.net.calls import Attempt, Call, Inquiry
from dualkv.net.client import Client
from dualkv.net.lane import LaneState
from dualkv.net.lease import Lease
from dualkv.resp import encode
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import is_error, is_null
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["BlockingCommands", "Interrupted"]

_MARGIN_SECONDS: Final = 10.0
"""How much longer than it was asked to wait the primary may take to answer a blocking command."""
_UNBLOCK_SECONDS: Final = 1.0
_MULTI: Final = command("MULTI")
_EXEC: Final = command("EXEC")

_log = logging.getLogger("dualkv.blocking")


class Interrupted(Exception):
    """A blocking command came back with nothing: the commands go elsewhere now, so ask again there."""


class BlockingCommands:
    """The blocking commands of one client, one at a time, and how to let one come back early.

    Args:
        client: Whose they are.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._state = client.state
        self._blocked: _Blocked | None = None
        self._is_gone = False  # while it waited

    # --- letting it come back

    def release(self, *, with_error: bool) -> bool:
        """Let a blocking command that waits come back now; return whether one does."""
        if self._blocked is None:
            return False
        self._blocked.release(with_error=with_error)
        return True

    def leave(self) -> None:
        """Take note that the client has gone. What is taken for it now is put back; later nothing waits."""
        if not self._client.is_leaving:
            self._client.is_leaving = True
            self._is_gone = self.release(with_error=False)

    def drain(self) -> None:
        """From now on nothing waits; the client still gets its replies."""
        self._client.is_leaving = True
        self.release(with_error=True)

    def interrupt(self) -> None:
        """Let what waits come back: it will be asked of another store. `stay` ends that."""
        self._client.is_moving = True
        if self._blocked is not None:
            self._blocked.interrupt()

    def stay(self) -> None:
        """Wait again as asked: nothing interrupts any more."""
        self._client.is_moving = False

    # --- one of them

    async def block(self, plan: Plan, request: Request) -> bytes:
        """A blocking command: on the lane if there is something, else on a connection of its own.

        Raises:
            Interrupted: By `interrupt`; nothing was taken.
        """
        writer = self._client.writer
        blocked = self._blocked = _Blocked(writer)
        self._state.is_blocked = True
        swaps = writer.stream.doubtful.swaps if writer.stream is not None else 0
        try:
            with blocked.scope:
                reply = await self._try_at_once(plan, request)
                if not is_null(reply):
                    return reply
                reply = await self._wait_beside_lane(blocked, plan, request, swaps)
        finally:
            self._blocked = None
            self._state.is_blocked = False
        if blocked.is_interrupted and (blocked.scope.cancelled_caught or is_null(reply)):
            raise Interrupted
        if blocked.scope.cancelled_caught:
            if not blocked.is_released:
                raise ConnectionLost("no reply from the primary")
            return encode.UNBLOCKED if blocked.with_error else encode.null_array(self._state.protocol)
        counters = writer.answering.by_command[plan.index]
        counters.counts[0] += 1
        if is_error(reply):
            writer.count_error(plan, counters, reply)
        if self._is_gone:
            await self._put_back(gives_back(plan.spec, request.args, reply))
        return reply

    async def _wait_beside_lane(self, blocked: _Blocked, plan: Plan, request: Request, swaps: int) -> bytes:
        """Return what the command gets in the end, and mirror that."""
        writer = self._client.writer
        lease = await writer.leases.take(self._state.context)
        beside = writer.notes.begin_beside(self._state.context.db, [(plan, request)])
        try:
            reply = await self._wait_unblocked(blocked, lease, plan, request)
            self._mirror(plan, request, reply, swaps)
            return reply
        except BaseException:  # it may have been executed
            self._mark(plan, request, swaps)
            raise
        finally:
            writer.lanes.when_seen(keys_of(plan.spec, request.args), partial(writer.notes.end_beside, beside))

    async def _try_at_once(self, plan: Plan, request: Request) -> bytes:
        """Return what the command gets without waiting: at a position of the lane, as any other."""
        writer, context = self._client.writer, self._state.context
        if writer.lane.state is not LaneState.UP:
            await writer.wait_lane()
        self._client.require_lane()
        asked = NOT_ASKED
        if writer.mirroring is not None:
            writer.notes.note(context.db, [plan], [request])
            asked = writer.mirroring.ask(plan, request, context)
        attempt = Attempt(writer, context, plan, request, asked)
        wire = b"".join([_MULTI, request.raw, _EXEC, *asked.wires])
        writer.lanes.submit(wire, attempt, context, keys_of(plan.spec, request.args))
        return await attempt.wait_reply()

    def _mirror(self, plan: Plan, request: Request, reply: bytes, swaps: int) -> None:
        """Mirror what a command took after it had waited.

        It has no position on the lane. The keys of lists and sorted sets were empty a moment ago: their
        states are copied. What groups of streams have delivered is looked at on the lane, before the client
        has the reply, and mirrored at that position.
        """
        writer, context = self._client.writer, self._state.context
        mirroring = writer.mirroring
        if mirroring is None or is_null(reply) or plan.queue is None:
            return None
        keys = keys_of(plan.spec, request.args)
        questions: Sequence[tuple[bytes, ...]] = ()
        can_ask = (
            mirroring.stream.gate.is_open
            and writer.lane.state is LaneState.UP
            and not writer.fence.blocks(keys)
        )
        if can_ask and not is_error(reply):
            questions = questions_after_waiting(plan.spec, request.args, reply)
        mark = partial(self._mark, plan, request, swaps)
        if not questions:
            return mark()

        def take(answers: Sequence[bytes], now: float) -> None:
            if mirroring.stream.doubtful.swaps != swaps:
                return mark()
            execution = Execution(plan.spec, request.args, reply, writer.time.at_ms(now), answers)
            effects = mirroring.translator.said(effects_after_waiting(execution), context.db)
            commands = effects.commands
            item = commands_item(Queue.BLOCKING, commands, now, context) if commands else None
            return mirroring.enter(Translation(item, tuple((context.db, key) for _, key in effects.copies)))

        inquiry = Inquiry(len(questions), take, mark)
        return writer.lanes.submit(b"".join(map(pack, questions)), inquiry, context, keys)

    def _mark(self, plan: Plan, request: Request, swaps: int) -> None:
        """Have the keys copied that a command has changed, or may have, beside the lane."""
        writer, db = self._client.writer, self._state.context.db
        stream = writer.stream
        if stream is None or plan.queue is None:
            return
        keys = keys_of(plan.spec, request.args) or ()
        stream.translator.forget(plan, request.args, db)
        stream.copy_now([(db, key) for key in keys], is_unordered=True)

        def mark_everywhere() -> None:
            if stream.doubtful.swaps != swaps:  # was it before databases were exchanged, or after that?
                stream.copy_now([(one, key) for one in writer.lane.dbs for key in keys], is_unordered=True)

        writer.lanes.when_seen(keys_of(plan.spec, request.args), mark_everywhere)

    async def _put_back(self, commands: list[tuple[bytes | str | int, ...]]) -> None:
        """Put back what was taken for a client that has gone."""
        try:
            for one in commands:
                await self._client.writer.write(*one, context=self._state.context)
        except (BackendUnavailable, ConnectionLost) as error:
            _log.error("lost what a client that has gone had taken", extra={"why": str(error)})

    async def _wait_unblocked(self, blocked: _Blocked, lease: Lease, plan: Plan, request: Request) -> bytes:
        seconds = wait_seconds(plan.spec, request.args)
        leases = self._client.writer.leases
        if self._client.is_moving:
            blocked.is_interrupted = True
            leases.give_back(lease)
            return encode.null_array(self._state.protocol)
        try:
            blocked.begin(lease, math.inf if seconds is None else seconds + _MARGIN_SECONDS)
            if self._client.is_leaving:
                blocked.release(with_error=True)
            (reply,) = await lease.call(request.raw)
            # Before anybody else gets the connection: what is meant for us must not unblock them.
            await blocked.finish()
        except BaseException:
            leases.close(lease, lost=True)
            raise
        leases.give_back(lease)
        return reply


class _Blocked:
    """A blocking command that waits: how to make it come back."""

    def __init__(self, writer: DualWriter) -> None:
        self.scope = trio.CancelScope()
        self.is_interrupted = False
        """Whether it comes back since the client's commands go elsewhere from now on."""
        self.is_released = False
        self.with_error = False
        self._writer = writer
        self._has_begun = False
        self._client_id = 0
        self._unblock: Call | None = None

    def begin(self, lease: Lease, patience_seconds: float) -> None:
        """The command is about to be sent."""
        self._has_begun = True
        self._client_id = lease.backend_client_id
        if not self.is_released:
            self.scope.deadline = trio.current_time() + patience_seconds

    def interrupt(self) -> None:
        """Have it come back; before it has a connection, nothing is waiting."""
        if self._has_begun and not self.is_released:
            self.is_interrupted = True
            self.release(with_error=False)

    def release(self, *, with_error: bool) -> None:
        """Have the primary answer now, so that nothing is taken that nobody gets; else hang up."""
        if self.is_released:
            return None
        self.is_released, self.with_error = True, with_error
        writer = self._writer
        if not self._client_id or writer.lane.state is not LaneState.UP:
            return self.scope.cancel("the client has gone")
        self._unblock = Call()
        how = "ERROR" if with_error else "TIMEOUT"
        unblock = command("CLIENT", "UNBLOCK", self._client_id, how)
        writer.lanes.submit(unblock, self._unblock, writer.own_context)
        self.scope.deadline = trio.current_time() + _UNBLOCK_SECONDS

    async def finish(self) -> None:
        """The reply is there: return when no unblocking is under way any more."""
        self._client_id = 0
        if self._unblock is not None:
            await self._unblock.wait()
        else:
            self.is_released = True  # too late to release
