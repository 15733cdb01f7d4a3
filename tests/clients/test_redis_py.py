"""redis-py, synchronous and asyncio, in both RESP versions."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey

from tests.clients.stage import run_asyncio, run_blocking, stage
from tests.support.servers import Pair

MESSAGES = 20


def use_everything(port: int, *, protocol: int, library: Any = redis.Redis) -> None:
    """Do what applications do with a blocking client."""
    with library(port=port, protocol=protocol, decode_responses=True) as client:
        use_types(client)
        use_transactions(client)
        use_streams(client)
        use_scripts_and_locks(client)
        use_blocking(client)
        use_channels(client)
    with library(port=port, protocol=protocol, db=3) as client:
        client.set("elsewhere", "yes")
        assert client.dbsize() == 1


def use_types(client: Any) -> None:
    """Strings, hashes, lists, sets, sorted sets, pipelines."""
    client.mset({f"s{number}": number for number in range(50)})
    client.incrby("s1", 5)
    client.set("short", "x", ex=100)
    client.hset("h", mapping={"a": 1, "b": 2})
    client.rpush("l", *"abcdef")
    client.lrem("l", 1, "c")
    client.sadd("set", *"abc")
    client.zadd("z", {"one": 1, "two": 2.5})
    with client.pipeline(transaction=False) as pipeline:
        for number in range(200):
            pipeline.rpush("list", number).llen("list")
        assert pipeline.execute()[-1] == 200
    assert client.hgetall("h") == {"a": "1", "b": "2"}
    assert client.zrange("z", 0, -1, withscores=True) is not None
    assert set(client.smembers("set")) == set("abc")
    assert sum(1 for _ in client.scan_iter(count=10)) == client.dbsize()
    with pytest.raises((redis.ResponseError, valkey.ResponseError), match="WRONGTYPE"):
        client.incr("l")


def use_transactions(client: Any) -> None:
    """MULTI in one piece, and WATCH with retries."""
    with client.pipeline() as pipeline:
        assert pipeline.set("t", 1).incr("t").get("t").execute() == [True, 2, "2"]

    def add(pipeline: Any) -> None:
        value = int(pipeline.get("t"))
        if value == 2:
            client.incr("t")  # somebody else, once: the transaction is tried again
        pipeline.multi()
        pipeline.set("t", value * 10)

    client.transaction(add, "t")
    assert client.get("t") == "30"


def use_streams(client: Any) -> None:
    """A consumer group."""
    client.xgroup_create("stream", "group", mkstream=True)
    for number in range(1, 11):
        client.xadd("stream", {"n": number}, id=f"{number}-0")
    read = client.xreadgroup("group", "worker", {"stream": ">"}, count=10)
    [[_, entries]] = read.items() if isinstance(read, dict) else read
    if len(entries) == 1:  # RESP3: a list of lists
        [entries] = entries
    for entry_id, _ in entries[:7]:
        client.xack("stream", "group", entry_id)
    assert client.xpending("stream", "group")["pending"] == 3


def use_scripts_and_locks(client: Any) -> None:
    """EVALSHA with its fall-back, and a lock made of it."""
    add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert [add(keys=["scripted"], args=[5]) for _ in range(3)] == [5, 10, 15]
    with client.lock("lock", timeout=10):
        assert client.exists("lock")
    assert not client.exists("lock")


def use_blocking(client: Any) -> None:
    """A consumer in a thread that waits for each element."""
    taken: list[str] = []

    def consume() -> None:
        while True:
            _, value = client.blpop(["queue"], timeout=10)
            if value == "end":
                return
            taken.append(value)

    thread = threading.Thread(target=consume)
    thread.start()
    for number in range(MESSAGES):
        client.rpush("queue", number)
    client.rpush("queue", "end")
    thread.join(20)
    assert taken == [str(number) for number in range(MESSAGES)]


def use_channels(client: Any) -> None:
    """Channels and patterns."""
    with client.pubsub() as subscriber:
        subscriber.subscribe("news")
        subscriber.psubscribe("n*")
        kinds = [subscriber.get_message(timeout=5)["type"] for _ in range(2)]
        assert kinds == ["subscribe", "psubscribe"]
        for number in range(MESSAGES):
            assert client.publish("news", number) == 2
        received: list[str] = []
        while len(received) < 2 * MESSAGES:
            message = subscriber.get_message(timeout=5)
            if message is not None:
                received.append(message["data"])
    assert received == [str(number) for number in range(MESSAGES) for _ in range(2)]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_redis_py(pair: Pair, protocol: int) -> None:
    """The blocking client does all it can; the stores end equal."""
    async with stage(pair) as proxy:
        await run_blocking(partial(use_everything, protocol=protocol), proxy.port)


async def use_asyncio(port: int, *, protocol: int) -> None:
    """Many tasks on one pool: pipelines, WATCH, blocking, channels."""
    client: Any
    async with redis.asyncio.Redis(port=port, protocol=protocol, decode_responses=True) as client:

        async def add() -> None:
            for _ in range(10):
                await client.transaction(increment, "counter")

        async def increment(pipeline: Any) -> None:
            value = int(await pipeline.get("counter") or 0)
            pipeline.multi()
            pipeline.set("counter", value + 1)

        async def consume() -> list[str]:
            return [(await client.blpop(["queue"], timeout=10))[1] for _ in range(MESSAGES)]

        await asyncio.gather(*(add() for _ in range(10)))
        assert await client.get("counter") == "100"
        consumer = asyncio.create_task(consume())
        async with client.pipeline() as pipeline:
            await pipeline.rpush("queue", *range(MESSAGES)).llen("queue").execute()
        assert await consumer == [str(number) for number in range(MESSAGES)]
        async with client.pubsub() as subscriber:
            await subscriber.subscribe("news")
            assert (await subscriber.get_message(timeout=5))["type"] == "subscribe"
            await client.publish("news", "hello")
            assert (await subscriber.get_message(timeout=5))["data"] == "hello"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_redis_py_asyncio(pair: Pair, protocol: int) -> None:
    """The asyncio client with many tasks; the stores end equal."""
    async with stage(pair) as proxy:
        await run_asyncio(partial(use_asyncio, protocol=protocol), proxy.port)
