"""``/observed``: what the application uses, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dualkv.net.writer import DualWriter

__all__ = ["observed_of", "observed_route"]


def observed_route(get_writer: Callable[[], DualWriter]) -> Route:
    """Return the page.

    Args:
        get_writer: Returns whose clients it tells about.
    """

    async def observed(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(observed_of(get_writer()))

    return Route("/observed", observed)


def observed_of(writer: DualWriter) -> dict[str, Any]:
    """Return commands, the most used first, with the options that were seen together; and databases."""
    seen, by_command = writer.metrics.observed, writer.answering.by_command
    commands: list[dict[str, Any]] = [
        {
            "command": spec.label,
            "requests": max(sum(by_command[spec.index].counts), use.looked_at),
            "looked_at": use.looked_at,
            "options": [
                {"names": list(names), "seen": count} for names, count in use.option_sets.most_common()
            ],
            "other_options": use.other_sets,
        }
        for spec, use in seen.uses.items()
    ]
    commands.sort(key=lambda told: (-told["requests"], told["command"]))
    selected = {db: 0 for db in writer.lane.dbs if db != writer.primary.options.db}
    databases = {**selected, **seen.databases}
    return {
        "mode": writer.config.mode.value,
        "commands": commands,
        "databases": [{"db": db, "seen": count} for db, count in sorted(databases.items())],
    }
