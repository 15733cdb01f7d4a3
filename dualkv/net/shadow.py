"""Judging the secondary's replies to shadow reads, and confirming what differs by reading again.

What differs is a suspicion (`dualkv.core.confirming`): twice, ``confirm_after`` apart, and some times more at
short intervals, it is read on the lane and, at that position, on the secondary. What differs each time is
reported, with what is known of the key. What is equal at one of them was transient. With the last reading the
secondary is asked how long the key lives there, as the primary is each time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

import attrs
import trio

from dualkv.commands.table import CommandSpec
from dualkv.core.cause import CauseFacts, suspected_cause
from dualkv.core.compare import Outcome, Rule, Tolerance, Verdict, judge
from dualkv.core.comparison import divergence_between
from dualkv.core.confirming import (
    NEAR_EXPIRY_MILLISECONDS,
    Confirming,
    Step,
    Suspicion,
    milliseconds_told,
    one_by_one,
)
from dualkv.core.coverage import covered_key
from dualkv.core.divergence import Divergence, DivergenceKind, HistoryEntry
from dualkv.core.mirror import StreamItem
from dualkv.core.removals import Removals
from dualkv.observe.metrics import ProxyMetrics

__all__ = ["MAX_SUSPICIONS", "Facts", "Reports", "ShadowJudge"]

MAX_SUSPICIONS: Final = 1024
"""Differences that may wait for their confirmation."""
_MAX_HISTORIES_PER_SECOND: Final = 20
"""Looking up what happened to a key takes milliseconds."""
_NO_REMOVALS: Final = Removals()


class Reread(Protocol):
    """Reads again on the lane, and shadows the reply for the same suspicion."""

    async def __call__(self, suspicion: Suspicion) -> None:
        """Send the read; return when it has been answered, or cannot be."""


class Reports(Protocol):
    """Where confirmed divergences go: `dualkv.observe.reports.DivergenceReports`, or a self-test's own."""

    def report(self, spec: CommandSpec, divergence: Divergence) -> None:
        """Take a divergence of a command's replies."""


class Taker(Protocol):
    """Takes reads in a judge's place."""

    def compare(self, item: StreamItem, actual: bytes) -> None:
        """Judge a reply."""

    def inconclusive(self, item: StreamItem, reason: str) -> None:
        """Account for a read that tells nothing."""


@attrs.frozen
class Facts:
    """What whoever uses a `ShadowJudge` knows of keys."""

    history: Callable[[StreamItem], tuple[HistoryEntry, ...]] = lambda _: ()
    """What happened to a read's keys lately."""
    position: Callable[[], int] = lambda: 0
    """How many replies the primary's lane has given."""
    is_copied: Callable[[], bool] = lambda: False
    """Whether all keys have been copied once."""
    tolerance: Callable[[StreamItem], Tolerance] = lambda _: Tolerance()
    """How far apart replies may be."""
    removals: Mapping[DivergenceKind, Removals] = attrs.field(factory=dict)
    """What the store has removed by itself that lacks the data, by how they differ."""
    spelled_out: Callable[[StreamItem], tuple[bytes, ...]] = lambda item: item.request.args
    """A read with the text of its script."""


