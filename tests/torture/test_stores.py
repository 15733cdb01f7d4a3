"""The stores of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualkv.errors import BackendUnavailable, ConfigError
from dualkv.servers import EmbeddedServer
from dualkv.torture.stores import Stores, open_store, own_stores, throw_away_stores


async def test_a_store_can_be_asked(stores: Stores) -> None:
    """Many commands in one piece; errors are values; it tells what it knows."""
    async with open_store(stores.primary) as store:
        await store.call("FLUSHALL")
        assert await store.ask([("SET", "k", "v"), ("GET", "k")]) == [b"OK", b"v"]
        assert "syntax" in str(await store.call("SET", "k", "v", "nonsense"))
        assert store.knows("XGROUP CREATE")
        assert not store.knows("NONSENSE")


async def test_a_store_that_is_away_is_an_error() -> None:
    """With its address."""
    with pytest.raises(BackendUnavailable, match=r"127.0.0.1:1"):
        async with open_store(own_stores("127.0.0.1:1", "127.0.0.1:2").primary):
            pass


def test_own_stores_are_named_as_in_the_settings() -> None:
    """Addresses and URLs; what is none is an error."""
    stores = own_stores("redis://me:pw@one:7000", "rediss://two")

    assert (stores.primary.host, stores.primary.port, stores.primary.username) == ("one", 7000, "me")
    assert (stores.secondary.tls, stores.primary_server) == (True, None)
    with pytest.raises(ConfigError):
        own_stores("http://one", "two")


async def test_persistent_stores_keep_their_data(server_binary: Path) -> None:
    """Over a kill; they are of the kinds that were asked for."""
    with throw_away_stores(server_binary, server_binary, persistent=True) as stores:
        assert isinstance(stores.secondary_server, EmbeddedServer)
        async with open_store(stores.secondary) as store:
            await store.call("SET", "k", "v")
        stores.secondary_server.kill()
        stores.secondary_server.restart()
        async with open_store(stores.secondary) as store:
            assert await store.call("GET", "k") == b"v"
        stores.secondary_server.kill()
        stores.secondary_server.restart(empty=True)
        async with open_store(stores.secondary) as store:
            assert await store.call("GET", "k") is None
