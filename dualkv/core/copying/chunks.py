"""Big hashes, sets and sorted sets, a chunk at a time, while clients go on writing to them.

Why the result is exact
=======================

The reads are HSCAN, SSCAN or ZSCAN on the primary's lane; p1 … pn are their positions. At p1 the other
store gets ``DEL key`` and the first chunk, at each later position the next one: the elements as they are on
the primary at that position, whole (a field with its expiry). From p1 on every effect on the key is sent
too, at its own position.

Call an element *settled* once the other store has it in the same state as the primary, or neither has it.
Then:

1. *An element that was not there at p1* is settled from the start: after ``DEL`` neither store has it.
2. *A settled element stays settled.* What happens to it is sent in the same order and does the same to the
   same state. A chunk that brings it again brings its state at that position, which it has already.
3. *An element that a chunk brings gets settled*, since it comes whole.
4. *An element that is removed or set whole gets settled*, also with the key as a whole: ``DEL``, ``SET``.

So only an element could be unsettled at pn that was there at p1, was never removed, and was in no chunk.
But SCAN returns every element that is there throughout: there is none. That holds if

- *effects are element-wise*: what one does to an element depends on that element alone. ``ZREMRANGEBYRANK``
  counts its neighbours, ``SINTERSTORE d key …`` makes another key from all of them: see `disturbs`;
- *nothing on the key is lost* between p1 and pn, and the cursor stays valid: the primary is the same process.

The key's own expiry is one more element, and comes with every chunk. A chunk that finds no key brings ``DEL
key``; one that finds another type means that the key was written over, and the copy starts again.

One thing is removed without an effect: a field that expires. If it was touched before its chunk by an
effect that keeps its expiry (``HSETEX … KEEPTTL`` for HINCRBY), the other store has made it without one,
and keeps it. So the last chunk asks how many elements there are; a reply that differs makes the key dirty
as any other does. (Not where fields with an expiry were seen, or cannot be: servers count fields that have
expired until they get round to removing them.)

What the sender has to do
=========================

1. Write a chunk at the position of its read: it enters the stream where the reply is seen. If there is more
   than one path to the primary, the read holds the key's fence as a write does.
2. From the first chunk to the last (`ChunkedCopy.is_under_way`) send every effect on the key, and do not
   compare its reply with the primary's: a count such as HSET's differs while elements are missing. Shadow
   reads of the key tell nothing yet.
3. When a command is executed that `disturbs` and names the key: do not send its effect, copy every key that
   it may have written instead, and start this copy again. The same if an effect asks for a copy of the key.
   ``SWAPDB`` names no key: start all again.
4. If anything on the key was dropped, failed or is unknown, or a connection to the primary was lost: start
   again.

Lists have positions and no elements, strings are one, and a stream takes entries in the order of their ids
only: those are copied at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from dualkv.core.copying.by_type import field_expiries, hash_elements, set_elements, zset_elements
from dualkv.core.copying.model import (
    CHUNK_BYTES,
    CHUNK_ELEMENTS,
    GONE,
    Copied,
    CopyFailed,
    expires_at_ms,
    expiry_read,
    said,
    values_of,
)
from dualkv.core.dialect import Dialect
from dualkv.core.effects.model import Args, Command
from dualkv.resp.encode import integer
from dualkv.resp.replies import is_error, value_of

__all__ = ["SCANNED", "ChunkedCopy", "disturbs"]

_FIRST_COUNT: Final = 100
_LEAST_COUNT: Final = 10
"""Elements to ask for, before their size is known, and at least."""

_ELEMENT_WISE: Final = frozenset(
    {
        "HDEL", "HEXPIRE", "HEXPIREAT", "HGETDEL", "HGETEX", "HINCRBY", "HINCRBYFLOAT", "HMSET", "HPERSIST",
        "HPEXPIRE", "HPEXPIREAT", "HSET", "HSETEX", "HSETNX",
        "SADD", "SREM",
        "GEOADD", "ZADD", "ZINCRBY", "ZREM", "ZREMRANGEBYSCORE",
        # those whose effects name what they took
        "SPOP", "SMOVE", "ZPOPMIN", "ZPOPMAX", "BZPOPMIN", "BZPOPMAX", "ZMPOP", "BZMPOP",
        # the key as a whole, whatever was there
        "DEL", "UNLINK", "FLUSHALL", "FLUSHDB", "SET", "SETEX", "PSETEX", "MSET", "MSETEX", "RESTORE",
        # its expiry
        "EXPIRE", "EXPIREAT", "PERSIST", "PEXPIRE", "PEXPIREAT",
    }
)  # fmt: skip


def disturbs(name: str) -> bool:
    """Whether a command is not element-wise: it ends the chunked copies of the keys that it names.

    Args:
        name: As in the table. What counts is the effect, as `dualkv.core.effects` makes it: ``ZPOPMIN`` goes
            as the ``ZREM`` of what it took.
    """
    return name not in _ELEMENT_WISE


class ChunkedCopy:
    """A big hash, set or sorted set on its way."""

    def __init__(self, kind: bytes, key: bytes, source: Dialect, target: Dialect) -> None:
        self.key = key
        self.is_over = False
        self.is_disturbed = False
        """Whether the key has got another type: the copy is over, and has to be started again."""
        self.done = 0
        """Elements that were sent; those that came twice count twice."""
        self.total = 0
        """Elements on the primary."""
        self._kind = SCANNED[kind]
        self._source, self._target = source, target
        self._cursor: bytes | None = None
        self._count = _FIRST_COUNT
        self._has_expiries = False
        self._is_scripted = kind == b"hash" and source.has("HPEXPIRETIME") and source.has("EVAL_RO")

    def __repr__(self) -> str:
        state = "over" if self.is_over else "under way" if self.is_under_way else "not begun"
        return f"<ChunkedCopy {self.key!r} {self.done}/{self.total} {state}>"

    @property
    def is_under_way(self) -> bool:
        """Whether a part of the key has been sent, and another part has not."""
        return self._cursor is not None and not self.is_over

    def next_read(self) -> tuple[Args, ...]:
        """Return what to read next, in one piece (MULTI … EXEC)."""
        cursor, count = self._cursor or b"0", b"%d" % self._count
        scan: Args = (self._kind.scan, self.key, cursor, b"COUNT", count)
        if self._is_scripted:
            scan = (b"EVAL_RO", _SCAN_WITH_EXPIRIES, b"1", self.key, cursor, count)
        return (expiry_read(self.key, self._source), (self._kind.length, self.key), scan)

    def on_replies(self, replies: Sequence[bytes], now_ms: int) -> Copied:
        """Return what to write after the *replies* to `next_read`.

        Args:
            replies: Raw frames.
            now_ms: The primary's clock when it answered.

        Raises:
            CopyFailed: The primary answered an error.
        """
        (answer,) = values_of(self.key, replies[:1])
        at_ms = expires_at_ms(answer, self._source, now_ms)
        if at_ms == GONE or 0 <= at_ms <= now_ms:
            self.is_over = True
            return said([Command((b"DEL", self.key))], self._target)
        refusal = next(filter(is_error, replies[1:]), None)
        if refusal is not None:
            return self._on_refusal(refusal, is_of_script=not is_error(replies[1]))
        self.total = value_of(replies[1])
        self._adapt(len(replies[2]))
        return said(list(self._chunk(value_of(replies[2]), at_ms)), self._target, self._lost())

    def _chunk(self, scanned: Any, at_ms: int) -> Iterator[Command]:
        cursor, words, *expiries = scanned
        if self._cursor is None:
            yield Command((b"DEL", self.key))
        self._cursor = cursor
        self.is_over = cursor == b"0"
        self.done += len(words) // self._kind.words
        yield from self._kind.writes(self.key, words)
        for found in expiries:
            self._has_expiries |= bool(found)
            yield from field_expiries(self.key, found)
        if at_ms > 0:
            yield Command((b"PEXPIREAT", self.key, b"%d" % at_ms))
        elif self.is_over:
            yield Command((b"PERSIST", self.key))
        if self.is_over and not self._has_expiries and not self._lost():
            yield Command((self._kind.length, self.key), integer(self.total))

    def _on_refusal(self, refusal: bytes, *, is_of_script: bool) -> Copied:
        if b"WRONGTYPE" in refusal:
            self.is_over = self.is_disturbed = True
        elif self._is_scripted and is_of_script:
            self._is_scripted = False  # the same again, without expiries
        else:
            raise CopyFailed(self.key, refusal)
        return Copied()

    def _lost(self) -> tuple[str, ...]:
        is_blind = (
            self._kind is SCANNED[b"hash"] and self._source.has("HPEXPIRETIME") and not self._is_scripted
        )
        return ("HPEXPIREAT",) if is_blind else ()

    def _adapt(self, size: int) -> None:
        fitting = self._count * CHUNK_BYTES // max(size, 1)
        self._count = max(_LEAST_COUNT, min(fitting, 2 * self._count, CHUNK_ELEMENTS))


_SCAN_WITH_EXPIRIES: Final = b"""
local scanned = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local words, found = scanned[2], {}
for first = 1, #words, 2000 do
  local fields = {}
  for index = first, math.min(first + 1998, #words), 2 do
    fields[#fields + 1] = words[index]
  end
  for index, time in ipairs(redis.call('HPEXPIRETIME', KEYS[1], 'FIELDS', #fields, unpack(fields))) do
    if time > 0 then
      found[#found + 1] = fields[index]
      found[#found + 1] = time
    end
  end
end
return {scanned[1], words, found}
"""


class _Scanned(NamedTuple):
    scan: bytes
    length: bytes
    words: int
    """In a reply, per element."""
    writes: Callable[[bytes, Sequence[Any]], Iterator[Command]]


SCANNED: Final = {
    b"hash": _Scanned(b"HSCAN", b"HLEN", 2, hash_elements),
    b"set": _Scanned(b"SSCAN", b"SCARD", 1, set_elements),
    b"zset": _Scanned(b"ZSCAN", b"ZCARD", 2, zset_elements),
}
"""The types that can be copied in chunks."""
