"""The HTTP side: ``/metrics``, ``/healthz``, ``/readyz``, and what comparing has found."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, ProcessCollector, make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dualkv.admin.findings import findings_routes
from dualkv.admin.observed import observed_route
from dualkv.admin.sampler import Sampler
from dualkv.admin.status import backend_states, convergence, is_ready
from dualkv.net.writer import DualWriter
from dualkv.observe.collector import MetricsCollector

__all__ = ["build_app"]

_INDEX = """\
dualkv

/metrics   Prometheus metrics
/healthz   200 while the process lives
/readyz    200 while clients should be sent here, else 503; each backend's state as JSON

/status            what is going on, as JSON
/divergences       confirmed differences; ?command= kind= key_prefix= since= after= limit=
/divergences/{id}  one of them
/coverage          what has been compared, by prefix of the keys
/readiness         200 while the next mode is safe, else 503; the reasons as JSON
/observed          commands, options and databases that clients use
"""


def build_app(
    get_writer: Callable[[], DualWriter], is_draining: Callable[[], bool], sampler: Sampler
) -> Starlette:
    """Return the application.

    Args:
        get_writer: Returns what it tells about, which a change of the mode may replace; its metrics stay.
        is_draining: Whether the server is shutting down.
        sampler: Knows what is going on.
    """
    registry = CollectorRegistry()
    registry.register(MetricsCollector(get_writer().metrics))
    ProcessCollector(registry=registry)

    async def index(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return PlainTextResponse(_INDEX)

    async def healthz(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        writer, draining = get_writer(), is_draining()
        ready = is_ready(writer, is_draining=draining)
        body = {
            "ready": ready,
            "draining": draining,
            "mode": writer.config.mode.value,
            "backends": backend_states(writer),
            "convergence": convergence(writer),
            "selftest": writer.metrics.selftest.told(),
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    async def status(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(sampler.status())

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", _AsgiEndpoint(make_asgi_app(registry))),
            Route("/status", status),
            *findings_routes(get_writer),
            observed_route(get_writer),
        ]
    )


class _AsgiEndpoint:
    """Lets a route lead to an ASGI application. A mount would redirect ``/metrics`` to ``/metrics/``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
