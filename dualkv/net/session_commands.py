"""Commands that change what a client has set: ``HELLO``, ``AUTH``, ``SELECT``, ``CLIENT REPLY``.

The lanes are shared: none of these goes there. A user is checked here, or tried at the primary; a database
that nobody has selected so far is, too: perhaps it does not exist.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.auth import User, Users
from dualkv.core.raising import raised_hello
from dualkv.core.routing import Plan
from dualkv.core.session import (
    HelloRequest,
    Replies,
    hello_reply,
    login_of_hello,
    parse_hello,
    parse_select,
    switch_protocol,
)
from dualkv.resp import encode
from dualkv.resp.encode import command
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["SessionCommands"]

_PENALTY_SECONDS: Final = 0.05
_MAX_PENALTY_SECONDS: Final = 3.0


class SessionCommands:
    """Executes what one client sets.

    Args:
        session: The client's.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._client = session.client
        self._state = session.state
        self._wrong_passwords = 0

    def execute(self, request: Request, plan: Plan) -> bytes | None:
        """Execute one; nothing may overlap with it. Returns as `SpecialCommands` says."""
        if self._session.order.outstanding:
            return None
        args = request.args
        match plan.spec.name:
            case "HELLO":
                return self._hello(args)
            case "AUTH":
                return self._auth(args)
            case "SELECT":
                return self._select(request)
            case _:
                return self._set_replies(args)

    # --- HELLO, AUTH

    def _hello(self, args: tuple[bytes, ...]) -> bytes | None:
        writer = self._client.writer
        if writer.passes_logins_through and (login := login_of_hello(args)) is not None:
            return self._session.begin(partial(self._log_in_and_hello, args, *login))
        hello = parse_hello(self._state, args, writer.users)
        if isinstance(hello, bytes):
            if hello == encode.WRONGPASS:
                return self._session.begin(partial(self._refuse_password, hello))
            return hello
        self._wrong_passwords = 0
        return self._greet(hello)

    async def _log_in_and_hello(self, args: tuple[bytes, ...], name: bytes, password: bytes) -> bytes:
        # First all that can be wrong without the primary: nothing changes if anything is.
        known = Users([User(name)])
        hello = parse_hello(self._state, args, known)
        if isinstance(hello, bytes):
            return hello
        reply = await self._log_in(name, password, command("AUTH", name, password))
        if is_error(reply):
            return reply
        return self._greet(hello)

    def _greet(self, hello: HelloRequest) -> bytes:
        greeting = self._client.lane.greeting
        switch_protocol(self._state, hello, greeting.protocols)
        if self._state.is_raised:
            return hello_reply(self._state, raised_hello(greeting.hello.get(2, {})))
        return hello_reply(self._state, greeting.hello.get(hello.protocol, {}))

    def _auth(self, args: tuple[bytes, ...]) -> bytes | None:
        writer = self._client.writer
        users = writer.users
        if len(args) > 3:
            return encode.error("ERR syntax error")
        if writer.passes_logins_through:
            name = args[1] if len(args) == 3 else b"default"
            return self._session.begin(partial(self._log_in, name, args[-1], command(*args)))
        if len(args) == 2 and users.has_open_default:
            return encode.NO_PASSWORD_SET
        user = users.check(args[1] if len(args) == 3 else b"default", args[-1])
        if user is None:
            return self._session.begin(partial(self._refuse_password, encode.WRONGPASS))
        self._state.user = user
        self._wrong_passwords = 0
        return encode.OK

    async def _refuse_password(self, reply: bytes) -> bytes:
        """Answer a wrong password, later each time: guessing must not pay."""
        self._client.writer.metrics.auth_failures += 1
        self._wrong_passwords += 1
        await trio.sleep(min(_MAX_PENALTY_SECONDS, _PENALTY_SECONDS * 2**self._wrong_passwords))
        return reply

    async def _log_in(self, name: bytes, password: bytes, request: bytes) -> bytes:
        """Try a client's own ``AUTH`` at the primary; return its reply."""
        writer = self._client.writer
        lease = await writer.leases.take(writer.own_context)
        (reply,) = await self._client.call(lease, request, context=writer.own_context)
        if is_error(reply):
            writer.leases.give_back(lease)
            return await self._refuse_password(reply) if reply.startswith(b"-WRONGPASS") else reply
        writer.lane.logins.accept(name, password)
        lease.context = lease.context._replace(user=name)
        writer.leases.give_back(lease)
        self._state.user = User(name)
        self._state.login = name
        self._wrong_passwords = 0
        return reply

    # --- SELECT

    def _select(self, request: Request) -> bytes | None:
        if (refusal := self.select_refusal(request)) is not None:
            return refusal
        db = parse_select(request.args)
        if isinstance(db, bytes):
            return db
        if not self._client.writer.primary_dialect.has_databases:
            self._state.db = self._state.first_db  # both numbers of the one that is mirrored mean it
            return encode.OK
        if db not in self._client.lane.dbs:
            return self._session.begin(partial(self._select_new, db))
        self._state.db = db
        return encode.OK

    def select_refusal(self, request: Request) -> bytes | None:
        """Return the error for a ``SELECT`` of what is not mirrored, or None.

        Where the settings pair two different databases, nobody knows which others belong together. Where the
        primary has one only, others would mix with it.
        """
        if len(request.args) != 2:
            return None
        writer, db = self._client.writer, parse_integer(request.args[1])
        if not writer.primary_dialect.has_databases:
            return None if db is None or db < 0 else writer.select_refusal(db)
        if not writer.has_paired_dbs or db == self._state.first_db:
            return None
        return encode.error(
            f"ERR dualkv mirrors database {self._state.first_db} to another number "
            "(primary_db, secondary_db): no other can be selected"
        )

    async def _select_new(self, db: int) -> bytes:
        """``SELECT`` of a database that nobody has selected so far."""
        writer = self._client.writer
        lease = await writer.leases.take(self._state.context)
        (reply,) = await self._client.call(lease, command("SELECT", db))
        if not is_error(reply):
            lease.context = lease.context._replace(db=db)
            writer.lane.dbs.add(db)
            self._state.db = db
        writer.leases.give_back(lease)
        return reply

    # --- CLIENT REPLY

    def _set_replies(self, args: tuple[bytes, ...]) -> bytes:
        wanted = args[2].upper()
        if wanted == b"ON":
            self._state.replies = Replies.ON
            self._session.unmute()
            return encode.OK
        if wanted not in (b"OFF", b"SKIP"):
            return encode.error("ERR syntax error")
        if self._state.replies is not Replies.OFF:
            self._state.replies = Replies.OFF if wanted == b"OFF" else Replies.SKIP
        return b""
