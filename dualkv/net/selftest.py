"""Does the self-test (`dualkv.core.selftest`) with a running `DualWriter`.

The canaries go the way of clients' data: the lane, the stream, the judging, the confirming. Only where it
ends is another: they have a judge of their own, whose alarms come here. So nothing of them is in the counters
of divergences, in coverage, in the file of divergences or at Sentry, and nothing is repaired.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from dualkv.commands.table import CommandSpec
from dualkv.core.divergence import Divergence
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.routing import plan_of
from dualkv.core.selftest import (
    LIFE_MILLISECONDS,
    Canary,
    Finding,
    SelfTestResult,
    Step,
    canaries_of,
    is_undecided,
    steps_of,
    undecided,
    why_not,
)
from dualkv.errors import BackendUnavailable, ConnectionLost, PoolExhausted, ReplyProtocolError
from dualkv.net.calls import PositionedCall
from dualkv.net.direct import DirectStore
from dualkv.net.lane import LaneState
from dualkv.net.shadow import ShadowJudge
from dualkv.net.writer import DualWriter
from dualkv.observe.metrics import ProxyMetrics
from dualkv.resp.encode import bulk, command
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

__all__ = ["PATIENCE_SECONDS", "SelfTest"]

PATIENCE_SECONDS: Final = 30.0
"""What has not come out by then has failed."""
_CONFIRM_AFTER_SECONDS: Final = 1.0
"""At most: the canaries live for a minute."""
_POLL_SECONDS: Final = 0.02
_AGAIN_SECONDS: Final = 0.1
_CLEAN_UP_SECONDS: Final = 1.0


class _Wrong(Exception):
    """A step does not go as it must; the argument says why."""


class SelfTest:
    """One self-test. `run` may be called once.

    Args:
        writer: What is tested; it must be running.
        patience_seconds: How long all of it may take.
        on_finding: Called with what came out of each step.
    """

    def __init__(
        self,
        writer: DualWriter,
        patience_seconds: float = PATIENCE_SECONDS,
        on_finding: Callable[[Finding], None] = lambda _: None,
    ) -> None:
        assert writer.secondary is not None
        self._writer = writer
        self._patience_seconds = patience_seconds
        self._on_finding = on_finding
        self._primary = DirectStore(writer.primary, "selftest")
        self._secondary = DirectStore(writer.secondary, "selftest")
        self._canaries = canaries_of(secrets.token_hex(8).encode())
        self._told: defaultdict[bytes, list[str]] = defaultdict(list)
        self._news: dict[bytes, trio.Event] = {}
        self._requests: dict[bytes, Request] = {}
        for canary in self._canaries:
            args = (b"GET", canary.key)
            self._requests[canary.key] = Request(args, command(*args))
        self._is_written = self._is_spread = False
        self._findings: list[Finding] = []
        self._obstacle = ""
        self._judge = ShadowJudge(
            ProxyMetrics(), self, writer.comparing.reread, writer.clock,
            min(writer.config.confirm_after_seconds, _CONFIRM_AFTER_SECONDS),
            on_settled=lambda item, how: self._tell(item.request.args[1], how),
        )  # fmt: skip

    async def run(self) -> SelfTestResult:
        """Test, remove what was written, and return what came out. No store is an exception."""
        writer, began = self._writer, self._writer.clock()
        for canary in self._canaries:
            writer.comparing.judge.canaries[canary.key] = self
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._judge.run)
                await self._do_steps()
                await self._clean_up()
                nursery.cancel_scope.cancel("the self-test is over")
        finally:
            if self._is_written or self._is_spread:
                await self._clean_up()  # noqa: ASYNC102 - it is shielded, with a deadline
            for canary in self._canaries:
                writer.comparing.judge.canaries.pop(canary.key, None)
            self._primary.close()
            self._secondary.close()
        return SelfTestResult(tuple(self._findings), writer.clock() - began, self._obstacle)

    # --- the steps

    async def _do_steps(self) -> None:
        """Do one after the other, until one fails that the next ones need."""
        deadline = trio.current_time() + self._patience_seconds
        needed: dict[Step, Callable[[], Awaitable[None]]] = {
            Step.PRIMARY: partial(self._reach, self._primary),
            Step.SECONDARY: partial(self._reach, self._secondary),
            Step.WRITE: self._write,
        }
        for step, do in needed.items():
            why = f"not done within {self._patience_seconds:g} s"
            with trio.move_on_at(deadline):  # noqa: ASYNC912 - each step asks a store
                try:
                    await do()
                    why = ""
                except (_Wrong, BackendUnavailable, ConnectionLost, ReplyProtocolError) as error:
                    why = str(error)
                    self._obstacle = why if isinstance(error, PoolExhausted) else ""
            self._find(step, why)
            if why:
                return
        steps = steps_of(is_comparing=self._writer.shadows)
        if Step.MATCH not in steps:
            return
        why = ""
        with trio.move_on_at(deadline):  # noqa: ASYNC912 - stores are asked
            try:
                await self._spread()
                await self._watch_all()
            except (_Wrong, BackendUnavailable, ConnectionLost, ReplyProtocolError) as error:
                why = str(error)
        for canary in self._canaries:
            self._find(canary.step, why or why_not(canary.step, self._told[canary.key]))

    def _find(self, step: Step, why: str) -> None:
        finding = Finding(step, " ".join(why.split()))
        self._findings.append(finding)
        self._on_finding(finding)

    async def _reach(self, store: DirectStore) -> None:
        await self._get(store, self._canaries[0].key)

    async def _write(self) -> None:
        """Write as a client does, and look at both stores."""
        canary = self._canaries[0]
        assert canary.on_primary is not None
        self._is_written = True
        reply = await self._writer.write("SET", canary.key, canary.on_primary, "PX", LIFE_MILLISECONDS)
        _check(self._primary, reply)
        if await self._get(self._primary, canary.key) != bulk(canary.on_primary):
            raise _Wrong(f"{_name(self._primary)} does not hold what was written")
        while True:  # it tells nobody when it has got it
            if await self._get(self._secondary, canary.key) == bulk(canary.on_primary):
                return
            await trio.sleep(_POLL_SECONDS)

    async def _spread(self) -> None:
        """Put those canaries on the stores that differ, past the stream."""
        self._is_spread = True
        for canary in self._canaries[1:]:
            for store, value in ((self._primary, canary.on_primary), (self._secondary, canary.on_secondary)):
                if value is not None:
                    (reply,) = await store.ask(command("SET", canary.key, value, "PX", LIFE_MILLISECONDS), 1)
                    _check(store, reply)

    async def _get(self, store: DirectStore, key: bytes) -> bytes:
        (reply,) = await store.ask(command("GET", key), 1)
        _check(store, reply)
        return reply

    # --- reading the canaries

    async def _watch_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for canary in self._canaries:
                nursery.start_soon(self._watch, canary)

    async def _watch(self, canary: Canary) -> None:
        """Read a canary, again and again while nothing can be said of it, until something comes out."""
        while True:
            news = self._news[canary.key] = trio.Event()
            await self._read(canary.key)
            await news.wait()
            if not is_undecided(self._told[canary.key]):
                return
            await trio.sleep(_AGAIN_SECONDS)
            if not is_undecided(self._told[canary.key]):
                return

    async def _read(self, key: bytes) -> None:
        """Read on the lane, and let the reply be compared at its position, as that of a client's read."""
        writer, request = self._writer, self._requests[key]
        if await writer.wait_lane() is not LaneState.UP:
            return self._tell(key, undecided("primary_unreachable"))
        call = PositionedCall(1, partial(self._shadow, request))
        writer.lanes.submit(request.raw, call, writer.own_context, (key,))
        try:
            await call.wait()
        except ConnectionLost:
            self._tell(key, undecided("primary_unreachable"))

    def _shadow(self, request: Request, frames: list[bytes], now: float) -> None:
        writer = self._writer
        assert writer.stream is not None
        writer.stream.offer(
            [StreamItem(plan_of(request.args), Queue.SHADOW, request, now, writer.own_context, frames[0])]
        )

    def compare(self, item: StreamItem, actual: bytes) -> None:
        """Have a reply judged; clients' reads that have met a canary tell nothing."""
        if self._is_own(item):
            self._judge.compare(item, actual)

    def inconclusive(self, item: StreamItem, reason: str) -> None:
        """Take note of a read that tells nothing."""
        if self._is_own(item):
            self._judge.inconclusive(item, reason)

    def _is_own(self, item: StreamItem) -> bool:
        return item.request is self._requests.get(item.request.args[1])

    def report(self, _: CommandSpec, divergence: Divergence) -> None:
        """Take an alarm; it goes nowhere else."""
        self._tell(divergence.key, divergence.kind.value)

    def _tell(self, key: bytes, what: str) -> None:
        self._told[key].append(what)
        if key in self._news:
            self._news[key].set()

    # --- the end

    async def _clean_up(self) -> None:
        """Remove the canaries; what cannot be reached forgets them by itself."""
        was_written, was_spread, self._is_written, self._is_spread = (
            self._is_written, self._is_spread, False, False,
        )  # fmt: skip
        unreachable = (BackendUnavailable, ConnectionLost, ReplyProtocolError)
        with trio.move_on_after(_CLEAN_UP_SECONDS, shield=True):  # noqa: ASYNC912 - perhaps nothing is
            for canary in self._canaries[1:] if was_spread else ():
                for store in (self._primary, self._secondary):
                    with suppress(*unreachable):
                        await store.ask(command("DEL", canary.key), 1)
            if was_written:
                # In its order with the write, and what comes of it is waited for: it must not be counted.
                first = self._canaries[0]
                with suppress(*unreachable):
                    await self._writer.write("DEL", first.key)
                    self._told.pop(first.key, None)
                    await self._watch(first)


def _name(store: DirectStore) -> str:
    return f"{store.backend.name} ({store.backend.options.address})"


def _check(store: DirectStore, reply: bytes) -> None:
    if is_error(reply):
        raise _Wrong(f"{_name(store)} answers {reply[1:200].decode(errors='replace').strip()}")
