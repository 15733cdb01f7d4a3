"""What goes on, at the admin address: the status page, and what it asks for.

The page is a few files in ``dualkv/admin/page``, served as they are. They hold no data, so they are public:
the page asks for a token, and says it when it asks for data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dualkv.admin.events import Feed, News, events_endpoint
from dualkv.admin.findings import findings_routes
from dualkv.admin.operations import Operation, Parameter
from dualkv.admin.sampler import Sampler
from dualkv.core.divergence import DivergenceKind

__all__ = ["PAGE_HEADERS", "page_operations", "status_operations"]

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
}
"""Nothing from elsewhere, nothing inline, and no text that becomes HTML or a script."""

_DIRECTORY: Final = Path(__file__).with_name("page")
_FILES: Final = (
    ("/", "status.html", "text/html", "The status page."),
    ("/status.css", "status.css", "text/css", "Its style."),
    ("/status.js", "status.js", "text/javascript", "Its program."),
    ("/status.svg", "status.svg", "image/svg+xml", "Its icon."),
)
_QUERY: Final = (
    Parameter("command", "query", {"type": "string"}, "Of this command only."),
    Parameter("kind", "query", {"enum": [kind.value for kind in DivergenceKind]}, "Of this kind only."),
    Parameter("key_prefix", "query", {"type": "string"}, "Of keys that begin like this, as they are shown."),
    Parameter("since", "query", {"type": "number", "minimum": 0}, "Confirmed at this Unix time or later."),
    Parameter("after", "query", {"type": "string"}, "Behind the one with this id."),
    Parameter("limit", "query", {"type": "integer", "minimum": 0, "default": 100}, "So many, at most 1000."),
)
_ID: Final = (Parameter("id", "path", {"type": "string"}, "Its id."),)


def page_operations() -> tuple[Operation, ...]:
    """Return what the page is made of."""
    return tuple(_file(*file) for file in _FILES)


def status_operations(sampler: Sampler) -> tuple[Operation, ...]:
    """Return what can be asked for.

    Args:
        sampler: Knows what is going on.
    """

    def points() -> list[dict[str, Any]]:
        return [attrs.asdict(point) for point in sampler.series.points]

    async def status(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(sampler.status())

    async def series(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(points())

    async def find_out() -> News:  # noqa: ASYNC124 - others have to ask for it
        return News(sampler.status(), points())

    endpoints = {route.path: route.endpoint for route in findings_routes(sampler.get_writer)}
    return (
        *page_operations(),
        Operation("GET", "/status", "Tell what is going on, at a glance.", status, answer={"type": "object"}),
        Operation(
            "GET",
            "/series",
            "Tell the last 15 minutes, a point each five seconds.",
            series,
            answer={"type": "array", "items": {"type": "object"}},
        ),
        Operation(
            "GET",
            "/events",
            "Tell it again and again, as server-sent events: series, status, point.",
            events_endpoint(Feed(find_out)),
            answer={"type": "string"},
            media_type="text/event-stream",
            statuses={503: "Too many follow already."},
        ),
        Operation(
            "GET",
            "/divergences",
            "Tell the last confirmed differences.",
            endpoints["/divergences"],
            answer={"type": "object"},
            parameters=_QUERY,
            statuses={400: "A parameter is not understood."},
        ),
        Operation(
            "GET",
            "/divergences/{id}",
            "Tell one of them.",
            endpoints["/divergences/{id}"],
            answer={"type": "object"},
            parameters=_ID,
            statuses={404: "It is not remembered."},
        ),
    )


def _file(path: str, name: str, media_type: str, summary: str) -> Operation:
    content = (_DIRECTORY / name).read_bytes()

    async def endpoint(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return Response(content, media_type=media_type, headers=PAGE_HEADERS)

    answer = {"type": "string"}
    return Operation("GET", path, summary, endpoint, answer=answer, media_type=media_type, is_public=True)
