"""`DualWriter`: the primary lane, the secondary stream and the comparing, joined.

It is what the server's sessions use, and a Python program can use it without the server:

    async with open_writer(config) as writer:
        reply = await writer.write(b"SET", b"greeting", b"hello")
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from dualkv.commands.classify import CommandCategory, classify_command
from dualkv.commands.keys import keys_of
from dualkv.config import ProxyConfig
from dualkv.core.auth import users_from
from dualkv.core.context import Context
from dualkv.core.fence import KeyFence
from dualkv.core.mirror import StreamItem
from dualkv.core.modes import mode_plan
from dualkv.core.routing import Plan, Route, plan_of
from dualkv.core.session import SessionState
from dualkv.core.vocabulary import Vocabulary
from dualkv.errors import BackendUnavailable, ConnectionLost
from dualkv.net.backend import RedisBackend
from dualkv.net.hub import ReadinessHub
from dualkv.net.lane import Lane, LaneState
from dualkv.net.lease import LeasePool
from dualkv.net.operations import ClientOperations
from dualkv.net.pubsub import SubscriptionPool
from dualkv.net.shadow import ShadowReader
from dualkv.net.stream import SecondaryStream
from dualkv.net.waiting import SingleCall
from dualkv.observe.metrics import CommandCounters, ProxyMetrics
from dualkv.observe.reports import DivergenceReports
from dualkv.observe.sentry import SentryReporter
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["DualWriter", "open_writer"]

_log = logging.getLogger("dualkv.writer")


class DualWriter:
    """Sends commands to the store that answers, mirrors writes to the one that follows, compares reads.

    `run` must be running; `close` ends it. Attributes without an underscore are for the hot path's classes in
    this package.

    Args:
        config: The settings.
        metrics: Where everything is counted; a new one if None.
        sentry: Where divergences are reported; nowhere if None.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        config: ProxyConfig,
        metrics: ProxyMetrics | None = None,
        sentry: SentryReporter | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config = config
        self.clock = clock
        self.metrics = metrics or ProxyMetrics(config.primary_name, config.secondary_name)
        plan = mode_plan(config.mode)
        self.primary = self._backend(plan.answers)
        self.secondary = self._backend(plan.follows) if plan.follows else None
        self.answering = self.metrics.backends[self.primary.name]
        self.shadows = plan.shadows
        self.hub = ReadinessHub()
        self.own_context = Context(db=self.primary.options.db)
        """Where dualkv's own requests on the lane are executed."""
        self.vocabulary = Vocabulary()
        self.lane = Lane(self.primary, self.hub, self.answering.pool, clock, self.vocabulary.forget)
        self.leases = LeasePool(self.primary, self.lane.logins)
        self.fence = KeyFence()
        self.subscriptions = SubscriptionPool(self.primary, self.hub, self.lane.logins)
        self.users = users_from(config, self.primary.options)
        self.clients: dict[int, ClientSession] = {}
        """All sessions, by the client's id."""
        self._sentry = sentry or SentryReporter.start("", clock)
        reports = DivergenceReports(self.metrics, self._sentry, clock)
        self.shadow_reader = ShadowReader(self.metrics, reports, self._reread, clock)
        self.stream: SecondaryStream | None = None
        if self.secondary is not None:
            self.stream = SecondaryStream(
                self.secondary, config, self.metrics, clock, self.shadow_reader.compare,
                self.hub.at_end_of_round, self._report_failure,
            )  # fmt: skip
        self._closing = trio.Event()

    def __repr__(self) -> str:
        return f"<DualWriter {self.config.mode.value} {self.lane!r} {self.stream!r}>"

    def _backend(self, which: str) -> RedisBackend:
        options = self.config.backend_options(which)
        return RedisBackend(options, self.metrics.backends[options.name].pool, self.clock)

    def _report_failure(self, error: Exception) -> None:
        _log.error("worker failed", exc_info=error)
        self._sentry.capture_exception(error, "worker")

    # --- commands, one at a time

    async def write(self, *args: bytes | str | int, context: Context | None = None) -> bytes:
        """Execute a write on the primary and mirror it; return the primary's raw reply.

        Args:
            args: The command.
            context: The database; the one in the settings if None.

        Raises:
            ValueError: It is not a write.
            BackendUnavailable: The primary cannot be reached; nothing was executed.
            ConnectionLost: The connection broke; whether it was executed is unknown.
        """
        return await self._call(args, CommandCategory.WRITE, CommandCategory.UNKNOWN, context=context)

    async def read(self, *args: bytes | str | int) -> bytes:
        """Execute a read on the primary, shadow it in a shadowing mode; return the primary's raw reply.

        Raises as `write` does.
        """
        return await self._call(args, CommandCategory.READ)

    async def admin(self, *args: bytes | str | int) -> bytes:
        """Execute an administrative command on the primary only; return its raw reply.

        Raises as `write` does.
        """
        return await self._call(args, CommandCategory.ADMIN)

    async def script(self, *args: bytes | str | int) -> bytes:
        """Execute a script on the primary and mirror it; return the primary's raw reply.

        Raises as `write` does.
        """
        return await self._call(args, CommandCategory.SCRIPT)

    async def blocking(self, *args: bytes | str | int) -> bytes:
        """Execute a command that may wait (``BLPOP``) on a connection of its own, mirror what it took.

        Cancelling it disconnects: an element that comes in that moment can be lost, as with Redis itself.

        Returns:
            The primary's raw reply.

        Raises:
            ValueError: It does not wait.
            BackendUnavailable: The primary cannot be reached, or all connections are in use.
            ConnectionLost: The connection broke; whether it was executed is unknown.
        """
        encoded = _encoded(args)
        plan = plan_of(encoded)
        if plan.route is not Route.BLOCKING:
            raise ValueError(f"{encoded[0]!r} does not wait")
        state = SessionState(0, self.primary.options.db)
        return await ClientOperations(self, state).block(plan, Request(encoded, command(*encoded)))

    async def _call(
        self,
        args: tuple[bytes | str | int, ...],
        *categories: CommandCategory,
        context: Context | None = None,
    ) -> bytes:
        encoded = _encoded(args)
        category = classify_command(encoded)
        if category not in categories:
            raise ValueError(f"{encoded[0]!r} is a command of another category: {category.value}")
        plan = plan_of(encoded)
        if plan.route not in (Route.LANE, Route.RECEIVERS, Route.UNKNOWN):
            raise ValueError(f"{plan.spec.name} cannot be sent on the shared lane")
        if await self.wait_lane() is not LaneState.UP:
            raise BackendUnavailable(self.primary.last_error or "the primary cannot be reached")
        await self._wait_free(keys_of(plan.spec, encoded))
        context = context or self.own_context
        call = SingleCall(self, context, plan, Request(encoded, command(*encoded)))
        self.lane.submit(call.request.raw, call, context)
        return await call.wait_reply()

    @property
    def has_paired_dbs(self) -> bool:
        """Whether a database is mirrored to another number: then no third one can be mirrored."""
        return self.config.primary_db != self.config.secondary_db

    @property
    def passes_logins_through(self) -> bool:
        """Whether clients are users of the primary."""
        return self.config.auth == "pass-through"

    async def wait_lane(self) -> LaneState:
        """Wait while the lane is connecting; return its state."""
        return await self.lane.wait_settled()

    # --- the key fence

    async def raise_fence(self, keys: tuple[bytes, ...] | None) -> None:
        """Fence *keys* (None: all) as soon as nobody else does; `lower_fence` takes it back."""
        while not self.fence.try_raise(keys):
            await self._wait_free(keys)

    def lower_fence(self, keys: tuple[bytes, ...] | None) -> None:
        """Let commands on *keys* through again."""
        self.fence.lower(keys)

    async def _wait_free(self, keys: tuple[bytes, ...] | None) -> None:
        while self.fence.blocks(keys):
            free = trio.Event()
            self.fence.when_free(keys, free.set)
            await free.wait()

    # --- for what waits on the lane

    def count_error(self, plan: Plan, counters: CommandCounters) -> None:
        """Count an error reply of the primary."""
        counters.errors += 1
        if plan.queue is not None:
            self.metrics.primary_write_errors += 1
        else:
            self.metrics.primary_read_errors += 1

    async def _reread(self, item: StreamItem) -> None:
        """Read again what differed, and compare again at the new position."""
        await self._wait_free(item.keys())
        if self.lane.state is not LaneState.UP:
            self.metrics.shadow_inconclusive["primary_unreachable"] += 1
            return
        call = SingleCall(self, item.context, item.plan, item.request, attempt=item.attempt + 1)
        self.lane.submit(item.request.raw, call, item.context)
        try:
            if is_error(await call.wait_reply()):
                self.metrics.shadow_inconclusive["primary_error"] += 1
        except ConnectionLost:
            self.metrics.shadow_inconclusive["primary_unreachable"] += 1

    # --- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close`, then until the stream is drained; ``started()`` when connecting begins."""
        try:
            async with trio.open_nursery() as services:
                await services.start(self.hub.run)
                services.start_soon(self.lane.run)
                services.start_soon(self.subscriptions.run)
                services.start_soon(self.shadow_reader.run)
                async with trio.open_nursery() as draining:
                    if self.stream is not None:
                        draining.start_soon(self.stream.run)
                    task_status.started()
                    await self._closing.wait()
                services.cancel_scope.cancel("the writer is closed")
        finally:
            self.leases.close_idle()
            self.hub.close()

    def close(self, drain_seconds: float) -> None:
        """Take no more commands, and let `run` end once what is queued has reached the secondary.

        Commands on the lane must have been answered. Calling it again can only shorten the time.

        Args:
            drain_seconds: Longest time for that; what is still queued then is dropped and counted.
        """
        if self.stream is not None:
            self.stream.close(drain_seconds)
        self._closing.set()


def _encoded(args: tuple[bytes | str | int, ...]) -> tuple[bytes, ...]:
    return tuple(arg if isinstance(arg, bytes) else str(arg).encode() for arg in args)


@asynccontextmanager
async def open_writer(
    config: ProxyConfig, metrics: ProxyMetrics | None = None, sentry: SentryReporter | None = None
) -> AsyncIterator[DualWriter]:
    """Run a `DualWriter` for the block; at its end, what is queued is drained to the secondary."""
    writer = DualWriter(config, metrics, sentry)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        try:
            yield writer
        finally:
            writer.close(config.drain_seconds)
