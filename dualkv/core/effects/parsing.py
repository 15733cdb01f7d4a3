"""Words of requests and frames of replies, as the rules need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dualkv.commands.keys import keys_of
from dualkv.core.effects.model import NOTHING, Args, Command, Effects, Execution
from dualkv.resp.replies import elements_of, is_null

__all__ = [
    "Questions",
    "amount",
    "copies",
    "copies_of",
    "deadline_ms",
    "effects",
    "expire",
    "expiry_ms",
    "fields_of",
    "frames",
    "integer",
    "named",
    "options",
    "text",
    "texts",
]

Questions = Callable[[Args], tuple[Args, ...]]
"""What has to be asked behind a request."""


# --- replies ---------------------------------------------------------------------------------------------


def text(frame: bytes) -> bytes:
    """Return what a simple frame says: a string, or a number as it is written (RESP3's doubles too)."""
    if frame[:1] == b"$":
        return frame[frame.index(b"\r\n") + 2 : -2]
    if frame[:1] in (b":", b",", b"+"):
        return frame[1:-2]
    raise ValueError(f"not a simple reply: {frame[:16]!r}")


def integer(frame: bytes) -> int:
    """Return an integer, as a number or as a string that holds one."""
    return int(text(frame))


def frames(frame: bytes) -> list[bytes]:
    """Return the elements of an aggregate; none of nil."""
    return [] if is_null(frame) else elements_of(frame)


def texts(frame: bytes) -> list[bytes]:
    """Return what the elements of an aggregate say."""
    return list(map(text, frames(frame)))


def named(frame: bytes) -> dict[bytes, bytes]:
    """Return the frames in a map (RESP2: a flat array) by what their keys say."""
    words = frames(frame)
    return {text(name): value for name, value in zip(words[::2], words[1::2], strict=True)}


# --- requests --------------------------------------------------------------------------------------------


def options(words: Args, taking: Mapping[bytes, int]) -> dict[bytes, Args]:
    """Return options by their upper-case names, each with its arguments.

    Args:
        words: The part of a request that holds nothing but options.
        taking: How many arguments an option has, for those that have any.
    """
    found: dict[bytes, Args] = {}
    position = 0
    while position < len(words):
        name = words[position].upper()
        behind = position + 1 + taking.get(name, 0)
        found[name] = words[position + 1 : behind]
        position = behind
    return found


def fields_of(args: Args, width: int = 1) -> tuple[Args, Args]:
    """Return the options and the fields of ``command key … FIELDS n field …``; a field has *width* words."""
    position = [word.upper() for word in args].index(b"FIELDS", 2)
    behind = position + 2 + int(args[position + 1]) * width
    return args[2:position] + args[behind:], args[position + 2 : behind]


_SECONDS: Final = frozenset({b"EX", b"EXAT"})
_RELATIVE: Final = frozenset({b"EX", b"PX"})
_UNITS: Final = (b"EX", b"PX", b"EXAT", b"PXAT")


def deadline_ms(unit: bytes, number: bytes, at_ms: int) -> int:
    """Return when something expires, in milliseconds since 1970.

    Args:
        unit: ``EX``, ``PX``, ``EXAT`` or ``PXAT``.
        number: How many, or when.
        at_ms: When it was said.
    """
    time_ms = int(number) * (1000 if unit in _SECONDS else 1)
    return at_ms + time_ms if unit in _RELATIVE else time_ms


def expiry_ms(found: Mapping[bytes, Args], at_ms: int) -> int | None:
    """Return the expiry that is among options, in milliseconds since 1970; None if there is none."""
    for unit in _UNITS:
        if unit in found:
            return deadline_ms(unit, found[unit][0], at_ms)
    return None


# --- effects ---------------------------------------------------------------------------------------------


def amount(number: int) -> bytes:
    """Return an integer reply."""
    return b":%d\r\n" % number


def effects(*commands: Command) -> Effects:
    """Return the effect that consists of *commands*."""
    return Effects(commands) if commands else NOTHING


def expire(key: bytes, expires_at_ms: int, at_ms: int) -> Command:
    """Return what gives an existing key its expiry; one in the past removes it."""
    if expires_at_ms <= at_ms:
        return Command((b"DEL", key), amount(1))
    return Command((b"PEXPIREAT", key, b"%d" % expires_at_ms), amount(1))


def copies(keys: Sequence[bytes]) -> Effects:
    """Return the effect that copies the state of *keys*."""
    return Effects(copies=tuple((None, key) for key in keys))


def copies_of(execution: Execution) -> Effects:
    """Return the effect that copies the state of all keys that a request names.

    If nobody knows its keys, the request itself is all there is to say.
    """
    keys = keys_of(execution.spec, execution.args)
    return effects(Command(execution.args)) if keys is None else copies(keys)
