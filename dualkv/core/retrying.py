"""Which mirrored writes are sent again, after which wait, and what has to be sent with them.

Only what is known not to have been applied is sent again, and only where nothing overtakes: a batch is a
pipeline, so what stood behind a refused write has been executed already. If that was a write on the same
keys, repeating the refused one would undo it; then the refused one fails, and its keys are copied. A read on
its keys that stood behind it is repeated too, since it was compared with what the write would have made.

Behind the batch nothing overtakes: a shard sends nothing else before a batch has been settled.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

import attrs

from dualkv.core.dialect import Dialect
from dualkv.core.dirty import Key
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.resp.encode import command
from dualkv.resp.replies import is_error

__all__ = ["Again", "FastRemovals", "Retries", "outcome_frames"]

_FIRST_WAIT_SECONDS: Final = 0.01
_LONGEST_WAIT_SECONDS: Final = 0.1


@attrs.frozen
class _Rule:
    words: bytes
    """In lower case."""
    times: int
    """How often a write is sent again after this error."""
    is_for_scripts: bool


_RULES: Final = (
    _Rule(b"read timestamp has been compacted", 3, is_for_scripts=True),
    _Rule(b"busy server overloaded", 8, is_for_scripts=False),
)
"""Errors of ElasticKV that say that nothing was applied."""


@attrs.frozen
class Again:
    """What of a batch is sent again."""

    positions: tuple[int, ...]
    """In the order of the batch."""
    wait_seconds: float
    """Before that."""


class Retries:
    """The second and later attempts of one batch.

    Args:
        batch: What was sent, in order.
    """

    def __init__(self, batch: Sequence[StreamItem]) -> None:
        self._batch = batch
        self._counts: Counter[tuple[int, _Rule]] = Counter()
        self._rounds = 0

    def next(self, frames: Sequence[bytes]) -> Again | None:
        """Return what to send again; None: nothing, what was answered counts.

        Args:
            frames: The newest frame that tells each item's outcome.
        """
        refused = {
            position: rule
            for position, frame in enumerate(frames)
            if is_error(frame) and (rule := self._rule(position, frame)) is not None
        }
        if not refused:
            return None
        again = self._that_nothing_overtook(refused, frames)
        if not again:
            return None
        for position in again:
            self._counts[position, refused[position]] += 1
        wait = min(_FIRST_WAIT_SECONDS * 2**self._rounds, _LONGEST_WAIT_SECONDS)
        self._rounds += 1
        jitter = random.random() / 2  # noqa: S311 - spreads load, keeps no secret
        return Again(self._with_reads(again), wait * (1 + jitter))

    def _rule(self, position: int, frame: bytes) -> _Rule | None:
        item = self._batch[position]
        if item.expected is not None:
            return None
        text = frame[:512].lower()
        for rule in _RULES:
            if rule.words in text and self._counts[position, rule] < rule.times:
                return rule if rule.is_for_scripts or item.queue is not Queue.SCRIPT else None
        return None

    def _that_nothing_overtook(self, refused: dict[int, _Rule], frames: Sequence[bytes]) -> set[int]:
        again: set[int] = set()
        written = _Keys()
        for position in range(len(frames) - 1, -1, -1):
            item = self._batch[position]
            if position in refused and not written.meet(item):
                again.add(position)
            elif item.expected is None and not is_error(frames[position]):
                written.add(item)
        return again

    def _with_reads(self, again: set[int]) -> tuple[int, ...]:
        found: list[int] = []
        written = _Keys()
        for position in range(min(again), len(self._batch)):
            item = self._batch[position]
            if position in again:
                written.add(item)
                found.append(position)
            elif item.expected is not None and written.meet(item):
                found.append(position)
        return tuple(found)


class _Keys:
    """Keys of several items; some items may touch any."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()
        self._are_all = False

    def add(self, item: StreamItem) -> None:
        keys = item.keys_by_db()
        if keys is None:
            self._are_all = True
        else:
            self._keys.update(keys)

    def meet(self, item: StreamItem) -> bool:
        keys = item.keys_by_db()
        if self._are_all or keys is None:
            return self._are_all or bool(self._keys)
        return not self._keys.isdisjoint(keys)


def outcome_frames(frames: Sequence[bytes], positions: Sequence[int]) -> list[bytes]:
    """Return the frame that tells each item's outcome.

    A transaction is judged by what its EXEC answered. If that is ``-EXECABORT``, the error that one of its
    commands met when it was queued says why.

    Args:
        frames: All replies, in order.
        positions: Where among them each item's last one is.
    """
    found = []
    before = -1
    for position in positions:
        frame = frames[position]
        if frame.startswith(b"-EXECABORT"):
            frame = next(filter(is_error, frames[before + 1 : position]), frame)
        found.append(frame)
        before = position
    return found


_ZREMFAST: Final = "ELASTICKV.ZREMFAST"


class FastRemovals:
    """What ``BZPOPMIN`` and ``BZPOPMAX`` took, taken by ``ELASTICKV.ZREMFAST`` from a store that has it.

    ElasticKV has it so that a popped member is removed without a transaction. A store that names it among its
    commands and then refuses it gets ``ZREM`` from then on.
    """

    def __init__(self) -> None:
        self._is_refused = False

    def wire(self, item: StreamItem, dialect: Dialect | None) -> bytes:
        """Return what is sent for an item.

        Args:
            item: A mirrored write.
            dialect: What the store knows, as far as it has said so.
        """
        args = item.request.args
        is_removal = item.plan.spec.name == "ZREM" and len(args) == 3 and not item.parts
        if self._is_refused or not is_removal or dialect is None or not dialect.has(_ZREMFAST):
            return item.request.raw
        return command(_ZREMFAST, *args[1:])

    def is_refusal(self, item: StreamItem, frame: bytes) -> bool:
        """Take note of an answer; return whether the item has to be sent as it is, now and from now on."""
        if item.queue is not Queue.BLOCKING or not is_error(frame):
            return False
        text = frame[:512].lower()
        is_refusal = b"zremfast" in text and (b"unsupported command" in text or b"unknown command" in text)
        self._is_refused = self._is_refused or is_refusal
        return is_refusal
