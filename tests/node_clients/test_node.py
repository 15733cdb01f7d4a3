"""ioredis, node-redis and BullMQ through dualkv; the stores end equal."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.clients.stage import stage
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair

pytestmark = pytest.mark.npm

FOLDER = Path(__file__).parent
SECONDS = 60


async def run(script: str, *args: int) -> None:
    """Run a script to its end; it says that it is done."""
    assert (FOLDER / "node_modules").exists(), "the packages are not installed: run `make test-node`"
    with trio.fail_after(SECONDS):
        process = await trio.run_process(
            ["node", str(FOLDER / script), *map(str, args)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (process.returncode, process.stdout) == (0, b"done\n"), process.stderr.decode()


async def test_ioredis(pair: Pair) -> None:
    """Pipelines, WATCH, Lua, channels, blocking, databases, streams."""
    async with stage(pair) as proxy:
        await run("ioredis.mjs", proxy.port)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_node_redis(pair: Pair, protocol: int) -> None:
    """The same with the other client, in both RESP versions."""
    async with stage(pair) as proxy:
        await run("node_redis.mjs", proxy.port, protocol)


async def test_bullmq(pair: Pair) -> None:
    """Fifty jobs are done through Lua, blocking pops and streams.

    Its scripts write the time, and streams with generated ids: mirrored as they are, these cannot be equal.
    So what is compared is which keys there are, and that nothing failed.
    """
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        await run("bullmq.mjs", proxy.port)
        await proxy.wait_drained()
        ledger = proxy.metrics.total_ledger()
    keys = []
    for server in (pair.primary, pair.secondary):
        async with connect(server.port) as client:
            keys.append(sorted((await client.call("KEYS", "*")).split(b"\r\n")[2::2]))

    assert keys[0] == keys[1]
    assert (ledger.failed, ledger.dropped.total()) == (0, 0)
