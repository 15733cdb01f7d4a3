"""HTTP for all workers together: as one dualkv answers, with what all of them say."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final

import attrs
from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dualkv.admin.control import MODE_FIELDS, asker_of
from dualkv.admin.events import Feed, News, events_endpoint
from dualkv.admin.guard import Guard
from dualkv.admin.operations import BadRequest, Operation, refusal, routes_of
from dualkv.admin.status_page import page_operations
from dualkv.config.admin import AdminToken
from dualkv.errors import ModeChangeRefused
from dualkv.net.control import Outcome
from dualkv.observe.logs import AUDIT_LOGGER
from dualkv.workers.asking import Answer
from dualkv.workers.merging import merged_metrics, merged_pages, merged_series
from dualkv.workers.team import Team

__all__ = ["admin_app", "public_app"]

_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "PATCH")

_audit = logging.getLogger(AUDIT_LOGGER)


def public_app(team: Team, is_draining: Callable[[], bool]) -> Starlette:
    """Return the application of the metrics address.

    Args:
        team: Who is asked.
        is_draining: Whether all of it is shutting down.
    """

    async def healthz(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        answers = await team.ask_all("GET", "/readyz")
        told = [answer.json() if answer is not None else {"ready": False} for answer in answers]
        body = {**merged_pages(told), "draining": is_draining(), "workers": told}
        return JSONResponse(body, status_code=200 if body["ready"] and not is_draining() else 503)

    async def metrics(_: Request) -> Response:
        answers = await team.ask_all("GET", "/metrics")
        texts = [answer.body.decode() for answer in answers if answer is not None and answer.status == 200]
        registry = CollectorRegistry()
        registry.register(_Merged(texts))
        return _Asgi(make_asgi_app(registry))

    async def other(request: Request) -> Response:
        return as_one(await team.ask_all("GET", _target(request)))

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/{path:path}", other),
        ]
    )


def admin_app(team: Team, tokens: Collection[AdminToken], stop: Callable[[], None]) -> ASGIApp:
    """Return the application of the admin address.

    Args:
        team: Who is asked and told.
        tokens: Any of these lets in; empty: nothing is asked for.
        stop: Begins the shutdown of all.
    """

    async def change_mode(request: Request) -> Response:
        asker = asker_of(request)
        try:
            outcome = await team.change_mode(await changing.body_of(request))
        except BadRequest as error:
            return refusal(400, str(error))
        except ModeChangeRefused as refused:
            _audit.warning("refused", extra={"action": "mode", "why": str(refused), **attrs.asdict(asker)})
            return refusal(409, str(refused))
        _audit.warning("changed", extra={**outcome, **attrs.asdict(asker)})
        return JSONResponse(outcome)

    async def drain(request: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        outcome = attrs.asdict(Outcome("drain", before=False, after=True))
        _audit.warning("changed", extra={**outcome, **attrs.asdict(asker_of(request))})
        stop()
        return JSONResponse(outcome)

    async def resync(request: Request) -> Response:
        first = team.workers[0]
        return as_one([await first.ask("POST", "/api/resync", {}, user=str(asker_of(request)))])

    async def other(request: Request) -> Response:
        text = await request.body()
        try:
            body = json.loads(text) if text.strip() else None
        except ValueError:
            return refusal(400, "the body is not JSON")
        asker = str(asker_of(request))
        return as_one(await team.ask_all(request.method, _target(request), body, asker))

    async def find_out() -> News | None:
        statuses = await team.ask_all("GET", "/status")
        series = await team.ask_all("GET", "/series")
        if not any(statuses):
            return None
        status = merged_pages([answer.json() for answer in statuses if answer is not None])
        return News(status, merged_series([answer.json() for answer in series if answer is not None]))

    async def series(_: Request) -> Response:
        answers = await team.ask_all("GET", "/series")
        return JSONResponse(merged_series([answer.json() for answer in answers if answer is not None]))

    page = page_operations()
    changing = Operation("PUT", "/api/mode", "Change the mode in all workers.", change_mode, body=MODE_FIELDS)
    routes = [
        *routes_of(page),
        Route("/events", events_endpoint(Feed(find_out))),
        Route("/series", series),
        Route("/api/mode", change_mode, methods=["PUT"]),
        Route("/api/drain", drain, methods=["POST"]),
        Route("/api/resync", resync, methods=["POST"]),
        Route("/{path:path}", other, methods=list(_METHODS)),
    ]
    return Guard(Starlette(routes=routes), tokens, ["/openapi.json", *(operation.path for operation in page)])


def as_one(answers: Iterable[Answer | None]) -> Response:
    """Return one answer for all: a refusal if there is one, else what all of them say."""
    told = [answer for answer in answers if answer is not None]
    if not told:
        return refusal(503, "no worker answers")
    worst = max(told, key=lambda answer: answer.status)
    if worst.status >= 400 and worst.status != 503:  # 503: it is not ready, and tells why
        good = min(told, key=lambda answer: answer.status)
        chosen = good if worst.status == 404 else worst  # one of them has it
        return Response(chosen.body, chosen.status, media_type=chosen.content_type)
    if worst.content_type != "application/json":
        return PlainTextResponse(worst.body, worst.status)
    return JSONResponse(merged_pages([answer.json() for answer in told]), worst.status)


def _target(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


class _Merged(Collector):
    """What several workers' metrics say."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        return merged_metrics(self._texts)


class _Asgi(Response):
    """An answer that another application gives."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
