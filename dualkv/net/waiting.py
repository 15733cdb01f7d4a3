"""What waits on a lane for replies.

A reply is the moment at which everything happens, in one synchronous step: the bytes go to the client, a
write enters the secondary stream, a read becomes a shadow read with the reply to expect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import trio

from dualkv.core.context import Context
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, transaction_item
from dualkv.core.routing import Plan
from dualkv.core.transaction import Transaction
from dualkv.errors import ConnectionLost
from dualkv.observe.metrics import bucket_of
from dualkv.resp.encode import OUTCOME_UNKNOWN, array
from dualkv.resp.replies import elements_of, is_error, is_null
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Barrier", "Call", "ClientBatch", "CorrectedCall", "Receiver", "SingleCall", "TransactionBlock"]

_ARRAY: Final = b"*~%>"
_ERROR: Final = frozenset(b"-!")


class Receiver(Protocol):
    """Who gets the replies: a client session."""

    def replied(self, count: int, data: bytes) -> None:
        """Replies to *count* requests, joined (and what follows them in the order)."""


class _Timed:
    """Books the replies of requests that left together."""

    __slots__ = ("_attempt", "_context", "_sent_at", "_writer")

    def __init__(self, writer: DualWriter, context: Context, attempt: int = 0) -> None:
        self._writer = writer
        self._context = context
        self._attempt = attempt
        self._sent_at = writer.clock()

    def _book(self, plan: Plan, request: Request, frame: bytes, now: float) -> None:
        """Count one reply, and mirror or shadow its request."""
        writer = self._writer
        counters = writer.answering.by_command[plan.index]
        elapsed = now - self._sent_at
        counters.counts[bucket_of(elapsed)] += 1
        counters.sum_seconds += elapsed
        if is_error(frame):
            writer.count_error(plan, counters)
        elif writer.stream is not None:
            if plan.queue is not None:
                item = StreamItem(plan, plan.queue, request, now, self._context)
            elif plan.comparator is not None and writer.shadows:
                item = StreamItem(plan, Queue.SHADOW, request, now, self._context, frame, self._attempt)
            else:
                return
            writer.stream.offer([item])


class ClientBatch(_Timed):
    """Ordinary commands of one client that left together."""

    __slots__ = ("_plans", "_receiver", "_requests", "missing", "trailer")

    def __init__(
        self,
        writer: DualWriter,
        context: Context,
        receiver: Receiver,
        requests: list[Request],
        plans: list[Plan],
    ) -> None:
        super().__init__(writer, context)
        self.missing = len(requests)
        self._receiver = receiver
        self._requests = requests
        self._plans = plans
        self.trailer = b""
        """Local answers that follow these replies."""

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Book each reply, then pass all of them on in one piece."""
        plans, requests = self._plans, self._requests
        first = len(plans) - self.missing
        if first or len(frames) < len(plans):
            plans, requests = plans[first : first + len(frames)], requests[first:]
        self._count(plans, frames, now - self._sent_at)
        if self._writer.stream is not None:
            self._mirror(plans, requests, frames, now)
        count = len(frames)
        self.missing -= count
        if not self.missing and self.trailer:
            frames.append(self.trailer)
        self._receiver.replied(count, frames[0] if len(frames) == 1 else b"".join(frames))

    def _count(self, plans: list[Plan], frames: list[bytes], elapsed: float) -> None:
        """Count replies that arrived together."""
        by_command = self._writer.answering.by_command
        bucket = bucket_of(elapsed)
        same = plans.count(plans[0]) == len(plans)  # mostly: a batch of one, or a bulk load
        for plan in plans[:1] if same else plans:
            counters = by_command[plan.index]
            count = len(plans) if same else 1
            counters.counts[bucket] += count
            counters.sum_seconds += elapsed * count
        for plan, frame in zip(plans, frames, strict=True):
            if frame[0] in _ERROR:
                self._writer.count_error(plan, by_command[plan.index])

    def _mirror(self, plans: list[Plan], requests: list[Request], frames: list[bytes], now: float) -> None:
        """Put what was executed into the secondary stream."""
        writer = self._writer
        shadows, context = writer.shadows, self._context
        items: list[StreamItem] = []
        for plan, request, frame in zip(plans, requests, frames, strict=False):
            if frame[0] in _ERROR:
                continue
            if plan.queue is not None:
                items.append(StreamItem(plan, plan.queue, request, now, context))
            elif shadows and plan.comparator is not None:
                items.append(StreamItem(plan, Queue.SHADOW, request, now, context, frame))
        if items:
            assert writer.stream is not None
            writer.stream.offer(items)

    def on_lost(self) -> None:
        """Tell the client that the outcome of each missing command is unknown."""
        missing, self.missing = self.missing, 0
        self._writer.metrics.primary_outcomes_unknown += missing
        self._receiver.replied(missing, OUTCOME_UNKNOWN * missing + self.trailer)


