"""`DualWriter`: the primary lane, the secondary stream and the comparing, joined.

It is what the server's sessions use, and a Python program can use it without the server:

    async with open_writer(config) as writer:
        reply = await writer.write(b"SET", b"greeting", b"hello")
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import attrs
import trio

from dualkv.commands.classify import CommandCategory, classify_command
from dualkv.config import ProxyConfig
from dualkv.core.auth import users_from
from dualkv.core.context import Context
from dualkv.core.dialect import LEARNING, learn
from dualkv.core.dirty import DirtyKeys
from dualkv.core.fence import KeyFence
from dualkv.core.identity import INTRODUCTION, Identity, identify
from dualkv.core.in_flight import ordered_keys
from dualkv.core.mirror import leaves_unknown
from dualkv.core.modes import mode_plan
from dualkv.core.primary_time import PrimaryTime
from dualkv.core.recent import RecentKeys
from dualkv.core.refusals import refusal_of, select_refusal
from dualkv.core.routing import ON_LANES, Plan, Route, plan_of
from dualkv.core.scripts import ScriptCache
from dualkv.core.session import SessionState
from dualkv.core.translator import NOT_ASKED
from dualkv.core.vocabulary import Vocabulary
from dualkv.errors import BackendUnavailable
from dualkv.net.backend import PubSubBackend, RedisBackend
from dualkv.net.blocking_commands import BlockingCommands
from dualkv.net.calls import SingleCall
from dualkv.net.client import Client
from dualkv.net.comparing import Comparing
from dualkv.net.hub import ReadinessHub
from dualkv.net.lane import Lane, LaneState
from dualkv.net.lanes import Lanes
from dualkv.net.leader_aware import backend_of
from dualkv.net.lease import LeasePool
from dualkv.net.mirroring import Mirroring
from dualkv.net.notes import WriteNotes
from dualkv.net.primary_clock import keep_time
from dualkv.net.pubsub import SubscriptionPool
from dualkv.net.stream import SecondaryStream
from dualkv.observe.findings import Findings
from dualkv.observe.metrics import CommandCounters, ProxyMetrics
from dualkv.observe.reports import DivergenceReports
from dualkv.observe.sentry import SentryReporter
from dualkv.resp.encode import command, pack
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["DualWriter", "open_writer"]

_INTRODUCTION: Final = tuple(map(pack, INTRODUCTION))
_SAYS_NOTHING: Final = (b"-ERR\r\n",) * len(LEARNING)

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
        hub: Watches the sockets, and is run and closed by somebody else; one of its own if None.
        before: Whom it will succeed, in another mode (`dualkv.net.takeover`): it inherits what is known of
            keys on their way, and waits for `begin`.
    """

    def __init__(
        self,
        config: ProxyConfig,
        metrics: ProxyMetrics | None = None,
        sentry: SentryReporter | None = None,
        clock: Callable[[], float] = time.perf_counter,
        hub: ReadinessHub | None = None,
        before: DualWriter | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.metrics = metrics or ProxyMetrics(config.primary_name, config.secondary_name)
        self.findings: Findings = before.findings if before else Findings(config, clock, time.time())
        plan = mode_plan(config.mode)
        self.primary = self._backend(plan.answers)
        self.secondary = self._backend(plan.follows) if plan.follows else None
        self.answering = self.metrics.backends[self.primary.name]
        self.shadows = plan.shadows
        self.mirrors = plan.follows is not None
        """Whether writes go to another store too."""
        self.hub = hub or ReadinessHub()
        self.own_context = Context(db=self.primary.options.db)
        """Where dualkv's own requests on the lane are executed."""
        self.vocabulary = Vocabulary()
        self.scripts: ScriptCache = before.scripts if before else ScriptCache()
        """Those whose texts are known."""
        heritage = before if before and before.mirrors and self.mirrors else None
        """Who has mirrored between the same two stores, in either direction."""
        self.dirty: DirtyKeys = (
            heritage.dirty if heritage else DirtyKeys(config.dirty_keys, config.dirty_bytes)
        )
        self.recent: RecentKeys = heritage.recent if heritage else RecentKeys(config.recent_window_seconds)
        self.notes: WriteNotes = (
            heritage.notes if heritage else WriteNotes(config, self.recent, self.dirty, clock)
        )
        self.fence = KeyFence()
        self._introduction = _INTRODUCTION if plan.follows or plan.answers == "secondary" else ()
        self.lanes = Lanes(
            self._make_lane, self.fence, config.lanes, self.primary.options.pool_size // 2,
            keeps_order=self.mirrors,
        )  # fmt: skip
        self.lane = self.lanes.first
        self.leases = LeasePool(self.primary, self.lane.logins)
        self.subscriptions = SubscriptionPool(self.primary, self.hub, self.lane.logins)
        self.users = users_from(config, self.primary.options)
        self.clients: dict[int, ClientSession] = {}
        """All sessions, by the client's id."""
        self._sentry = sentry or SentryReporter.start("", clock)
        self.time = PrimaryTime((time.time() - clock()) * 1000)
        self.primary_dialect = learn(_SAYS_NOTHING)
        """What the primary understands; as told by the newest connection."""
        self.primary_identity: Identity | None = None
        """Which process the primary is, as far as that is known."""
        self.connections_made = 0
        """How often the lane, or one of the stream's connections, has been connected."""
        self.comparing = Comparing(self, DivergenceReports(self.metrics, self._sentry, clock))
        self.mirroring: Mirroring | None = None
        """What keeps the other store equal; None: no store follows."""
        self.stream: SecondaryStream | None = None
        """Its stream."""
        if self.secondary is not None:
            self.mirroring = Mirroring(self, self.secondary)
            self.stream = self.mirroring.stream
            self.comparing.follow(self.stream)
        self._owns_hub = hub is None
        self.shares_notes = heritage is not None
        """Whether the notes are those of whom it succeeds."""
        self.owns_notes = not self.shares_notes
        """Whether it closes them in the end: nobody goes on with them."""
        self._why_forsaken = ""
        """Why the other store will not be equal in the end; empty: it will be."""
        self._begun = trio.Event()
        self._closing = trio.Event()
        self.ended = trio.Event()
        """Set when `run` has ended."""
        if before is None:
            self.begin()

    def __repr__(self) -> str:
        return f"<DualWriter {self.config.mode.value} {self.lanes!r} {self.stream!r}>"

    def _backend(self, which: str) -> RedisBackend:
        options = self.config.backend_options(which)
        return backend_of(options, self.metrics.backends[options.name].pool, self.clock)

    def begin(self) -> None:
        """Let `run` mirror and compare: nobody else does any more. Whom it has succeeded must have ended."""
        metrics = self.metrics
        metrics.findings, metrics.dirty, metrics.journal = self.findings, self.dirty, self.notes.figures
        metrics.shadow_filter, metrics.shadow_budget = self.comparing.filter, self.comparing.budget
        metrics.gate = self.stream.gate if self.stream is not None else None
        metrics.not_holdable = self.stream.translator.not_holdable if self.stream is not None else Counter()
        self.findings.pending_confirmations = lambda: len(self.comparing.judge.confirming)
        self._begun.set()

    def change_settings(self, config: ProxyConfig) -> None:
        """Use other settings from now on: those that can be changed while it runs, of all others nothing."""
        self.config = attrs.evolve(
            self.config,
            shadow_sample=config.shadow_sample,
            repair_rate=config.repair_rate,
            log_level=config.log_level,
        )
        self.comparing.filter.take_share(config.shadow_sample)
        if self.mirroring is not None:
            self.mirroring.copier.rate = config.repair_rate

    def adopt(self, before: DualWriter) -> None:
        """Keep to what somebody has changed while another one served."""
        self.change_settings(before.config)
        if self.stream is not None and before.stream is not None and before.stream.gate.is_paused:
            self.stream.pause()
            self.stream.paused_at = before.stream.paused_at

    def _make_lane(self, behind: Lane | None) -> Lane:
        told = self._primary_connected
        if behind is not None:
            told = self._another_connected
            self.primary.lanes += 1
        return Lane(
            self.primary, self.hub, self.answering.pool, self.clock, self._introduction, told,
            self.notes.write, behind, self._primary_lost,
        )  # fmt: skip

    def report_failure(self, error: Exception) -> None:
        """Report a bug of ours in a task that goes on."""
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
        client = Client(self, SessionState(0, self.primary.options.db))
        return await BlockingCommands(client).block(plan, Request(encoded, command(*encoded)))

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
        if plan.route not in ON_LANES:
            raise ValueError(f"{plan.spec.name} cannot be sent on the shared lane")
        if await self.wait_lane() is not LaneState.UP:
            raise BackendUnavailable(self.primary.last_error or "the primary cannot be reached")
        context = context or self.own_context
        if plan.spec.takes(len(encoded)) and (refusal := self.refusal(plan, encoded, context.db)) is not None:
            return refusal
        keys = ordered_keys(plan, encoded)
        await self.lanes.wait_free(keys)
        request = Request(encoded, command(*encoded))
        asked = NOT_ASKED
        if self.mirroring is not None:
            self.notes.note(context.db, [plan], [request])
            asked = self.mirroring.ask(plan, request, context)
        call = SingleCall(self, context, plan, request, asked=asked)
        self.lanes.submit(b"".join([request.raw, *asked.wires]), call, context, keys)
        return await call.wait_reply()

    @property
    def has_paired_dbs(self) -> bool:
        """Whether a database is mirrored to another number: then no third one can be mirrored."""
        return self.config.primary_db != self.config.secondary_db

    @property
    def may_be_listed(self) -> bool:
        """Whether clients may list the primary's keys: an ElasticKV's node goes down of it."""
        return self.primary_dialect.is_enumerable or self.config.allow_listing

    @property
    def is_choosy(self) -> bool:
        """Whether the primary must not get all that a Redis may get."""
        return not (self.primary_dialect.is_enumerable and self.primary_dialect.has_databases)

    def refusal(self, plan: Plan, args: tuple[bytes, ...], db: int) -> bytes | None:
        """Return the error for a command that the primary must not get from a client in database *db*."""
        if not self.is_choosy:
            return None
        return refusal_of(
            plan, args, self.primary_dialect, self.scripts,
            may_list=self.may_be_listed, elsewhere=self.select_refusal(db),
        )  # fmt: skip

    def select_refusal(self, db: int) -> bytes | None:
        """Return the error for a database that the primary does not have apart from the mirrored one."""
        return select_refusal(db, (self.config.primary_db, self.config.secondary_db), self.primary_dialect)

    @property
    def passes_logins_through(self) -> bool:
        """Whether clients are users of the primary."""
        return self.config.auth == "pass-through"

    @property
    def pubsub_backend(self) -> PubSubBackend:
        """Where clients' subscriptions are made."""
        return self.primary

    @property
    def shadow_pubsub_backend(self) -> PubSubBackend | None:
        """Where they are made once more, to compare the messages; None: nowhere."""
        return None if self.comparing.subscriptions is None else self.secondary

    async def wait_lane(self) -> LaneState:
        """Wait while the lane is connecting; return its state."""
        return await self.lane.wait_settled()

    # --- the stores' connections

    def _primary_lost(self) -> None:
        if self.stream is not None:
            self.stream.lost_contact(self.primary.name)

    def _primary_connected(self, replies: list[bytes]) -> None:
        """A connection to the primary is new: it may be another one than it was, and have lost something."""
        self.vocabulary.forget()
        self.time.forget()
        self.connections_made += 1
        if replies:
            self.primary_dialect = learn(replies[: len(LEARNING)])
        for client in self.clients.values():
            client.primary_connected()
        self.lanes.primary_connected(commits_each_write=self.primary_dialect.fuses)
        if self.mirroring is None:
            return
        before, self.primary_identity = self.primary_identity, identify(replies[len(LEARNING) :])
        forgotten = self.primary_identity.forgotten_since(before)
        self.mirroring.primary_connected(self.primary_dialect, self.primary_identity, forgotten)
        if self.comparing.removals is not None:
            self.comparing.removals.ask_soon()

    def secondary_identified(self, name: str, run_id: str) -> None:
        """A connection to the secondary is new."""
        self.connections_made += 1
        self.notes.remember_process(name, run_id)
        if self.comparing.removals is not None:
            self.comparing.removals.ask_soon()

    def _another_connected(self, replies: list[bytes]) -> None:
        """A lane beside the first one is new: if it leads to another process, all have to connect anew."""
        known = self.primary_identity
        if known is not None and identify(replies[len(LEARNING) :]).run_id != known.run_id:
            self.lane.retire()

    def open_journal(self) -> None:
        """Take the journal's directory, if there is to be one; what an earlier process left is dirty.

        Raises:
            ConfigError: It cannot be used.
        """
        if self.mirroring is not None:
            self.notes.open(self.primary.name, self.mirroring.stream, self.mirroring.resync)

    # --- for what waits on the lane

    def answered_error(
        self, plan: Plan, request: Request, counters: CommandCounters, frame: bytes, context: Context
    ) -> None:
        """Count an error reply of the primary; if it tells no outcome, take note of what it answers."""
        self.count_error(plan, counters, frame)
        if self.mirroring is not None and plan.queue is not None and leaves_unknown(frame):
            self.mirroring.lost(context, [(plan, request)])

    def count_error(self, plan: Plan, counters: CommandCounters, frame: bytes) -> None:
        """Count an error reply of the primary; it may say that another node leads."""
        counters.errors += 1
        self.primary.answered_error(frame)
        if plan.queue is not None:
            self.metrics.primary_write_errors += 1
        else:
            self.metrics.primary_read_errors += 1

    # --- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close`, then until the stream is drained; ``started()`` when connecting begins."""
        try:
            async with trio.open_nursery() as services:
                if self._owns_hub:
                    await services.start(self.hub.run)
                services.start_soon(self.primary.run)
                if self.secondary is not None:
                    services.start_soon(self.secondary.run)
                services.start_soon(self.lanes.run)
                services.start_soon(self.subscriptions.run)
                async with trio.open_nursery() as draining:
                    if self.stream is not None:
                        services.start_soon(keep_time, self)
                        draining.start_soon(self.stream.run)
                    task_status.started()
                    await self._begun.wait()
                    if self.mirroring is not None and not self._closing.is_set():
                        services.start_soon(self.mirroring.run)
                        services.start_soon(self.comparing.run)
                    await self._closing.wait()
                services.cancel_scope.cancel("the writer is closed")
        finally:
            self.leases.close_idle()
            if self._owns_hub:
                self.hub.close()
            if self._why_forsaken:
                self.dirty.require_resync(self._why_forsaken)
            if self.owns_notes:
                self.notes.close()
            self.ended.set()

    def forsake(self, why: str) -> None:
        """Copy no more: the store that follows is given up. Whoever writes to it next must copy all keys."""
        self._why_forsaken = why
        if self.mirroring is not None:
            self.mirroring.resync.stop()

    async def wait_copied(self) -> None:
        """Return when no key is dirty that can be copied now: the stream holds all there is to say."""
        if self.mirroring is not None:
            await self.mirroring.wait_copied()

    def close(self, drain_seconds: float) -> None:
        """Take no more commands, and let `run` end once what is queued has reached the secondary.

        Commands on the lane must have been answered. Calling it again can only shorten the time.

        Args:
            drain_seconds: Longest time for that; what is still queued then is dropped and counted.
        """
        if self.stream is not None:
            self.stream.close(drain_seconds)
        self._closing.set()
        self._begun.set()


def _encoded(args: tuple[bytes | str | int, ...]) -> tuple[bytes, ...]:
    return tuple(arg if isinstance(arg, bytes) else str(arg).encode() for arg in args)


@asynccontextmanager
async def open_writer(
    config: ProxyConfig, metrics: ProxyMetrics | None = None, sentry: SentryReporter | None = None
) -> AsyncIterator[DualWriter]:
    """Run a `DualWriter` for the block; at its end, what is left to copy or queued goes to the secondary."""
    writer = DualWriter(config, metrics, sentry)
    writer.findings.open_log()
    writer.open_journal()
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        try:
            yield writer
            with trio.move_on_after(config.drain_seconds):
                await writer.wait_copied()
        finally:
            writer.close(config.drain_seconds)
