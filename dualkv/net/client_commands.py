"""Commands about clients: ``CLIENT INFO``, ``LIST``, ``KILL``, ``UNBLOCK``. dualkv's clients are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualkv.core.clients import describe, parse_kill, parse_list, parse_unblock, text_reply
from dualkv.core.routing import Plan
from dualkv.core.session import SessionState
from dualkv.resp import encode
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["answer_about_clients"]


def answer_about_clients(session: ClientSession, request: Request, plan: Plan) -> bytes:
    """Do what one client wants to be done to clients, or tell what it asks about them.

    Args:
        session: Who asks; if it has to end itself, it has quit then.
        request: Of `Route.CLIENTS`, of the right arity.
        plan: Its plan.

    Returns:
        The reply.
    """
    args, clients = request.args, session.client.writer.clients
    match plan.spec.name:
        case "CLIENT INFO":
            return _described(session, [session.state])
        case "CLIENT LIST":
            concerns = parse_list(args)
            if isinstance(concerns, bytes):
                return concerns
            return _described(session, [one.state for one in clients.values() if concerns(one.state)])
        case "CLIENT UNBLOCK":
            wanted = parse_unblock(args)
            if isinstance(wanted, bytes):
                return wanted
            client = clients.get(wanted[0])
            released = client is not None and client.blocking.release(with_error=wanted[1])
            return encode.integer(int(released))
        case _:
            return _kill(session, args)


def _described(session: ClientSession, states: list[SessionState]) -> bytes:
    now = session.client.writer.clock()
    return text_reply(b"".join(describe(state, now) for state in states), session.state.protocol)


def _kill(session: ClientSession, args: tuple[bytes, ...]) -> bytes:
    kill = parse_kill(args)
    if isinstance(kill, bytes):
        return kill
    concerned = [
        one
        for one in session.client.writer.clients.values()
        if kill.concerns(one.state) and not (kill.spares_self and one is session)
    ]
    for one in concerned:
        if one is session:
            session.state.has_quit = True
        else:
            one.abort("killed")
    if not kill.is_old_form:
        return encode.integer(len(concerned))
    return encode.OK if concerned else encode.error("ERR No such client")
