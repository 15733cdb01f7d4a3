"""Both addresses may lead to one server, or to a server and its replica: nothing is mirrored then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.errors import ConfigError
from dualkv.net.lane import LaneState
from dualkv.servers import EmbeddedServer
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.test_cli import run

pytestmark = pytest.mark.e2e


@pytest.fixture(name="directory")
def _directory() -> Iterator[Path]:
    """A directory with a short name: those of Unix sockets are limited."""
    with tempfile.TemporaryDirectory(prefix="dkv-") as name:
        yield Path(name)


async def is_refused(primary: str, secondary: str, **settings: Any) -> str:
    """Return why a proxy does not start; empty if it does."""
    why = ""
    try:
        async with running_proxy(primary, secondary, **settings):
            pass
    except* ConfigError as group:
        why = str(group.exceptions)
    return why


def error_of(proxy: Proxy) -> str:
    """Return what speaks against mirroring."""
    stream = proxy.server.writer.stream
    assert stream is not None
    return stream.stores.objection or ""


async def test_one_server_under_two_addresses_is_refused_at_start(pair: Pair) -> None:
    """Also by another name of the same machine; in every mode that mirrors."""
    one, other = pair.primary.address, f"localhost:{pair.primary.port}"
    for mode in (ProxyMode.DUAL_WRITE, ProxyMode.ELASTICKV_PRIMARY):
        assert "are the same server" in await is_refused(one, other, mode=mode)


async def test_one_server_is_no_error_where_it_does_not_matter(pair: Pair) -> None:
    """Without mirroring, in another database, or if somebody says so."""
    address = pair.primary.address
    assert await is_refused(address, address, mode=ProxyMode.REDIS_ONLY) == ""
    assert await is_refused(address, address, secondary_db=1) == ""
    assert await is_refused(address, address, allow_same_server=True) == ""


async def test_replica_of_the_primary_is_refused_at_start(pair: Pair, server_binary: Path) -> None:
    """And the other way round; whether it has synchronised or not."""
    with EmbeddedServer(server_binary, "--replicaof", "127.0.0.1", str(pair.secondary.port)) as replica:
        assert "is a replica of" in await is_refused(pair.secondary.address, replica.address)
        assert "takes no writes" in await is_refused(replica.address, pair.secondary.address)


async def test_serve_ends_with_one_line_and_code_2(pair: Pair) -> None:
    """As for every other wrong setting."""
    flags = ("--primary", pair.primary.address, "--secondary", pair.primary.address)
    outcome = await trio.to_thread.run_sync(
        lambda: run("serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--admin", "off", *flags)
    )

    assert "are the same server, and the same database" in outcome.complaint()


async def test_server_that_turns_out_to_be_the_same_is_not_mirrored_to(
    server_binary: Path, directory: Path
) -> None:
    """It was not reachable at the start. When it is another one at last, it gets everything."""
    link = directory / "secondary.sock"
    sockets = [directory / "one.sock", directory / "two.sock"]
    with (
        EmbeddedServer(server_binary, "--unixsocket", str(sockets[0])) as one,
        EmbeddedServer(server_binary, "--unixsocket", str(sockets[1])) as two,
    ):
        async with running_proxy(one.address, f"unix://{link}") as proxy, connect(proxy.port) as client:
            await client.call("INCR", "counter")
            link.symlink_to(sockets[0])
            await wait_until(lambda: "are the same server" in error_of(proxy))
            assert [await client.call("INCR", "counter") for _ in range(2)] == [b":2\r\n", b":3\r\n"]
            assert proxy.metrics.total_ledger().applied == 0
            assert proxy.server.writer.lane.state is LaneState.UP

            link.unlink()
            link.symlink_to(sockets[1])
            await proxy.wait_repaired()
            assert error_of(proxy) == ""
            assert contents(one) == contents(two) != {}


async def test_primary_that_turns_out_to_be_the_same_is_not_mirrored(
    server_binary: Path, directory: Path
) -> None:
    """It comes back as the server that follows: nothing is sent there any more."""
    link = directory / "primary.sock"
    sockets = [directory / "one.sock", directory / "two.sock"]
    with (
        EmbeddedServer(server_binary, "--unixsocket", str(sockets[0])) as one,
        EmbeddedServer(server_binary, "--unixsocket", str(sockets[1])) as two,
    ):
        link.symlink_to(sockets[0])
        async with running_proxy(f"unix://{link}", two.address) as proxy, connect(proxy.port) as client:
            await client.call("SET", "counter", 1)
            await proxy.wait_drained()
            link.unlink()
            link.symlink_to(sockets[1])
            one.kill()
            await wait_until(lambda: "are the same server" in error_of(proxy))
            applied = proxy.metrics.total_ledger().applied
            assert [await client.call("INCR", "counter") for _ in range(2)] == [b":2\r\n", b":3\r\n"]
            stream = proxy.server.writer.stream
            assert stream is not None
            await wait_until(lambda: not stream.is_connected)
            assert proxy.metrics.total_ledger().applied == applied
            assert contents(two)[b"counter"] == (b"string", b"3")
