"""What a client asks for that cannot be done at once: its session's task waits for it.

Each operation begins when nothing of the client is outstanding, and ends with a reply; what the client sends
meanwhile is held back. WATCH and blocking commands need a connection to the primary for the client alone: a
lease.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.commands.keys import keys_of
from dualkv.core.auth import User
from dualkv.core.blocking import gives_back, wait_seconds
from dualkv.core.context import Context
from dualkv.core.effects import effects_of
from dualkv.core.effects.model import Execution
from dualkv.core.ledger import Queue
from dualkv.core.mirror import commands_item
from dualkv.core.routing import Plan
from dualkv.core.session import SessionState
from dualkv.core.transaction import Transaction
from dualkv.core.translator import NOT_ASKED, Translation
from dualkv.errors import BackendUnavailable, ConnectionLost, LoginRefused
from dualkv.net.calls import Attempt, Call
from dualkv.net.lane import LaneState
from dualkv.net.lease import Lease
from dualkv.net.waiting import TransactionBlock
from dualkv.resp import encode
from dualkv.resp.encode import command
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import elements_of, is_error, is_null, value_of
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["ClientOperations", "Interrupted"]

_MARGIN_SECONDS: Final = 10.0
"""How much longer than it was asked to wait the primary may take to answer a blocking command."""
_UNBLOCK_SECONDS: Final = 1.0
_WAIT_POLL_SECONDS: Final = 0.01
_PENALTY_SECONDS: Final = 0.05
_MAX_PENALTY_SECONDS: Final = 3.0
_MULTI: Final = command("MULTI")
_EXEC: Final = command("EXEC")

_log = logging.getLogger("dualkv.operations")


class Interrupted(Exception):
    """A blocking command came back with nothing: the commands go elsewhere now, so ask again there."""


class ClientOperations:
    """One client's operations, and the connections that it has leased.

    Args:
        writer: Where commands go.
        state: The client's.
    """

    def __init__(self, writer: DualWriter, state: SessionState) -> None:
        self._writer = writer
        self._state = state
        self._lane = writer.lane
        self._lanes = writer.lanes
        self._watch: Lease | None = None
        self._has_lost_watch = False  # keys were watched on a connection that broke
        self._blocked: _Blocked | None = None
        self._is_leaving = False
        self._is_gone = False
        self._is_moving = False
        self._wrong_passwords = 0

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
            self._writer.metrics.primary_outcomes_unknown += 1
            return encode.OUTCOME_UNKNOWN

    # --- the client's end

    def release(self, *, with_error: bool) -> bool:
        """Let a blocking command that waits come back now; return whether one does."""
        if self._blocked is None:
            return False
        self._blocked.release(with_error=with_error)
        return True

    def leave(self) -> None:
        """Take note that the client has gone. What is taken for it now is put back; later nothing waits."""
        if not self._is_leaving:
            self._is_leaving = True
            self._is_gone = self.release(with_error=False)

    def drain(self) -> None:
        """From now on nothing waits; the client still gets its replies."""
        self._is_leaving = True
        self.release(with_error=True)

    def interrupt(self) -> None:
        """Let what waits come back: it will be asked of another store. Keys are not watched any more."""
        self._is_moving = True
        if self._blocked is not None:
            self._blocked.interrupt()

    def move_to(self, writer: DualWriter) -> None:
        """Ask another writer from now on. Nothing is under way; who watches keys has seen them change."""
        has_lost_watch = self.is_watching
        self.unwatch()
        self._has_lost_watch = has_lost_watch
        self._writer, self._lane, self._lanes = writer, writer.lane, writer.lanes

    def stay(self) -> None:
        """Wait again as asked: nothing interrupts any more."""
        self._is_moving = False

    def close(self) -> None:
        """Give back what is leased."""
        self.unwatch()

    # --- WATCH … EXEC

    @property
    def is_watching(self) -> bool:
        """Whether keys are watched."""
        return self._watch is not None or self._has_lost_watch

    async def watch(self, request: Request) -> bytes:
        """``WATCH``, outside of a transaction."""
        lease, self._watch = self._watch, None
        if lease is None:
            lease = await self._writer.leases.take(self._state.context)
        try:
            (reply,) = await self._call(lease, request.raw)
        except BaseException:
            self._has_lost_watch = lease.has_watch
            raise
        lease.has_watch = True
        self._watch = lease
        return reply

    def unwatch(self) -> None:
        """Give the watching connection back."""
        self._has_lost_watch = False
        if self._watch is not None:
            lease, self._watch = self._watch, None
            self._writer.leases.give_back(lease)

    async def execute(
        self, plan: Plan, transaction: Transaction, finish: Callable[[list[bytes]], list[bytes]]
    ) -> bytes:
        """``EXEC`` of a transaction that changes the session, or whose client watches keys."""
        if self._has_lost_watch:  # nobody knows whether the keys were written
            self._has_lost_watch = False
            return encode.null_array(self._state.protocol)
        lease, self._watch = self._watch, None
        if lease is None:
            return await self._execute_on_lane(plan, transaction, finish)
        writer = self._writer
        keys = transaction.keys()
        try:
            fenced = await writer.raise_fence(keys)
        except BaseException:
            writer.leases.close(lease, lost=False)
            raise
        try:
            await self._lanes_caught_up()
            context = self._state.context
            asked = writer.ask_transaction(transaction.queued, context)
            block = TransactionBlock(writer, context, _Reply(), plan, transaction, 0, finish, asked)
            own_count = len(transaction.queued) + 2
            wire = b"".join([transaction.wire(), *asked.wires])
            beside = writer.notes.begin_beside(context.db, transaction.queued)
            try:
                frames = await self._call(lease, wire, own_count + len(asked.wires))
            except BaseException:
                writer.lost(context, transaction.queued)
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
        finally:
            writer.fence.lower(fenced)

    async def _lanes_caught_up(self) -> None:
        """Return when everything that was sent on the lanes has been answered, or is lost."""
        passed = trio.Event()
        self._lanes.when_answered(passed.set)
        await passed.wait()

    async def _execute_on_lane(
        self, plan: Plan, transaction: Transaction, finish: Callable[[list[bytes]], list[bytes]]
    ) -> bytes:
        context = self._state.context
        wire = transaction.wire()
        behind = 0
        if transaction.selects:  # and back: others share the lane
            wire += command("SELECT", context.db)
            behind = 1
        if not transaction.queued:
            return encode.array([])
        self._require_lane()
        reply = _Reply()
        asked = self._writer.ask_transaction(transaction.queued, context)
        wire += b"".join(asked.wires)
        block = TransactionBlock(self._writer, context, reply, plan, transaction, behind, finish, asked)
        self._lanes.submit(wire, block, context, self._lanes.ordered_keys(transaction.queued))
        return await reply.wait()

    async def _call(
        self, lease: Lease, wire: bytes, reply_count: int = 1, context: Context | None = None
    ) -> list[bytes]:
        """Send requests on a lease in the client's context; after any failure the lease is closed."""
        try:
            with trio.fail_after(self._writer.config.read_timeout_seconds):
                await lease.enter(context or self._state.context)
                return await lease.call(wire, reply_count)
        except trio.TooSlowError:
            self._writer.leases.close(lease, lost=True)
            raise ConnectionLost("no reply from the primary") from None
        except BaseException:
            self._writer.leases.close(lease, lost=True)
            raise

    # --- blocking commands

    async def block(self, plan: Plan, request: Request) -> bytes:
        """A blocking command: on the lane if there is something, else on a connection of its own.

        Raises:
            Interrupted: By `interrupt`; nothing was taken.
        """
        blocked = self._blocked = _Blocked(self._writer)
        self._state.is_blocked = True
        swaps = self._writer.stream.doubtful.swaps if self._writer.stream is not None else 0
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
        counters = self._writer.answering.by_command[plan.index]
        counters.counts[0] += 1
        if is_error(reply):
            self._writer.count_error(plan, counters, reply)
        if self._is_gone:
            await self._put_back(gives_back(plan.spec, request.args, reply))
        return reply

    async def _wait_beside_lane(self, blocked: _Blocked, plan: Plan, request: Request, swaps: int) -> bytes:
        """Return what the command gets in the end, and mirror that."""
        writer = self._writer
        lease = await writer.leases.take(self._state.context)
        beside = writer.notes.begin_beside(self._state.context.db, [(plan, request)])
        try:
            claims = writer.notes.claims(beside)
            reply = await self._wait_unblocked(blocked, lease, plan, request)
            self._mirror(plan, request, reply, swaps, lambda: writer.notes.claims(beside) != claims)
            return reply
        except BaseException:  # it may have been executed
            self._mark(plan, request, swaps)
            raise
        finally:
            writer.when_seen(plan, request, partial(writer.notes.end_beside, beside))

    async def _try_at_once(self, plan: Plan, request: Request) -> bytes:
        """Return what the command gets without waiting: at a position of the lane, as any other."""
        if self._lane.state is not LaneState.UP:
            await self._writer.wait_lane()
        self._require_lane()
        writer, context = self._writer, self._state.context
        asked = NOT_ASKED
        if writer.mirrors:
            writer.notes.note(context.db, [plan], [request])
            asked = writer.ask(plan, request, context)
        attempt = Attempt(writer, context, plan, request, asked)
        wire = b"".join([_MULTI, request.raw, _EXEC, *asked.wires])
        self._lanes.submit(wire, attempt, context, keys_of(plan.spec, request.args))
        return await attempt.wait_reply()

    def _mirror(
        self, plan: Plan, request: Request, reply: bytes, swaps: int, has_claims: Callable[[], bool]
    ) -> None:
        """Mirror what a command took after it had waited.

        It has no position on the lane. The keys of lists and sorted sets were empty a moment ago: their
        states are copied. What groups of streams have delivered is told by its ids, behind all that the lane
        executed before. If pending entries were claimed on the lane meanwhile (*has_claims*), nobody knows
        whether these were among them: then streams are copied, too.
        """
        writer, stream = self._writer, self._writer.stream
        if stream is None or is_null(reply) or plan.queue is None:
            return None
        if plan.spec.name != "XREADGROUP":
            return self._mark(plan, request, swaps)
        context = self._state.context
        execution = Execution(plan.spec, request.args, reply, writer.time.at_ms(writer.clock()))
        effects = writer.translator.said(effects_of(execution), context.db)
        commands = effects.commands
        item = commands_item(Queue.BLOCKING, commands, writer.clock(), context) if commands else None
        translation = Translation(item, tuple((context.db, key) for _, key in effects.copies))

        def enter() -> None:
            if stream.doubtful.swaps == swaps and not has_claims():
                writer.enter(translation)
            else:
                self._mark(plan, request, swaps)

        writer.when_seen(plan, request, enter)

    def _mark(self, plan: Plan, request: Request, swaps: int) -> None:
        """Have the keys copied that a command has changed, or may have, beside the lane."""
        stream, db = self._writer.stream, self._state.context.db
        if stream is None or plan.queue is None:
            return
        keys = keys_of(plan.spec, request.args) or ()
        self._writer.translator.forget(plan, request.args, db)
        stream.copy_now([(db, key) for key in keys], is_unordered=True)

        def mark_everywhere() -> None:
            if stream.doubtful.swaps != swaps:  # was it before databases were exchanged, or after that?
                stream.copy_now([(one, key) for one in self._lane.dbs for key in keys], is_unordered=True)

        self._writer.when_seen(plan, request, mark_everywhere)

    async def _put_back(self, commands: list[tuple[bytes | str | int, ...]]) -> None:
        """Put back what was taken for a client that has gone."""
        try:
            for one in commands:
                await self._writer.write(*one, context=self._state.context)
        except (BackendUnavailable, ConnectionLost) as error:
            _log.error("lost what a client that has gone had taken", extra={"why": str(error)})

    async def _wait_unblocked(self, blocked: _Blocked, lease: Lease, plan: Plan, request: Request) -> bytes:
        seconds = wait_seconds(plan.spec, request.args)
        leases = self._writer.leases
        if self._is_moving:
            blocked.is_interrupted = True
            leases.give_back(lease)
            return encode.null_array(self._state.protocol)
        try:
            blocked.begin(lease, math.inf if seconds is None else seconds + _MARGIN_SECONDS)
            if self._is_leaving:
                blocked.release(with_error=True)
            (reply,) = await lease.call(request.raw)
            # Before anybody else gets the connection: what is meant for us must not unblock them.
            await blocked.finish()
        except BaseException:
            leases.close(lease, lost=True)
            raise
        leases.give_back(lease)
        return reply

    # --- others

    async def refuse_password(self, reply: bytes) -> bytes:
        """Answer a wrong password, later each time: guessing must not pay."""
        self._writer.metrics.auth_failures += 1
        self._wrong_passwords += 1
        await trio.sleep(min(_MAX_PENALTY_SECONDS, _PENALTY_SECONDS * 2**self._wrong_passwords))
        return reply

    async def log_in(self, name: bytes, password: bytes, request: bytes) -> bytes:
        """Try a client's own ``AUTH`` at the primary; return its reply."""
        leases = self._writer.leases
        own = self._writer.own_context
        lease = await leases.take(own)
        (reply,) = await self._call(lease, request, context=own)
        if is_error(reply):
            leases.give_back(lease)
            return await self.refuse_password(reply) if reply.startswith(b"-WRONGPASS") else reply
        self._lane.logins.accept(name, password)
        lease.context = lease.context._replace(user=name)
        leases.give_back(lease)
        self._state.user = User(name)
        self._state.login = name
        self.accept_password()
        return reply

    def accept_password(self) -> None:
        """Take note that the password was right."""
        self._wrong_passwords = 0

    async def select(self, db: int) -> bytes:
        """``SELECT`` of a database that nobody has selected so far: perhaps it does not exist."""
        leases = self._writer.leases
        lease = await leases.take(self._state.context)
        (reply,) = await self._call(lease, command("SELECT", db))
        if not is_error(reply):
            lease.context = lease.context._replace(db=db)
            self._lane.dbs.add(db)
            self._state.db = db
        leases.give_back(lease)
        return reply

    async def wait_for_replicas(self, request: Request) -> bytes:
        """``WAIT``, ``WAITAOF``: ask again and again, so that no lane ever waits.

        Each lane tells of what was written on it, so all are asked; the least counts.
        """
        args = request.args
        numbers = [parse_integer(word) for word in args[1:]]
        if None in numbers or min(number or 0 for number in numbers) < 0:
            return (await self._on_lane(request.raw))[0]  # the primary knows what to say
        *wanted, patience_ms = (number or 0 for number in numbers)
        least = await self._least(command(*args[:-1], 1))  # makes the replicas speak up at once
        deadline = trio.current_time() + (patience_ms / 1000 if patience_ms else math.inf)
        while (
            not (self._is_leaving or self._is_moving)
            and trio.current_time() < deadline
            and _is_short_of(least, wanted)
        ):
            await trio.sleep(min(_WAIT_POLL_SECONDS, deadline - trio.current_time()))
            least = await self._least(command(args[0], *(0 for _ in args[1:])))
        return least

    async def _least(self, wire: bytes) -> bytes:
        """Ask for numbers on all lanes; return the least ones."""
        self._require_lane()
        replies = await self._lanes.ask_each(wire, self._writer.own_context)
        told = [value_of(reply) for reply in replies if not is_error(reply)]
        if len(told) == 1 or len(told) < len(replies):
            return max(replies, key=is_error)
        if isinstance(told[0], list):
            return encode.array([encode.integer(min(each)) for each in zip(*told, strict=True)])
        return encode.integer(min(told))

    async def call_beside_lane(self, request: Request) -> bytes:
        """What has to be heard while the lane stands still (``SCRIPT KILL``)."""
        lease = await self._writer.leases.take(self._state.context)
        (reply,) = await self._call(lease, request.raw)
        self._writer.leases.give_back(lease)
        return reply

    async def learn(self, name: bytes) -> None:
        """Ask the primary what an unknown command is."""
        (reply,) = await self._on_lane(command("COMMAND", "INFO", name))
        facts = [] if is_error(reply) else elements_of(reply)
        self._writer.vocabulary.learn(name, facts[0] if facts else b"*-1\r\n", self._writer.clock())

    async def _on_lane(self, wire: bytes) -> list[bytes]:
        self._require_lane()
        call = Call()
        self._lanes.submit(wire, call, self._writer.own_context)
        return await call.wait()

    def _require_lane(self) -> None:
        if self._lane.state is not LaneState.UP:
            raise BackendUnavailable("the primary cannot be reached")


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


def _is_short_of(reply: bytes, wanted: Sequence[int]) -> bool:
    """Whether fewer replicas than wanted have it yet (``WAIT`` gives one number, ``WAITAOF`` two)."""
    told = value_of(reply)
    numbers = told if isinstance(told, list) else [told]
    return not is_error(reply) and any(have < want for have, want in zip(numbers, wanted, strict=True))
