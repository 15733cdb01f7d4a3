"""Whatever happens to the secondary: clients do not notice, memory is bounded, all is accounted for.

And when it is well again, it becomes equal.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from dualkv.core.ledger import DropReason, Queue
from dualkv.resp import encode
from dualkv.servers import EmbeddedServer
from tests.support.client import connect
from tests.support.fake_backend import Answer, FakeBackend, running_fake
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.support.workload import Load, under_load

pytestmark = pytest.mark.e2e

QUEUE_BYTES = 4 * 1024 * 1024
IMPATIENT: dict[str, Any] = {
    "secondary_timeout_seconds": 0.3,
    "secondary_script_timeout_seconds": 0.3,
    "shadow_timeout_seconds": 0.3,
}
NOTICEABLE_SECONDS = 2.0
"""Far below the time-outs of the secondary, and far above what a loaded machine takes for a round trip."""


def assert_nobody_noticed(load: Load) -> None:
    """Assert that clients got their replies, quickly and without errors."""
    assert load.replies > 100
    assert load.errors == Counter()
    assert load.slowest_seconds < NOTICEABLE_SECONDS


def rss_bytes() -> int:
    """Return this process's resident memory: dualkv's and the clients'."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def assert_mirrors_again(proxy: Proxy, pair: Pair) -> None:
    """Assert that a write that comes now reaches the secondary, and that all that was missed does."""
    await wait_until(
        lambda: proxy.server.writer.stream is not None and proxy.server.writer.stream.is_connected
    )
    await proxy.wait_drained()
    async with connect(proxy.port) as client:
        await client.call("SET", "afterwards", "mirrored")
    await proxy.wait_repaired()
    found = contents(pair.secondary)
    assert found[b"afterwards"] == (b"string", b"mirrored")
    assert found == contents(pair.primary)


@pytest.mark.parametrize("timeout_seconds", [30.0, 0.5], ids=["patient", "impatient"])
async def test_secondary_that_stops_for_10_seconds_is_not_noticed(pair: Pair, timeout_seconds: float) -> None:
    """SIGSTOP for 10 s: the queue fills to its marks, then keys are remembered; afterwards it catches up."""
    async with running_proxy(
        pair.primary.address,
        pair.secondary.address,
        secondary_timeout_seconds=timeout_seconds,
        secondary_queue_bytes=QUEUE_BYTES,
    ) as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        async with under_load(proxy.port) as load:
            await wait_until(lambda: load.replies > 1000)
            before = rss_bytes()
            pair.secondary.pause()
            try:
                for _ in range(100):
                    await trio.sleep(0.1)
                    assert stream.waiting_bytes <= QUEUE_BYTES
            finally:
                pair.secondary.resume()
            after = rss_bytes()
        assert_nobody_noticed(load)
        assert after - before < 10 * QUEUE_BYTES
        writes = proxy.metrics.ledger(Queue.WRITE)
        assert writes.deferred > 100
        assert set(writes.dropped) <= {DropReason.QUEUE_FULL, DropReason.EXPIRED}
        await assert_mirrors_again(proxy, pair)


async def test_secondary_that_dies_and_returns_is_not_noticed(pair: Pair, server_binary: Path) -> None:
    """Killed under load and started again, empty: clients see nothing, and it gets everything once more."""
    with EmbeddedServer(server_binary) as secondary:
        async with running_proxy(pair.primary.address, secondary.address, **IMPATIENT) as proxy:
            async with connect(proxy.port) as client:
                await client.call("SET", "before", "kept")
            async with under_load(proxy.port) as load:
                await wait_until(lambda: load.replies > 1000)
                secondary.kill()
                await wait_until(lambda: proxy.metrics.ledger(Queue.WRITE).deferred > 100)
                secondary.restart()
                applied = proxy.metrics.ledger(Queue.WRITE).applied
                await wait_until(lambda: proxy.metrics.ledger(Queue.WRITE).applied > applied)
            assert_nobody_noticed(load)
            await assert_mirrors_again(proxy, attrs.evolve(pair, secondary=secondary))


async def test_secondary_that_is_not_there_is_not_noticed(pair: Pair) -> None:
    """Nothing listens at the secondary's address, from the start."""
    async with running_proxy(pair.primary.address, "127.0.0.1:1", **IMPATIENT) as proxy:
        async with under_load(proxy.port) as load:
            await wait_until(lambda: proxy.metrics.ledger(Queue.WRITE).deferred > 1000)
        assert_nobody_noticed(load)
        assert proxy.metrics.total_ledger().applied == 0


_MISBEHAVIOURS: dict[str, Answer] = {
    "no RESP": lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "binary": lambda _: bytes(range(256)),
    "too many replies": lambda _: encode.OK * 3,
    "a huge length": lambda _: b"$999999999999\r\nabc\r\n",
    "a reply without an end": lambda _: b"$100\r\nabc\r\n",
    "a streamed reply": lambda _: b"*?\r\n:1\r\n",
    "closing": lambda _: None,
    "silence": lambda _: b"",
}


@pytest.mark.parametrize("answer", _MISBEHAVIOURS.values(), ids=_MISBEHAVIOURS)
async def test_secondary_that_answers_garbage_is_not_noticed(pair: Pair, answer: Answer) -> None:
    """What is not RESP, too much, or nothing at all ends its connection, and nothing else."""
    async with (
        running_fake(answer) as fake,
        running_proxy(
            pair.primary.address,
            fake.address,
            **IMPATIENT,
            secondary_queue_bytes=QUEUE_BYTES,
        ) as proxy,
    ):
        async with under_load(proxy.port) as load:
            await wait_until(lambda: load.replies > 500 and len(fake.connections) > 3)
        assert_nobody_noticed(load)
        ledger = proxy.metrics.total_ledger()
        assert ledger.failed > 0


async def test_secondary_that_refuses_everything_is_counted_and_not_noticed(pair: Pair) -> None:
    """Errors of the secondary are counted by reason; clients get the primary's replies."""

    def refuse(_: tuple[bytes, ...]) -> bytes:
        return encode.error("ERR busy server overloaded")

    async with (
        running_fake(refuse) as fake,
        running_proxy(pair.primary.address, fake.address) as proxy,
    ):
        async with under_load(proxy.port) as load:
            await wait_until(lambda: proxy.metrics.total_ledger().failed > 100 and load.replies > 1000)
        assert_nobody_noticed(load)
        assert proxy.metrics.dirty
        reasons = {reason for _, reason in proxy.metrics.secondary_write_errors}
        assert reasons == {"busy"}


async def test_garbage_instead_of_a_greeting_is_an_unreachable_secondary(pair: Pair) -> None:
    """Something else than a Redis server at the secondary's address: it says so, and clients see nothing."""
    fake: FakeBackend
    async with running_fake() as fake:
        fake.introduction_answer = _MISBEHAVIOURS["no RESP"]
        async with running_proxy(pair.primary.address, fake.address, **IMPATIENT) as proxy:
            async with under_load(proxy.port) as load:
                await wait_until(lambda: proxy.metrics.ledger(Queue.WRITE).deferred > 100)
            assert_nobody_noticed(load)
            secondary = proxy.server.writer.secondary
            assert secondary is not None
            assert secondary.last_error is not None
            assert fake.address in secondary.last_error
