"""What copies are made of, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from dualkv.core.dialect import Dialect, lower
from dualkv.core.effects.model import Args, Command, Effects
from dualkv.resp.replies import is_error, value_of

__all__ = ["Copied", "CopyFailed"]

CHUNK_ELEMENTS: Final = 1000
"""Elements in one command. Redis rewrites its own log with 64, and sends SPOP to replicas with 1,024."""

CHUNK_BYTES: Final = 1024 * 1024
"""Bytes in one command, unless one element has more."""

GONE: Final = -2
NO_EXPIRY: Final = -1
"""Instead of a time, as ``PEXPIRETIME`` answers."""


class CopyFailed(Exception):
    """The primary refuses to let a key be read. The copy may be tried again later."""

    def __init__(self, key: bytes, error: bytes) -> None:
        super().__init__(error.decode(errors="replace").strip())
        self.key = key
        self.error = error
        """Its raw frame."""


class Copied(NamedTuple):
    """What brings a key, or a part of it, to the other store."""

    commands: tuple[Command, ...] = ()
    """To be executed in one piece (MULTI … EXEC), at the position of the reading."""
    lost: tuple[str, ...] = ()
    """What the other store cannot hold of it: commands that it lacks, or the key's type."""


def said(
    commands: Iterator[Command] | Sequence[Command], target: Dialect, lost: tuple[str, ...] = ()
) -> Copied:
    """Say *commands* in what *target* has."""
    lowered = lower(Effects(tuple(commands)), target)
    return Copied(lowered.effects.commands, (*lowered.unheld, *lost))


def values_of(key: bytes, frames: Sequence[bytes]) -> list[Any]:
    """Return the values of replies to reads of *key*.

    Raises:
        CopyFailed: One of them is an error.
    """
    refusal = next(filter(is_error, frames), None)
    if refusal is not None:
        raise CopyFailed(key, refusal)
    return [value_of(frame) for frame in frames]


def expiry_read(key: bytes, source: Dialect) -> Args:
    """Return how to ask when a key expires."""
    return (b"PEXPIRETIME" if source.has("PEXPIRETIME") else b"PTTL", key)


def expires_at_ms(answer: int, source: Dialect, now_ms: int) -> int:
    """Return when a key expires by the answer to `expiry_read`; `GONE` or `NO_EXPIRY`."""
    return answer if answer < 0 or source.has("PEXPIRETIME") else now_ms + answer


def batches(elements: Sequence[bytes], per_element: int = 1) -> Iterator[Sequence[bytes]]:
    """Cut *elements*, of *per_element* words each, into what fits one command each."""
    start = size = 0
    for position, element in enumerate(elements):
        is_first = position % per_element == 0
        if is_first and (position - start >= CHUNK_ELEMENTS * per_element or size >= CHUNK_BYTES):
            yield elements[start:position]
            start, size = position, 0
        size += len(element)
    if start < len(elements):
        yield elements[start:]


def flat(value: Any) -> list[Any]:
    """Return fields and values, or members and scores, in one list, as RESP2 has them."""
    if isinstance(value, dict):
        return [word for pair in value.items() for word in pair]
    if value and isinstance(value[0], list):
        return [word for pair in value for word in pair]
    return list(value)


def mapping(value: Any) -> dict[bytes, Any]:
    """Return a map, as either RESP version has it."""
    words = flat(value) if isinstance(value, dict) else value
    return dict(zip(words[::2], words[1::2], strict=True))


def text_of(number: bytes | float) -> bytes:
    """Return a score as it is written in a command; it reads as the same number."""
    return number if isinstance(number, bytes) else repr(number).encode()
