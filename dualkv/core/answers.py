"""The answers that dualkv gives by itself: what concerns the client's connection and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dualkv.core.session import BAD_NAME, SessionState, is_printable
from dualkv.resp import encode

__all__ = ["answer"]

Args = tuple[bytes, ...]


def answer(state: SessionState, args: Args, label: str) -> bytes:
    """Answer a request of `Route.LOCAL`.

    Args:
        state: The client's; changed as the request says.
        args: The request, of the right arity.
        label: The command's full name (``client|setname``).

    Returns:
        The reply.
    """
    return _ANSWERS[label](state, args)


def _ping(state: SessionState, args: Args) -> bytes:
    if len(args) > 2:
        return encode.wrong_arity("ping")
    if state.is_subscriber:
        return encode.array([encode.bulk("pong"), encode.bulk(args[1] if len(args) == 2 else b"")])
    return encode.bulk(args[1]) if len(args) == 2 else encode.PONG


def _echo(_: SessionState, args: Args) -> bytes:
    return encode.bulk(args[1])


def _quit(state: SessionState, _: Args) -> bytes:
    state.has_quit = True
    return encode.OK


def _no_cluster(_: SessionState, __: Args) -> bytes:
    return encode.error("ERR This instance has cluster support disabled")


def _whoami(state: SessionState, _: Args) -> bytes:
    return encode.bulk(state.user.name if state.user else b"default")


def _client_id(state: SessionState, _: Args) -> bytes:
    return encode.integer(state.client_id)


def _client_getname(state: SessionState, _: Args) -> bytes:
    return encode.bulk(state.name) if state.name else encode.null(state.protocol)


def _client_setname(state: SessionState, args: Args) -> bytes:
    if not is_printable(args[2]):
        return BAD_NAME
    state.name = args[2]
    return encode.OK


def _client_setinfo(state: SessionState, args: Args) -> bytes:
    option, value = args[2].upper(), args[3]
    if option not in (b"LIB-NAME", b"LIB-VER"):
        return encode.error(b"ERR Unrecognized option '%b'" % args[2])
    if not is_printable(value):
        return encode.error(b"ERR %b cannot contain spaces, newlines or special characters." % args[2])
    if option == b"LIB-NAME":
        state.lib_name = value
    else:
        state.lib_version = value
    return encode.OK


def _client_switch(_: SessionState, args: Args) -> bytes:
    if args[2].upper() not in (b"ON", b"OFF"):
        return encode.error("ERR syntax error")
    return encode.OK


def _ok(_: SessionState, __: Args) -> bytes:
    return encode.OK


def _client_getredir(_: SessionState, __: Args) -> bytes:
    return encode.integer(-1)


def _client_tracking(_: SessionState, args: Args) -> bytes:
    if args[2].upper() == b"OFF":
        return encode.OK
    if args[2].upper() != b"ON":
        return encode.error("ERR syntax error")
    return encode.error("ERR CLIENT TRACKING is not supported by this proxy (dualkv)")


def _client_caching(_: SessionState, args: Args) -> bytes:
    if args[2].upper() not in (b"YES", b"NO"):
        return encode.error("ERR syntax error")
    return encode.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode "
        "enabled"
    )


def _client_trackinginfo(state: SessionState, _: Args) -> bytes:
    flags = encode.array([encode.bulk("off")])
    if state.protocol == 3:
        flags = b"~" + flags[1:]
    return encode.mapping(
        {"flags": flags, "redirect": encode.integer(-1), "prefixes": encode.array([])}, state.protocol
    )


def _script_debug(_: SessionState, args: Args) -> bytes:
    if args[2].upper() == b"NO" and len(args) == 3:
        return encode.OK
    if args[2].upper() in (b"YES", b"SYNC") and len(args) == 3:
        return encode.refused("SCRIPT DEBUG", args)
    return encode.error("ERR Use SCRIPT DEBUG YES/SYNC/NO")


_ANSWERS: Final[dict[str, Callable[[SessionState, Args], bytes]]] = {
    "ping": _ping,
    "echo": _echo,
    "quit": _quit,
    "readonly": _no_cluster,
    "readwrite": _no_cluster,
    "asking": _no_cluster,
    "acl|whoami": _whoami,
    "client|id": _client_id,
    "client|getname": _client_getname,
    "client|setname": _client_setname,
    "client|setinfo": _client_setinfo,
    "client|no-evict": _client_switch,
    "client|no-touch": _client_switch,
    "client|capa": _ok,
    "client|getredir": _client_getredir,
    "client|tracking": _client_tracking,
    "client|caching": _client_caching,
    "client|trackinginfo": _client_trackinginfo,
    "script|debug": _script_debug,
}
