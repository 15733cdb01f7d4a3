"""A client's connection state, and the answers that dualkv gives itself.

Rules:

1. All changes of a client's connection state are here.
2. Each answer is a pure function of the state and the request; who writes it, and when, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

import attrs

from dualkv.core.transaction import Transaction
from dualkv.resp import encode
from dualkv.resp.integers import parse_integer

__all__ = [
    "HelloRequest",
    "SessionState",
    "answer",
    "hello_reply",
    "parse_hello",
    "switch_protocol",
    "transaction_reply",
]

Args = tuple[bytes, ...]


@attrs.define
class SessionState:
    """What a client's connection has set."""

    client_id: int
    db: int = 0
    """The only database for now: the one that the backend's connections are in."""
    protocol: int = 2
    name: bytes = b""
    lib_name: bytes = b""
    lib_version: bytes = b""
    transaction: Transaction | None = None
    has_quit: bool = False
    """The connection is closed once everything so far is answered."""


@attrs.frozen
class HelloRequest:
    """A valid ``HELLO``: what it asks for."""

    protocol: int
    name: bytes | None


def parse_hello(state: SessionState, args: Args, spoken: Container[int]) -> HelloRequest | bytes:
    """Return what a ``HELLO`` asks for, or the error reply.

    Args:
        state: The client's.
        args: The request.
        spoken: RESP versions that the primary speaks.
    """
    protocol = state.protocol
    if len(args) > 1:
        version = parse_integer(args[1])
        if version is None:
            return encode.error("ERR Protocol version is not an integer or out of range")
        if version not in spoken:
            return encode.error("NOPROTO unsupported protocol version")
        protocol = version
    name = None
    options = list(args[2:])
    while options:
        option = options.pop(0)
        if option.upper() == b"AUTH" and len(options) >= 2:
            user, _ = options.pop(0), options.pop(0)
            if user != b"default":  # which needs no password: any is right
                return encode.error("WRONGPASS invalid username-password pair or user is disabled.")
        elif option.upper() == b"SETNAME" and options:
            name = options.pop(0)
            if not _is_printable(name):
                return _BAD_NAME
        else:
            return encode.error(b"ERR Syntax error in HELLO option '%b'" % option)
    return HelloRequest(protocol, name)


def switch_protocol(state: SessionState, hello: HelloRequest) -> None:
    """Do what a ``HELLO`` asked for."""
    state.protocol = hello.protocol
    if hello.name is not None:
        state.name = hello.name


def hello_reply(state: SessionState, facts: dict[str, bytes]) -> bytes:
    """Return the reply to ``HELLO``: the primary's own, with this client's id.

    Args:
        state: The client's, after the switch.
        facts: The fields of the primary's ``HELLO`` reply, in order, as raw frames.
    """
    return encode.mapping({**facts, "id": encode.integer(state.client_id)}, state.protocol)


def answer(state: SessionState, args: Args, label: str) -> bytes:
    """Answer a request that dualkv answers itself (all but HELLO and the transaction commands).

    Args:
        state: The client's; changed as the request says.
        args: The request, of the right arity.
        label: The command's full name (``client|setname``).

    Returns:
        The reply.
    """
    return _ANSWERS[label](state, args)


def transaction_reply(state: SessionState, name: str) -> bytes | None:
    """Execute a transaction command, as far as it does not need the primary.

    Args:
        state: The client's; changed as the command says.
        name: ``MULTI``, ``EXEC``, ``DISCARD`` or ``UNWATCH``.

    Returns:
        The reply, or None for an ``EXEC`` whose transaction has to be sent.
    """
    transaction = state.transaction
    if name == "MULTI":
        if transaction is not None:
            return encode.error("ERR MULTI calls can not be nested")
        state.transaction = Transaction()
        return encode.OK
    if name == "UNWATCH":
        return encode.OK
    if transaction is None:
        return encode.error(f"ERR {name} without MULTI")
    if name == "EXEC" and not transaction.is_broken and transaction.queued:
        return None
    state.transaction = None
    if name == "DISCARD":
        return encode.OK
    return encode.EXECABORT if transaction.is_broken else encode.array([])


