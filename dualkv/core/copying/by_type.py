"""The long way: a key in its type's own commands, between any two stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from dualkv.core.copying.model import (
    GONE,
    Copied,
    batches,
    expires_at_ms,
    expiry_read,
    flat,
    said,
    text_of,
    values_of,
)
from dualkv.core.copying.streams import stream_read, stream_writes
from dualkv.core.dialect import Dialect
from dualkv.core.effects.model import Args, Command
from dualkv.resp.encode import OK, integer
from dualkv.resp.replies import is_error, value_of

__all__ = ["KINDS", "field_expiries", "hash_elements", "reads", "set_elements", "writes", "zset_elements"]

_HLL: Final = b"HYLL"
"""How a HyperLogLog begins."""

FIELD_EXPIRIES: Final = b"""
local fields, found = redis.call('HKEYS', KEYS[1]), {}
for first = 1, #fields, 1000 do
  local last = math.min(first + 999, #fields)
  local times = redis.call('HPEXPIRETIME', KEYS[1], 'FIELDS', last - first + 1, unpack(fields, first, last))
  for index, time in ipairs(times) do
    if time > 0 then
      found[#found + 1] = fields[first + index - 1]
      found[#found + 1] = time
    end
  end
end
return found
"""
"""The fields with an expiry and when, which no command tells without being told the fields."""


def reads(kind: bytes, key: bytes, source: Dialect) -> tuple[Args, ...]:
    """Return what to read of a key of type *kind*, in one piece (MULTI … EXEC)."""
    return ((b"TYPE", key), expiry_read(key, source), *KINDS[kind].reads(key, source))


def writes(
    kind: bytes, key: bytes, replies: Sequence[bytes], now_ms: int, source: Dialect, target: Dialect
) -> Copied | None:
    """Return what to write after the *replies* to `reads`; None: the key has got another type meanwhile.

    Args:
        kind: The type that was read.
        key: The key.
        replies: Raw frames.
        now_ms: The primary's clock when it answered.
        source: Who answered.
        target: Who gets it.

    Raises:
        CopyFailed: The primary answered an error.
    """
    found, answer = values_of(key, replies[:2])
    at_ms = expires_at_ms(answer, source, now_ms)
    if found == b"none" or at_ms == GONE or 0 <= at_ms <= now_ms:
        return said([Command((b"DEL", key))], target)
    if found != kind:
        return None
    content, lost = KINDS[kind].writes(key, replies[2:])
    if kind == b"stream" and not target.has("XSETID"):
        content = [command for command in content if not _is_said_by_entries(command, content)]
    if kind == b"string" and not target.holds_hll and content[0].args[2].startswith(_HLL):
        # A string there would be of the wrong type for PFADD. What is counted already is better than nothing.
        expiry = [Command((b"PEXPIREAT", key, b"%d" % at_ms))] if at_ms > 0 else []
        return said(expiry, target, ("PFADD",))
    if kind == b"string" and at_ms > 0:  # in one command, so that no MULTI is needed
        content = [Command((*content[0].args, b"PXAT", b"%d" % at_ms), OK)]
    elif kind != b"string":
        content = [Command((b"DEL", key)), *content]
        if at_ms > 0:
            content.append(Command((b"PEXPIREAT", key, b"%d" % at_ms)))
    return said(content, target, lost)


# --- what an element is, for whole copies and for chunks


def hash_elements(key: bytes, words: Sequence[bytes]) -> Iterator[Command]:
    """Yield commands that set fields; *words* are fields and values in turn."""
    for batch in batches(words, 2):
        yield Command((b"HSET", key, *batch))


def field_expiries(key: bytes, words: Sequence[Any]) -> Iterator[Command]:
    """Yield commands that let fields expire; *words* are fields and times (ms since 1970) in turn."""
    by_time: dict[int, list[bytes]] = {}
    for field, at_ms in zip(words[::2], words[1::2], strict=True):
        by_time.setdefault(at_ms, []).append(field)
    for at_ms, fields in by_time.items():
        for batch in batches(fields):
            yield Command((b"HPEXPIREAT", key, b"%d" % at_ms, b"FIELDS", b"%d" % len(batch), *batch))


def set_elements(key: bytes, members: Sequence[bytes]) -> Iterator[Command]:
    """Yield commands that add members."""
    for batch in batches(members):
        yield Command((b"SADD", key, *batch))


def zset_elements(key: bytes, words: Sequence[Any]) -> Iterator[Command]:
    """Yield commands that add members; *words* are members and scores in turn."""
    turned = [word for at in range(0, len(words), 2) for word in (text_of(words[at + 1]), words[at])]
    for batch in batches(turned, 2):
        yield Command((b"ZADD", key, *batch))


# --- whole keys: what to read, and what to write into the empty key

_Content = tuple[list[Command], tuple[str, ...]]


class _Kind(NamedTuple):
    reads: Callable[[bytes, Dialect], tuple[Args, ...]]
    writes: Callable[[bytes, Sequence[bytes]], _Content]


def _counted(commands: Iterator[Command], words_per_element: int = 1) -> list[Command]:
    """Expect each command to add all of its elements."""
    return [
        command._replace(reply=integer((len(command.args) - 2) // words_per_element)) for command in commands
    ]


def _string(key: bytes, replies: Sequence[bytes]) -> _Content:
    (value,) = values_of(key, replies)
    return [Command((b"SET", key, value), OK)], ()


def _list(key: bytes, replies: Sequence[bytes]) -> _Content:
    (elements,) = values_of(key, replies)
    commands, length = [], 0
    for batch in batches(elements):
        length += len(batch)
        commands.append(Command((b"RPUSH", key, *batch), integer(length)))
    return commands, ()


def _set(key: bytes, replies: Sequence[bytes]) -> _Content:
    (members,) = values_of(key, replies)
    return _counted(set_elements(key, list(members))), ()


def _zset(key: bytes, replies: Sequence[bytes]) -> _Content:
    (pairs,) = values_of(key, replies)
    return _counted(zset_elements(key, flat(pairs)), 2), ()


def _hash_reads(key: bytes, source: Dialect) -> tuple[Args, ...]:
    fields = (b"HGETALL", key)
    if source.has("HPEXPIRETIME") and source.has("EVAL_RO"):
        return (fields, (b"EVAL_RO", FIELD_EXPIRIES, b"1", key))
    return (fields,)


def _hash(key: bytes, replies: Sequence[bytes]) -> _Content:
    (fields,) = values_of(key, replies[:1])
    commands = _counted(hash_elements(key, flat(fields)), 2)
    if len(replies) > 1:
        if is_error(replies[1]):  # scripts are refused
            return commands, ("HPEXPIREAT",)
        commands += field_expiries(key, value_of(replies[1]))
    return commands, ()


def _stream(key: bytes, replies: Sequence[bytes]) -> _Content:
    (state,) = values_of(key, replies)
    return stream_writes(key, state)


def _is_said_by_entries(command: Command, content: Sequence[Command]) -> bool:
    """Whether an ``XSETID`` brings nothing but counters, since the last entry that is added has that id."""
    added = [one.args[2] for one in content if one.args[0] == b"XADD"]
    return command.args[0] == b"XSETID" and added[-1:] == [command.args[2]]


KINDS: Final[dict[bytes, _Kind]] = {
    b"string": _Kind(lambda key, _: ((b"GET", key),), _string),
    b"list": _Kind(lambda key, _: ((b"LRANGE", key, b"0", b"-1"),), _list),
    b"set": _Kind(lambda key, _: ((b"SMEMBERS", key),), _set),
    b"zset": _Kind(lambda key, _: ((b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),), _zset),
    b"hash": _Kind(_hash_reads, _hash),
    b"stream": _Kind(lambda key, source: (stream_read(key, source),), _stream),
}
"""By what ``TYPE`` answers. Types of modules are not among them."""
