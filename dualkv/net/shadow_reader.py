"""Comparing two stores without a proxy: one read at a time, with connections of one's own.

It judges and confirms as the proxy does (`dualkv.core.compare`, `dualkv.core.confirming`), but has no lane:
the secondary is read behind the primary, not at the same position. So a key that is written meanwhile differs
at first; it is read again, like every difference.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from dualkv.config import BackendOptions
from dualkv.config.backends import backend_address
from dualkv.core.compare import Outcome, Tolerance, judge
from dualkv.core.comparison import Comparison, divergence_between
from dualkv.core.confirming import NEAR_EXPIRY_MILLISECONDS, Confirming, Step, Suspicion, milliseconds_told
from dualkv.core.coverage import covered_key
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.routing import plan_of
from dualkv.net.backend import Backend
from dualkv.net.direct import DirectStore
from dualkv.net.leader_aware import backend_of
from dualkv.observe.metrics import PoolCounters
from dualkv.observe.sentry import SentryReporter
from dualkv.resp.encode import command
from dualkv.resp.requests import Request

__all__ = ["ShadowReader", "open_shadow_reader"]

_USE: Final = "compare"
_STRICT: Final = Tolerance()


class ShadowReader:
    """Compares what two stores answer to a read. Make one with `open_shadow_reader`."""

    def __init__(
        self,
        primary: Backend,
        secondary: Backend,
        *,
        confirm_after_seconds: float = 1.0,
        tolerance: Tolerance = _STRICT,
        sentry: SentryReporter | None = None,
    ) -> None:
        self._stores = (DirectStore(primary, _USE), DirectStore(secondary, _USE))
        self._confirm_after_seconds = confirm_after_seconds
        self._tolerance = tolerance
        self._sentry = sentry
        self._one_at_a_time = trio.Lock()

    def __repr__(self) -> str:
        return f"<ShadowReader {self._stores[0].backend!r} {self._stores[1].backend!r}>"

    async def compare(self, *args: bytes | str | int) -> Comparison:
        """Read from the primary, then from the secondary; what differs is read again until it is certain.

        A difference takes two and a third times ``confirm_after_seconds``, a match one round trip to each
        store. Several tasks may compare at once.

        Args:
            args: The read: a command that dualkv compares.

        Raises:
            ValueError: It is not compared.
            BackendUnavailable: A store cannot be reached.
            ConnectionLost: A store hung up, or did not answer within its ``read_timeout_seconds``.
        """
        encoded = tuple(arg if isinstance(arg, bytes) else str(arg).encode() for arg in args)
        plan = plan_of(encoded)
        if plan.comparator is None:
            raise ValueError(f"{encoded[0]!r} is not compared, or not with these arguments")
        item = StreamItem(plan, Queue.SHADOW, Request(encoded, command(*encoded)), trio.current_time())
        confirming = Confirming(1)
        suspicion: Suspicion | None = None
        while True:
            expected, actual, ttl_milliseconds = await self._read_both(item)
            verdict = judge(plan.comparator, encoded, expected, actual, self._tolerance)
            readings = 1 if suspicion is None else suspicion.readings + 1
            if verdict.kind is None:
                reason = "" if verdict.reason is None else verdict.reason.value
                return Comparison(verdict.outcome, expected, actual, readings, reason)
            now = trio.current_time()
            if suspicion is None:
                item.expected = expected
                suspicion = confirming.suspect(item, now)
                assert suspicion is not None
            else:
                suspicion.ttl_milliseconds = ttl_milliseconds
                if suspicion.is_near_expiry(NEAR_EXPIRY_MILLISECONDS):
                    return Comparison(Outcome.INCONCLUSIVE, expected, actual, readings, "near_expiry")
                step = confirming.differs_again(suspicion, expected, now)
                if step is Step.IS_MOVING:
                    return Comparison(Outcome.INCONCLUSIVE, expected, actual, readings, "written_elsewhere")
                if step is Step.IS_DIVERGENCE:
                    break
            await trio.sleep(suspicion.next_wait_seconds(self._confirm_after_seconds))
        divergence = divergence_between(
            plan.spec, encoded, verdict.kind, verdict, expected, actual,
            time_seconds=time.time(), readings=readings, db=self._stores[0].backend.options.db,
            confirmed_over_seconds=now - suspicion.first_seen,
        )  # fmt: skip
        if self._sentry is not None:
            self._sentry.capture_divergence(divergence)
        return Comparison(verdict.outcome, expected, actual, readings, divergence=divergence)

    async def _read_both(self, item: StreamItem) -> tuple[bytes, bytes, int | None]:
        """Return both replies, and how long the key has to live on the primary, in milliseconds."""
        primary, secondary = self._stores
        ttl_request = command("PTTL", covered_key(item.plan.spec, item.request.args))
        async with self._one_at_a_time:
            expected, ttl = await primary.ask(item.request.raw + ttl_request, 2)
            (actual,) = await secondary.ask(item.request.raw, 1)
        return expected, actual, milliseconds_told(ttl)

    def close(self) -> None:
        """Close its connections; `open_shadow_reader` does it."""
        for store in self._stores:
            store.close()


@asynccontextmanager
async def open_shadow_reader(
    primary: BackendOptions | str,
    secondary: BackendOptions | str,
    *,
    confirm_after_seconds: float = 1.0,
    tolerance: Tolerance = _STRICT,
    sentry: SentryReporter | None = None,
) -> AsyncIterator[ShadowReader]:
    """Run a `ShadowReader` for the block; it connects when it compares, and hangs up at the end.

    Args:
        primary: The store that is right: an address or URL as the settings take it, or all about it.
        secondary: The store that should be equal.
        confirm_after_seconds: How long after a difference both are read again; twice, then four times more
            within a third of a second.
        tolerance: How far apart replies may be.
        sentry: Where confirmed divergences are reported, too; whoever has made it closes it.

    Raises:
        ConfigError: An address is none.
    """
    backends = [
        backend_of(_options(which, store), PoolCounters(), trio.current_time)
        for which, store in (("primary", primary), ("secondary", secondary))
    ]
    reader = ShadowReader(
        *backends, confirm_after_seconds=confirm_after_seconds, tolerance=tolerance, sentry=sentry
    )
    async with trio.open_nursery() as nursery:
        for backend in backends:
            nursery.start_soon(backend.run)
        try:
            yield reader
        finally:
            reader.close()
            nursery.cancel_scope.cancel("the reader is closed")


def _options(which: str, store: BackendOptions | str) -> BackendOptions:
    return BackendOptions(which, **backend_address(store)) if isinstance(store, str) else store
