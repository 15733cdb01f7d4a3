"""Blocking commands: how long they wait, and what mirrors them.

They run on a connection of their own, so their place in the lane's order is known only roughly. That is why
the effect names the value that was taken (``BLPOP`` → ``LREM key 1 value``) and not a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dualkv.commands.keys import keys_of
from dualkv.commands.table import CommandSpec
from dualkv.resp.replies import elements_of, is_error, is_null, value_of

__all__ = ["effects_of", "gives_back", "wait_seconds"]

Args = tuple[bytes, ...]
Command = tuple[bytes | str | int, ...]


def wait_seconds(spec: CommandSpec, args: Args) -> float | None:
    """Return the longest wait that a request asks for; None: it has no end, or is not a number."""
    try:
        if spec.name in ("XREAD", "XREADGROUP"):
            position = next(at for at, word in enumerate(args) if word.upper() == b"BLOCK")
            seconds = int(args[position + 1]) / 1000
        elif spec.name in ("BLMPOP", "BZMPOP"):
            seconds = float(args[1])
        else:
            seconds = float(args[-1])
    except (ValueError, IndexError, StopIteration):
        return None
    return seconds if 0 < seconds < float("inf") else None


def effects_of(spec: CommandSpec, args: Args, reply: bytes, now_ms: int) -> list[Command]:
    """Return the commands that make another store do what a blocking command did.

    Args:
        spec: The command.
        args: The request.
        reply: The primary's raw reply.
        now_ms: The time, in milliseconds since 1970 (consumer groups remember it).
    """
    if is_error(reply):
        return []
    if spec.name == "XREADGROUP":
        return _read_group(spec, args, reply, now_ms)
    effects = _EFFECTS.get(spec.name)
    return [] if effects is None or is_null(reply) else effects(args, reply)


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


def _pop_left(_: Args, reply: bytes) -> list[Command]:
    key, value = _bulks(reply)
    return [("LREM", key, 1, value)]


def _pop_right(_: Args, reply: bytes) -> list[Command]:
    key, value = _bulks(reply)
    return [("LREM", key, -1, value)]


def _pop_many(args: Args, reply: bytes) -> list[Command]:
    key, values = elements_of(reply)
    count = 1 if _takes_left(args) else -1
    return [("LREM", _bulk(key), count, value) for value in _bulks(values)]


def _move(args: Args, reply: bytes) -> list[Command]:
    if args[0].upper() == b"BRPOPLPUSH":
        takes_left, puts_left = False, True
    else:
        takes_left, puts_left = (word.upper() == b"LEFT" for word in args[3:5])
    value = _bulk(reply)
    return [("LREM", args[1], 1 if takes_left else -1, value), (_PUSH[puts_left], args[2], value)]


def _pop_scored(_: Args, reply: bytes) -> list[Command]:
    key, member, _score = elements_of(reply)
    return [("ZREM", _bulk(key), _bulk(member))]


def _pop_many_scored(_: Args, reply: bytes) -> list[Command]:
    key, pairs = elements_of(reply)
    return [("ZREM", _bulk(key), *(_bulk(elements_of(pair)[0]) for pair in elements_of(pairs)))]


def _read_group(spec: CommandSpec, args: Args, reply: bytes, now_ms: int) -> list[Command]:
    """What the group has delivered is pending at the consumer; and the consumer exists from now on."""
    group, consumer = args[2], args[3]
    keys = keys_of(spec, args) or ()
    begins = dict(zip(keys, args[-len(keys) :], strict=True)) if keys else {}
    has_noack = any(word.upper() == b"NOACK" for word in args[4:])
    effects: list[Command] = [("XGROUP", "CREATECONSUMER", key, group, consumer) for key in keys]
    for stream_key, entries in _streams(reply):
        if begins.get(stream_key) != b">":  # its own history: nothing is delivered anew
            continue
        ids = [_bulk(elements_of(entry)[0]) for entry in elements_of(entries)]
        if has_noack and ids:
            effects.append(("XGROUP", "SETID", stream_key, group, ids[-1]))
        elif ids:
            effects += [
                ("XCLAIM", stream_key, group, consumer, 0, entry_id, "TIME", now_ms, "RETRYCOUNT", 1, "FORCE",
                 "JUSTID", "LASTID", entry_id)
                for entry_id in ids
            ]  # fmt: skip
    return effects


def _streams(reply: bytes) -> list[tuple[bytes, bytes]]:
    """RESP2: pairs of key and entries; RESP3: a map."""
    if is_null(reply):
        return []
    elements: Sequence[bytes] = elements_of(reply)
    if reply[:1] == b"%":
        return [(_bulk(key), entries) for key, entries in zip(elements[::2], elements[1::2], strict=True)]
    return [(_bulk(key), entries) for key, entries in map(elements_of, elements)]


_EFFECTS: Final[dict[str, Callable[[Args, bytes], list[Command]]]] = {
    "BLPOP": _pop_left,
    "BRPOP": _pop_right,
    "BLMPOP": _pop_many,
    "BLMOVE": _move,
    "BRPOPLPUSH": _move,
    "BZPOPMIN": _pop_scored,
    "BZPOPMAX": _pop_scored,
    "BZMPOP": _pop_many_scored,
}
