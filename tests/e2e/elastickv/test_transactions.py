"""Transactions while ElasticKV is the primary, whose MULTI is not that of Redis."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode
from tests.fakes.elastickv import Cluster
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.e2e


async def test_what_was_not_queued_has_its_error_in_its_place(pair: Pair, elastickv: Cluster) -> None:
    """The rest is executed; each result is told, and mirrored, for the command that it belongs to."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [("MULTI",), ("INCRBY", "a", 5), ("INCR", "b"), ("RPUSH", "l", "x", "y"), ("EXEC",)]
        )
        await proxy.wait_repaired()

    assert replies[-1] == b"*3\r\n-ERR unsupported command 'INCRBY'\r\n:1\r\n:2\r\n"
    assert contents(pair.primary) == contents(elastickv.server)
    assert set(contents(pair.primary)) == {b"b", b"l"}


async def test_a_refused_transaction_changes_nothing(pair: Pair, elastickv: Cluster) -> None:
    """EXEC tells the first command that ElasticKV executes in no transaction."""
    async with (
        running_proxy(pair.primary.address, elastickv.addresses[0], ProxyMode.ELASTICKV_PRIMARY) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline([("MULTI",), ("INCR", "b"), ("SADD", "s", "x"), ("EXEC",)])
        await proxy.wait_repaired()

    assert replies[-1] == b"-ERR unsupported command 'SADD'\r\n"
    assert contents(pair.primary) == contents(elastickv.server) == {}
