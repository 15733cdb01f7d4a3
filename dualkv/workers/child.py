"""A worker: ``python -m dualkv.workers.child``, started by the supervisor.

It reads its `WorkerOrder` from standard input, and listens there ever after: when the other end is closed,
the supervisor is no more, and it ends in order.
"""

from __future__ import annotations

import logging
import pickle
import socket
import sys
from collections.abc import Mapping
from typing import Any, Final

import attrs
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dualkv.admin.operations import refusal
from dualkv.admin.serving import serve_http
from dualkv.config import parse_proxy_mode
from dualkv.core.mode_change import ModeChange
from dualkv.errors import ConfigError, ModeChangeRefused
from dualkv.net.control import outcome_of
from dualkv.observe.logs import configure_logging
from dualkv.serve import ProxyServer, run_server, tame_garbage_collector
from dualkv.workers.order import WorkerOrder
from dualkv.workers.vote import ModeVote

__all__ = ["WRONG_SETTING", "worker_app"]

WRONG_SETTING: Final = 2
"""The exit code of a worker that cannot start as it is set."""
_ADMIN_PATHS: Final = ("/api/", "/openapi.json", "/series")

_log = logging.getLogger("dualkv.worker")


def worker_app(server: ProxyServer, nursery: trio.Nursery) -> ASGIApp:
    """Return what a worker answers to its supervisor: all that dualkv answers, and its part of a vote.

    Args:
        server: The worker's.
        nursery: Where changes of the mode run.
    """
    vote = ModeVote(server.modes, nursery)

    async def prepare(request: Request) -> Response:
        asked = await request.json()
        mode = parse_proxy_mode(asked.pop("mode"))
        try:
            if asked.pop("dry_run"):
                return JSONResponse(_told(await server.modes.change_mode(mode, dry_run=True, **asked)))
            return JSONResponse(_told(await vote.prepare(mode, **asked)))
        except ModeChangeRefused as refused:
            return refusal(409, str(refused))

    async def complete(_: Request) -> Response:
        try:
            return JSONResponse(_told(await vote.complete()))
        except ModeChangeRefused as refused:
            return refusal(409, str(refused))

    async def abandon(_: Request) -> Response:
        await vote.abandon()
        return JSONResponse({})

    voting = Starlette(
        routes=[
            Route("/worker/mode", prepare, methods=["PUT"]),
            Route("/worker/mode/complete", complete, methods=["POST"]),
            Route("/worker/mode/abandon", abandon, methods=["POST"]),
        ]
    )
    admin, public = server.admin_app(()), server.public_app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        one = voting if path.startswith("/worker/") else admin if path.startswith(_ADMIN_PATHS) else public
        await one(scope, receive, send)

    return app


def _told(change: ModeChange) -> Mapping[str, Any]:
    return attrs.asdict(outcome_of(change))


async def _run(order: WorkerOrder) -> None:
    server = ProxyServer(
        order.config, client_listeners=[_adopted(descriptor) for descriptor in order.client_listeners]
    )
    await server.listen()  # then it can answer: what is wrong would have been found
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, worker_app(server, nursery), [_adopted(order.control_listener)])
        nursery.start_soon(_end_with_supervisor, server)
        await run_server(server)
        nursery.cancel_scope.cancel("stopped")


def _adopted(descriptor: int) -> socket.socket:
    """Return a socket that the supervisor has opened."""
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


async def _end_with_supervisor(server: ProxyServer) -> None:
    """End in order when the supervisor is no more."""
    async with trio.lowlevel.FdStream(0) as lifeline:
        while await lifeline.receive_some():
            pass
    _log.error("the supervisor is gone")
    server.stop()


def main() -> None:
    """Run a worker until it is told to stop."""
    order = pickle.load(sys.stdin.buffer)  # noqa: S301 - our supervisor wrote it
    configure_logging(order.config.log_level, worker=order.number)
    tame_garbage_collector()
    try:
        trio.run(_run, order)
    except ConfigError as error:
        sys.stderr.write(f"dualkv: {error}\n")
        sys.exit(WRONG_SETTING)


if __name__ == "__main__":
    main()
