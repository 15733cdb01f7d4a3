"""What goes into the secondary stream.

For now a write is mirrored as the client sent it, if the primary did not answer an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final

import attrs

from dualkv.commands.keys import keys_of
from dualkv.core.context import START, Context
from dualkv.core.ledger import Queue
from dualkv.core.routing import Plan, plan_of
from dualkv.core.transaction import Transaction, keys_of_all
from dualkv.resp.encode import OK, pack
from dualkv.resp.replies import elements_of, is_error
from dualkv.resp.requests import Request

__all__ = ["StreamItem", "effects_item", "error_of", "size_bytes", "transaction_item", "write_error_reason"]

ITEM_OVERHEAD_BYTES: Final = 300
"""What an item takes in memory beside its bytes, roughly."""


@attrs.define(eq=False)
class StreamItem:
    """One mirrored write, or one shadow read with the reply to expect."""

    plan: Plan
    queue: Queue
    """The queue it counts for."""
    request: Request
    """What the secondary gets."""
    offered_at: float
    """On the stream's clock, in seconds."""
    context: Context = START
    """Where the primary executed it. The RESP version matters for shadow reads only."""
    expected: bytes | None = None
    """A shadow read: the primary's raw reply. None: a write."""
    attempt: int = 0
    """A shadow read: how often the comparison has been repeated to confirm a difference."""
    reply_count: int = 1
    """Frames that the secondary answers; the last one tells the outcome."""
    parts: tuple[tuple[Plan, Request], ...] = ()
    """A transaction: the commands it is made of."""
    selects: bool = False
    """A transaction: whether it leaves its connection in another database."""

    def keys(self) -> tuple[bytes, ...] | None:
        """Return the keys that order it among other items; None if it may touch any."""
        if not self.parts:
            return keys_of(self.plan.spec, self.request.args)
        return keys_of_all(self.parts)


def size_bytes(items: Iterable[StreamItem]) -> int:
    """Return what items take in memory, roughly."""
    return sum(
        [
            ITEM_OVERHEAD_BYTES + len(item.request.raw) + (0 if item.expected is None else len(item.expected))
            for item in items
        ]
    )


def transaction_item(
    exec_plan: Plan,
    queued: Sequence[tuple[Plan, Request]],
    results: Sequence[bytes] | None,
    offered_at: float,
    context: Context = START,
    wire: bytes | None = None,
) -> StreamItem | None:
    """Return what mirrors a transaction that the primary executed; None if it wrote nothing.

    Args:
        exec_plan: The plan of EXEC, for the counters.
        queued: The commands between MULTI and EXEC.
        results: The raw elements of EXEC's reply, one per command; None if there is no error among them.
        offered_at: The time on the stream's clock.
        context: Where it was executed.
        wire: The whole of it, from MULTI to EXEC, if that is at hand.

    Returns:
        One item that is applied in one piece: the writes that succeeded. It counts as a script if one of
        them is one.
    """
    executed = [
        (plan, request)
        for (plan, request), result in zip(queued, results or repeat(OK), strict=False)
        if (plan.queue is not None or plan.spec.name == "SELECT") and not is_error(result)
    ]
    if not any(plan.queue is not None for plan, _ in executed):
        return None
    queue = Queue.SCRIPT if any(plan.queue is Queue.SCRIPT for plan, _ in executed) else Queue.WRITE
    if len(executed) < len(queued):
        wire = None
    return _in_one_piece(exec_plan, queue, executed, offered_at, context, wire)


def effects_item(
    commands: Sequence[Sequence[bytes | str | int]], offered_at: float, context: Context
) -> StreamItem:
    """Return what applies effects of a blocking command, at least one, in one piece."""
    requests = [Request(words, pack(words)) for words in map(_encoded, commands)]
    parts = [(plan_of(request.args), request) for request in requests]
    if len(parts) == 1:
        return StreamItem(parts[0][0], Queue.BLOCKING, requests[0], offered_at, context)
    return _in_one_piece(parts[0][0], Queue.BLOCKING, parts, offered_at, context)


def _encoded(words: Sequence[bytes | str | int]) -> tuple[bytes, ...]:
    return tuple(word if isinstance(word, bytes) else str(word).encode() for word in words)


def _in_one_piece(
    plan: Plan,
    queue: Queue,
    parts: list[tuple[Plan, Request]],
    offered_at: float,
    context: Context,
    wire: bytes | None = None,
) -> StreamItem:
    request = Request((b"EXEC",), wire or Transaction(parts).wire())
    return StreamItem(
        plan, queue, request, offered_at, context, reply_count=len(parts) + 2, parts=tuple(parts),
        selects=any(plan.spec.name == "SELECT" for plan, _ in parts),
    )  # fmt: skip


def error_of(item: StreamItem, frame: bytes) -> bytes | None:
    """Return the error that the secondary answered to a mirrored write, or to a part of a transaction."""
    if is_error(frame):
        return frame
    if item.parts and frame[:1] in (b"*", b"~"):
        return next(filter(is_error, elements_of(frame)), None)
    return None


_ERROR_REASONS: Final = (
    # The more specific wins: "retry limit exceeded" contains "write conflict".
    (b"retry limit", "retry_limit"),
    (b"busy server overloaded", "busy"),
    (b"write conflict", "write_conflict"),
    (b"deadline exceeded", "deadline_exceeded"),
    (b"not leader", "not_leader"),
    (b"leader not found", "not_leader"),
    (b"txn already", "txn_already_finalized"),  # finalized, committed, aborted
    (b"txn locked", "txn_locked"),
)


def write_error_reason(frame: bytes) -> str:
    """Return the class of an error that the secondary answered to a mirrored write."""
    text = frame.lower()
    return next((reason for words, reason in _ERROR_REASONS if words in text), "other")
