"""The ElasticKV stand-in as fixtures: import them into a ``conftest.py``.

from tests.support.elastickv import elastickv, elastickv_store  # noqa: F401
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dualkv.servers import EmbeddedServer
from tests.fakes.elastickv import Cluster, open_cluster
from tests.support.stores import flush

__all__ = ["elastickv", "elastickv_store"]


@pytest.fixture(scope="session")
def elastickv_store(server_binary: Path) -> Iterator[EmbeddedServer]:
    """Return the real store behind the cluster; it lives as long as the session."""
    with EmbeddedServer(server_binary) as server:
        yield server


@pytest.fixture
async def elastickv(elastickv_store: EmbeddedServer) -> AsyncIterator[Cluster]:
    """Return a prompt cluster of three nodes, empty; whoever kills the leader elects the next."""
    flush(elastickv_store)
    async with open_cluster(server=elastickv_store, election_seconds=None) as cluster:
        yield cluster