class ShadowJudge:
    """Judges the secondary's replies to shadow reads.

    `run` must be running for anything to be confirmed; it never ends by itself.

    Args:
        metrics: Where outcomes are counted.
        reports: Where confirmed divergences go.
        reread: How to read again.
        clock: Seconds, monotonic.
        confirm_after_seconds: How long after a reading the next one is made.
        facts: What is known of keys.
        on_difference: Called with each difference, and whether it is confirmed.
        on_settled: Called with each read that is over without a divergence, and how: ``match``,
            ``transient``, or an outcome with its reason.
    """

    def __init__(
        self,
        metrics: ProxyMetrics,
        reports: Reports,
        reread: Reread,
        clock: Callable[[], float],
        confirm_after_seconds: float = 1.0,
        facts: Facts = Facts(),
        on_difference: Callable[[StreamItem, DivergenceKind, bool], None] = lambda *_: None,
        on_settled: Callable[[StreamItem, str], None] = lambda *_: None,
    ) -> None:
        self.confirming = Confirming(MAX_SUSPICIONS)
        """What differed and is to be read again."""
        self._metrics = metrics
        self._reports = reports
        self._reread = reread
        self._clock = clock
        self._confirm_after_seconds = confirm_after_seconds
        self._facts = facts
        self._on_difference = on_difference
        self._on_settled = on_settled
        self.canaries: dict[bytes, Taker] = {}
        """Keys of a self-test that is under way, each with who takes what is read of it."""
        self._due: list[tuple[float, int, Suspicion]] = []
        self._numbers = count()
        self._news = trio.Event()
        self._histories = 0
        self._histories_since = 0.0

    def __repr__(self) -> str:
        return f"<ShadowJudge {self.confirming!r}>"

    def compare(self, item: StreamItem, actual: bytes) -> None:
        """Judge one reply that is not equal as bytes, or that belongs to a suspicion.

        Args:
            item: The shadow read.
            actual: The secondary's raw reply.
        """
        if self.canaries and (other := self._taker_of(item)) is not None:
            return other.compare(item, actual)
        if item.suspicion is not None and item.suspicion.is_asked_by(item):
            item.suspicion.secondary_ttl_milliseconds = milliseconds_told(actual)
            return None
        rule = item.plan.comparator
        assert rule is not None
        assert item.expected is not None
        args = self._facts.spelled_out(item) if rule is Rule.SCRIPT else item.request.args
        verdict = judge(rule, args, item.expected, actual, self._facts.tolerance(item))
        if verdict.kind is None:
            return self._settle(item, verdict)
        if item.suspicion is None:
            return self._suspect(item, actual, verdict.kind)
        return self._pursue(item, item.suspicion, verdict, actual)

    def counted(self, items: list[StreamItem]) -> list[StreamItem]:
        """Return those of *items* that are no canaries, for the books; who takes them gets the reads.

        Args:
            items: Shadow reads that were equal as bytes, or writes that were answered alike.
        """
        kept: list[StreamItem] = []
        for item in items:
            other = self._taker_of(item)
            if other is None:
                kept.append(item)
            elif item.expected is not None:
                other.compare(item, item.expected)
        return kept

    def _taker_of(self, item: StreamItem) -> Taker | None:
        """Return who takes a read, if it is one of a canary."""
        return self.canaries.get(covered_key(item.plan.spec, item.request.args))

    def _settle(self, item: StreamItem, verdict: Verdict) -> None:
        """Account for a reading that shows no difference."""
        if verdict.reason is None:
            self._metrics.findings.matched((covered_key(item.plan.spec, item.request.args),))
            if item.suspicion is None:
                self._metrics.shadow_matches += 1
                self._on_settled(item, "match")
            else:
                self._metrics.shadow_transient += 1
                self.confirming.close(item.suspicion)
                self._on_settled(item, "transient")
            return
        reason = verdict.reason.value
        if verdict.outcome is Outcome.ERROR:
            self._metrics.shadow_errors[reason] += 1
        elif verdict.outcome is Outcome.SKIPPED:
            self._metrics.shadow_skipped[reason] += 1
        if verdict.outcome is Outcome.INCONCLUSIVE:
            self.inconclusive(item, reason)
            return
        if item.suspicion is not None:
            self.confirming.close(item.suspicion)
        self._on_settled(item, f"{verdict.outcome.value} ({reason})")

    def inconclusive(self, item: StreamItem, reason: str) -> None:
        """Account for a shadow read that tells nothing, for *reason* (a label)."""
        if self.canaries and (other := self._taker_of(item)) is not None:
            return other.inconclusive(item, reason)
        if item.suspicion is not None and item.suspicion.is_asked_by(item):
            return None  # then it is not known
        self._metrics.shadow_inconclusive[reason] += 1
        self._metrics.findings.inconclusive((covered_key(item.plan.spec, item.request.args),))
        if item.suspicion is not None:
            self.confirming.close(item.suspicion)
        return self._on_settled(item, f"inconclusive ({reason})")

    def _suspect(self, item: StreamItem, actual: bytes, kind: DivergenceKind) -> None:
        for one in one_by_one(item, actual):
            self._suspect_one(one, kind)

    def _suspect_one(self, item: StreamItem, kind: DivergenceKind) -> None:
        if self.canaries and self._taker_of(item) is not None:
            return None  # a client has read several keys, of which this one is a canary
        if self.confirming.is_known(item):
            return self.inconclusive(item, "being_confirmed")
        item.suspicion = self.confirming.suspect(item, self._clock())
        if item.suspicion is None:
            self.inconclusive(item, "too_many_differences")
        else:
            self._read_again_later(item.suspicion)
        return self._on_difference(item, kind, False)

    def _read_again_later(self, suspicion: Suspicion) -> None:
        wait_seconds = suspicion.next_wait_seconds(self._confirm_after_seconds)
        heappush(self._due, (self._clock() + wait_seconds, next(self._numbers), suspicion))
        self._news.set()

    def _pursue(self, item: StreamItem, suspicion: Suspicion, verdict: Verdict, actual: bytes) -> None:
        """Decide what follows from a difference that was seen before."""
        assert item.expected is not None
        assert verdict.kind is not None
        if suspicion.is_near_expiry(NEAR_EXPIRY_MILLISECONDS):
            return self.inconclusive(item, "near_expiry")
        step = self.confirming.differs_again(suspicion, item.expected, item.offered_at)
        if step is Step.READ_AGAIN:
            return self._read_again_later(suspicion)
        if step is Step.IS_MOVING:
            return self.inconclusive(item, "written_elsewhere")
        self._report(item, suspicion, verdict, verdict.kind, actual)
        return self._on_difference(item, verdict.kind, True)

    def _report(
        self,
        item: StreamItem,
        suspicion: Suspicion,
        verdict: Verdict,
        kind: DivergenceKind,
        actual: bytes,
    ) -> None:
        args, expected, now = item.request.args, item.expected or b"", self._clock()
        history = self._history(item, now)
        self._reports.report(
            item.plan.spec,
            divergence_between(
                item.plan.spec,
                args,
                kind,
                verdict,
                expected,
                actual,
                time_seconds=time.time(),
                db=item.context.db,
                readings=suspicion.readings,
                confirmed_over_seconds=now - suspicion.first_seen,
                position=self._facts.position(),
                stream_age_seconds=max(0.0, now - item.offered_at),
                history=history,
                cause=suspected_cause(kind, self._cause_facts(suspicion, kind, history, now)),
            ),
        )

    def _cause_facts(
        self, suspicion: Suspicion, kind: DivergenceKind, history: tuple[HistoryEntry, ...], now: float
    ) -> CauseFacts:
        since = now - history[-1].seconds_ago if history else -math.inf
        removals = self._facts.removals.get(kind, _NO_REMOVALS)
        is_gap = kind is DivergenceKind.MIGRATION_GAP
        ttl = suspicion.ttl_milliseconds if is_gap else suspicion.secondary_ttl_milliseconds
        return CauseFacts(
            history=history,
            has_expiry_on_one=suspicion.has_expiry_on_one,
            has_expired=removals.has_expired(since),
            has_evicted=removals.has_evicted(since, has_expiry=None if ttl is None else ttl >= 0),
            saw_write=bool(history),
            last_write_equal=True if history else None,  # else it was lost, which counts for more
            is_copied=self._facts.is_copied(),
            has_other_proxies=self._metrics.shadow_inconclusive["written_elsewhere"] > 0,
        )

    def _history(self, item: StreamItem, now: float) -> tuple[HistoryEntry, ...]:
        if now - self._histories_since >= 1:
            self._histories, self._histories_since = 0, now
        self._histories += 1
        return self._facts.history(item) if self._histories <= _MAX_HISTORIES_PER_SECOND else ()

    async def run(self) -> None:
        """Read again what differed, in order, until cancelled."""
        in_hand: Suspicion | None = None
        try:
            while True:  # noqa: ASYNC913 - what is over already needs no waiting
                wait_seconds = self._due[0][0] - self._clock() if self._due else math.inf
                if wait_seconds > 0:
                    self._news = trio.Event()
                    with trio.move_on_after(wait_seconds):
                        await self._news.wait()
                    continue
                _, _, in_hand = heappop(self._due)
                if not in_hand.is_over:
                    await self._reread(in_hand)
                in_hand = None
        finally:
            for suspicion in [*([in_hand] if in_hand else []), *(one for _, _, one in self._due)]:
                if not suspicion.is_over:
                    self.inconclusive(suspicion.item, "shutdown")
