"""Reads in what ElasticKV has: what to send instead of a read that it lacks, and the reply built back.

A shadow read is sent at its position of the stream, so several commands tell one state. Replies are built as
RESP2 writes them; who compares takes either version (`dualkv.core.compare`). What cannot be read here, or
harms the store (``SCAN``, ``KEYS``, ``DBSIZE``, an ``XREAD`` of a missing stream), is not sent at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from dualkv.core.dialect import sorted_sets
from dualkv.core.dialect.model import Dialect
from dualkv.core.dialect.reading import Reading, bulks, from_values, same
from dualkv.core.effects.model import Args
from dualkv.resp.encode import array, bulk, integer, null, null_array
from dualkv.resp.replies import is_error, is_null, value_of

__all__ = ["lower_read", "reads_through"]


def lower_read(args: Args, dialect: Dialect) -> Reading | None:
    """Return how to make a read on a store; None: it cannot be made there.

    Args:
        args: The read, name first. It need not be valid.
        dialect: What the store has.
    """
    name = args[0].upper()
    try:
        reading = _READINGS[name](args) if name in _READINGS else None
    except (IndexError, ValueError):  # the primary has refused it
        return None
    if reading is None and name in _DIRECT:
        reading = Reading((args,), same)
    if reading is None or not all(dialect.has(command[0].decode().upper()) for command in reading.commands):
        return None
    return reading


def reads_through(name: str) -> str | None:
    """Return through which command a read is made, for people; None: not at all.

    Args:
        name: As in the command table.
    """
    word = name.encode()
    return _THROUGH.get(word, name if word in _DIRECT else None)


_DIRECT: Final = frozenset(
    b"""EXISTS TTL PTTL TYPE GET HGET HMGET HGETALL HLEN HEXISTS LLEN LINDEX LPOS LRANGE SCARD SISMEMBER
    SMEMBERS ZCARD ZCOUNT ZSCORE ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE XLEN XRANGE XREVRANGE
    PFCOUNT""".split()
)
"""Reads that it has with all options they have in Redis, but for what `_READINGS` says otherwise."""


# --- strings


def _mget(args: Args) -> Reading:
    """What is no string is nil to it."""
    return Reading(
        tuple((b"GET", key) for key in args[1:]),
        lambda replies, _: array(
            null(2) if reply.startswith(b"-WRONGTYPE") or is_null(reply) else reply for reply in replies
        ),
    )


def _of_string(compute: Callable[[Args, bytes], bytes]) -> Callable[[Args], Reading]:
    """Return the reading that takes the whole value; a missing one is empty."""
    return lambda args: Reading(
        ((b"GET", args[1]),), from_values(lambda value: compute(args, value if value is not None else b""))
    )


def _range(args: Args, value: bytes) -> bytes:
    start, end = int(args[2]), int(args[3])
    if start < 0 and end < 0 and start > end:
        return bulk(b"")
    start, end = (max(at + len(value), 0) if at < 0 else at for at in (start, end))
    return bulk(value[start : end + 1])


def _bit(args: Args, value: bytes) -> bytes:
    offset = int(args[2])
    byte = value[offset // 8] if offset // 8 < len(value) else 0
    return integer(byte >> (7 - offset % 8) & 1)


def _bit_count(args: Args) -> Reading | None:
    if len(args) > 2:
        return None
    return _of_string(lambda _, value: integer(int.from_bytes(value).bit_count()))(args)


# --- expiry


def _expire_time(args: Args) -> Reading:
    is_in_seconds = args[0].upper() == b"EXPIRETIME"

    def rebuild(replies: Sequence[bytes], now_ms: int) -> bytes:
        left_ms = value_of(replies[0])
        if is_error(replies[0]) or left_ms < 0:
            return replies[0]
        at_ms = now_ms + left_ms
        return integer((at_ms + 500) // 1000 if is_in_seconds else at_ms)

    return Reading(((b"PTTL", args[1]),), rebuild)


# --- hashes and sets


def _half_of_hash(first: int) -> Callable[[Args], Reading]:
    return lambda args: Reading(((b"HGETALL", args[1]),), from_values(lambda words: bulks(words[first::2])))


def _hstrlen(args: Args) -> Reading:
    return Reading(((b"HGET", args[1], args[2]),), from_values(lambda value: integer(len(value or b""))))


def _each(name: bytes) -> Callable[[Args], Reading]:
    """Return the reading that asks for each member, and puts the replies side by side."""

    def rebuild(replies: Sequence[bytes], _: int) -> bytes:
        return next(filter(is_error, replies), None) or array(replies)

    return lambda args: Reading(tuple((name, args[1], member) for member in args[2:]), rebuild)


def _of_sets(combine: Callable[..., set[bytes]], args: Args) -> Reading:
    return Reading(
        tuple((b"SMEMBERS", key) for key in args[1:]),
        from_values(lambda *found: bulks(sorted(combine(*map(set, found))))),
    )


def _sintercard(args: Args) -> Reading:
    count = int(args[1])
    limit = int(args[3 + count]) if len(args) > 3 + count else 0

    def build(*found: Sequence[bytes]) -> bytes:
        size = len(set.intersection(*map(set, found)))
        return integer(min(size, limit) if limit else size)

    return Reading(tuple((b"SMEMBERS", key) for key in args[2 : 2 + count]), from_values(build))


# --- streams


def _xread(args: Args) -> Reading | None:
    """It may not answer at all where a stream is missing; a range does."""
    words = [word.upper() for word in args]
    at = words.index(b"STREAMS") + 1
    behind = at + (len(args) - at) // 2
    keys, ids = args[at:behind], args[behind:]
    if b"BLOCK" in words[:at] or not keys or any(entry in (b"$", b"+") for entry in ids):
        return None
    counted = args[words.index(b"COUNT") : words.index(b"COUNT") + 2] if b"COUNT" in words[:at] else ()

    def rebuild(replies: Sequence[bytes], _: int) -> bytes:
        refusal = next(filter(is_error, replies), None)
        found = [(key, reply) for key, reply in zip(keys, replies, strict=True) if reply != b"*0\r\n"]
        return refusal or (
            array(array((bulk(key), reply)) for key, reply in found) if found else null_array(2)
        )

    ranges = zip(keys, map(_next_id, ids), strict=True)
    return Reading(tuple((b"XRANGE", key, first, b"+", *counted) for key, first in ranges), rebuild)


def _next_id(text: bytes) -> bytes:
    milliseconds, dash, sequence = text.partition(b"-")
    return b"%d-%d" % (int(milliseconds), int(sequence) + 1 if dash else 1)


_READINGS: Final[dict[bytes, Callable[[Args], Reading | None]]] = {
    b"MGET": _mget,
    b"STRLEN": _of_string(lambda _, value: integer(len(value))),
    b"GETRANGE": _of_string(_range),
    b"SUBSTR": _of_string(_range),
    b"GETBIT": _of_string(_bit),
    b"BITCOUNT": _bit_count,
    b"EXPIRETIME": _expire_time,
    b"PEXPIRETIME": _expire_time,
    b"HKEYS": _half_of_hash(0),
    b"HVALS": _half_of_hash(1),
    b"HSTRLEN": _hstrlen,
    b"SMISMEMBER": _each(b"SISMEMBER"),
    b"SINTER": partial(_of_sets, set.intersection),
    b"SUNION": partial(_of_sets, set.union),
    b"SDIFF": partial(_of_sets, set.difference),
    b"SINTERCARD": _sintercard,
    b"ZMSCORE": _each(b"ZSCORE"),
    b"ZRANK": sorted_sets.rank,
    b"ZREVRANK": sorted_sets.rank,
    b"ZRANGE": sorted_sets.by_options,
    b"ZRANGEBYLEX": sorted_sets.by_lex,
    b"ZREVRANGEBYLEX": sorted_sets.by_lex,
    b"ZLEXCOUNT": sorted_sets.lex_count,
    b"XREAD": _xread,
}
"""By name. None of what they answer: it is sent as it is, if at all."""

_THROUGH: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"MGET", b"STRLEN", b"GETRANGE", b"SUBSTR", b"GETBIT", b"BITCOUNT"), "GET"),
    **dict.fromkeys((b"EXPIRETIME", b"PEXPIRETIME"), "PTTL"),
    **dict.fromkeys((b"HKEYS", b"HVALS"), "HGETALL"),
    b"HSTRLEN": "HGET",
    b"SMISMEMBER": "SISMEMBER",
    **dict.fromkeys((b"SINTER", b"SUNION", b"SDIFF", b"SINTERCARD"), "SMEMBERS"),
    b"ZMSCORE": "ZSCORE",
    b"ZREVRANK": "ZREVRANGE",
    **dict.fromkeys((b"ZRANK", b"ZRANGEBYLEX", b"ZREVRANGEBYLEX", b"ZLEXCOUNT"), "ZRANGE"),
    b"XREAD": "XRANGE",
}
"""For people: `_READINGS` is what is done."""
