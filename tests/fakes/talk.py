"""Short ways to talk to a node in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import trio

from dualkv.resp.replies import value_of
from tests.fakes.elastickv import Cluster
from tests.support.client import PATIENCE_SECONDS, Client, connect

__all__ = ["ask", "error_of", "leader_client", "until"]


@asynccontextmanager
async def leader_client(cluster: Cluster) -> AsyncIterator[Client]:
    """Connect to the leader for the block."""
    assert cluster.leader is not None
    async with connect(cluster.leader.port) as client:
        yield client


async def ask(client: Client, line: str) -> Any:
    """Send words; return the value of the reply."""
    return value_of(await client.call(*line.split()))


async def error_of(client: Client, *args: bytes | str | int) -> str:
    """Send a command that is refused; return the error's text."""
    value = value_of(await client.call(*args))
    assert isinstance(value, hiredis.ReplyError), value
    return str(value)


async def until(condition: Callable[[], object]) -> None:
    """Return when *condition* holds, which something behind a socket brings about."""
    with trio.fail_after(PATIENCE_SECONDS):
        await trio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - there is no event on this side of a socket
            await trio.lowlevel.checkpoint()
