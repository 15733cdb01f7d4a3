"""What can be asked for over HTTP, as one table: routes are built from it, and so is the OpenAPI document.

    Operation("PUT", "/api/mode", "Change the mode.", endpoint, answer=…, body=(Field("mode", …), …))

So nothing can be asked for that the document does not tell, and nothing is told that is not there.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["BadRequest", "Endpoint", "Field", "Operation", "Parameter", "Schema", "refusal", "routes_of"]

Schema = Mapping[str, Any]
"""A JSON Schema."""
Endpoint = Callable[[Request], Awaitable[Response]]
FieldType = Literal["string", "boolean", "number", "integer"]

_PYTHON_TYPES: Final[dict[FieldType, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
}
_ARTICLES: Final[dict[FieldType, str]] = {"integer": "an"}
REQUIRED: Final = object()
"""The default of a field without one."""


class BadRequest(Exception):
    """The caller's fault: a body or a parameter is not as it must be. The text is one sentence for him."""


@attrs.frozen
class Field:
    """One field of a body, and what it may hold."""

    name: str
    type: FieldType
    description: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def schema(self) -> Schema:
        """What it may hold, as a JSON Schema."""
        schema: dict[str, Any] = {"type": self.type, "description": self.description}
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.minimum is not None:
            schema["minimum"] = self.minimum
        if self.maximum is not None:
            schema["maximum"] = self.maximum
        if self.default is not REQUIRED:
            schema["default"] = self.default
        return schema

    def check(self, value: Any) -> None:
        """Return if *value* is one that the field may hold.

        Raises:
            BadRequest: It is not.
        """
        if not isinstance(value, _PYTHON_TYPES[self.type]) or (
            isinstance(value, bool) and self.type != "boolean"
        ):
            raise BadRequest(f"{self.name}: must be {_ARTICLES.get(self.type, 'a')} {self.type}")
        if self.choices and value not in self.choices:
            raise BadRequest(f"{self.name}: {value!r} is not one of {', '.join(self.choices)}")
        if not isinstance(value, int | float):
            return
        if self.minimum is not None and not value >= self.minimum:  # NaN is not, either
            raise BadRequest(f"{self.name}: must not be less than {self.minimum}")
        if self.maximum is not None and not value <= self.maximum:
            raise BadRequest(f"{self.name}: must not be more than {self.maximum}")


@attrs.frozen
class Parameter:
    """One parameter of a query or of a path."""

    name: str
    place: Literal["query", "path"]
    schema: Schema
    description: str


@attrs.frozen
class Operation:
    """One thing that can be asked for."""

    method: Literal["GET", "PUT", "POST"]
    path: str
    summary: str
    """A sentence."""
    endpoint: Endpoint = attrs.field(repr=False)
    """Answers; of a body that has `body`, only after `body_of` has looked at it."""
    answer: Schema = attrs.field(factory=dict)
    """What a body of status 200 holds."""
    description: str = ""
    """What one should know before asking."""
    body: tuple[Field, ...] = ()
    """What a request holds; without a field: nothing, or ``{}``."""
    parameters: tuple[Parameter, ...] = ()
    media_type: str = "application/json"
    """Of the answer."""
    statuses: Mapping[int, str] = attrs.field(factory=dict)
    """Other statuses that it may have, and when. Those that every operation has need not be named."""
    is_public: bool = False
    """Whether no token is asked for: what is the same for everybody, such as a page without data."""

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def name(self) -> str:
        """What it is called in a program, such as ``putApiMode``."""
        words = self.path.replace("{", "").replace("}", "").replace("-", "/").replace(".", "/").split("/")
        return self.method.lower() + "".join(word.capitalize() for word in words)

    async def body_of(self, request: Request) -> dict[str, Any]:
        """Return what a request says, with defaults for what it does not say.

        Args:
            request: Its body has passed the guard: it is not too long.

        Raises:
            BadRequest: It is not JSON, or not as `body` says.
        """
        text = await request.body()
        try:
            said = json.loads(text) if text.strip() else {}
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
            raise BadRequest(f"the body is not JSON: {why}") from None
        if not isinstance(said, dict):
            raise BadRequest("the body is not a JSON object")
        fields = {field.name: field for field in self.body}
        for name in said:
            if name not in fields:
                known = ", ".join(fields) or "none"
                raise BadRequest(f"{name[:100]}: there is no such field (known: {known})")
        values = {}
        for field in self.body:
            if field.name in said:
                field.check(said[field.name])
            elif field.default is REQUIRED:
                raise BadRequest(f"{field.name}: is missing")
            values[field.name] = said.get(field.name, field.default)
        return values


def refusal(status: int, why: str) -> JSONResponse:
    """Return an answer that says no, and why, in one sentence."""
    return JSONResponse({"error": why}, status_code=status)


def routes_of(operations: Iterable[Operation]) -> list[Route]:
    """Return a route for each operation."""
    return [
        Route(operation.path, _mapped(operation), methods=[operation.method], name=operation.name)
        for operation in operations
    ]


def _mapped(operation: Operation) -> Endpoint:
    """Return an operation's endpoint, with answers for what it raises."""

    async def endpoint(request: Request) -> Response:
        try:
            return await operation.endpoint(request)
        except BadRequest as error:
            return refusal(400, str(error))

    return endpoint
