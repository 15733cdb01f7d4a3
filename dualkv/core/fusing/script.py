"""How effects are executed in one transaction, and what the answer means.

The scripts are `dualkv.core.dialect.scripts`: they run a list of commands and answer the list of their
replies. If one of these fails, the script fails as a whole, and ElasticKV rolls back what was done.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from dualkv.core.dialect.scripts import LIBRARY, RUNNER
from dualkv.core.dialect.speaking import said_now, script_call
from dualkv.core.effects.model import Args
from dualkv.core.mirror import write_error_reason
from dualkv.resp.encode import OK, pack
from dualkv.resp.replies import is_error

__all__ = ["Call", "Verdict", "call", "call_one", "judge", "results"]

_DIGESTS: Final = {
    script: hashlib.sha1(script, usedforsecurity=False).hexdigest().encode() for script in (RUNNER, LIBRARY)
}


class Call(NamedTuple):
    """A request that executes commands."""

    wire: bytes
    digest: bytes = b""
    """Of the script, by which the backend knows it afterwards; empty: a command as it is, whose reply is
    the one of the command."""


def call(commands: Sequence[Args], now_ms: int, known: Collection[bytes] = ()) -> Call:
    """Return the request that executes *commands* in one transaction; it answers a list of their replies.

    Args:
        commands: In Redis' words, as `dualkv.core.fusing.folding` knows them.
        now_ms: The primary's clock, in milliseconds since 1970.
        known: Digests of scripts that the backend has seen: then these will do.
    """
    args = script_call([said_now(command, now_ms) for command in commands])
    digest = _DIGESTS[args[1]]
    return Call(pack((b"EVALSHA", digest, *args[2:]) if digest in known else args), digest)


def call_one(command: Args, now_ms: int, known: Collection[bytes] = ()) -> Call:
    """Return the request that executes one command: as it is, if the backend has it. Otherwise as `call`."""
    said = said_now(command, now_ms)
    if script_call([said])[1] is RUNNER:
        return Call(pack(said))
    return call([command], now_ms, known)


class Verdict(enum.Enum):
    """What an answer means."""

    DONE = enum.auto()
    """All is done."""
    UNKNOWN_SCRIPT = enum.auto()
    """Nothing is done: the script has to be sent with its body."""
    BUSY = enum.auto()
    """Nothing is done: the backend has too much to do."""
    TOO_MUCH = enum.auto()
    """Nothing is done: it was more than the backend takes at once."""
    AGAIN = enum.auto()
    """Nothing is done, for no reason that lasts."""
    GUILTY = enum.auto()
    """Nothing is done: one of the effects has failed."""
    FAILED = enum.auto()
    """It has nothing to do with the effects, and they may have been executed all the same."""


_TOO_MUCH: Final = (b"invalid request", b"too large")
_AGAIN: Final = b"read timestamp has been compacted"
_OF_ONE_EFFECT: Final = "other"


def judge(frame: bytes) -> Verdict:
    """Return what a raw answer means. Source of the texts: a real ElasticKV, as observed."""
    if not is_error(frame):
        return Verdict.DONE
    if frame.startswith(b"-NOSCRIPT"):
        return Verdict.UNKNOWN_SCRIPT
    text = frame[1:512].lower()
    if _AGAIN in text:
        return Verdict.AGAIN
    if text.startswith(b"<string>"):  # where in the script something went wrong
        return Verdict.GUILTY
    if b"busy server overloaded" in text:
        return Verdict.BUSY
    if any(words in text for words in _TOO_MUCH):
        return Verdict.TOO_MUCH
    return Verdict.GUILTY if write_error_reason(frame) == _OF_ONE_EFFECT else Verdict.FAILED


def results(replies: Iterable[bytes]) -> list[bytes]:
    """Return raw replies to commands as a leader gives them.

    A bulk ``OK`` is what Lua, or a follower, makes of the status.
    """
    return [OK if reply == b"$2\r\nOK\r\n" else reply for reply in replies]
