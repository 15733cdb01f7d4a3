"""A client's connection state: what it is, and how HELLO, SELECT, RESET and MULTI change it.

Rules:

1. All changes of a client's connection state are here and in `dualkv.core.answers`.
2. Each answer is a pure function of the state and the request; who writes it, and when, is not known here.
"""

from __future__ import annotations

import enum
from collections.abc import Container

import attrs

from dualkv.core.auth import User, Users
from dualkv.core.context import Context, context_of
from dualkv.core.subscriptions import Subscriptions
from dualkv.core.transaction import Transaction
from dualkv.resp import encode
from dualkv.resp.integers import parse_integer

__all__ = [
    "BAD_NAME",
    "HelloRequest",
    "Replies",
    "SessionState",
    "hello_reply",
    "is_printable",
    "login_of_hello",
    "parse_hello",
    "parse_select",
    "reset",
    "switch_protocol",
    "transaction_reply",
]

Args = tuple[bytes, ...]


class Replies(enum.Enum):
    """What ``CLIENT REPLY`` has set."""

    ON = "on"
    OFF = "off"
    SKIP = "skip"
    """The next command is not answered."""


@attrs.define
class SessionState:
    """What a client's connection has set."""

    client_id: int
    db: int = 0
    protocol: int = 2
    """The RESP version that it reads."""
    is_raised: bool = False
    """The primary does not speak that: what it writes in RESP2 is raised to RESP3."""
    name: bytes = b""
    lib_name: bytes = b""
    lib_version: bytes = b""
    transaction: Transaction | None = None
    has_quit: bool = False
    """The connection is closed once everything so far is answered."""
    first_db: int = 0
    """Where it began, and begins again after RESET."""
    user: User | None = attrs.field(factory=User)
    """Who it is; None: it has not said, and must."""
    login: bytes = b""
    """Whom the primary takes it for; empty: dualkv itself."""
    subscriptions: Subscriptions = attrs.field(factory=Subscriptions)
    replies: Replies = Replies.ON
    is_blocked: bool = False
    address: bytes = b""
    """Of the client, as ``host:port``."""
    local_address: bytes = b""
    connected_at: float = 0.0
    """In seconds."""
    last_command: bytes = b""
    """Its full name, as ``CLIENT LIST`` shows it; known of slow commands only."""

    @property
    def context(self) -> Context:
        """What its commands depend on."""
        return context_of(2 if self.is_raised else self.protocol, self.db, self.login)

    @property
    def is_plain(self) -> bool:
        """Whether ordinary commands may go to the primary without a second look."""
        return (
            self.transaction is None
            and self.replies is Replies.ON
            and self.user is not None
            and self.user.may_all
            and not self.is_subscriber
        )

    @property
    def is_subscriber(self) -> bool:
        """Whether it may only subscribe and unsubscribe: RESP2 has no other way to tell messages."""
        return self.protocol == 2 and bool(self.subscriptions)


_HELLO_NOAUTH = encode.error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH "
    "<user> <pass> option can be used to authenticate the client and select the RESP protocol version at the "
    "same time"
)

BAD_NAME = encode.error("ERR Client names cannot contain spaces, newlines or special characters.")


def is_printable(name: bytes) -> bool:
    """Return whether a client's or library's name has no blanks and nothing invisible."""
    return all(33 <= byte <= 126 for byte in name)


@attrs.frozen
class HelloRequest:
    """A valid ``HELLO``: what it asks for."""

    protocol: int
    name: bytes | None
    user: User


def parse_hello(state: SessionState, args: Args, users: Users) -> HelloRequest | bytes:
    """Return what a ``HELLO`` asks for, or the error reply.

    Args:
        state: The client's.
        args: The request.
        users: Who may come in.
    """
    protocol = state.protocol
    if len(args) > 1:
        version = parse_integer(args[1])
        if version is None:
            return encode.error("ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            return encode.error("NOPROTO unsupported protocol version")
        protocol = version
    name, user = None, state.user
    options = list(args[2:])
    while options:
        option = options.pop(0)
        if option.upper() == b"AUTH" and len(options) >= 2:
            found = users.check(options.pop(0), options.pop(0))
            if found is None:
                return encode.WRONGPASS
            user = found
        elif option.upper() == b"SETNAME" and options:
            name = options.pop(0)
            if not is_printable(name):
                return BAD_NAME
        else:
            return encode.error(b"ERR Syntax error in HELLO option '%b'" % option)
    if user is None:
        return _HELLO_NOAUTH
    return HelloRequest(protocol, name, user)


def login_of_hello(args: Args) -> tuple[bytes, bytes] | None:
    """Return the user and password of a ``HELLO … AUTH user password``, if it has them."""
    options = [arg.upper() for arg in args]
    position = 2
    while position < len(args):
        if options[position] == b"AUTH" and position + 2 < len(args):
            return args[position + 1], args[position + 2]
        position += 2
    return None


def switch_protocol(state: SessionState, hello: HelloRequest, spoken: Container[int]) -> None:
    """Do what a ``HELLO`` asked for.

    Args:
        state: The client's.
        hello: What it asked for.
        spoken: RESP versions that the primary speaks.
    """
    state.protocol = hello.protocol
    state.is_raised = hello.protocol not in spoken
    state.user = hello.user
    if hello.name is not None:
        state.name = hello.name


def hello_reply(state: SessionState, facts: dict[str, bytes]) -> bytes:
    """Return the reply to ``HELLO``: the primary's own, with this client's id.

    Args:
        state: The client's, after the switch.
        facts: The fields of the primary's ``HELLO`` reply, in order, as raw frames.
    """
    return encode.mapping({**facts, "id": encode.integer(state.client_id)}, state.protocol)


def parse_select(args: Args) -> int | bytes:
    """Return the database that a ``SELECT`` asks for, or the error reply."""
    db = parse_integer(args[1])
    if db is None or not -(2**31) <= db < 2**31:
        return encode.error("ERR value is not an integer or out of range")
    if db < 0:
        return encode.error("ERR DB index is out of range")
    return db


def reset(state: SessionState, users: Users) -> None:
    """Do what ``RESET`` asks for; the library's name stays, as in Redis."""
    state.protocol = 2
    state.is_raised = False
    state.db = state.first_db
    state.name = b""
    state.transaction = None
    state.replies = Replies.ON
    state.subscriptions = Subscriptions()
    state.user = users.initial()
    state.login = b""


def transaction_reply(state: SessionState, name: str) -> bytes | None:
    """Execute a transaction command, as far as it does not need the primary.

    Args:
        state: The client's; changed as the command says.
        name: ``MULTI``, ``EXEC`` or ``DISCARD``.

    Returns:
        The reply, or None for an ``EXEC`` whose transaction has to be executed.
    """
    transaction = state.transaction
    if name == "MULTI":
        if transaction is not None:
            return encode.error("ERR MULTI calls can not be nested")
        state.transaction = Transaction()
        return encode.OK
    if transaction is None:
        return encode.error(f"ERR {name} without MULTI")
    if name == "EXEC" and not transaction.is_broken:
        return None
    state.transaction = None
    return encode.OK if name == "DISCARD" else encode.EXECABORT
