"""Which items of a batch go together in one transaction.

What cannot be in the script (shadow reads, clients' scripts, ``EXPIRE``, ``PFADD``, …) goes by itself, and
cuts the batch: the order stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from dualkv.core.effects.model import Command
from dualkv.core.fusing.folding import READS, SEVERAL_KEYS, WRITES
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.resp import encode

__all__ = ["Stretch", "effects_in", "is_fusible", "outcomes_of", "portions", "stretches"]

_POSSIBLE = WRITES | READS | SEVERAL_KEYS.keys()


@attrs.define
class Stretch:
    """A part of a batch. Either list may be empty."""

    apart: list[StreamItem] = attrs.field(factory=list)
    """To be sent as they are, first."""
    fused: list[StreamItem] = attrs.field(factory=list)
    """To be executed in one transaction, behind those."""


def is_fusible(item: StreamItem) -> bool:
    """Whether all that an item does can be in the script."""
    if item.expected is not None or item.queue is Queue.SCRIPT:
        return False
    if item.parts:
        return all(_is_possible(request.args) for _, request in item.parts)
    return _is_possible(item.request.args)


def _is_possible(args: tuple[bytes, ...]) -> bool:
    return len(args) > 1 and args[0].upper() in _POSSIBLE


def stretches(batch: Sequence[StreamItem]) -> list[Stretch]:
    """Cut a batch into stretches, to be done one after the other."""
    cut = [Stretch()]
    for item in batch:
        if is_fusible(item):
            cut[-1].fused.append(item)
        else:
            if cut[-1].fused:
                cut.append(Stretch())
            cut[-1].apart.append(item)
    return cut


def portions(items: Sequence[StreamItem], most_effects: int, most_bytes: int) -> Iterator[list[StreamItem]]:
    """Yield *items* in portions that are not too much, unless a single item is."""
    portion: list[StreamItem] = []
    effects = size = 0
    for item in items:
        more, item_size = max(1, len(item.parts)), len(item.request.raw)
        if portion and (effects + more > most_effects or size + item_size > most_bytes):
            yield portion
            portion, effects, size = [], 0, 0
        portion.append(item)
        effects += more
        size += item_size
    if portion:
        yield portion


def effects_in(items: Sequence[StreamItem]) -> list[Command]:
    """Return the commands of *items*, with the replies that are due."""
    effects: list[Command] = []
    for item in items:
        if item.parts:
            checks = item.part_checks or (None,) * len(item.parts)
            effects += [
                Command(request.args, check) for (_, request), check in zip(item.parts, checks, strict=True)
            ]
        else:
            effects.append(Command(item.request.args, item.check))
    return effects


def outcomes_of(items: Sequence[StreamItem], replies: Sequence[bytes]) -> list[bytes]:
    """Return the frame that tells each item's outcome: of several commands what their ``EXEC`` would answer.

    Args:
        items: What was executed.
        replies: The replies to `effects_in` it.
    """
    frames: list[bytes] = []
    position = 0
    for item in items:
        if item.parts:
            behind = position + len(item.parts)
            frames.append(encode.array(replies[position:behind]))
            position = behind
        else:
            frames.append(replies[position])
            position += 1
    return frames
