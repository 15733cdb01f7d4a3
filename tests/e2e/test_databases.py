"""SELECT: databases of clients that share a lane, and of the secondary."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import open_store

pytestmark = pytest.mark.e2e


def values(pair: Pair, key: str, dbs: range) -> list[tuple[bytes | None, ...]]:
    """Return a key's values in several databases: those of the primary, those of the secondary."""
    found = []
    for server in (pair.primary, pair.secondary):
        with open_store(server) as store:
            row = []
            for db in dbs:
                store.execute_command("SELECT", db)
                row.append(store.get(key))
            store.execute_command("SELECT", 0)
            found.append(tuple(row))
    return found


async def test_clients_of_several_databases_share_the_lane(pair: Pair) -> None:
    """Each client reads and writes in its own database, in both stores, in one pipeline or many."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as one,
        connect(proxy.port) as other,
    ):
        replies = await one.pipeline(
            [
                ("SET", "k", "zero"),
                ("SELECT", 1),
                ("GET", "k"),
                ("SET", "k", "one"),
                ("SELECT", 0),
                ("GET", "k"),
            ]
        )
        await other.call("SELECT", 2)
        for number in range(20):
            await one.pipeline([("SET", "k", f"zero{number}")])
            await other.pipeline([("SET", "k", f"two{number}"), ("GET", "k")])
        await proxy.wait_drained()
        divergences = proxy.metrics.divergences

    assert replies == [b"+OK\r\n", b"+OK\r\n", b"$-1\r\n", b"+OK\r\n", b"+OK\r\n", b"$4\r\nzero\r\n"]
    assert values(pair, "k", range(3)) == [(b"zero19", b"one", b"two19")] * 2
    assert not divergences


async def test_database_that_does_not_exist_is_refused_as_by_the_primary(pair: Pair) -> None:
    """A number beyond the primary's last gets its error, and the client stays where it was."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [("SELECT", 99), ("SELECT", "x"), ("SELECT", -1), ("SET", "here", 1), ("SELECT", 99)]
        )

    assert replies == [
        b"-ERR DB index is out of range\r\n",
        b"-ERR value is not an integer or out of range\r\n",
        b"-ERR DB index is out of range\r\n",
        b"+OK\r\n",
        b"-ERR DB index is out of range\r\n",
    ]
    assert values(pair, "here", range(1)) == [(b"1",)] * 2


async def test_select_inside_a_transaction_takes_effect_with_exec(pair: Pair) -> None:
    """The rest of the transaction, and the client afterwards, are in the new database; others are not."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        replies = await client.pipeline(
            [
                ("MULTI",), ("SET", "t", "a"), ("SELECT", 3), ("SET", "t", "b"), ("SELECT", 77), ("EXEC",),
                ("GET", "t"), ("MULTI",), ("SELECT", 4), ("DISCARD",), ("GET", "t"),
            ]
        )  # fmt: skip
        elsewhere = await other.call("GET", "t")
        await proxy.wait_drained()

    assert replies[5] == b"*4\r\n+OK\r\n+OK\r\n+OK\r\n-ERR DB index is out of range\r\n"
    assert (replies[6], replies[10], elsewhere) == (b"$1\r\nb\r\n", b"$1\r\nb\r\n", b"$1\r\na\r\n")
    assert values(pair, "t", range(4)) == [(b"a", None, None, b"b")] * 2


async def test_reset_leads_back_to_the_first_database(pair: Pair) -> None:
    """RESET ends a SELECT."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [("SET", "k", 0), ("SELECT", 5), ("GET", "k"), ("RESET",), ("GET", "k")]
        )

    assert replies == [b"+OK\r\n", b"+OK\r\n", b"$-1\r\n", b"+RESET\r\n", b"$1\r\n0\r\n"]


async def test_no_other_database_where_two_are_paired(pair: Pair) -> None:
    """With primary_db and secondary_db different, a third database would have no place on the other side."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, primary_db=1, secondary_db=2) as proxy,
        connect(proxy.port) as client,
    ):
        refused = await client.call("SELECT", 3)
        allowed = await client.call("SELECT", 1)
        await client.call("SET", "k", "v")
        await proxy.wait_drained()

    assert refused.startswith(b"-ERR dualkv mirrors database 1 to another number")
    assert allowed == b"+OK\r\n"
    assert values(pair, "k", range(4)) == [(None, b"v", None, None), (None, None, b"v", None)]


async def test_database_that_only_the_primary_has_is_counted(pair: Pair) -> None:
    """What cannot be mirrored for want of a database is dropped with that reason; nothing else suffers."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SELECT", 15)
        await client.call("SET", "k", "v")
        await proxy.wait_drained()
        dropped = proxy.metrics.total_ledger().dropped

    assert not dropped  # both have 16
