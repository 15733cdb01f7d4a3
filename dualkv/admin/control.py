"""Controlling a running dualkv, over HTTP: ``/api/mode`` and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dualkv.admin.operations import Operation, Schema
from dualkv.config import ProxyMode
from dualkv.core.modes import mode_plan
from dualkv.net.writer import DualWriter

__all__ = ["control_operations"]

_MODES: Final = [mode.value for mode in ProxyMode]
_MODE: Final[Schema] = {
    "type": "object",
    "properties": {
        "mode": {"enum": _MODES},
        "answers": {"enum": ["primary", "secondary"], "description": "The store whose replies clients get."},
        "follows": {
            "enum": ["primary", "secondary", None],
            "description": "The store that writes are mirrored to.",
        },
        "shadows": {"type": "boolean", "description": "Whether reads are compared."},
    },
    "required": ["mode", "answers", "follows", "shadows"],
    "additionalProperties": False,
}


def control_operations(get_writer: Callable[[], DualWriter]) -> tuple[Operation, ...]:
    """Return what can be asked for.

    Args:
        get_writer: Returns what is controlled, which a change of the mode may replace.
    """

    async def mode(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(_mode_of(get_writer().config.mode))

    return (Operation("GET", "/api/mode", "Tell the mode.", mode, answer=_MODE),)


def _mode_of(mode: ProxyMode) -> dict[str, Any]:
    plan = mode_plan(mode)
    return {"mode": mode.value, "answers": plan.answers, "follows": plan.follows, "shadows": plan.shadows}
