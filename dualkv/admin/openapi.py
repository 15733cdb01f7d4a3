"""The OpenAPI document (3.1) of the admin address, from the table that its routes are built from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any, Final

from dualkv.admin.operations import REQUIRED, Operation, Schema

__all__ = ["ERROR", "document_of"]

ERROR: Final[Schema] = {
    "type": "object",
    "description": "Why something was refused.",
    "properties": {"error": {"type": "string", "description": "One sentence."}},
    "required": ["error"],
    "additionalProperties": False,
}

_ALWAYS: Final = {
    403: "The Host header names another machine, or a page of another site asks.",
}
_UNLESS_PUBLIC: Final = {401: "There is no token, or a wrong one."}
_OF_CHANGES: Final = {
    400: "The body is not JSON, or not as it must be.",
    408: "The body did not come in time.",
    409: "It makes no sense now; the reason says why.",
    413: "The body is too long.",
    415: "The body is not declared as application/json.",
}


def document_of(operations: Iterable[Operation], *, has_tokens: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        operations: All that can be asked for.
        has_tokens: Whether a token is asked for.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _told(operation, has_tokens)
    components: dict[str, Any] = {"schemas": {"Error": ERROR}}
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dualkv",
            "description": "Controls a running dualkv, and tells what goes on in it.",
            "version": importlib.metadata.version("dualkv"),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The address of the setting `admin`."}],
        "paths": paths,
        "components": components,
    }


def _told(operation: Operation, has_tokens: bool) -> dict[str, Any]:
    statuses = {**_ALWAYS, **operation.statuses}
    is_guarded = has_tokens and not operation.is_public
    if is_guarded:
        statuses |= _UNLESS_PUBLIC
    if operation.changes:
        statuses |= _OF_CHANGES
    content: dict[str, Any] = {operation.media_type: {"schema": operation.answer}}
    answers: dict[str, Any] = {"200": {"description": "What came of it.", "content": content}}
    for status, why in sorted(statuses.items()):
        error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        answers[str(status)] = {"description": why, "content": error}
    told: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary, "responses": answers}
    if operation.description:
        told["description"] = operation.description
    if operation.parameters:
        told["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.place == "path",
                "description": parameter.description,
                "schema": parameter.schema,
            }
            for parameter in operation.parameters
        ]
    if operation.changes:
        told["requestBody"] = {
            "required": any(field.default is REQUIRED for field in operation.body),
            "content": {"application/json": {"schema": _body(operation)}},
        }
    told["security"] = [{"token": []}] if is_guarded else []
    return told


def _body(operation: Operation) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: field.schema for field in operation.body},
        "required": [field.name for field in operation.body if field.default is REQUIRED],
        "additionalProperties": False,
    }
