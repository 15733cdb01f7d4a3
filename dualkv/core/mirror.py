"""What goes into the secondary stream: the items, and what the secondary's answers to them mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from dualkv.commands.keys import keys_of
from dualkv.core.confirming import Suspicion
from dualkv.core.context import START, Context
from dualkv.core.dirty import DirtyReason
from dualkv.core.effects.model import Command
from dualkv.core.ledger import Queue
from dualkv.core.routing import Plan, plan_of
from dualkv.core.transaction import Transaction, keys_of_all
from dualkv.resp.encode import OK, pack
from dualkv.resp.replies import elements_of, is_error
from dualkv.resp.requests import Request

__all__ = [
    "NOT_DATA",
    "PUBLISHING",
    "StreamItem",
    "changes_functions",
    "commands_item",
    "differs",
    "error_of",
    "in_one_piece",
    "is_about_data",
    "keys_by_db",
    "leaves_unknown",
    "may_publish",
    "outcomes",
    "size_bytes",
    "write_error_reason",
]

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
    suspicion: Suspicion | None = None
    """A shadow read: the difference that it is made to confirm, or that it has shown."""
    reply_count: int = 1
    """Frames that the secondary answers; the last one tells the outcome."""
    parts: tuple[tuple[Plan, Request], ...] = ()
    """A transaction: the commands it is made of."""
    selects: bool = False
    """A transaction: whether it leaves its connection in another database."""
    check: bytes | None = None
    """A write: the reply that is due if both stores were equal before; None: anything but an error."""
    part_checks: tuple[bytes | None, ...] = ()
    """The same for the commands of a transaction."""
    epoch: int = 0
    """How often databases had been exchanged (``SWAPDB``) when it was offered."""
    attempts: int = 0
    """A copy of a key's state: how many have failed before it."""
    mends: bool = False
    """A copy of the state of a key that was dirty: what is queued before it, on that key, is not exact."""
    copied: frozenset[tuple[int, bytes]] = frozenset()
    """Those of its keys whose states are copied behind it: what it does to them does not matter."""

    @property
    def commands(self) -> tuple[tuple[Plan, Request], ...]:
        """The commands that it is made of: those of a transaction, or the one."""
        return self.parts or ((self.plan, self.request),)

    def keys(self) -> tuple[bytes, ...] | None:
        """Return the keys that order it among other items; None if it may touch any."""
        if not self.parts:
            return keys_of(self.plan.spec, self.request.args)
        return keys_of_all(self.parts)

    def keys_of_parts(self) -> list[tuple[Plan, list[tuple[int, bytes]] | None]]:
        """Return each of its commands with the keys it names, these with their databases; None: any keys."""
        db = self.context.db
        found: list[tuple[Plan, list[tuple[int, bytes]] | None]] = []
        for plan, request in self.commands:
            if self.parts and plan.spec.name == "SELECT":
                db = int(request.args[1])
            found.append((plan, keys_by_db(plan, request.args, db)))
        return found

    def keys_by_db(self) -> list[tuple[int, bytes]] | None:
        """Return the keys that order it, each with its database; None if it may touch any."""
        found: dict[tuple[int, bytes], None] = {}
        for _, keys in self.keys_of_parts():
            if keys is None:
                return None
            found.update(dict.fromkeys(keys))
        return list(found)


def keys_by_db(plan: Plan, args: tuple[bytes, ...], db: int) -> list[tuple[int, bytes]] | None:
    """Return the keys that a request names, each with its database; None if it may touch others.

    Args:
        plan: The command's.
        args: The request, name first.
        db: Where it is executed.
    """
    name = plan.spec.name
    if name == "MOVE":
        return [(db, args[1]), (int(args[2]), args[1])] if args[2].isdigit() else None
    keys = keys_of(plan.spec, args)
    if keys is None:
        return None
    if name == "COPY" and len(args) > 4 and args[3].upper() == b"DB" and args[4].isdigit():
        return [(db, args[1]), (int(args[4]), args[2])]
    if name == "COPY" and len(args) > 5 and args[4].upper() == b"DB" and args[5].isdigit():
        return [(db, args[1]), (int(args[5]), args[2])]
    return [(db, key) for key in keys]


def size_bytes(items: Iterable[StreamItem]) -> int:
    """Return what items take in memory, roughly."""
    return sum(
        [
            ITEM_OVERHEAD_BYTES + len(item.request.raw) + (0 if item.expected is None else len(item.expected))
            for item in items
        ]
    )


def is_about_data(item: StreamItem) -> bool:
    """Return whether anything in the keyspace differs if a write does not arrive."""
    return any(plan.spec.name not in NOT_DATA for plan, _ in item.commands)


def may_publish(item: StreamItem) -> bool:
    """Return whether subscribers may miss a message if a write does not arrive."""
    return item.queue is Queue.SCRIPT or any(plan.spec.name in PUBLISHING for plan, _ in item.commands)


def changes_functions(item: StreamItem) -> bool:
    """Return whether it changes the libraries of functions."""
    return any(plan.spec.name in _FUNCTIONS for plan, _ in item.commands)


_FUNCTIONS: Final = frozenset({"FUNCTION LOAD", "FUNCTION DELETE", "FUNCTION FLUSH", "FUNCTION RESTORE"})

PUBLISHING: Final = frozenset({"PUBLISH", "SPUBLISH"})
"""Commands that send messages to subscribers; scripts do, too."""

