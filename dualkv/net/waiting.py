"""What waits on a lane for replies.

A reply is the moment at which everything happens, in one synchronous step: the bytes go to the client, a
write enters the secondary stream, a read becomes a shadow read with the reply to expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, transaction_item
from dualkv.core.routing import Plan
from dualkv.errors import ConnectionLost
from dualkv.observe.metrics import bucket_of
from dualkv.resp.encode import OUTCOME_UNKNOWN
from dualkv.resp.replies import elements_of, is_error
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["ClientBatch", "Receiver", "SingleCall", "TransactionBlock"]

_ARRAY: Final = b"*~%>"
_ERROR: Final = frozenset(b"-!")


class Receiver(Protocol):
    """Who gets the replies: a client session."""

    def replied(self, count: int, data: bytes) -> None:
        """Replies to *count* requests, joined (and what follows them in the order)."""


class _Timed:
    """Books the replies of requests that left together."""

    __slots__ = ("_attempt", "_protocol", "_sent_at", "_writer")

    def __init__(self, writer: DualWriter, protocol: int, attempt: int = 0) -> None:
        self._writer = writer
        self._protocol = protocol
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
                item = StreamItem(plan, plan.queue, request, now)
            elif plan.comparator is not None and writer.shadows:
                item = StreamItem(plan, Queue.SHADOW, request, now, frame, self._protocol, self._attempt)
            else:
                return
            writer.stream.offer([item])


class ClientBatch(_Timed):
    """Ordinary commands of one client that left together."""

    __slots__ = ("_plans", "_receiver", "_requests", "missing", "trailer")

    def __init__(
        self,
        writer: DualWriter,
        protocol: int,
        receiver: Receiver,
        requests: list[Request],
        plans: list[Plan],
    ) -> None:
        super().__init__(writer, protocol)
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
        shadows, protocol = writer.shadows, self._protocol
        items: list[StreamItem] = []
        for plan, request, frame in zip(plans, requests, frames, strict=False):
            if frame[0] in _ERROR:
                continue
            if plan.queue is not None:
                items.append(StreamItem(plan, plan.queue, request, now))
            elif shadows and plan.comparator is not None:
                items.append(StreamItem(plan, Queue.SHADOW, request, now, frame, protocol))
        if items:
            assert writer.stream is not None
            writer.stream.offer(items)

    def on_lost(self) -> None:
        """Tell the client that the outcome of each missing command is unknown."""
        missing, self.missing = self.missing, 0
        self._writer.metrics.primary_outcomes_unknown += missing
        self._receiver.replied(missing, OUTCOME_UNKNOWN * missing + self.trailer)


class TransactionBlock(_Timed):
    """A client's MULTI … EXEC, sent as one block. The client sees the reply of EXEC only."""

    __slots__ = ("_exec_plan", "_queued", "_receiver", "missing", "trailer")

    def __init__(
        self,
        writer: DualWriter,
        protocol: int,
        receiver: Receiver,
        exec_plan: Plan,
        queued: list[tuple[Plan, Request]],
    ) -> None:
        super().__init__(writer, protocol)
        self._receiver = receiver
        self._exec_plan = exec_plan
        self._queued = queued
        self.missing = len(queued) + 2
        self.trailer = b""

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Wait for EXEC's reply; then book the commands by its elements."""
        self.missing -= len(frames)
        if self.missing:
            return
        result = frames[-1]
        self._book(self._exec_plan, self._queued[0][1] if self._queued else _NO_REQUEST, result, now)
        if result[0] in _ARRAY and (results := elements_of(result)):
            self._mirror(results, now)
        self._receiver.replied(1, result + self.trailer)

    def _mirror(self, results: list[bytes], now: float) -> None:
        writer = self._writer
        for (plan, _), element in zip(self._queued, results, strict=True):
            counters = writer.answering.by_command[plan.index]
            counters.counts[0] += 1
            if is_error(element):
                writer.count_error(plan, counters)
        if writer.stream is not None:
            item = transaction_item(self._exec_plan, self._queued, results, now)
            if item is not None:
                writer.stream.offer([item])

    def on_lost(self) -> None:
        """Tell the client that the outcome is unknown."""
        self._writer.metrics.primary_outcomes_unknown += 1
        self._receiver.replied(1, OUTCOME_UNKNOWN + self.trailer)


_NO_REQUEST: Final = Request((b"EXEC",), b"")


class SingleCall(_Timed):
    """One command whose reply a task waits for."""

    __slots__ = ("_done", "_frame", "_plan", "missing", "request")

    def __init__(
        self, writer: DualWriter, protocol: int, plan: Plan, request: Request, attempt: int = 0
    ) -> None:
        super().__init__(writer, protocol, attempt)
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
