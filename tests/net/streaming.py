"""A secondary stream under test: its books are checked at every event."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import attrs
import trio
import trio.testing

from dualkv.commands.table import find_command
from dualkv.config import ProxyConfig
from dualkv.core.context import Context
from dualkv.core.dirty import DirtyKeys, DirtyReason
from dualkv.core.ledger import DropReason, Ledger, Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.primary_time import PrimaryTime
from dualkv.core.recent import RecentKeys
from dualkv.core.translator import Translator
from dualkv.net.backend import RedisBackend
from dualkv.net.stream import SecondaryStream
from dualkv.observe.metrics import ProxyMetrics
from dualkv.resp import encode
from tests.core.building import planned
from tests.support.fake_backend import Args, FakeBackend
from tests.support.proxy import wait_until

__all__ = ["Holding", "StreamBench", "key_of_shard", "lines", "settle_tasks", "stream_to"]


class Addressed(Protocol):
    """Something that listens."""

    @property
    def address(self) -> str:
        """Where: host and port."""
        ...


def lines(commands: list[Args]) -> list[str]:
    """Return commands as a person writes them."""
    return [b" ".join(args).decode() for args in commands]


def key_of_shard(number: int, shards: int, name: str = "key") -> str:
    """Return a key that begins with *name* and belongs to a shard."""
    keys = (f"{name}{suffix}" for suffix in range(10_000))
    return next(key for key in keys if zlib.crc32(key.encode()) % shards == number)


class Holding:
    """Answers at once, but for commands that it holds until `release`; notes the order of all."""

    def __init__(self, fake: FakeBackend, *held: str) -> None:
        self.log: list[str] = []
        self._held = set(held)
        self._fake = fake
        fake.answer = self._answer

    def _answer(self, args: Args) -> bytes:
        line = b" ".join(args).decode()
        self.log.append(line)
        return b"" if line in self._held else encode.OK

    async def wait_for(self, line: str) -> None:
        """Wait until a command has arrived."""
        await wait_until(lambda: line in self.log)

    async def release(self, line: str) -> None:
        """Answer a command that was held."""
        args = tuple(line.encode().split())
        connection = next(one for one in self._fake.connections if args in one.commands)
        await connection.send(encode.OK)


async def settle_tasks() -> None:
    """Let everything happen that can happen without the test."""
    await trio.sleep(0.02)  # sockets and lingering, too
    await trio.testing.wait_all_tasks_blocked()


@attrs.define(eq=False)
class StreamBench:
    """A running stream and what belongs to it."""

    stream: SecondaryStream
    metrics: ProxyMetrics
    clock: Callable[[], float]
    compared: list[tuple[StreamItem, bytes]]
    """What was given to be compared, with the secondary's reply."""
    failures: list[Exception]
    """What was reported as a bug of ours; must be empty in the end."""

    def offer(self, *commands: str) -> list[StreamItem]:
        """Offer writes in one step."""
        items: list[StreamItem] = []
        for line in commands:
            plan, request = planned(*line.split())
            assert plan.queue is not None
            items.append(StreamItem(plan, plan.queue, request, self.clock()))
        return self.offer_items(*items)

    def offer_read(self, line: str, expected: bytes, protocol: int = 2) -> StreamItem:
        """Offer a shadow read."""
        plan, request = planned(*line.split())
        context = Context(protocol)
        item = StreamItem(plan, Queue.SHADOW, request, self.clock(), context, expected)
        self.offer_items(item)
        return item

    def offer_items(self, *items: StreamItem) -> list[StreamItem]:
        """Offer items in one step."""
        self.stream.offer([*items])
        self.metrics.check_ledgers()
        return [*items]

    def ledger(self, queue: Queue = Queue.WRITE) -> Ledger:
        """Return the books of one queue."""
        return self.metrics.ledger(queue)

    def dropped(self, queue: Queue = Queue.WRITE) -> dict[DropReason, int]:
        """Return what one queue has dropped."""
        return dict(self.ledger(queue).dropped)

    def dirty(self) -> list[str]:
        """Return the keys that are dirty, in the order in which they became so."""
        return [key.decode() for _, key in self.stream.dirty]

    def became_dirty(self) -> dict[DirtyReason, int]:
        """Return how many keys became dirty, by reason."""
        return dict(self.stream.dirty.marked)

    def write_errors(self) -> dict[tuple[str, str], int]:
        """Return the errors of writes by command and reason."""
        labels = {find_command(name).index: name.decode() for name in (b"SET", b"MSET", b"EVAL", b"EXEC")}
        return {
            (labels[index], reason): count
            for (index, reason), count in self.metrics.secondary_write_errors.items()
        }

    async def wait_settled(self) -> None:
        """Wait until nothing is queued or in flight."""

        def is_settled() -> bool:
            self.metrics.check_ledgers()
            total = self.metrics.total_ledger()
            return not (total.queued or total.in_flight)

        await wait_until(is_settled)


@asynccontextmanager
async def stream_to(
    fake: Addressed,
    clock: Callable[[], float] = time.perf_counter,
    *,
    drain_seconds: float = 10.0,
    **settings: Any,
) -> AsyncIterator[StreamBench]:
    """Run a stream to *fake* for the block, then close it; at its end the books must be empty.

    Args:
        fake: The secondary, or a node of it.
        clock: The stream's clock.
        drain_seconds: How long the end may take.
        settings: Fields of `ProxyConfig`, a prefix ``secondary_`` left out.
    """
    named = {
        name if name.startswith(("shadow", "repair")) else f"secondary_{name}": value
        for name, value in settings.items()
    }
    config = ProxyConfig(secondary=fake.address, **named)
    metrics = ProxyMetrics()
    compared: list[tuple[StreamItem, bytes]] = []
    failures: list[Exception] = []

    def checking_clock() -> float:
        metrics.check_ledgers()
        return clock()

    def compare(item: StreamItem, actual: bytes) -> None:
        metrics.check_ledgers()
        compared.append((item, actual))

    def inconclusive(_: StreamItem, reason: str) -> None:
        metrics.shadow_inconclusive[reason] += 1

    def at_once(work: Callable[[], None]) -> None:
        work()
        metrics.check_ledgers()

    options = config.backend_options("secondary")
    backend = RedisBackend(options, metrics.backends[options.name].pool, clock)
    stream = SecondaryStream(
        backend, config, metrics, checking_clock, compare, inconclusive, at_once, failures.append,
        Translator(PrimaryTime(0.0), config.secondary_timeout_seconds),
        DirtyKeys(config.dirty_keys, config.dirty_bytes),
        RecentKeys(config.recent_window_seconds),
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.run)
        try:
            yield StreamBench(stream, metrics, clock, compared, failures)
        finally:
            stream.close(drain_seconds)
    metrics.check_ledgers()
    assert failures == []
    total = metrics.total_ledger()
    assert (total.queued, total.in_flight, stream.waiting_bytes) == (0, 0, 0)
    assert [counters.active_workers for counters in metrics.queues.values()] == [0] * len(metrics.queues)
    assert backend.open_connections == 0
