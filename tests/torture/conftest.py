"""Two stores of the same kind, which the tests of torture write to and compare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from dualkv.torture.stores import Store, Stores, open_store, throw_away_stores


@attrs.frozen
class Twins:
    """Connections to both stores."""

    primary: Store
    secondary: Store

    async def both(self, *args: bytes | str | int) -> None:
        """Do the same to both."""
        for store in (self.primary, self.secondary):
            await store.call(*args)


@pytest.fixture(name="stores", scope="session")
def _stores(server_binary: Path) -> Iterator[Stores]:
    """Two servers that live as long as the session."""
    with throw_away_stores(server_binary, None, persistent=False) as stores:
        yield stores


@pytest.fixture(name="twins")
async def _twins(stores: Stores) -> AsyncIterator[Twins]:
    """Both stores, empty."""
    async with open_store(stores.primary) as primary, open_store(stores.secondary) as secondary:
        twins = Twins(primary, secondary)
        await twins.both("FLUSHALL")
        await twins.both("FUNCTION", "FLUSH")
        await twins.both("CONFIG", "SET", "maxmemory", "0")
        yield twins
