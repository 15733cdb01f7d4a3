"""The application of the admin address: everything that can be asked for there, in one table.

Each part has a function that returns its operations; whoever adds one adds a line in `operations_of`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from dualkv.admin.control import control_operations
from dualkv.admin.guard import Guard
from dualkv.admin.openapi import document_of
from dualkv.admin.operations import Operation, refusal, routes_of
from dualkv.admin.sampler import Sampler
from dualkv.admin.status_page import status_operations
from dualkv.config.admin import AdminToken
from dualkv.net.control import Control
from dualkv.observe.logs import AUDIT_LOGGER

__all__ = ["build_admin_app", "operations_of"]

_log = logging.getLogger(AUDIT_LOGGER)


def operations_of(control: Control, sampler: Sampler, *, has_tokens: bool) -> tuple[Operation, ...]:
    """Return all that can be asked for at the admin address.

    Args:
        control: What changes something.
        sampler: Knows what is going on.
        has_tokens: Whether a token is asked for.
    """
    document: dict[str, Any] = {}

    async def openapi(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(document)

    operations = (
        *control_operations(control),
        *status_operations(sampler),
        Operation(
            "GET",
            "/openapi.json",
            "Return this document.",
            openapi,
            answer={"type": "object"},
            is_public=True,
        ),
    )
    document |= document_of(operations, has_tokens=has_tokens)
    return operations


def build_admin_app(control: Control, sampler: Sampler, tokens: Collection[AdminToken]) -> ASGIApp:
    """Return the application.

    Args:
        control: What changes something.
        sampler: Knows what is going on.
        tokens: Any of these lets in; empty: nothing is asked for.
    """
    operations = operations_of(control, sampler, has_tokens=bool(tokens))
    app = Starlette(
        routes=routes_of(operations),
        exception_handlers={HTTPException: _on_http_error, Exception: _on_fault},
    )
    return Guard(app, tokens, [operation.path for operation in operations if operation.is_public])


async def _on_http_error(_: Request, error: Exception) -> Response:  # noqa: ASYNC124 - as Starlette wants it
    assert isinstance(error, HTTPException)
    answer = refusal(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _on_fault(request: Request, error: Exception) -> Response:  # noqa: ASYNC124 - as Starlette wants it
    _log.error("a request failed", exc_info=error, extra={"path": request.url.path})
    return refusal(500, "a fault of dualkv: its log says more")
