"""What waits on a lane for replies to clients.

A reply is the moment at which everything happens, in one synchronous step: the bytes go to the client, a
write enters the secondary stream, a read becomes a shadow read with the reply to expect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from dualkv.core.compare import Rule
from dualkv.core.context import Context
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, in_one_piece, leaves_unknown
from dualkv.core.routing import Plan
from dualkv.core.transaction import Transaction
from dualkv.core.translator import NOT_ASKED, Asked
from dualkv.observe.metrics import bucket_of
from dualkv.resp.encode import OK, OUTCOME_UNKNOWN, array
from dualkv.resp.replies import elements_of, is_error, is_null
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.stream import SecondaryStream
    from dualkv.net.writer import DualWriter

__all__ = [
    "AskingBatch",
    "ClientBatch",
    "CorrectedCall",
    "Receiver",
    "Timed",
    "TransactionBlock",
]

_SCRIPT: Final = Rule.SCRIPT
_ARRAY: Final = b"*~%>"
_ERROR: Final = frozenset(b"-!")


class Receiver(Protocol):
    """Who gets the replies: a client session."""

    def replied(self, count: int, data: bytes) -> None:
        """Replies to *count* requests, joined (and what follows them in the order)."""


class Timed:
    """Books the replies of requests that left together."""

    __slots__ = ("_context", "_sent_at", "_writer")

    def __init__(self, writer: DualWriter, context: Context) -> None:
        self._writer = writer
        self._context = context
        self._sent_at = writer.clock()

    def _book(
        self,
        plan: Plan,
        request: Request,
        frame: bytes,
        now: float,
        asked: Asked = NOT_ASKED,
        answers: Sequence[bytes] = (),
    ) -> None:
        """Count one reply, and mirror or shadow its request."""
        writer = self._writer
        counters = writer.answering.by_command[plan.index]
        elapsed = now - self._sent_at
        counters.counts[bucket_of(elapsed)] += 1
        counters.sum_seconds += elapsed
        if is_error(frame):
            writer.answered_error(plan, request, counters, frame, self._context)
        elif counters.is_new:
            self._look_at([plan], [request], [frame])
        if (mirroring := writer.mirroring) is None:
            return
        if plan.queue is not None:
            if not is_error(frame) or plan.queue is Queue.SCRIPT:
                mirroring.executed(plan, request, frame, now, self._context, asked, answers)
        elif not is_error(frame) and writer.comparing.admits(plan, request.args):
            mirroring.stream.offer([StreamItem(plan, Queue.SHADOW, request, now, self._context, frame)])

    def _lost(self, commands: Iterable[tuple[Plan, Request]]) -> None:
        """Take note of commands whose outcome nobody knows."""
        if self._writer.mirroring is not None:
            self._writer.mirroring.lost(self._context, commands)

    def _look_at(self, plans: Sequence[Plan], requests: Sequence[Request], frames: Sequence[bytes]) -> None:
        """Note how commands are used that are new (or all, if it is their turn) and were not refused."""
        observed, db = self._writer.metrics.observed, self._context.db
        by_command = self._writer.answering.by_command
        is_turn = observed.take_turn()
        for plan, request, frame in zip(plans, requests, frames, strict=False):
            counters = by_command[plan.index]
            if (counters.is_new or is_turn) and frame[0] not in _ERROR:
                counters.is_new = observed.note(plan.spec, request.args, db)


class ClientBatch(Timed):
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
        have_set = self._count(plans, requests, frames, now - self._sent_at)
        stream = self._writer.stream
        if stream is not None:
            if have_set and not stream.gate.is_open:
                self._remember(stream, requests[: len(frames)])
            else:
                self._mirror(plans, requests, frames, now)
        count = len(frames)
        self.missing -= count
        if not self.missing and self.trailer:
            frames.append(self.trailer)
        self._receiver.replied(count, frames[0] if len(frames) == 1 else b"".join(frames))

    def _count(self, plans: list[Plan], requests: list[Request], frames: list[bytes], elapsed: float) -> bool:
        """Count replies that arrived together; return whether they are of ``SET``s that all succeeded."""
        by_command = self._writer.answering.by_command
        bucket = bucket_of(elapsed)
        same = plans.count(plans[0]) == len(plans)  # mostly: a batch of one, or a bulk load
        observed = self._writer.metrics.observed
        observed.passing -= 1
        is_due = observed.passing <= 0
        for plan in plans[:1] if same else plans:
            counters = by_command[plan.index]
            count = len(plans) if same else 1
            counters.counts[bucket] += count
            counters.sum_seconds += elapsed * count
            if counters.is_new:
                is_due = True
        if is_due:
            self._look_at(plans, requests, frames)
        if same and plans[0].is_set and frames.count(OK) == len(frames):
            return True
        for plan, request, frame in zip(plans, requests, frames, strict=False):  # requests may be more
            if frame[0] in _ERROR:
                counters = by_command[plan.index]
                self._writer.answered_error(plan, request, counters, frame, self._context)
        return False

    def _remember(self, stream: SecondaryStream, requests: list[Request]) -> None:
        """Take note of the keys of SETs, while writes do not flow to the secondary."""
        db, expiry = self._context.db, stream.translator.expiry
        if expiry:
            for request in requests:
                is_plain = len(request.args) == 3
                (expiry.written_anew if is_plain else expiry.forget)((db, request.args[1]))
        stream.remember(db, [request.args[1] for request in requests])

    def _mirror(self, plans: list[Plan], requests: list[Request], frames: list[bytes], now: float) -> None:
        """Put what was executed into the secondary stream."""
        writer = self._writer
        mirroring, comparing = writer.mirroring, writer.comparing
        assert mirroring is not None
        stream, translator = mirroring.stream, mirroring.translator
        is_plain, is_checked, expiry = translator.is_plain, translator.is_checked, translator.expiry
        shadows, context = writer.shadows, self._context
        takes_all = comparing.filter.is_trivial and comparing.budget.share >= 1.0
        items: list[StreamItem] = []
        for plan, request, frame in zip(plans, requests, frames, strict=False):
            if plan.queue is not None:
                args = request.args
                if frame[0] in _ERROR:
                    if plan.queue is not Queue.SCRIPT:
                        continue
                elif is_plain[plan.index] or (plan.is_set and len(args) == 3):
                    if expiry:
                        (expiry.written_anew if plan.is_set else expiry.changed)((context.db, args[1]))
                    check = frame if is_checked[plan.index] else None
                    items.append(
                        StreamItem(plan, plan.queue, request, now, context, None, None, 1, (), False, check)
                    )
                    continue
                if items:
                    stream.offer(items)
                    items = []
                mirroring.executed(plan, request, frame, now, context)
            elif (
                shadows
                and plan.comparator is not None
                and frame[0] not in _ERROR
                and ((takes_all and plan.comparator is not _SCRIPT) or comparing.admits(plan, request.args))
            ):
                items.append(StreamItem(plan, Queue.SHADOW, request, now, context, frame))
        if items:
            stream.offer(items)

    def on_lost(self) -> None:
        """Tell the client that the outcome of each missing command is unknown."""
        missing, self.missing = self.missing, 0
        self._writer.metrics.primary_outcomes_unknown += missing
        self._lost(zip(self._plans[-missing:], self._requests[-missing:], strict=True))
        self._receiver.replied(missing, OUTCOME_UNKNOWN * missing + self.trailer)


class AskingBatch(ClientBatch):
    """Commands of one client with questions directly behind some of them.

    The answers belong to the effects of their command, and no client sees them.
    """

    __slots__ = ("_arrived", "_asked", "_done")

    def __init__(
        self,
        writer: DualWriter,
        context: Context,
        receiver: Receiver,
        requests: list[Request],
        plans: list[Plan],
        asked: list[Asked],
    ) -> None:
        super().__init__(writer, context, receiver, requests, plans)
        self._asked = asked
        self._arrived: list[bytes] = []
        self._done = 0
        self.missing += sum(len(one.wires) for one in asked)

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Book each command whose answers are there too, then pass the replies on in one piece."""
        self.missing -= len(frames)
        mirroring, arrived = self._writer.mirroring, self._arrived
        arrived += frames
        replies: list[bytes] = []
        first, position = self._done, 0
        while self._done < len(self._plans):
            asked = self._asked[self._done]
            end = position + 1 + len(asked.wires)
            if end > len(arrived):
                break
            plan, request, frame = self._plans[self._done], self._requests[self._done], arrived[position]
            if asked.wires and mirroring is not None and frame[0] not in _ERROR:
                answers = arrived[position + 1 : end]
                mirroring.executed(plan, request, frame, now, self._context, asked, answers)
            else:
                self._mirror([plan], [request], [frame], now)
            replies.append(frame)
            position = end
            self._done += 1
        del arrived[:position]
        if not replies:
            return
        plans, requests = self._plans[first : self._done], self._requests[first : self._done]
        self._count(plans, requests, replies, now - self._sent_at)
        replies = self._as_client_reads(plans, requests, replies)
        count = len(replies)
        if self._done == len(self._plans) and self.trailer:
            replies.append(self.trailer)
        self._receiver.replied(count, b"".join(replies))

    def _as_client_reads(
        self,
        plans: list[Plan],  # noqa: ARG002 - others need them
        requests: list[Request],  # noqa: ARG002
        replies: list[bytes],
    ) -> list[bytes]:
        """Return replies in the client's version of RESP: as they are."""
        return replies

    def on_lost(self) -> None:
        """Tell the client that the outcome of each missing command is unknown."""
        self.missing = len(self._plans) - self._done
        if self.missing:
            super().on_lost()


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


