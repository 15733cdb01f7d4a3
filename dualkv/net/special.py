"""A client's commands that are not simply sent to the primary: checks, and who takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from dualkv.core.answers import answer
from dualkv.core.auth import User, Users
from dualkv.core.blocking import shortened
from dualkv.core.clients import describe, parse_kill, parse_list, parse_unblock, text_reply
from dualkv.core.raising import raised, raised_hello
from dualkv.core.routing import LISTING, Plan, Route, plan_of
from dualkv.core.session import (
    HelloRequest,
    Replies,
    SessionState,
    hello_reply,
    login_of_hello,
    parse_hello,
    parse_select,
    reset,
    switch_protocol,
    transaction_reply,
)
from dualkv.core.subscriptions import Kind, kind_of, push
from dualkv.core.transaction import Transaction, is_local, queue_command
from dualkv.net.about import answer_about_self
from dualkv.net.lane import LaneState
from dualkv.net.operations import Interrupted
from dualkv.net.waiting import CorrectedCall, TransactionBlock
from dualkv.resp import encode
from dualkv.resp.encode import command, pack
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import is_error, value_of
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession
    from dualkv.net.writer import DualWriter

__all__ = ["SpecialCommands"]

_WITHOUT_AUTH: Final = frozenset({"AUTH", "HELLO", "RESET", "QUIT"})
_IN_SUBSCRIBER_MODE: Final = frozenset({"PING", "QUIT", "RESET"})
_EXEC_PLAN: Final = plan_of((b"EXEC",))
_ACT_AT_ONCE: Final = frozenset({"MULTI", "EXEC", "DISCARD", "WATCH", "RESET", "QUIT"})
"""Not queued inside a transaction."""


class SpecialCommands:
    """Executes one client's commands, one at a time.

    Args:
        session: The client's.
        writer: Where commands go.
    """

    def __init__(self, session: ClientSession, writer: DualWriter) -> None:
        self._session = session
        self._writer = writer
        self._state = session.state
        self._operations = session.operations
        self._lane = writer.lane

    def move_to(self, writer: DualWriter) -> None:
        """Send commands elsewhere from now on."""
        self._writer, self._lane = writer, writer.lane

    def execute(self, request: Request, plan: Plan) -> bool:
        """Execute a command.

        Returns:
            False if it has to wait until nothing is outstanding; nothing has happened then.
        """
        state, spec = self._state, plan.spec
        if plan.route is Route.HANG_UP:
            state.has_quit = True
            self._session.end_input()
            return True
        if plan.route is Route.UNKNOWN and state.user is not None and not self._is_missing(request.args[0]):
            return self._begin(partial(self._learn, request))
        state.last_command = spec.label.encode()
        refusal = self._refusal(request.args, plan)
        if refusal is not None:
            if spec.name == "EXEC":
                state.transaction = None
                self._operations.unwatch()
                return self._answer(encode.exec_aborted(refusal))
            if state.transaction is not None:
                state.transaction.is_broken = True
            return self._answer(refusal)
        if plan.route not in (Route.LANE, Route.OWN):
            self._look_at(request, plan)
        if state.transaction is not None and spec.name not in _ACT_AT_ONCE:
            return self._answer(
                self._select_refusal(request, plan) or queue_command(state.transaction, plan, request)
            )
        return self._BY_ROUTE[plan.route](self, request, plan)

    def _look_at(self, request: Request, plan: Plan) -> None:
        """Note how a command is used whose reply is not counted by those who wait on the lane."""
        counters = self._writer.answering.by_command[plan.index]
        observed = self._writer.metrics.observed
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
        if spec.name in LISTING and not self._writer.may_be_listed:
            return encode.not_listed(spec.name)
        return None

    # --- what all of them use

    def _answer(self, data: bytes) -> bool:
        self._session.answer(data)
        return True

    def _begin(self, operation: Callable[[], Awaitable[bytes]]) -> bool:
        """Let the session's task carry out an operation, once nothing is outstanding."""
        if self._session.has_outstanding:
            return False
        self._session.begin(operation)
        return True

    # --- by route

    def _send(self, request: Request, plan: Plan) -> bool:
        self._session.send([request], [plan])
        return True

    def _send_delicate(self, request: Request, plan: Plan) -> bool:
        if plan.spec.name == "XREAD" and self._writer.primary_dialect.waits_for_streams:
            args = (*request.args[:1], b"BLOCK", b"1", *request.args[1:])  # on a connection of its own
            return self._block(Request(args, pack(args)), plan_of(args))
        return self._send(request, plan)

    def _answer_locally(self, request: Request, plan: Plan) -> bool:
        self._answer(self._local_answer(request, plan))
        if self._state.has_quit:
            self._session.end_input()
        return True

    def _local_answer(self, request: Request, plan: Plan) -> bytes:
        if plan.route is Route.OWN:
            return answer_about_self(self._writer, self._state, request.args, plan.spec.label)
        return answer(self._state, request.args, plan.spec.label)

    def _block(self, request: Request, plan: Plan) -> bool:
        return self._begin(partial(self._block_and_raise, plan, request))

    async def _block_and_raise(self, plan: Plan, request: Request) -> bytes:
        is_raised, began = self._state.is_raised, self._writer.clock()
        try:
            reply = await self._operations.block(plan, request)
        except Interrupted:
            left = shortened(plan.spec, request.args, self._writer.clock() - began)
            if left is None:
                return encode.null_array(self._state.protocol)
            self._session.put_back(Request(left, command(*left)))
            return b""
        # The primary may have become another one meanwhile. What is RESP3 already stays as it is.
        is_raised = is_raised or self._state.is_raised
        return raised(plan.spec, request.args, reply) if is_raised else reply

    def _call_beside_lane(self, request: Request, _: Plan) -> bool:
        return self._begin(partial(self._operations.call_beside_lane, request))

    def _wait_for_replicas(self, request: Request, _: Plan) -> bool:
        return self._begin(partial(self._operations.wait_for_replicas, request))

    def _is_missing(self, name: bytes) -> bool:
        """Whether the primary has said lately that there is no such command."""
        return self._writer.vocabulary.is_missing(name, self._writer.clock())

    async def _learn(self, request: Request) -> bytes:
        await self._operations.learn(request.args[0])
        self._session.put_back(request)
        return b""

    def _change_session(self, request: Request, plan: Plan) -> bool:
        """HELLO, AUTH, SELECT, RESET, CLIENT REPLY: nothing may overlap with them."""
        if self._session.has_outstanding:
            return False
        args = request.args
        match plan.spec.name:
            case "HELLO":
                return self._hello(args)
            case "AUTH":
                return self._auth(args)
            case "SELECT":
                return self._select(request, plan)
            case "RESET":
                self._unsubscribe_all()
                self._operations.unwatch()
                reset(self._state, self._writer.users)
                self._session.unmute()
                return self._answer(encode.RESET)
            case _:
                return self._set_replies(args)

    def _hello(self, args: tuple[bytes, ...]) -> bool:
        users = self._writer.users
        if self._writer.passes_logins_through and (login := login_of_hello(args)) is not None:
            return self._begin(partial(self._log_in_and_hello, args, *login))
        return self._hello_as(users, args)

    async def _log_in_and_hello(self, args: tuple[bytes, ...], name: bytes, password: bytes) -> bytes:
        # First all that can be wrong without the primary: nothing changes if anything is.
        known = Users([User(name)])
        hello = parse_hello(self._state, args, known)
        if isinstance(hello, bytes):
            return hello
        reply = await self._operations.log_in(name, password, command("AUTH", name, password))
        if is_error(reply):
            return reply
        return self._greet(hello)

    def _greet(self, hello: HelloRequest) -> bytes:
        greeting = self._lane.greeting
        switch_protocol(self._state, hello, greeting.protocols)
        if self._state.is_raised:
            return hello_reply(self._state, raised_hello(greeting.hello.get(2, {})))
        return hello_reply(self._state, greeting.hello.get(hello.protocol, {}))

    def _hello_as(self, users: Users, args: tuple[bytes, ...]) -> bool:
        hello = parse_hello(self._state, args, users)
        if isinstance(hello, bytes):
            if hello == encode.WRONGPASS:
                return self._begin(partial(self._operations.refuse_password, hello))
            return self._answer(hello)
        self._operations.accept_password()
        return self._answer(self._greet(hello))

    def _auth(self, args: tuple[bytes, ...]) -> bool:
        users = self._writer.users
        if len(args) > 3:
            return self._answer(encode.error("ERR syntax error"))
        if self._writer.passes_logins_through:
            name = args[1] if len(args) == 3 else b"default"
            return self._begin(partial(self._operations.log_in, name, args[-1], command(*args)))
        if len(args) == 2 and users.has_open_default:
            return self._answer(encode.NO_PASSWORD_SET)
        user = users.check(args[1] if len(args) == 3 else b"default", args[-1])
        if user is None:
            return self._begin(partial(self._operations.refuse_password, encode.WRONGPASS))
        self._state.user = user
        self._operations.accept_password()
        return self._answer(encode.OK)

    def _select(self, request: Request, plan: Plan) -> bool:
        if (refusal := self._select_refusal(request, plan)) is not None:
            return self._answer(refusal)
        db = parse_select(request.args)
        if isinstance(db, bytes):
            return self._answer(db)
        if not self._writer.primary_dialect.has_databases:
            return self._answer(encode.OK)  # its keys are the same under each number, and so are ours of it
        if db not in self._lane.dbs:
            return self._begin(partial(self._operations.select, db))
        self._state.db = db
        return self._answer(encode.OK)

    def _select_refusal(self, request: Request, plan: Plan) -> bytes | None:
        """Where the settings pair two different databases, nobody knows which others belong together."""
        if plan.spec.name != "SELECT" or not self._writer.has_paired_dbs or len(request.args) != 2:
            return None
        if parse_integer(request.args[1]) == self._state.first_db:
            return None
        return encode.error(
            f"ERR dualkv mirrors database {self._state.first_db} to another number "
            "(primary_db, secondary_db): no other can be selected"
        )

    def _set_replies(self, args: tuple[bytes, ...]) -> bool:
        wanted = args[2].upper()
        if wanted == b"ON":
            self._state.replies = Replies.ON
            self._session.unmute()
            return self._answer(encode.OK)
        if wanted not in (b"OFF", b"SKIP"):
            return self._answer(encode.error("ERR syntax error"))
        if self._state.replies is not Replies.OFF:
            self._state.replies = Replies.OFF if wanted == b"OFF" else Replies.SKIP
        return True

    # --- transactions

    def _transaction(self, request: Request, plan: Plan) -> bool:
        """MULTI, EXEC, DISCARD, WATCH, UNWATCH."""
        state, operations, name = self._state, self._operations, plan.spec.name
        if name == "WATCH":
            if state.transaction is not None:
                return self._answer(encode.error("ERR WATCH inside MULTI is not allowed"))
            return self._begin(partial(operations.watch, request))
        if name == "UNWATCH":
            operations.unwatch()
            return self._answer(encode.OK)
        had_transaction = state.transaction is not None
        reply = transaction_reply(state, name)
        if reply is not None:
            if had_transaction and name != "MULTI":
                operations.unwatch()
            return self._answer(reply)
        transaction = state.transaction
        assert transaction is not None
        if operations.is_watching or transaction.changes_session:
            if self._session.has_outstanding:
                return False
            state.transaction = None
            return self._begin(partial(operations.execute, plan, transaction, self._finishing(transaction)))
        state.transaction = None
        return self._execute_on_lane(plan, transaction)

    def execute_whole(self, transaction: Transaction, wire: bytes) -> None:
        """Execute a transaction that came in one piece, with nothing unusual about it."""
        writer, context = self._writer, self._state.context
        asked = writer.ask_transaction(transaction.queued, context)
        finish = self._finishing(transaction) if self._state.is_raised else None
        block = TransactionBlock(writer, context, self._session, _EXEC_PLAN, transaction, 0, finish, asked)
        block.head = encode.OK + encode.QUEUED * len(transaction.queued)
        block.wire = wire
        wire = b"".join([wire, *asked.wires]) if asked.wires else wire
        self._session.submit(wire, block, transaction.queued)

    def _execute_on_lane(self, plan: Plan, transaction: Transaction) -> bool:
        if not transaction.queued:
            return self._answer(encode.array([]))
        if self._lane.state is not LaneState.UP:
            return self._answer(encode.PRIMARY_UNREACHABLE)
        finish = None
        if self._writer.subscriptions or self._state.is_raised:
            finish = self._finishing(transaction)
        context = self._state.context
        asked = self._writer.ask_transaction(transaction.queued, context)
        block = TransactionBlock(self._writer, context, self._session, plan, transaction, 0, finish, asked)
        wire = b"".join([transaction.wire(), *asked.wires])
        self._session.submit(wire, block, transaction.queued)
        return True

    def _finishing(self, transaction: Transaction) -> Callable[[list[bytes]], list[bytes]]:
        """Return what makes the client's results of the primary's."""
        return partial(self._finish, transaction, self._state.is_raised)

    def _finish(self, transaction: Transaction, is_raised: bool, results: list[bytes]) -> list[bytes]:
        """Execute what of a transaction is ours, and put its answers in place."""
        finished = []
        for (plan, request), told in zip(transaction.queued, results, strict=True):
            result = told
            if is_local(plan):
                result = self._local_answer(request, plan)
            elif plan.spec.name == "SELECT" and not is_error(told):
                db = parse_select(request.args)
                assert isinstance(db, int)
                self._lane.dbs.add(db)
                self._state.db = db
            elif plan.route is Route.RECEIVERS:
                result = self._corrected(plan, request, told)
            elif is_raised:
                result = raised(plan.spec, request.args, told)
            finished.append(result)
        return finished

    # --- Pub/Sub

    def _send_corrected(self, request: Request, plan: Plan) -> bool:
        """PUBLISH, PUBSUB NUMSUB: dualkv's subscribers are one subscriber at the primary."""
        if not self._writer.subscriptions:
            return self._send(request, plan)
        if self._lane.state is not LaneState.UP:
            return self._answer(encode.PRIMARY_UNREACHABLE)
        if self._writer.mirrors:
            self._writer.notes.note(self._state.db, [plan], [request])
        correct = partial(self._corrected, plan, request)
        call = CorrectedCall(self._writer, self._state.context, self._session, request, plan, correct)
        self._session.submit(request.raw, call, [(plan, request)])
        return True

    def _corrected(self, plan: Plan, request: Request, reply: bytes) -> bytes:
        if is_error(reply):
            return reply
        subscriptions, args = self._writer.subscriptions, request.args
        if plan.spec.name in ("PUBLISH", "SPUBLISH"):
            kind = Kind.CHANNEL if plan.spec.name == "PUBLISH" else Kind.SHARD
            return encode.integer(value_of(reply) + subscriptions.surplus_receivers(kind, args[1]))
        kind = Kind.CHANNEL if plan.spec.name == "PUBSUB NUMSUB" else Kind.SHARD
        told: Sequence[object] = value_of(reply)
        if isinstance(told, dict):
            told = [word for pair in told.items() for word in pair]
        frames: list[bytes] = []
        for channel, count in zip(told[::2], told[1::2], strict=True):
            assert isinstance(channel, bytes)
            assert isinstance(count, int)
            frames += [encode.bulk(channel), encode.integer(count + subscriptions.surplus(kind, channel))]
        return encode.array(frames)

    def _subscription(self, request: Request, plan: Plan) -> bool:
        """SUBSCRIBE and its kin."""
        kind, subscribes = kind_of(plan.spec.name)
        names: Sequence[bytes] = request.args[1:]
        if subscribes:
            return self._begin(partial(self._subscribe, kind, names, request))
        names = names or self._state.subscriptions.names(kind)
        if not names:
            nothing = self._state.subscriptions.nothing_to_unsubscribe(kind, self._state.protocol)
            return self._answer(push(nothing, self._state.protocol))
        return self._begin(partial(self._unsubscribe, kind, names))

    async def _subscribe(self, kind: Kind, names: Sequence[bytes], request: Request) -> bytes:
        shared = self._writer.subscriptions.of(self._state.login)
        return await shared.subscribe(kind, names, self._session, request.raw) or b""

    async def _unsubscribe(self, kind: Kind, names: Sequence[bytes]) -> bytes:
        state = self._state
        await self._writer.subscriptions.unsubscribe(kind, names, self._session)
        return b"".join(push(state.subscriptions.unsubscribe(kind, name), state.protocol) for name in names)

    def _unsubscribe_all(self) -> None:
        for kind in Kind:
            for name in self._state.subscriptions.names(kind):
                self._writer.subscriptions.remove(kind, name, self._session)
                self._state.subscriptions.unsubscribe(kind, name)

    def close(self) -> None:
        """Give back what the client has at the primary."""
        self._unsubscribe_all()
        self._operations.close()

    # --- other clients

    def _answer_about_clients(self, request: Request, plan: Plan) -> bool:
        """CLIENT INFO, LIST, KILL, UNBLOCK."""
        args, clients = request.args, self._writer.clients
        match plan.spec.name:
            case "CLIENT INFO":
                return self._answer(self._described([self._state]))
            case "CLIENT LIST":
                concerns = parse_list(args)
                if isinstance(concerns, bytes):
                    return self._answer(concerns)
                return self._answer(
                    self._described([one.state for one in clients.values() if concerns(one.state)])
                )
            case "CLIENT UNBLOCK":
                wanted = parse_unblock(args)
                if isinstance(wanted, bytes):
                    return self._answer(wanted)
                client = clients.get(wanted[0])
                released = client is not None and client.operations.release(with_error=wanted[1])
                return self._answer(encode.integer(int(released)))
            case _:
                return self._kill(args)

    def _described(self, states: list[SessionState]) -> bytes:
        now = self._writer.clock()
        return text_reply(b"".join(describe(state, now) for state in states), self._state.protocol)

    def _kill(self, args: tuple[bytes, ...]) -> bool:
        kill = parse_kill(args)
        if isinstance(kill, bytes):
            return self._answer(kill)
        concerned = [
            client
            for client in self._writer.clients.values()
            if kill.concerns(client.state) and not (kill.spares_self and client is self._session)
        ]
        for client in concerned:
            if client is not self._session:
                client.abort("killed")
        if kill.is_old_form:
            self._answer(encode.OK if concerned else encode.error("ERR No such client"))
        else:
            self._answer(encode.integer(len(concerned)))
        if self._session in concerned:
            self._state.has_quit = True
            self._session.end_input()
        return True

    _BY_ROUTE: ClassVar[dict[Route, Callable[[SpecialCommands, Request, Plan], bool]]] = {
        Route.LANE: _send,
        Route.DELICATE: _send_delicate,
        Route.UNKNOWN: _send,
        Route.RECEIVERS: _send_corrected,
        Route.LOCAL: _answer_locally,
        Route.OWN: _answer_locally,
        Route.SESSION: _change_session,
        Route.CLIENTS: _answer_about_clients,
        Route.TRANSACTION: _transaction,
        Route.SUBSCRIPTION: _subscription,
        Route.BLOCKING: _block,
        Route.LEASED: _call_beside_lane,
        Route.WAIT: _wait_for_replicas,
    }
