"""The table of what can be asked for: routes and document say the same."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from dualkv.admin.admin_app import operations_of
from dualkv.admin.operations import Operation
from dualkv.config import ProxyConfig
from dualkv.config.admin import admin_tokens
from dualkv.serve import ProxyServer
from tests.support.asking import ask
from tests.support.proxy import running_proxy

TOKEN = "0123456789abcdef"


def operations() -> tuple[Operation, ...]:
    """Return all that can be asked for."""
    server = ProxyServer(ProxyConfig())
    return operations_of(server.control, server.sampler, has_tokens=True)


async def document() -> Any:
    """Return the document as a running dualkv tells it."""
    async with running_proxy("127.0.0.1:1") as proxy:
        return (await ask(proxy.admin_port, "GET", "/openapi.json")).json


async def test_the_document_is_valid() -> None:
    """As the standard has it."""
    OpenAPIV31SpecValidator(await document()).validate()


async def test_every_route_is_in_the_document() -> None:
    """And nothing else is."""
    told = await document()

    assert {(path, method) for path, item in told["paths"].items() for method in item} == {
        (operation.path, operation.method.lower()) for operation in operations()
    }


@pytest.mark.parametrize("said", ["", TOKEN[:-1] + "x"], ids=["no token", "a wrong one"])
@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
async def test_every_operation_asks_for_a_token_unless_it_is_public(operation: Operation, said: str) -> None:
    """What the document says of tokens is so."""
    async with running_proxy("127.0.0.1:1", admin_token=admin_tokens(TOKEN)) as proxy:
        answer = await ask(proxy.admin_port, operation.method, operation.path, token=said)

    assert (answer.status == 401) is not operation.is_public
