"""Blocking commands: how long they wait, and how to put back what they took for nobody.

They run on a connection of their own, so nobody knows their place in the lane's order. That is why what they
have left is looked at on the lane: keys are copied, or a group of a stream is asked about
(`dualkv.core.effects.groups`).
"""

from __future__ import annotations

from typing import Final

from dualkv.commands.table import CommandSpec
from dualkv.resp.replies import elements_of, is_error, is_null, value_of

__all__ = ["gives_back", "shortened", "wait_seconds"]

Args = tuple[bytes, ...]
Command = tuple[bytes | str | int, ...]


def wait_seconds(spec: CommandSpec, args: Args) -> float | None:
    """Return the longest wait that a request asks for; None: it has no end, or is not a number."""
    try:
        number = float(args[_timeout_at(spec, args)])
    except (ValueError, IndexError, StopIteration):
        return None
    seconds = number / 1000 if spec.name in _IN_MILLISECONDS else number
    return seconds if 0 < seconds < float("inf") else None


def shortened(spec: CommandSpec, args: Args, waited_seconds: float) -> Args | None:
    """Return a request that has been waiting, for the rest of its time; None: its time is over."""
    seconds = wait_seconds(spec, args)
    if seconds is None:
        return args
    left_ms = int((seconds - waited_seconds) * 1000)
    if left_ms <= 0:
        return None
    rest = b"%d" % left_ms if spec.name in _IN_MILLISECONDS else b"%.3f" % (left_ms / 1000)
    at = _timeout_at(spec, args)
    return (*args[:at], rest, *args[at + 1 :])


_IN_MILLISECONDS: Final = frozenset({"XREAD", "XREADGROUP"})


def _timeout_at(spec: CommandSpec, args: Args) -> int:
    """Return where a request says how long it waits. Raises StopIteration if it does not."""
    if spec.name in _IN_MILLISECONDS:
        return next(at for at, word in enumerate(args) if word.upper() == b"BLOCK") + 1
    return 1 if spec.name in ("BLMPOP", "BZMPOP") else len(args) - 1


def gives_back(spec: CommandSpec, args: Args, reply: bytes) -> list[Command]:
    """Return the commands that put back what was taken for a client that has gone."""
    if is_error(reply) or is_null(reply):
        return []
    if spec.name in ("BLPOP", "BRPOP"):
        key, value = _bulks(reply)
        return [(_PUSH[spec.name[1:2] == "L"], key, value)]
    if spec.name == "BLMPOP":
        key, values = elements_of(reply)
        return [(_PUSH[_takes_left(args)], _bulk(key), *reversed(_bulks(values)))]
    if spec.name in ("BZPOPMIN", "BZPOPMAX"):
        key, member, score = elements_of(reply)
        return [("ZADD", _bulk(key), _score(score), _bulk(member))]
    if spec.name == "BZMPOP":
        key, pairs = elements_of(reply)
        scored = [elements_of(pair) for pair in elements_of(pairs)]
        words = [word for member, score in scored for word in (_score(score), _bulk(member))]
        return [("ZADD", _bulk(key), *words)]
    return []


_PUSH: Final = {True: "LPUSH", False: "RPUSH"}


def _bulk(frame: bytes) -> bytes:
    value = value_of(frame)
    assert isinstance(value, bytes)
    return value


def _bulks(frame: bytes) -> list[bytes]:
    return [_bulk(element) for element in elements_of(frame)]


def _score(frame: bytes) -> bytes:
    """A score as ``ZADD`` takes it: RESP2's bulk string, RESP3's double."""
    return frame[1:-2] if frame[:1] == b"," else _bulk(frame)


def _takes_left(args: Args) -> bool:
    """``BLMPOP timeout numkeys key … LEFT|RIGHT``."""
    return args[3 + int(args[2])].upper() == b"LEFT"
