"""``CLIENT LIST``, ``KILL``, ``UNBLOCK``: what a client may ask about dualkv's clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from dualkv.core.session import SessionState
from dualkv.core.subscriptions import Kind
from dualkv.resp import encode
from dualkv.resp.integers import parse_integer

__all__ = ["KillRequest", "describe", "parse_kill", "parse_list", "parse_unblock", "text_reply"]

Args = tuple[bytes, ...]
Filter = Callable[[SessionState], bool]

_SYNTAX: Final = encode.error("ERR syntax error")
_TYPES: Final = (b"normal", b"master", b"replica", b"slave", b"pubsub")


def describe(state: SessionState, now: float) -> bytes:
    """Return a client's line, as ``CLIENT LIST`` has it; what a proxy does not know is left out.

    Args:
        state: The client's.
        now: The time in seconds, on the clock of `SessionState.connected_at`.
    """
    subscriptions = state.subscriptions
    flags = b"".join(
        flag
        for flag, applies in (
            (b"P", subscriptions),
            (b"x", state.transaction is not None),
            (b"b", state.is_blocked),
        )
        if applies
    )
    return (
        b"id=%d addr=%b laddr=%b name=%b age=%d flags=%b db=%d sub=%d psub=%d ssub=%d multi=%d cmd=%b "
        b"user=%b redir=-1 resp=%d lib-name=%b lib-ver=%b\n"
        % (
            state.client_id, state.address, state.local_address, state.name, now - state.connected_at,
            flags or b"N", state.db, len(subscriptions.names(Kind.CHANNEL)),
            len(subscriptions.names(Kind.PATTERN)), len(subscriptions.names(Kind.SHARD)),
            -1 if state.transaction is None else len(state.transaction.queued),
            state.last_command or b"NULL", state.user.name if state.user else b"(none)", state.protocol,
            state.lib_name, state.lib_version,
        )
    )  # fmt: skip


def text_reply(text: bytes, protocol: int) -> bytes:
    """Return text for people as RESP *protocol* writes it."""
    return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if protocol == 3 else encode.bulk(text)


def _type_of(state: SessionState) -> bytes:
    return b"pubsub" if state.subscriptions else b"normal"


def parse_list(args: Args) -> Filter | bytes:
    """Return which clients a ``CLIENT LIST`` wants, or the error reply."""
    options = args[2:]
    if not options:
        return lambda _: True
    if options[0].upper() == b"TYPE" and len(options) == 2:
        wanted = options[1].lower()
        if wanted not in _TYPES:
            return encode.error(b"ERR Unknown client type '%b'" % options[1])
        return lambda state: _type_of(state) == wanted
    if options[0].upper() == b"ID" and len(options) > 1:
        ids = [parse_integer(option) for option in options[1:]]
        if any(number is None or number < 1 for number in ids):
            return encode.error("ERR Invalid client ID")
        return lambda state: state.client_id in ids
    return _SYNTAX


@attrs.frozen
class KillRequest:
    """A valid ``CLIENT KILL``: whom it means."""

    concerns: Filter
    is_old_form: bool
    """With an address only: answers OK or an error instead of a number."""
    spares_self: bool


def parse_kill(args: Args) -> KillRequest | bytes:
    """Return whom a ``CLIENT KILL`` means, or the error reply."""
    if len(args) == 3:
        address = args[2]
        return KillRequest(lambda state: state.address == address, is_old_form=True, spares_self=False)
    if len(args) % 2:
        return _SYNTAX
    filters: list[Filter] = []
    spares_self = True
    for option, value in zip(args[2::2], args[3::2], strict=True):
        if option.upper() == b"SKIPME":
            if value.lower() not in (b"yes", b"no"):
                return _SYNTAX
            spares_self = value.lower() == b"yes"
            continue
        found = _kill_filter(option.upper(), value)
        if isinstance(found, bytes):
            return found
        filters.append(found)
    return KillRequest(
        lambda state: all(concerns(state) for concerns in filters), is_old_form=False, spares_self=spares_self
    )


def _kill_filter(option: bytes, value: bytes) -> Filter | bytes:
    if option == b"ID":
        number = parse_integer(value)
        if number is None or number < 1:
            return encode.error("ERR client-id should be greater than 0")
        return lambda state: state.client_id == number
    if option == b"TYPE":
        if value.lower() not in _TYPES:
            return encode.error(b"ERR Unknown client type '%b'" % value)
        return lambda state: _type_of(state) == value.lower()
    if option == b"ADDR":
        return lambda state: state.address == value
    if option == b"LADDR":
        return lambda state: state.local_address == value
    if option == b"USER":
        return lambda state: state.user is not None and state.user.name == value
    return _SYNTAX


def parse_unblock(args: Args) -> tuple[int, bool] | bytes:
    """Return whom a ``CLIENT UNBLOCK`` means and whether they are to see an error, or the error reply."""
    with_error = False
    if len(args) == 4 and args[3].upper() in (b"TIMEOUT", b"ERROR"):
        with_error = args[3].upper() == b"ERROR"
    elif len(args) != 3:
        return encode.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    number = parse_integer(args[2])
    return (
        encode.error("ERR value is not an integer or out of range")
        if number is None
        else (number, with_error)
    )
