"""What goes on, at the admin address: ``/status``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dualkv.admin.operations import Operation
from dualkv.admin.sampler import Sampler

__all__ = ["status_operations"]


def status_operations(sampler: Sampler) -> tuple[Operation, ...]:
    """Return what can be asked for.

    Args:
        sampler: Knows what is going on.
    """

    async def status(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(sampler.status())

    return (
        Operation("GET", "/status", "Tell what is going on, at a glance.", status, answer={"type": "object"}),
    )
