"""coredis on Trio, valkey-py, and RQ on top of redis-py."""

from __future__ import annotations

from functools import partial
from typing import Any

import coredis
import pytest
import redis
import rq
import trio
import valkey
from rq.timeouts import TimerDeathPenalty

from tests.clients.stage import run_blocking, stage
from tests.clients.test_redis_py import use_everything
from tests.support.client import connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents

JOBS = 50


async def test_coredis_on_trio(pair: Pair) -> None:
    """A Trio client in the same loop as dualkv: types, transactions, a blocking pop, channels."""
    async with stage(pair) as proxy:
        client = coredis.Redis(port=proxy.port, decode_responses=True)
        async with client:
            await client.set("k", "v")
            await client.hset("h", {"a": "1"})
            assert await client.get("k") == "v"
            async with client.pipeline(transaction=True) as pipeline:
                pipeline.rpush("l", ["a", "b"])
                pipeline.llen("l")
            assert await client.lrange("l", 0, -1) == ["a", "b"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(take, client))
                await client.rpush("queue", ["x"])


async def take(client: Any) -> None:
    """Wait for an element."""
    assert await client.blpop(["queue"], timeout=10) == ["queue", "x"]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_valkey_py(pair: Pair, protocol: int) -> None:
    """Valkey's own client does all that redis-py does."""
    async with stage(pair) as proxy:
        await run_blocking(partial(use_everything, protocol=protocol, library=valkey.Valkey), proxy.port)


def job(number: int) -> int:
    """Do something, as a job."""
    return number * number


class ThreadWorker(rq.SimpleWorker):
    """A worker that may run in a thread: no signals."""

    death_penalty_class = TimerDeathPenalty

    def _install_signal_handlers(self) -> None:
        """Signals belong to the main thread."""


def work(port: int) -> None:
    """Enqueue jobs, and do them all."""
    with redis.Redis(port=port) as client:
        queue = rq.Queue(connection=client)
        jobs = [queue.enqueue(job, number) for number in range(JOBS)]
        ThreadWorker([queue], connection=client).work(burst=True, logging_level="ERROR")
        assert [one.return_value() for one in jobs] == [number * number for number in range(JOBS)]


async def test_rq(pair: Pair) -> None:
    """A queue of jobs: all are done, and the stores are equal but for what carries the time.

    RQ's results are streams with generated ids (``XADD *``), which are mirrored as they are for now.
    """
    async with running_proxy(pair.primary.address, pair.secondary.address) as proxy:
        await run_blocking(work, proxy.port)
        await proxy.wait_drained()
        async with connect(proxy.port) as client:
            assert (await client.call("DBSIZE")) != b":0\r\n"
        assert proxy.metrics.total_ledger().failed == 0

    left_out = b"rq:results:"
    stores = [
        {key: value for key, value in contents(server).items() if not key.startswith(left_out)}
        for server in (pair.primary, pair.secondary)
    ]
    assert stores[0] == stores[1]