NOT_DATA: Final = frozenset(
    {
        *_FUNCTIONS, "SCRIPT LOAD", "SCRIPT FLUSH", "PUBLISH", "SPUBLISH", "SELECT", "MULTI", "EXEC",
    }
)  # fmt: skip


def commands_item(
    queue: Queue, commands: Sequence[Command], offered_at: float, context: Context, attempts: int = 0
) -> StreamItem:
    """Return what executes *commands*, at least one, in one piece."""
    requests = [Request(command.args, pack(command.args)) for command in commands]
    parts = [(plan_of(request.args), request) for request in requests]
    if len(parts) == 1:
        return StreamItem(
            parts[0][0], queue, requests[0], offered_at, context, check=commands[0].reply, attempts=attempts
        )
    checks = tuple(command.reply for command in commands)
    item = in_one_piece(parts[0][0], queue, parts, offered_at, context, checks)
    item.attempts = attempts
    return item


def in_one_piece(
    plan: Plan,
    queue: Queue,
    parts: list[tuple[Plan, Request]],
    offered_at: float,
    context: Context,
    checks: tuple[bytes | None, ...],
    wire: bytes | None = None,
) -> StreamItem:
    """Return what executes *parts* as a transaction.

    Args:
        plan: What it counts as.
        queue: What it counts for.
        parts: The commands.
        offered_at: The time on the stream's clock.
        context: Where the primary executed them.
        checks: For each, the reply that is due; None: anything but an error.
        wire: All of it, from MULTI to EXEC, if that is at hand.
    """
    request = Request((b"EXEC",), wire or Transaction(parts).wire())
    return StreamItem(
        plan, queue, request, offered_at, context, reply_count=len(parts) + 2, parts=tuple(parts),
        selects=any(plan.spec.name == "SELECT" for plan, _ in parts), part_checks=checks,
    )  # fmt: skip


def error_of(item: StreamItem, frame: bytes) -> bytes | None:
    """Return the error that the secondary answered to a mirrored write, or to a part of a transaction."""
    if is_error(frame):
        return frame
    if item.parts and frame[:1] in (b"*", b"~"):
        told = elements_of(frame)
        return next(filter(is_error, told), None if len(told) == len(item.parts) else _INCOMPLETE)
    return None


_INCOMPLETE: Final = b"-ERR EXEC has executed less than was queued\r\n"
"""ElasticKV executes the rest of a transaction of which it has refused a command."""


def differs(item: StreamItem, frame: bytes) -> bool:
    """Return whether the secondary answered a mirrored write otherwise than a store that was equal before."""
    if item.check is not None:
        return not _is_same(frame, item.check)
    return any(item.part_checks) and DirtyReason.REPLY_DIFFERED in outcomes(item, frame)


def outcomes(item: StreamItem, frame: bytes) -> list[DirtyReason | None]:
    """Return for each command of a mirrored write what is wrong with its answer; None: nothing."""
    if not item.parts:
        return [_outcome(frame, item.check)]
    if is_error(frame):
        return [DirtyReason.FAILED] * len(item.parts)
    if frame[:1] not in (b"*", b"~"):
        return [None] * len(item.parts)
    checks = item.part_checks or (None,) * len(item.parts)
    told = elements_of(frame)
    if len(told) != len(item.parts):  # nobody knows which of them were executed
        return [DirtyReason.FAILED] * len(item.parts)
    return [_outcome(element, check) for element, check in zip(told, checks, strict=True)]


def _outcome(told: bytes, check: bytes | None) -> DirtyReason | None:
    if is_error(told):
        return DirtyReason.FAILED
    return DirtyReason.REPLY_DIFFERED if check is not None and not _is_same(told, check) else None


def _is_same(told: bytes, check: bytes) -> bool:
    """Whether a reply is the one that was due. ElasticKV's followers say OK as a bulk string."""
    return told == check or (check == OK and told == _BULK_OK)


_BULK_OK: Final = b"$2\r\nOK\r\n"


_ERROR_REASONS: Final = (
    # The more specific wins: "retry limit exceeded" contains "write conflict".
    (b"retry limit", "retry_limit"),
    (b"busy server overloaded", "busy"),
    (b"write conflict", "write_conflict"),
    (b"deadline exceeded", "deadline_exceeded"),
    (b"not leader", "not_leader"),
    (b"leader not found", "not_leader"),
    (b"notleader", "not_leader"),
    (b"-readonly", "not_leader"),
    (b"txn already", "txn_already_finalized"),  # finalized, committed, aborted
    (b"txn locked", "txn_locked"),
    (b"unsupported command", "unsupported"),
    (b"unknown command", "unsupported"),
    (b"marshaled request too large", "too_large"),
    (b"string exceeds maximum allowed size", "too_large"),
    (b"too big", "too_large"),  # "Protocol error: too big bulk count string"
    (b"invalid bulk length", "too_large"),
    (b"invalid multibulk length", "too_large"),
    (b"connection refused", "leader_unreachable"),
    (b"connection reset", "leader_unreachable"),
)


def write_error_reason(frame: bytes) -> str:
    """Return the class of an error that the secondary answered to a mirrored write."""
    text = frame.lower()
    return next((reason for words, reason in _ERROR_REASONS if words in text), "other")


def leaves_unknown(frame: bytes) -> bool:
    """Return whether an error says that a write may have been executed: the leader went meanwhile."""
    if frame.startswith((b"-READONLY", b"-NOTLEADER")):
        return False
    return write_error_reason(frame[:512]) in _UNKNOWN


_UNKNOWN: Final = frozenset(
    {"deadline_exceeded", "not_leader", "txn_already_finalized", "leader_unreachable"}
)
