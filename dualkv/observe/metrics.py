"""The counters: plain integers in slots, cheap enough for every command.

``labels(...).inc()`` costs 2.4 µs and a histogram 1.4 µs; adding to a list element costs 0.05 µs. So the hot
path adds here, and `dualkv.observe.collector` turns the numbers into Prometheus families at scrape time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import attrs

from dualkv.commands.table import COMMANDS
from dualkv.config import ProxyConfig
from dualkv.core.dirty import DirtyKeys
from dualkv.core.divergence import DivergenceKind
from dualkv.core.gate import Gate
from dualkv.core.leadership import Refresh
from dualkv.core.ledger import Ledger, Queue
from dualkv.core.observed import Observed
from dualkv.core.pacing import Pacing
from dualkv.core.progress import ResyncProgress
from dualkv.core.pubsub_matching import PubSubTally
from dualkv.core.selftest import SelfTestState
from dualkv.core.shadow_budget import ShadowBudget
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.observe.findings import Findings

__all__ = [
    "DURATION_BUCKETS_SECONDS",
    "BackendCounters",
    "CommandCounters",
    "Histogram",
    "PoolCounters",
    "ProxyMetrics",
    "QueueCounters",
    "bucket_of",
]

DURATION_BUCKETS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
)  # fmt: skip


def bucket_of(seconds: float) -> int:
    """Return the index of the histogram bucket for a duration."""
    return bisect_left(DURATION_BUCKETS_SECONDS, seconds)


class Histogram:
    """Observations in buckets."""

    __slots__ = ("counts", "sum_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Add *count* equal observations."""
        self.counts[bucket_of(seconds)] += count
        self.sum_seconds += seconds * count


class CommandCounters:
    """One command at one backend: replies by duration, and how many of them were errors."""

    __slots__ = ("counts", "errors", "is_new", "sum_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_SECONDS) + 1)
        self.sum_seconds = 0.0
        self.errors = 0
        self.is_new = True
        """Whether each request of it is looked at (`dualkv.core.observed`)."""


class BackendCounters:
    """All commands at one backend, by `CommandSpec.index`."""

    __slots__ = ("by_command", "name", "pool")

    def __init__(self, name: str) -> None:
        self.name = name
        self.by_command = [CommandCounters() for _ in COMMANDS]
        self.pool = PoolCounters()


@attrs.define
class PoolCounters:
    """The connections to one backend."""

    limit: int = 0
    connections: Counter[str] = attrs.field(factory=Counter)
    """Open now, by use: lane, stream, leased, idle, pubsub, probe."""
    events: Counter[str] = attrs.field(factory=Counter)
    """opened, closed, lost, dial_failed, exhausted."""
    pending_requests: int = 0
    """Requests waiting for a reply on the lanes."""
    wait: Histogram = attrs.field(factory=Histogram)
    """How long callers waited for a connection."""
    refreshes: Counter[Refresh] = attrs.field(factory=Counter)
    """Rounds in which the nodes were asked who leads."""
    moves: int = 0
    """How often another node led than before."""
    has_leader: bool = False
    """Whether commands have somewhere to go, where that has to be found out."""


@attrs.define
class QueueCounters:
    """One queue of the secondary stream."""

    ledger: Ledger = attrs.field(factory=Ledger)
    capacity: int = 0
    delay: Histogram = attrs.field(factory=Histogram)
    """How long items waited until they were taken."""
    active_workers: int = 0


class ProxyMetrics:
    """Every number that dualkv keeps about itself.

    Args:
        primary: Label of the backend that is called primary in the settings.
        secondary: Label of the other one.
    """

    def __init__(self, primary: str = "redis", secondary: str = "elastickv") -> None:
        self.backends = {name: BackendCounters(name) for name in (primary, secondary)}
        self.queues = {queue: QueueCounters() for queue in Queue}
        self.active_connections = 0
        self.refused_connections = 0
        self.rejected_connections: Counter[str] = Counter()
        """Connections that did not become clients, by reason."""
        self.tls_reloads: Counter[str] = Counter()
        """How often the listener's certificate was read again: loaded, failed."""
        self.auth_failures = 0
        self.client_disconnects: Counter[str] = Counter()
        """Clients that we disconnected, by reason."""
        self.primary_write_errors = 0
        self.primary_read_errors = 0
        self.primary_outcomes_unknown = 0
        self.secondary_write_errors: Counter[tuple[int, str]] = Counter()
        """By `CommandSpec.index` and reason."""
        self.write_replies_differed = 0
        """Mirrored writes that the secondary answered otherwise than the primary."""
        self.shadow_read_errors = 0
        self.shadow_matches = 0
        self.shadow_filter = ShadowFilter()
        """Which reads are compared at all."""
        self.shadow_budget = ShadowBudget()
        """How many of these, so that writes are not slowed."""
        self.shadow_inconclusive: Counter[str] = Counter()
        """Comparisons that could not be made, by reason."""
        self.shadow_transient = 0
        """Differences that were gone when both stores were read again."""
        self.shadow_errors: Counter[str] = Counter()
        """Comparisons that ended with an error of a store, or of the comparing itself."""
        self.shadow_skipped: Counter[str] = Counter()
        """Reads that there is nothing to compare of, by reason."""
        self.divergences: Counter[tuple[int, DivergenceKind]] = Counter()
        """By `CommandSpec.index` and kind."""
        self.observed = Observed()
        """What clients use."""
        self.findings = Findings(ProxyConfig())
        """What comparing has found."""
        self.selftest = SelfTestState()
        """Whether a difference would be noticed."""
        self.dirty = DirtyKeys(0, 0)
        """The keys that may differ now."""
        self.gate: Gate | None = None
        """Whether writes flow; None: nothing is mirrored."""
        self.resync = ResyncProgress()
        self.journal: Callable[[], tuple[int, int, bool]] = lambda: (0, 0, False)
        """Returns the journal's bytes, the disk's refusals, and whether keys are missing in it."""
        self.tell_status: Callable[[], dict[str, Any]] = dict
        """Returns what is going on, as plain data; empty where there is no server."""
        self.count_tasks: Callable[[], int] = lambda: 0
        """Returns how many tasks the scheduler has."""
        self.copies_in_flight = 0
        """Keys that are being read on the primary."""
        self.not_holdable: Counter[str] = Counter()
        """Effects that the secondary cannot hold in any form, by command."""
        self.pubsub_divergences: Counter[DivergenceKind] = Counter()
        self.pubsub_errors = 0
        self.pacing = Pacing(0)
        """Of transactions, if the secondary takes effects in such."""
        self.pubsub = PubSubTally()
        """Messages of both stores that were compared."""

    def ledger(self, queue: Queue) -> Ledger:
        """Return the books of *queue*."""
        return self.queues[queue].ledger

    def total_ledger(self) -> Ledger:
        """Return the books of all queues together."""
        ledgers = [counters.ledger for counters in self.queues.values()]
        return Ledger(
            offered=sum(ledger.offered for ledger in ledgers),
            applied=sum(ledger.applied for ledger in ledgers),
            failed=sum(ledger.failed for ledger in ledgers),
            dropped=sum((ledger.dropped for ledger in ledgers), Counter()),
            deferred=sum(ledger.deferred for ledger in ledgers),
            queued=sum(ledger.queued for ledger in ledgers),
            in_flight=sum(ledger.in_flight for ledger in ledgers),
        )

    def check_ledgers(self) -> None:
        """Raise `LedgerImbalanceError` unless every queue's books add up."""
        for counters in self.queues.values():
            counters.ledger.check()