def _with_refusals(result: bytes, queueing: Sequence[bytes]) -> bytes | None:
    """Return EXEC's reply with an element for each command, an error for those that were not queued.

    ElasticKV executes the rest of a transaction of which it has refused a command.

    Args:
        result: The reply.
        queueing: What was answered to each command when it was to be queued.

    Returns:
        It, or None if it cannot be said which element belongs to which command.
    """
    told = elements_of(result)
    if len(told) != sum(not is_error(frame) for frame in queueing):
        return None
    rest = iter(told)
    return array(frame if is_error(frame) else next(rest) for frame in queueing)


class TransactionBlock(Timed):
    """A client's MULTI … EXEC, sent as one block. The client sees the reply of EXEC only.

    Args:
        writer: Where it is counted and mirrored.
        context: Where it is executed.
        receiver: Who gets the reply.
        exec_plan: The plan of EXEC.
        transaction: What is executed.
        behind: Replies that follow EXEC's and the answers, and concern nobody.
        finish: Puts local answers among the results; None if there are none.
        asked: The questions that follow EXEC directly.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_behind",
        "_exec_plan",
        "_finish",
        "_queueing",
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
        asked: Asked = NOT_ASKED,
    ) -> None:
        super().__init__(writer, context)
        self._receiver = receiver
        self._exec_plan = exec_plan
        self._transaction = transaction
        self._asked = asked
        self._answers: list[bytes] = []
        self._behind = behind = behind + len(asked.wires)
        self._finish = finish
        self._queueing: list[bytes] = []
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
        if position < len(frames):
            if position >= 0:
                self._result = frames[position]
            self._answers += frames[max(position + 1, 0) :]
        self._queueing += frames[: max(position, 0)]
        self.missing -= len(frames)
        if self.missing:
            return
        self._receiver.replied(1, self.head + self._settled(now) + self.trailer)

    def _settled(self, now: float) -> bytes:
        return self.settle(self._result, now, self._answers, self._queueing)

    def settle(
        self, result: bytes, now: float, answers: Sequence[bytes] = (), queueing: Sequence[bytes] = ()
    ) -> bytes:
        """Book and mirror what EXEC answered; return what the client gets.

        Args:
            result: The reply to EXEC.
            now: When it came, on our clock.
            answers: The raw answers to what was asked.
            queueing: The replies to MULTI and to each command behind it.
        """
        self._book(self._exec_plan, EXEC_REQUEST, result, now)
        if result[0] not in _ARRAY or is_null(result):
            if is_error(result) and leaves_unknown(result):
                self._lost(self._transaction.queued)
            return result
        writer, queued = self._writer, self._transaction.queued
        if int(result[1 : result.index(b"\r")]) != len(queued):
            completed = _with_refusals(result, queueing[1:])
            if completed is None:
                self._lost(queued)
                return result
            result = completed
        mirroring = writer.mirroring
        results = None
        needs_care = mirroring is not None and not (self.wire and mirroring.translator.are_plain_sets(queued))
        if self._finish is not None or needs_care or b"\r\n-" in result or b"\r\n!" in result:
            results = elements_of(result)
        by_command = writer.answering.by_command
        writer.metrics.observed.passing -= 1
        is_due = writer.metrics.observed.passing <= 0
        for plan, _ in queued:
            counters = by_command[plan.index]
            counters.counts[0] += 1
            is_due = is_due or counters.is_new
        if is_due:
            plans, requests = [plan for plan, _ in queued], [request for _, request in queued]
            self._look_at(plans, requests, results or [result] * len(queued))
        for (plan, _), element in zip(queued, results or (), strict=False):
            if is_error(element):
                writer.count_error(plan, by_command[plan.index], element)
        if mirroring is not None:
            translator = mirroring.translator
            if results is None:  # neither errors nor questions nor anything to check
                item = in_one_piece(self._exec_plan, Queue.WRITE, queued, now, self._context, (), self.wire)
                translator.forget_plain(queued, self._context.db)
                mirroring.stream.offer([item])
            else:
                mirroring.enter(
                    translator.translate_transaction(
                        self._exec_plan, queued, results, now, self._context, self.wire, self._asked, answers
                    )
                )
        return result if self._finish is None else array(self._finish(results or []))

    def on_lost(self) -> None:
        """Tell the client that the outcome is unknown."""
        self._writer.metrics.primary_outcomes_unknown += 1
        self._lost(self._transaction.queued)
        self._receiver.replied(1, self.head + OUTCOME_UNKNOWN + self.trailer)


EXEC_REQUEST: Final = Request((b"EXEC",), b"")