class CorrectedCall(ClientBatch):
    """One command of a client whose reply is not the primary's alone."""

    __slots__ = ("_correct",)

    def __init__(
        self,
        writer: DualWriter,
        context: Context,
        receiver: Receiver,
        request: Request,
        plan: Plan,
        correct: Callable[[bytes], bytes],
    ) -> None:
        super().__init__(writer, context, receiver, [request], [plan])
        self._correct = correct

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Correct the reply, then go on as with any."""
        super().on_replies([self._correct(frames[0])], now)


class TransactionBlock(_Timed):
    """A client's MULTI … EXEC, sent as one block. The client sees the reply of EXEC only.

    Args:
        writer: Where it is counted and mirrored.
        context: Where it is executed.
        receiver: Who gets the reply.
        exec_plan: The plan of EXEC.
        transaction: What is executed.
        behind: Replies that follow EXEC's and concern nobody.
        finish: Puts local answers among the results; None if there are none.
    """

    __slots__ = (
        "_behind",
        "_exec_plan",
        "_finish",
        "_receiver",
        "_result",
        "_transaction",
        "head",
        "missing",
        "trailer",
        "wire",
    )

    def __init__(
        self,
        writer: DualWriter,
        context: Context,
        receiver: Receiver,
        exec_plan: Plan,
        transaction: Transaction,
        behind: int = 0,
        finish: Callable[[list[bytes]], list[bytes]] | None = None,
    ) -> None:
        super().__init__(writer, context)
        self._receiver = receiver
        self._exec_plan = exec_plan
        self._transaction = transaction
        self._behind = behind
        self._finish = finish
        self._result = b""
        self.head = b""
        """Local answers that precede the reply."""
        self.wire: bytes | None = None
        """What was sent from MULTI to EXEC, if the secondary can get just that."""
        self.missing = len(transaction.queued) + 2 + behind
        self.trailer = b""

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Wait for EXEC's reply and what is behind it; then book the commands by its elements."""
        position = self.missing - 1 - self._behind
        if 0 <= position < len(frames):
            self._result = frames[position]
        self.missing -= len(frames)
        if self.missing:
            return
        self._receiver.replied(1, self.head + self.settle(self._result, now) + self.trailer)

    def settle(self, result: bytes, now: float) -> bytes:
        """Book and mirror what EXEC answered; return what the client gets."""
        self._book(self._exec_plan, EXEC_REQUEST, result, now)
        if result[0] not in _ARRAY or is_null(result):
            return result
        writer, queued = self._writer, self._transaction.queued
        results = None
        if self._finish is not None or b"\r\n-" in result or b"\r\n!" in result:  # else nothing has failed
            results = elements_of(result)
        by_command = writer.answering.by_command
        for plan, _ in queued:
            by_command[plan.index].counts[0] += 1
        for (plan, _), element in zip(queued, results or (), strict=False):
            if is_error(element):
                writer.count_error(plan, by_command[plan.index])
        if writer.stream is not None:
            item = transaction_item(self._exec_plan, queued, results, now, self._context, self.wire)
            if item is not None:
                writer.stream.offer([item])
        return result if self._finish is None else array(self._finish(results or []))

    def on_lost(self) -> None:
        """Tell the client that the outcome is unknown."""
        self._writer.metrics.primary_outcomes_unknown += 1
        self._receiver.replied(1, self.head + OUTCOME_UNKNOWN + self.trailer)


EXEC_REQUEST: Final = Request((b"EXEC",), b"")


class Call:
    """Requests of dualkv's own; a task waits for their replies."""

    __slots__ = ("_done", "_frames", "missing")

    def __init__(self, missing: int = 1) -> None:
        self.missing = missing
        self._frames: list[bytes] = []
        self._done = trio.Event()

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        """Take replies; wake the task when all are there."""
        self._frames += frames
        self.missing -= len(frames)
        if not self.missing:
            self._done.set()

    def on_lost(self) -> None:
        """Wake the task."""
        self._done.set()

    async def wait(self) -> list[bytes]:
        """Return the raw replies.

        Raises:
            ConnectionLost: The lane broke: the outcome is unknown.
        """
        await self._done.wait()
        if self.missing:
            raise ConnectionLost("the lane to the primary was lost: the outcome is unknown")
        return self._frames


class Barrier:
    """A ``PING`` on the lane: its reply proves that all replies to what was sent before have been seen."""

    __slots__ = ("_passed", "missing")

    def __init__(self, passed: Callable[[], None]) -> None:
        self.missing = 1
        self._passed = passed

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        """Everything before it has been answered."""
        self.missing = 0
        self._passed()

    def on_lost(self) -> None:
        """Everything before it is lost: nothing of it will be answered any more."""
        self._passed()


class SingleCall(_Timed):
    """One command whose reply a task waits for."""

    __slots__ = ("_done", "_frame", "_plan", "missing", "request")

    def __init__(
        self, writer: DualWriter, context: Context, plan: Plan, request: Request, attempt: int = 0
    ) -> None:
        super().__init__(writer, context, attempt)
        self._plan = plan
        self.request = request
        self._done = trio.Event()
        self._frame: bytes | None = None
        self.missing = 1

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Book the reply and wake the task."""
        self.missing = 0
        self._frame = frames[0]
        self._book(self._plan, self.request, frames[0], now)
        self._done.set()

    def on_lost(self) -> None:
        """Wake the task without a reply."""
        self._writer.metrics.primary_outcomes_unknown += 1
        self._done.set()

    async def wait_reply(self) -> bytes:
        """Return the raw reply.

        Raises:
            ConnectionLost: The lane broke: the outcome is unknown.
        """
        await self._done.wait()
        if self._frame is None:
            raise ConnectionLost("the lane to the primary was lost: the outcome is unknown")
        return self._frame
