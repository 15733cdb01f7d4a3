"""One connection to a store for one purpose, before or beside the proxy itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable
from dualkv.net.connection import Connection
from dualkv.net.leader_aware import backend_of
from dualkv.observe.metrics import PoolCounters

__all__ = ["connected"]


@asynccontextmanager
async def connected(options: BackendOptions, use: str) -> AsyncIterator[Connection]:
    """Connect to a store, of several nodes to the one that leads; close the connection behind the block.

    Args:
        options: Where it is, who we are, how long it may take.
        use: What for, as the store's ``CLIENT LIST`` shows it behind ``dualkv-``.

    Raises:
        BackendUnavailable: It cannot be reached, or does not want us.
    """
    backend = backend_of(options, PoolCounters())
    connection: Connection | None = None
    failure = BackendUnavailable(options.address)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.run)
            try:
                connection = Connection(*await backend.open(use))
            except BackendUnavailable as error:
                failure = error
            nursery.cancel_scope.cancel("nobody asks any more who leads")
        if connection is None:
            raise failure
        yield connection
    finally:
        if connection is not None:
            connection.close()
