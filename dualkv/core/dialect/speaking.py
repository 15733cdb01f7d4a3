"""From commands in Redis' words to the bytes that ElasticKV gets, at the moment of sending.

Effects stay in Redis' words until they are sent: whose keys they are, what they count as and what they must
answer is known there. What is different on the wire:

- *Several commands*, or one that the store has not, are one transaction: ``EVAL`` of a fixed script
  (`dualkv.core.dialect.scripts`). More than `MAX_COMMANDS` are several, in order: a larger one is refused.
- *Times are relative*: ``PEXPIREAT k t`` becomes ``PEXPIRE k left``, ``SET k v PXAT t`` becomes ``SET k v PX
  left``. What is left is counted by the primary's clock when the bytes are made, directly before they are
  written, so how long an effect has waited in a queue does not matter. The key then expires too late by what
  the bytes and their commit take, at most the time-out of a call; and too early or too late by the error of
  the clock's offset, at most half a round trip to the primary.
- *Some commands are not known in scripts* (``PFADD``, ``PUBLISH``): a list with one of them goes command by
  command, and is not atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from dualkv.commands.keys import keys_of
from dualkv.commands.table import find_command
from dualkv.core.dialect.scripts import LIBRARY, OWN_COMMANDS, RUNNER
from dualkv.core.effects.model import Args
from dualkv.resp.encode import array, pack
from dualkv.resp.replies import elements_of, is_error

__all__ = ["MAX_COMMANDS", "Spoken", "is_scriptable", "said_now", "script_call", "speak"]

MAX_COMMANDS: Final = 500
"""In one transaction. A real one took 1,000 and answered ``invalid request`` to some of 3,000."""

_LONGEST_MS: Final = 1 << 52
_NOT_IN_SCRIPTS: Final = frozenset({b"PFADD", b"PUBLISH", b"EVAL", b"EVALSHA", b"FLUSHALL", b"FLUSHDB"})
"""Refused there, or not worth the risk: a transaction that empties the store is as big as the store."""
_OWN: Final = frozenset(map(str.encode, OWN_COMMANDS))


Fold = Callable[[Sequence[bytes], int], bytes]
"""From raw replies, and the primary's time in milliseconds when they came, to one raw reply."""


class Spoken(NamedTuple):
    """What to send for some commands, and how to read the answer."""

    wire: bytes
    reply_count: int
    """Frames that the store answers."""
    fold: Fold
    """Makes one frame of them: an error, the reply to a single command, or an array with a reply for each."""


def speak(commands: Sequence[Args], now_ms: int) -> Spoken:
    """Return what makes ElasticKV execute *commands*, at least one, in their order.

    Args:
        commands: In Redis' words, lowered to what the dialect can do (`dualkv.core.dialect.lower`).
        now_ms: The primary's clock, in milliseconds since 1970.
    """
    said = [said_now(command, now_ms) for command in commands]
    if len(said) == 1:
        if not _needs_library(said[0]):
            return Spoken(pack(said[0]), 1, _only)
        return Spoken(pack(script_call(said)), 1, _only_element)
    if not all(map(is_scriptable, said)):
        pieces = [speak([command], now_ms) for command in said]
        return Spoken(b"".join(piece.wire for piece in pieces), len(pieces), _each_of(pieces))
    calls = [pack(script_call(said[at : at + MAX_COMMANDS])) for at in range(0, len(said), MAX_COMMANDS)]
    return Spoken(b"".join(calls), len(calls), _only if len(calls) == 1 else _joined)


def said_now(args: Args, now_ms: int) -> Args:
    """Return a command with the time that is left instead of the time when it is over.

    Args:
        args: The command, name first.
        now_ms: The primary's clock, in milliseconds since 1970.
    """
    name = args[0].upper()
    if name == b"PEXPIREAT":
        left_ms = int(args[2]) - now_ms
        return (b"PEXPIRE", args[1], b"%d" % (min(left_ms, _LONGEST_MS) if left_ms > 0 else -1))  # removes it
    if name == b"SET" and len(args) == 5 and args[3].upper() == b"PXAT":
        # In the past: it may live for a millisecond, so that its reply is that of a SET.
        left_ms = min(max(int(args[4]) - now_ms, 1), _LONGEST_MS)
        return (b"SET", args[1], args[2], b"PX", b"%d" % left_ms)
    return args


def is_scriptable(args: Args) -> bool:
    """Whether a command can be a part of a transaction."""
    return args[0].upper() not in _NOT_IN_SCRIPTS


def script_call(commands: Sequence[Args]) -> Args:
    """Return the ``EVAL`` that executes *commands* as one transaction; its reply has one element for each.

    Args:
        commands: Each `is_scriptable`, with times as `said_now` says them.
    """
    script = LIBRARY if any(map(_needs_library, commands)) else RUNNER
    keys = dict.fromkeys(key for args in commands for key in _keys(args))
    return (b"EVAL", script, b"%d" % len(keys), *keys, *_listed(commands))


def _listed(commands: Sequence[Args]) -> Iterable[bytes]:
    for args in commands:
        yield b"%d" % len(args)
        yield args[0].upper()
        yield from args[1:]


def _keys(args: Args) -> Sequence[bytes]:
    return keys_of(find_command(args[0], args[1] if len(args) > 1 else None), args) or ()


def _needs_library(args: Args) -> bool:
    name = args[0].upper()
    if name == b"SET":
        return len(args) > 3 and args[3] == b"KEEPTTL"
    return name in _OWN or (name == b"XTRIM" and args[2].upper() == b"MINID")


def _only(frames: Sequence[bytes], _: int) -> bytes:
    return frames[0]


def _only_element(frames: Sequence[bytes], _: int) -> bytes:
    return frames[0] if is_error(frames[0]) else elements_of(frames[0])[0]


def _each_of(pieces: Sequence[Spoken]) -> Fold:
    return lambda frames, now_ms: array(
        piece.fold([frame], now_ms) for piece, frame in zip(pieces, frames, strict=True)
    )


def _joined(frames: Sequence[bytes], _: int) -> bytes:
    refusal = next(filter(is_error, frames), None)
    return refusal or array(element for frame in frames for element in elements_of(frame))