# --- the answers ------------------------------------------------------------------------------------

_BAD_NAME: Final = encode.error("ERR Client names cannot contain spaces, newlines or special characters.")


def _is_printable(name: bytes) -> bool:
    return all(33 <= byte <= 126 for byte in name)


def _ping(_: SessionState, args: Args) -> bytes:
    if len(args) > 2:
        return encode.wrong_arity("ping")
    return encode.bulk(args[1]) if len(args) == 2 else encode.PONG


def _echo(_: SessionState, args: Args) -> bytes:
    return encode.bulk(args[1])


def _quit(state: SessionState, _: Args) -> bytes:
    state.has_quit = True
    return encode.OK


def _auth(_: SessionState, args: Args) -> bytes:
    if len(args) > 3:
        return encode.error("ERR syntax error")
    if len(args) == 3 and args[1] != b"default":
        return encode.error("WRONGPASS invalid username-password pair or user is disabled.")
    if len(args) == 3:
        return encode.OK
    return encode.error(
        "ERR AUTH <password> called without any password configured for the default user. "
        "Are you sure your configuration is correct?"
    )


def _select(state: SessionState, args: Args) -> bytes:
    db = parse_integer(args[1])
    if db is None:
        return encode.error("ERR value is not an integer or out of range")
    if db == state.db:
        return encode.OK
    return encode.not_supported(f"SELECT of a database other than {state.db}")


def _reset(state: SessionState, _: Args) -> bytes:
    state.protocol = 2
    state.name = b""
    state.transaction = None
    return encode.RESET


def _no_cluster(_: SessionState, __: Args) -> bytes:
    return encode.error("ERR This instance has cluster support disabled")


def _client_id(state: SessionState, _: Args) -> bytes:
    return encode.integer(state.client_id)


def _client_getname(state: SessionState, _: Args) -> bytes:
    return encode.bulk(state.name) if state.name else encode.null(state.protocol)


def _client_setname(state: SessionState, args: Args) -> bytes:
    if not _is_printable(args[2]):
        return _BAD_NAME
    state.name = args[2]
    return encode.OK


def _client_setinfo(state: SessionState, args: Args) -> bytes:
    option, value = args[2].upper(), args[3]
    if option not in (b"LIB-NAME", b"LIB-VER"):
        return encode.error(b"ERR Unrecognized option '%b'" % args[2])
    if not _is_printable(value):
        return encode.error(b"ERR %b cannot contain spaces, newlines or special characters." % args[2])
    if option == b"LIB-NAME":
        state.lib_name = value
    else:
        state.lib_version = value
    return encode.OK


def _client_info(state: SessionState, _: Args) -> bytes:
    text = (
        b"id=%d name=%b db=%d sub=0 psub=0 ssub=0 multi=%d resp=%d lib-name=%b lib-ver=%b\n"
        % (
            state.client_id, state.name, state.db,
            -1 if state.transaction is None else len(state.transaction.queued),
            state.protocol, state.lib_name, state.lib_version,
        )
    )  # fmt: skip
    if state.protocol == 3:
        return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)
    return encode.bulk(text)


def _client_switch(_: SessionState, args: Args) -> bytes:
    if args[2].upper() not in (b"ON", b"OFF"):
        return encode.error("ERR syntax error")
    return encode.OK


def _client_getredir(_: SessionState, __: Args) -> bytes:
    return encode.integer(-1)


_ANSWERS: Final[dict[str, Callable[[SessionState, Args], bytes]]] = {
    "ping": _ping,
    "echo": _echo,
    "quit": _quit,
    "auth": _auth,
    "select": _select,
    "reset": _reset,
    "readonly": _no_cluster,
    "readwrite": _no_cluster,
    "asking": _no_cluster,
    "client|id": _client_id,
    "client|getname": _client_getname,
    "client|setname": _client_setname,
    "client|setinfo": _client_setinfo,
    "client|info": _client_info,
    "client|no-evict": _client_switch,
    "client|no-touch": _client_switch,
    "client|getredir": _client_getredir,
}
