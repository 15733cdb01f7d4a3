"""What a read is made of on a store that lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dualkv.core.effects.model import Args
from dualkv.resp.encode import array, bulk, null
from dualkv.resp.replies import is_error, value_of

__all__ = ["Reading", "Rebuild", "bulks", "from_values", "same"]

Rebuild = Callable[[Sequence[bytes], int], bytes]
"""From raw replies, and the primary's time in milliseconds when they came, to the raw reply of the read."""


class Reading(NamedTuple):
    """How a read is made."""

    commands: tuple[Args, ...]
    """In this order, one reply each."""
    rebuild: Rebuild


def same(replies: Sequence[bytes], _: int) -> bytes:
    """Return the only reply."""
    return replies[0]


def from_values(build: Callable[..., bytes]) -> Rebuild:
    """Return what builds a reply of the replies' values; the first error among them is the reply."""

    def rebuild(replies: Sequence[bytes], _: int) -> bytes:
        refusal = next(filter(is_error, replies), None)
        return refusal or build(*map(value_of, replies))

    return rebuild


def bulks(words: Sequence[bytes | None]) -> bytes:
    """Return an array of strings; None is nil."""
    return array(null(2) if word is None else bulk(word) for word in words)
