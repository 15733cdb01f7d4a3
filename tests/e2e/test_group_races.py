"""Many consumers of one group, some of them blocked, others claiming: equal groups, to the last counter."""

from __future__ import annotations

import random

import pytest
import trio

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error, value_of
from tests.support.client import Client, connect
from tests.support.proxy import running_proxy
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e

CONSUMERS = 10
ROUNDS = 60


async def consume(client: Client, name: str, rng: random.Random) -> None:
    """Read, waiting or not, acknowledge a part at once, and claim and acknowledge what others have got."""
    known: list[bytes] = []
    for _ in range(ROUNDS):
        how = rng.choice((["BLOCK", 20], ["BLOCK", 20], ["BLOCK", 20, "NOACK"], [], ["NOACK"]))
        count = rng.randrange(1, 4)
        reply = await client.call("XREADGROUP", "GROUP", "g", name, *how, "COUNT", count, "STREAMS", "s", ">")
        got = [entry for _, entries in value_of(reply) or () for entry, _ in entries]
        known += got
        commands: list[list[str | bytes | int]] = []
        if mine := [entry for entry in got if rng.random() < 0.6]:
            commands.append(["XACK", "s", "g", *mine])
        if known and rng.random() < 0.3:
            claimed = rng.sample(known, min(len(known), 3))
            commands.append(["XCLAIM", "s", "g", name, 0, *claimed])
            commands.append(["XACK", "s", "g", rng.choice(claimed)])
        if rng.random() < 0.2:
            commands.append(["XAUTOCLAIM", "s", "g", name, rng.choice((0, 5)), 0, "COUNT", 2])
        if rng.random() < 0.2:
            commands.append(["XREADGROUP", "GROUP", "g", name, "COUNT", 2, "STREAMS", "s", 0])
        replies = await client.pipeline(commands) if commands else []
        assert not any(map(is_error, replies)), replies


async def produce(client: Client, rng: random.Random, is_over: trio.Event) -> None:
    """Add entries, one or a few at a time, and delete some; leave a few in the end."""
    added: list[bytes] = []
    while not is_over.is_set():
        for _ in range(rng.choice((1, 1, 1, 5))):
            entry = value_of(await client.call("XADD", "s", "*", "f", len(added)))
            assert isinstance(entry, bytes)
            added.append(entry)
        if rng.random() < 0.1:
            await client.call("XDEL", "s", rng.choice(added[-5:]))
        await trio.sleep(rng.random() / 100)  # so that consumers have to wait, now and then


@pytest.mark.parametrize("seed", range(3))
async def test_racing_consumers_leave_equal_groups(pair: Pair, seed: int) -> None:
    """Order and effects alone: without any repair, and no difference was seen that was none."""
    async with running_proxy(
        pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair="off"
    ) as proxy:
        async with connect(proxy.port) as producer:
            await producer.call("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
            is_over = trio.Event()
            async with trio.open_nursery() as producing:
                producing.start_soon(produce, producer, random.Random(f"{seed} producer"), is_over)
                async with trio.open_nursery() as consuming:
                    for number in range(CONSUMERS):
                        rng = random.Random(f"{seed} {number}")
                        consuming.start_soon(_run, proxy.port, f"c{number}", rng)
                is_over.set()
            await producer.call("XLEN", "s")  # behind what dualkv asks on the lane
        await proxy.wait_drained()
        assert proxy.metrics.write_replies_differed == 0
        told, copied = proxy.metrics.queues, proxy.metrics.dirty.marked.total()
        blocked = next(one.ledger.applied for queue, one in told.items() if queue.value == "blocking")

    found = differences(state_of(pair.primary.port), state_of(pair.secondary.port))
    assert not found, "\n".join(found)
    assert blocked > 10  # deliveries to those who waited, said and not copied
    assert copied < blocked


async def _run(port: int, name: str, rng: random.Random) -> None:
    async with connect(port) as client:
        await consume(client, name, rng)
