"""Several reads of a key at one position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dualkv.core.dialect import Dialect, script_call
from dualkv.core.effects.model import Args
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import elements_of, is_error

__all__ = ["Asked", "asked_together"]

_MULTI: Final = command("MULTI")
_EXEC: Final = command("EXEC")


class Asked(NamedTuple):
    """What to send for some reads, and how to read the answer."""

    wire: bytes
    reply_count: int
    """Frames that the store answers."""
    replies: Callable[[Sequence[bytes]], Sequence[bytes]]
    """From these frames to one for each read; the same error for all if there is no other answer."""


def asked_together(reads: Sequence[Args], source: Dialect) -> Asked:
    """Return what reads a key: two reads as they are, more as one transaction.

    Args:
        reads: What `KeyCopy.next_read` wants.
        source: What the store can do. The ``MULTI`` of one that speaks in scripts takes few commands: there
            it is a script.
    """
    count = len(reads)
    if count <= 2:
        return Asked(b"".join(map(pack, reads)), count, lambda frames: frames)
    if source.scripted:
        return Asked(pack(script_call(reads)), 1, lambda frames: _spread(frames[-1], count))
    wire = b"".join([_MULTI, *map(pack, reads), _EXEC])
    return Asked(wire, count + 2, lambda frames: _spread(frames[-1], count))


def _spread(frame: bytes, count: int) -> Sequence[bytes]:
    return [frame] * count if is_error(frame) else elements_of(frame)
