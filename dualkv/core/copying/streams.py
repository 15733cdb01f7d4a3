"""Streams: entries, groups, consumers, pending entries, and the counters.

``XINFO STREAM … FULL COUNT 0`` tells everything at one position. It is said again with XADD, XGROUP, XCLAIM
and XSETID; what those do not let one say directly:

- XCLAIM refuses an entry that is not in the stream, but an entry stays pending when it is deleted or
  trimmed. So such entries are added too, claimed, and removed again.
- XDEL raises the stream's max-deleted-entry-id, which nothing lowers; XTRIM does not. So what lies before
  the first entry is trimmed. Anything else that is missing was deleted on the primary too, which has
  counted it there.
- A stream may be empty, with any last id: one entry is added and trimmed.

A store without XINFO tells its entries (XRANGE); the last id is then that of the last one.

When consumers were last seen is not copied: their idle times begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from dualkv.core.copying.model import batches, mapping
from dualkv.core.dialect import Dialect
from dualkv.core.effects.model import Args, Command
from dualkv.resp.encode import bulk, integer

__all__ = ["stream_read", "stream_writes"]

Id = tuple[int, int]

_SMALLEST: Final = (0, 1)


def stream_read(key: bytes, source: Dialect) -> Args:
    """Return what to read: everything that *source* tells, in one reply."""
    if not source.has("XINFO"):
        return (b"XRANGE", key, b"-", b"+")
    return (b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0")


def stream_writes(key: bytes, state: Any) -> tuple[list[Command], tuple[str, ...]]:
    """Return the commands that make the stream where there is none, and what they cannot bring.

    Args:
        key: The key.
        state: The value of the reply to `stream_read`.
    """
    stream = _of_entries(state) if _are_entries(state) else mapping(state)
    last = _id(stream[b"last-generated-id"])
    entries: dict[Id, list[bytes]] = {_id(name): fields for name, fields in stream[b"entries"]}
    groups = [mapping(group) for group in stream[b"groups"]]
    pending = {_id(row[0]) for group in groups for row in group[b"pending"]}
    missing = {entry for entry in pending - entries.keys() if entry <= last}
    if not entries and not missing:
        missing = {max(last, _SMALLEST)}
    first = min(entries, default=last)
    trimmed = {entry for entry in missing if entry < first or not entries}

    commands = [
        Command((b"XADD", key, _text(entry), *entries.get(entry, (b"", b""))), bulk(_text(entry)))
        for entry in sorted(entries.keys() | missing)
    ]
    for group in groups:
        commands += _group(key, group)
    if trimmed:
        left = len(entries) + len(missing - trimmed)
        commands.append(Command((b"XTRIM", key, b"MAXLEN", b"%d" % left), integer(len(trimmed))))
    for batch in batches([_text(entry) for entry in sorted(missing - trimmed)]):
        commands.append(Command((b"XDEL", key, *batch), integer(len(batch))))
    commands.append(Command((b"XSETID", key, _text(last), *_counters(stream))))
    # An entry behind the last id: XSETID has lowered that. It could only be claimed with a higher last id.
    return commands, ("XCLAIM",) if pending - entries.keys() - missing else ()


def _are_entries(state: Any) -> bool:
    """Whether a value is that of XRANGE: pairs, where XINFO has names."""
    return isinstance(state, list) and (not state or isinstance(state[0], list))


def _of_entries(entries: Sequence[Any]) -> dict[bytes, Any]:
    """Return what XINFO would tell of a stream with these entries."""
    last = entries[-1][0] if entries else b"0-0"
    return {b"last-generated-id": last, b"length": len(entries), b"entries": entries, b"groups": []}


def _counters(stream: Mapping[bytes, Any]) -> Args:
    """Return what XSETID is told of entries that are no more; a source before 7.0 knows nothing of it."""
    added = stream.get(b"entries-added", stream[b"length"])
    deleted = stream.get(b"max-deleted-entry-id", b"0-0")
    return (b"ENTRIESADDED", b"%d" % added, b"MAXDELETEDID", deleted)


def _group(key: bytes, group: Mapping[bytes, Any]) -> Iterator[Command]:
    name = group[b"name"]
    entries_read = group.get(b"entries-read")
    read = () if entries_read is None else (b"ENTRIESREAD", b"%d" % entries_read)
    yield Command((b"XGROUP", b"CREATE", key, name, group[b"last-delivered-id"], *read))
    for consumer in map(mapping, group[b"consumers"]):
        yield Command((b"XGROUP", b"CREATECONSUMER", key, name, consumer[b"name"]))
        for (at_ms, count), rows in groupby(consumer[b"pending"], key=lambda row: (row[1], row[2])):
            how = (b"TIME", b"%d" % at_ms, b"RETRYCOUNT", b"%d" % count, b"FORCE", b"JUSTID")
            for batch in batches([row[0] for row in rows]):
                yield Command((b"XCLAIM", key, name, consumer[b"name"], b"0", *batch, *how))


def _id(text: bytes) -> Id:
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)


def _text(entry: Id) -> bytes:
    return b"%d-%d" % entry
