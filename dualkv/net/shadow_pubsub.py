"""The shadow subscriber: one connection to the secondary, subscribed to what clients are subscribed to.

`dualkv.net.pubsub` tells it what the primary has confirmed and delivered. It subscribes to the same on the
secondary and has both sides matched (`dualkv.core.pubsub_matching`). Subscribers do not depend on it: they
get their messages before it does, and whatever fails here is counted here.

The connection is opened with the first subscription and then kept, whoever comes and goes: some stores suffer
from the end of a connection that was subscribed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Concatenate, Final, ParamSpec

import attrs
import trio

from dualkv.commands.table import COMMANDS
from dualkv.config import ProxyConfig
from dualkv.core.backoff import Backoff
from dualkv.core.divergence import MAX_REPORTED_BYTES, Divergence, DivergenceKind
from dualkv.core.pubsub_matching import Alone, Doubt, MessageMatcher, Side, Watch
from dualkv.core.subscribing import Confirmed, Delivered, Name, Refused, Subscribing
from dualkv.core.subscriptions import Kind
from dualkv.errors import BackendUnavailable, ConnectionLost, PoolExhausted, ReplyProtocolError
from dualkv.net.backend import PubSubBackend
from dualkv.net.following import Follower, Said
from dualkv.net.pubsub import Heard, SharedSubscriptions
from dualkv.net.stream import SecondaryStream
from dualkv.net.transport import close_socket
from dualkv.observe.logs import RateLimit
from dualkv.observe.metrics import ProxyMetrics
from dualkv.observe.reports import DivergenceReports
from dualkv.resp.replies import value_of

__all__ = ["ShadowSubscriptions"]

_LOG_SECONDS: Final = 5.0
_STALL: Final = 0.1
"""A share of the window: a sweep that comes so late tells that this process did not get to run."""
_OTHER_CONNECTIONS: Final = 2
"""Of the secondary's pool, beside the stream's: this one, and one for a resync."""
_FRAGILE: Final = "ElasticKV"
"""A node of it goes down when a connection ends that was subscribed (seen in a build of August 2026)."""
_SPECS: Final = {
    kind: next(spec for spec in COMMANDS if spec.name == kind.value.decode().upper() + "SUBSCRIBE")
    for kind in Kind
}

_log = logging.getLogger("dualkv.pubsub")


@attrs.define(eq=False)
class _Subscribed:
    """What clients are subscribed to, by one name."""

    watch: Watch
    sources: dict[SharedSubscriptions, None]
    """Connections to the primary that are; the messages of the first one count."""

    def is_fed_by(self, source: SharedSubscriptions) -> bool:
        return next(iter(self.sources)) is source


_P = ParamSpec("_P")


def _reporting(
    method: Callable[Concatenate[ShadowSubscriptions, _P], None],
) -> Callable[Concatenate[ShadowSubscriptions, _P], None]:
    """Let a bug of ours be reported and go no further."""

    @wraps(method)
    def guarded(self: ShadowSubscriptions, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - no subscriber shall suffer from it
            self.failed(error)

    return guarded


class ShadowSubscriptions:
    """Compares what both stores deliver. `run` must be running.

    Args:
        backend: The secondary.
        stream: Tells what of the mirrored messages has got there, and what the secondary understands.
        config: Window, sweep, and whether to compare at all.
        metrics: Where outcomes are counted.
        reports: Where divergences go.
        clock: Seconds, monotonic, the stream's.
        report_failure: Called with an exception that is a bug of ours.
    """

    def __init__(
        self,
        backend: PubSubBackend,
        stream: SecondaryStream,
        config: ProxyConfig,
        metrics: ProxyMetrics,
        reports: DivergenceReports,
        clock: Callable[[], float],
        report_failure: Callable[[Exception], None],
    ) -> None:
        self._backend = backend
        self._stream = stream
        self._config = config
        self._metrics = metrics
        self._reports = reports
        self._clock = clock
        self._report_failure = report_failure
        self._matcher = MessageMatcher(config.pubsub_compare_window_seconds, metrics.pubsub)
        self._subscribed: dict[Name, _Subscribed] = {}
        self._talk = Subscribing(self._is_wanted, ())
        self._follower: Follower | None = None
        self._backoff = Backoff()
        self._is_needed = trio.Event()
        """Set by whatever may need a connection."""
        self._unsent_messages = 0
        self._next_sweep = clock()
        self._log_limit = RateLimit(_LOG_SECONDS, clock)

    def __repr__(self) -> str:
        return f"<ShadowSubscriptions names={len(self._subscribed)} waiting={self._matcher.waiting}>"

    @property
    def names(self) -> int:
        """To how many channels and patterns clients are subscribed."""
        return len(self._subscribed)

    @property
    def certain(self) -> int:
        """Of how many of them every message must have a twin by now."""
        return sum(subscribed.watch.is_certain for subscribed in self._subscribed.values())

    # --- told by the subscribers' connections

    @_reporting
    def began(self, source: SharedSubscriptions, kind: Kind, name: bytes) -> None:
        """The primary has confirmed a subscription."""
        subscribed = self._subscribed.get((kind, name))
        if subscribed is None:
            self._subscribed[kind, name] = _Subscribed(Watch(kind, name), {source: None})
            self._look_at((kind, name))
        else:
            subscribed.sources[source] = None

    @_reporting
    def ended(self, source: SharedSubscriptions, kind: Kind, name: bytes) -> None:
        """A subscription is no more."""
        self._end(source, (kind, name), Doubt.ENDED)

    @_reporting
    def lost(self, source: SharedSubscriptions) -> None:
        """A connection to the primary broke."""
        for name in [name for name, subscribed in self._subscribed.items() if source in subscribed.sources]:
            self._end(source, name, Doubt.PRIMARY_LOST)

    @_reporting
    def heard(self, source: SharedSubscriptions, messages: Sequence[Heard]) -> None:
        """The primary has delivered messages."""
        for kind, name, elements in messages:
            subscribed = self._subscribed.get((kind, name))
            if subscribed is not None and subscribed.is_fed_by(source):
                self._hear(Side.PRIMARY, subscribed.watch, elements)

    def failed(self, error: Exception) -> None:
        """Take note of a bug of ours: some messages may not have been compared."""
        self._metrics.pubsub_errors += 1
        self._report_failure(error)

    def _end(self, source: SharedSubscriptions, name: Name, doubt: Doubt) -> None:
        subscribed = self._subscribed.get(name)
        if subscribed is None or source not in subscribed.sources:
            return
        was_fed_by_it = subscribed.is_fed_by(source)
        del subscribed.sources[source]
        if not was_fed_by_it:
            return
        self._matcher.end(subscribed.watch, doubt)
        if subscribed.sources:  # from now on another one's messages count
            subscribed.watch = Watch(*name)
        else:
            del self._subscribed[name]
        self._look_at(name)

    def _look_at(self, name: Name) -> None:
        subscribed = self._subscribed.get(name)
        if subscribed is not None and not self._is_wanted(name):
            self._matcher.suspend(subscribed.watch, Doubt.REFUSED)
        self._talk.look_at(name)
        self._is_needed.set()
        if self._follower is not None:
            self._follower.wake()

    def _is_wanted(self, name: Name) -> bool:
        dialect = self._stream.dialect
        return name in self._subscribed and (dialect is None or dialect.has(_SPECS[name[0]].name))

    def _hear(self, side: Side, watch: Watch, elements: Sequence[bytes]) -> None:
        channel, payload = value_of(elements[-2]), value_of(elements[-1])
        self._matcher.hear(side, watch, channel, payload, self._clock())

    # --- the connection

    async def run(self) -> None:
        """Compare until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep_forever)
                await self._stay_subscribed()
        finally:
            self._matcher.close()

    async def _stay_subscribed(self) -> None:
        while True:
            await self._is_needed.wait()
            if not await self._may_subscribe() or not self._subscribed:
                self._suspend(Doubt.REFUSED)
                self._is_needed = trio.Event()
                continue
            try:
                await self._serve_connection()
            except* (BackendUnavailable, ConnectionLost, ReplyProtocolError) as group:
                self._metrics.pubsub_errors += 1
                self._warn("shadow subscriber failed", str(group.exceptions[0]))
            except* Exception as group:  # noqa: BLE001 - no subscriber shall suffer from it
                self.failed(group)
            self._disconnected()
            await trio.sleep(self._backoff.next_wait_seconds())

    async def _may_subscribe(self) -> bool:
        """Whether the secondary can be asked: who it is must be known, unless the settings insist."""
        while self._config.shadow_pubsub != "on":
            if self._stream.dialect is not None:
                return self._stream.dialect.product != _FRAGILE
            self._suspend(Doubt.SECONDARY_LOST)
            await trio.sleep(self._config.pubsub_sweep_seconds)
        return True

    async def _serve_connection(self) -> None:
        options = self._backend.options
        if options.pool_size < self._config.shards + _OTHER_CONNECTIONS:
            raise PoolExhausted(f"{options.address}: no connection left for Pub/Sub")
        sock, _ = await self._backend.open("pubsub")
        is_lost = False
        self._talk = Subscribing(self._is_wanted, self._subscribed)
        self._follower = Follower(sock, options, self._talk, self._take)
        try:
            await self._follower.run()
        except Exception:
            is_lost = True
            raise
        finally:
            self._follower = None
            close_socket(sock)
            self._backend.closed("pubsub", lost=is_lost)

    def _disconnected(self) -> None:
        """What was subscribed to is not, and messages may have been missed."""
        self._is_needed.set()
        self._suspend(Doubt.SECONDARY_LOST)
        self._matcher.disturb(Doubt.SECONDARY_LOST, self._clock())

    def _suspend(self, doubt: Doubt) -> None:
        for subscribed in self._subscribed.values():
            self._matcher.suspend(subscribed.watch, doubt)

    def _take(self, said: Said) -> None:
        match said:
            case Delivered(name, elements):
                if (subscribed := self._subscribed.get(name)) is not None:
                    self._hear(Side.SECONDARY, subscribed.watch, elements)
            case Confirmed(name):
                self._backoff.reset()
                if (subscribed := self._subscribed.get(name)) is not None:
                    self._matcher.confirm(subscribed.watch, self._clock())
            case Refused(name, error):
                self._metrics.pubsub_errors += 1
                if (subscribed := self._subscribed.get(name)) is not None:
                    self._matcher.suspend(subscribed.watch, Doubt.REFUSED)
                self._warn("secondary refuses a subscription", error[1:101].decode(errors="replace").strip())

    def _warn(self, what: str, why: str) -> None:
        if (suppressed := self._log_limit.allow()) is not None:
            extra = {"backend": self._backend.name, "why": why, "suppressed": suppressed}
            _log.warning(what, extra=extra)

    # --- judging

    async def _sweep_forever(self) -> None:
        while True:
            await trio.sleep(self._config.pubsub_sweep_seconds)
            self._sweep()

    @_reporting
    def _sweep(self) -> None:
        stream, now = self._stream, self._clock()
        due, self._next_sweep = self._next_sweep, now + self._config.pubsub_sweep_seconds
        if now - due > _STALL * self._config.pubsub_compare_window_seconds:
            self._matcher.stalled(now)
        unsent, self._unsent_messages = self._unsent_messages, stream.unsent_messages
        if unsent != self._unsent_messages or not stream.gate.is_open:
            self._matcher.disturb(Doubt.NOT_MIRRORED, now)
        for alone in self._matcher.sweep(now, stream.oldest_unsettled()):
            self._report(alone)

    def _report(self, alone: Alone) -> None:
        is_extra = alone.side is Side.SECONDARY
        kind = DivergenceKind.EXTRA_DATA if is_extra else DivergenceKind.DATA_MISMATCH
        self._metrics.pubsub_divergences[kind] += 1
        spec = _SPECS[alone.kind]
        self._reports.report(
            spec,
            Divergence(
                command=spec.label,
                kind=kind,
                key=alone.channel[:MAX_REPORTED_BYTES],
                expected=b"" if is_extra else alone.excerpt,
                actual=alone.excerpt if is_extra else b"",
                time_seconds=time.time(),
                pattern=alone.pattern[:MAX_REPORTED_BYTES],
            ),
        )
