"""A client's commands that are not simply sent to the primary: checks, and who takes them.

Each family of commands has a module of its own (``*_commands``); the rest is here. What executes a command
returns what to answer: empty, if the reply comes from elsewhere, or none does; None, if the command has to
wait until nothing of the client is outstanding: nothing has happened then.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from dualkv.core.answers import answer
from dualkv.core.blocking import shortened
from dualkv.core.raising import raised
from dualkv.core.routing import Plan, Route, plan_of
from dualkv.core.session import reset
from dualkv.core.transaction import Transaction, queue_command
from dualkv.net.about import answer_about_self
from dualkv.net.blocking_commands import Interrupted
from dualkv.net.client_commands import answer_about_clients
from dualkv.net.replicas import wait_for_replicas
from dualkv.net.session_commands import SessionCommands
from dualkv.net.subscription_commands import SubscriptionCommands
from dualkv.net.transaction_commands import TransactionCommands
from dualkv.resp import encode
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import elements_of, is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["SpecialCommands"]

_WITHOUT_AUTH: Final = frozenset({"AUTH", "HELLO", "RESET", "QUIT"})
_IN_SUBSCRIBER_MODE: Final = frozenset({"PING", "QUIT", "RESET"})
_ACT_AT_ONCE: Final = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "RESET", "QUIT"})
"""Not queued inside a transaction."""


class SpecialCommands:
    """Executes one client's commands, one at a time.

    Args:
        session: The client's.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._client = session.client
        self._state = session.state
        self._blocking = session.blocking
        self._settings = SessionCommands(session)
        self._transactions = TransactionCommands(session, self._local_answer)
        self._subscriptions = SubscriptionCommands(session)

    @property
    def is_watching(self) -> bool:
        """Whether the client watches keys."""
        return self._transactions.is_watching

    def lose_watch(self) -> None:
        """Take note that commands go to another writer next: who watches keys has seen them change."""
        self._transactions.lose_watch()

    def close(self) -> None:
        """Give back what the client has at the primary."""
        self._subscriptions.unsubscribe_all()
        self._transactions.unwatch()

    # --- any command

    def execute_whole(self, transaction: Transaction, wire: bytes) -> None:
        """Execute a transaction that came in one piece, with nothing unusual about it."""
        self._transactions.execute_whole(transaction, wire)

    def execute(self, request: Request, plan: Plan) -> bool:
        """Execute a command.

        Returns:
            False if it has to wait until nothing is outstanding; nothing has happened then.
        """
        reply = self._reply(request, plan)
        if reply is None:
            return False
        if reply:
            self._session.order.answer(reply)
        if self._state.has_quit:
            self._session.end_input()
        return True

    def _reply(self, request: Request, plan: Plan) -> bytes | None:
        state, spec = self._state, plan.spec
        if plan.route is Route.HANG_UP:
            state.has_quit = True
            return b""
        if plan.route is Route.UNKNOWN and state.user is not None and not self._is_missing(request.args[0]):
            return self._session.begin(partial(self._learn, request))
        state.last_command = spec.label.encode()
        refusal = self._refusal(request.args, plan)
        if refusal is not None:
            if spec.name == "EXEC":
                state.transaction = None
                self._transactions.unwatch()
                return encode.exec_aborted(refusal)
            if state.transaction is not None:
                state.transaction.is_broken = True
            return refusal
        if plan.route not in (Route.LANE, Route.OWN):
            self._look_at(request, plan)
        if state.transaction is not None and spec.name not in _ACT_AT_ONCE:
            refusal = self._settings.select_refusal(request) if spec.name == "SELECT" else None
            return refusal or queue_command(state.transaction, plan, request)
        return self._by_route(request, plan)

    def _look_at(self, request: Request, plan: Plan) -> None:
        """Note how a command is used whose reply is not counted by those who wait on the lane."""
        writer = self._client.writer
        counters = writer.answering.by_command[plan.index]
        observed = writer.metrics.observed
        observed.passing -= 1
        if counters.is_new or observed.take_turn():
            counters.is_new = observed.note(plan.spec, request.args, self._state.context.db)

    def _refusal(self, args: tuple[bytes, ...], plan: Plan) -> bytes | None:
        """Return the error for what this client must not do now, in the order in which Redis checks."""
        state, spec = self._state, plan.spec
        if plan.route is Route.UNKNOWN and (
            state.user is None or state.transaction is not None or state.is_subscriber
        ):
            return encode.unknown_command(args)
        if spec.subcommands and len(args) > 1:
            return encode.unknown_subcommand(args)
        if not spec.takes(len(args)):
            return encode.wrong_arity(spec.label)
        if state.user is None:
            return None if spec.name in _WITHOUT_AUTH else encode.NOAUTH
        if (refusal := state.user.refusal(spec, args)) is not None:
            return refusal
        if (
            state.is_subscriber
            and plan.route is not Route.SUBSCRIPTION
            and spec.name not in _IN_SUBSCRIBER_MODE
        ):
            return encode.error(
                f"ERR Can't execute '{spec.label}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        if plan.route is Route.REFUSED:
            return encode.refused(spec.name, args)
        writer = self._client.writer
        if not writer.is_choosy:
            return None
        commands = [(plan, args)]
        if spec.name == "EXEC" and state.transaction is not None:  # another store may answer since they came
            commands = [(queued, request.args) for queued, request in state.transaction.queued]
        refusals = (writer.refusal(*command, state.db) for command in commands)
        return next(filter(None, refusals), None)

    def _by_route(self, request: Request, plan: Plan) -> bytes | None:
        """Let execute it who can."""
        match plan.route:
            case Route.LANE | Route.UNKNOWN:
                return self._send(request, plan)
            case Route.DELICATE:
                return self._send_delicate(request, plan)
            case Route.RECEIVERS:
                return self._subscriptions.send_corrected(request, plan)
            case Route.LOCAL | Route.OWN:
                return self._local_answer(request, plan)
            case Route.SESSION:
                return self._reset() if plan.spec.name == "RESET" else self._settings.execute(request, plan)
            case Route.CLIENTS:
                return answer_about_clients(self._session, request, plan)
            case Route.TRANSACTION:
                return self._transactions.execute(request, plan)
            case Route.SUBSCRIPTION:
                return self._subscriptions.execute(request, plan)
            case Route.BLOCKING:
                return self._session.begin(partial(self._block, plan, request))
            case Route.LEASED:  # it has to be heard while the lane stands still (``SCRIPT KILL``)
                return self._session.begin(partial(self._client.call_alone, request.raw))
            case Route.WAIT:
                return self._session.begin(partial(wait_for_replicas, self._client, request))
            case _:
                raise AssertionError(f"nobody executes {plan.spec.name}")  # refused before

    # --- those without a family

    def _send(self, request: Request, plan: Plan) -> bytes:
        self._session.order.send([request], [plan])
        return b""

    def _send_delicate(self, request: Request, plan: Plan) -> bytes | None:
        if plan.spec.name == "XREAD" and self._client.writer.primary_dialect.waits_for_streams:
            args = (*request.args[:1], b"BLOCK", b"1", *request.args[1:])  # on a connection of its own
            return self._session.begin(partial(self._block, plan_of(args), Request(args, pack(args))))
        return self._send(request, plan)

    def _local_answer(self, request: Request, plan: Plan) -> bytes:
        if plan.route is Route.OWN:
            return answer_about_self(self._client.writer, self._state, request.args, plan.spec.label)
        return answer(self._state, request.args, plan.spec.label)

    def _reset(self) -> bytes | None:
        """``RESET``: as a new client."""
        if self._session.order.outstanding:
            return None
        self.close()
        reset(self._state, self._client.writer.users)
        self._session.unmute()
        return encode.RESET

    async def _block(self, plan: Plan, request: Request) -> bytes:
        """A blocking command, whose reply is raised to RESP3 where the primary speaks RESP2 only."""
        clock = self._client.writer.clock
        is_raised, began = self._state.is_raised, clock()
        try:
            reply = await self._blocking.block(plan, request)
        except Interrupted:
            left = shortened(plan.spec, request.args, clock() - began)
            if left is None:
                return encode.null_array(self._state.protocol)
            self._session.put_back(Request(left, command(*left)))
            return b""
        # The primary may have become another one meanwhile. What is RESP3 already stays as it is.
        is_raised = is_raised or self._state.is_raised
        return raised(plan.spec, request.args, reply) if is_raised else reply

    def _is_missing(self, name: bytes) -> bool:
        """Whether the primary has said lately that there is no such command."""
        return self._client.writer.vocabulary.is_missing(name, self._client.writer.clock())

    async def _learn(self, request: Request) -> bytes:
        """Ask the primary what an unknown command is, and execute it then."""
        writer, name = self._client.writer, request.args[0]
        reply = await self._client.ask(command("COMMAND", "INFO", name))
        facts = [] if is_error(reply) else elements_of(reply)
        writer.vocabulary.learn(name, facts[0] if facts else b"*-1\r\n", writer.clock())
        self._session.put_back(request)
        return b""
