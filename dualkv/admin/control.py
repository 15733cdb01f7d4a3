"""Controlling a running dualkv over HTTP: `dualkv.net.control` does it, here is how it is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from dualkv.admin.guard import SAID_TOKEN
from dualkv.admin.operations import Field, Operation, Schema, refusal
from dualkv.config import ProxyMode, parse_proxy_mode
from dualkv.config.modes import MODE_ALIASES
from dualkv.core.modes import mode_plan
from dualkv.core.printable import text_of
from dualkv.errors import ControlRefused
from dualkv.net.control import Asker, Control, Outcome

__all__ = ["MODE_FIELDS", "USER_HEADER", "asker_of", "control_operations"]

USER_HEADER: Final = "X-Dualkv-User"
"""Who somebody says he is: written down beside where the request came from, and believed by nobody."""
_USER_CHARACTERS: Final = 64

_MODE: Final[Schema] = {
    "type": "object",
    "properties": {
        "mode": {"enum": [mode.value for mode in ProxyMode]},
        "answers": {"enum": ["primary", "secondary"], "description": "The store whose replies clients get."},
        "follows": {
            "enum": ["primary", "secondary", None],
            "description": "The store that writes are mirrored to.",
        },
        "shadows": {"type": "boolean", "description": "Whether reads are compared."},
        "since": {
            "type": "string",
            "format": "date-time",
            "description": "When it was changed, or the start.",
        },
    },
    "required": ["mode", "answers", "follows", "shadows", "since"],
    "additionalProperties": False,
}
_KNOBS: Final[Schema] = {
    "type": "object",
    "properties": {
        "paused": {"type": "boolean", "description": "Whether the store that follows is left alone."},
        "shadow_sample": {"type": "number", "description": "The share of keys whose reads are compared."},
        "repair_rate": {"type": "integer", "description": "Keys repaired per second, at most; 0: no limit."},
        "log_level": {"enum": ["debug", "info", "warning", "error"]},
        "repairing": {"type": "boolean", "description": "Whether dirty keys are copied."},
        "draining": {"type": "boolean", "description": "Whether dualkv is shutting down."},
    },
    "required": ["paused", "shadow_sample", "repair_rate", "log_level", "repairing", "draining"],
    "additionalProperties": False,
}


def _outcome(of: Schema) -> Schema:
    """Return what an answer holds whose value, before and after, is like *of*."""
    return {
        "type": "object",
        "properties": {
            "action": {"type": "string"},
            "before": of,
            "after": of,
            "notes": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What the operator should know of it.",
            },
        },
        "required": ["action", "before", "after", "notes"],
        "additionalProperties": False,
    }


_BOOLEAN: Final[Schema] = {"type": "boolean"}
_MODE_NAMES: Final = (*(mode.value for mode in ProxyMode), *MODE_ALIASES)
MODE_FIELDS: Final = (
    Field("mode", "string", "The new mode.", choices=_MODE_NAMES),
    Field("force", "boolean", "Do it although the other store has not proved itself.", default=False),
    Field("accept_loss", "boolean", "Do it although writes will be lost: after a disaster.", default=False),
    Field("dry_run", "boolean", "Only say what it would do.", default=False),
    Field(
        "wait_seconds", "number", "How long clients' commands may be held back, at most.",
        default=2.0, minimum=0, maximum=60,
    ),
)  # fmt: skip
_OF_MODES: Final = _outcome({"enum": [mode.value for mode in ProxyMode]})
_MODE_OUTCOME: Final[Schema] = {
    **_OF_MODES,
    "properties": {
        **_OF_MODES["properties"],
        "done": {"type": "boolean", "description": "False: it was only asked what it would do."},
        "waited_seconds": {"type": "number", "description": "How long clients' commands were held back."},
    },
    "required": [*_OF_MODES["required"], "done", "waited_seconds"],
}


def control_operations(control: Control) -> tuple[Operation, ...]:
    """Return what can be asked for.

    Args:
        control: What does it.
    """

    async def mode(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(_mode_of(*control.mode()))

    async def change_mode(body: Mapping[str, Any], asker: Asker) -> Outcome:
        return await control.change_mode(**{**body, "mode": parse_proxy_mode(body["mode"])}, asker=asker)

    async def knobs(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        return JSONResponse(attrs.asdict(control.knobs()))

    return (
        Operation("GET", "/api/mode", "Tell the mode.", mode, answer=_MODE),
        _change(
            "PUT", "/api/mode", "Change the mode, while clients are served.", change_mode,
            answer=_MODE_OUTCOME, body=MODE_FIELDS,
            description="Clients' commands are held back for a moment; if that is too short, all stays.",
        ),
        Operation("GET", "/api/control", "Tell what else can be changed, and how.", knobs, answer=_KNOBS),
        _change(
            "POST", "/api/pause", "Leave the store that follows alone (kill switch).",
            lambda _, asker: control.pause(asker), answer=_outcome(_BOOLEAN),
            description="Nothing is sent to it; keys of writes are remembered, reads are not compared.",
        ),
        _change(
            "POST", "/api/resume", "Let writes flow to it again.",
            lambda _, asker: control.resume(asker), answer=_outcome(_BOOLEAN),
            description="What was remembered is copied, unless `repair` says otherwise.",
        ),
        _change(
            "PUT", "/api/shadow-sample", "Compare reads of another share of the keys.",
            lambda body, asker: control.sample(body["share"], asker),
            answer=_outcome({"type": "number"}),
            body=(Field("share", "number", "0 to 1.", minimum=0, maximum=1),),
        ),
        _change(
            "PUT", "/api/repair-rate", "Copy another number of dirty keys per second, at most.",
            lambda body, asker: control.repair_rate(body["keys_per_second"], asker),
            answer=_outcome({"type": "integer"}),
            body=(Field("keys_per_second", "integer", "0: no limit.", minimum=0, maximum=1_000_000),),
        ),
        _change(
            "PUT", "/api/log-level", "Log from another level on.",
            lambda body, asker: control.log_level(body["level"], asker),
            answer=_outcome({"type": "string"}),
            body=(Field("level", "string", "The level.", choices=("debug", "info", "warning", "error")),),
        ),
        _change(
            "POST", "/api/repair", "Copy what is dirty now, whatever `repair` says.",
            lambda _, asker: control.repair(asker), answer=_outcome(_BOOLEAN),
        ),
        _change(
            "POST", "/api/resync", "Copy all keys to the store that follows.",
            lambda _, asker: control.resync(asker), answer=_outcome({"type": "string"}),
        ),
        _change(
            "POST", "/api/drop-dirty", "Forget which keys are dirty.",
            lambda _, asker: control.drop_dirty(asker), answer=_outcome({"type": "integer"}),
            description="They still may differ: a resync is required from then on.",
        ),
        _change(
            "POST", "/api/drain", "End in order, as SIGTERM does.",
            lambda _, asker: control.drain(asker), answer=_outcome(_BOOLEAN), then=control.end,
        ),
    )  # fmt: skip


def asker_of(request: Request) -> Asker:
    """Return who asks, as far as that is known."""
    address = f"{request.client.host}:{request.client.port}" if request.client else "unknown"
    user = request.headers.get(USER_HEADER, "")[:_USER_CHARACTERS]
    return Asker(address, request.scope.get(SAID_TOKEN, ""), text_of(user.encode()))


def _change(
    method: Any,
    path: str,
    summary: str,
    act: Callable[[Mapping[str, Any], Asker], Outcome | Awaitable[Outcome]],
    then: Callable[[], None] = lambda: None,
    **told: Any,
) -> Operation:
    """Return an operation whose endpoint reads the body, acts, and tells the outcome, or why it does not act.

    Args:
        method: As of `Operation`.
        path: As of `Operation`.
        summary: As of `Operation`.
        act: Acts for somebody, as a body says.
        then: Called when the outcome has been told.
        told: More of `Operation`.
    """

    async def endpoint(request: Request) -> Response:
        body = await operation.body_of(request)
        try:
            acting = act(body, asker_of(request))
            outcome = acting if isinstance(acting, Outcome) else await acting
        except ControlRefused as error:
            return refusal(409, str(error))
        return _Telling(attrs.asdict(outcome), then)

    operation = Operation(method, path, summary, endpoint, **told)
    return operation


def _mode_of(mode: ProxyMode, since: float) -> dict[str, Any]:
    plan = mode_plan(mode)
    return {
        "mode": mode.value,
        "answers": plan.answers,
        "follows": plan.follows,
        "shadows": plan.shadows,
        "since": datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds"),
    }


class _Telling(JSONResponse):
    """An answer behind which something is done, also when nobody takes it any more."""

    def __init__(self, content: Any, then: Callable[[], None]) -> None:
        super().__init__(content)
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._then()
