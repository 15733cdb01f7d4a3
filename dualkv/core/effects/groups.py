"""Consumer groups: who has got which entry of a stream, when, and how often.

Servers tell their replicas with ``XCLAIM … TIME RETRYCOUNT FORCE JUSTID``, and so do we. What it needs and no
reply says is asked: how often an entry was delivered, how far a group has read. A consumer exists from its
first request on, even if it got nothing; Redis before 7.2 waits for an entry, which no reply tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dualkv.core.effects.model import Args, Command, Effects, Execution, Rule, Verbatim
from dualkv.core.effects.parsing import (
    Questions,
    amount,
    copies,
    copies_of,
    effects,
    frames,
    integer,
    named,
    text,
)
from dualkv.resp.encode import array, bulk
from dualkv.resp.replies import is_error, is_null

__all__ = ["QUESTIONS", "RULES", "after_waiting", "ask_after_waiting", "streams_of"]


# --- where a group stands --------------------------------------------------------------------------------


def _ask_for_groups(key: bytes) -> Args:
    return (b"XINFO", b"GROUPS", key)


def _set_id(key: bytes, group: bytes, answer: bytes) -> Command:
    """Return the command that says how far a group has read, from what ``XINFO GROUPS`` answered."""
    last_id, entries_read = _progress(group, answer)
    counted = () if entries_read is None else (b"ENTRIESREAD", entries_read)
    return Command((b"XGROUP", b"SETID", key, group, last_id, *counted))


def _progress(group: bytes, answer: bytes) -> tuple[bytes, bytes | None]:
    """Return the last id that a group has read, and how many entries if that is known."""
    facts = next(facts for facts in map(named, frames(answer)) if text(facts[b"name"]) == group)
    entries_read = facts.get(b"entries-read", _NULL)
    return text(facts[b"last-delivered-id"]), None if is_null(entries_read) else text(entries_read)


_NULL: Final = b"_\r\n"


def _ask_what_last_is(args: Args) -> tuple[Args, ...]:
    return (_ask_for_groups(args[2]),) if args[4] == b"$" else ()


def _place(execution: Execution) -> Effects:
    """``XGROUP CREATE``, ``XGROUP SETID``: ``$`` is an id, too."""
    args = execution.args
    if args[4] != b"$" or not execution.answers:
        return effects(Command(args))
    last_id, _ = _progress(args[3], execution.answers[0])
    return effects(Command((*args[:4], last_id, *args[5:])))


# --- entries that are pending ----------------------------------------------------------------------------


class _Pending(NamedTuple):
    entry_id: bytes
    consumer: bytes
    idle_ms: int
    deliveries: int


def _pending(answer: bytes) -> list[_Pending]:
    """Return what ``XPENDING`` answered to a question for a range."""
    found = []
    for entry in frames(answer):
        entry_id, consumer, idle, deliveries = frames(entry)
        found.append(_Pending(text(entry_id), text(consumer), integer(idle), integer(deliveries)))
    return found


def _claims(key: bytes, group: bytes, entries: Iterable[_Pending], at_ms: int) -> list[Command]:
    """Return the commands that say of entries what they are; those that are alike share one."""
    alike: dict[tuple[bytes, int, int], list[bytes]] = {}
    for entry in entries:
        alike.setdefault(entry[1:], []).append(entry[0])
    return [
        _claim(key, group, consumer, ids, at_ms - idle_ms, deliveries)
        for (consumer, idle_ms, deliveries), ids in alike.items()
    ]


def _claim(
    key: bytes,
    group: bytes,
    consumer: bytes,
    ids: Sequence[bytes],
    time_ms: int,
    deliveries: int,
    *more: bytes,
) -> Command:
    """Return the command that says of entries what they are; it answers with those that exist."""
    return Command(
        (
            b"XCLAIM", key, group, consumer, b"0", *ids, b"TIME", b"%d" % time_ms,
            b"RETRYCOUNT", b"%d" % deliveries, b"FORCE", b"JUSTID", *more,
        ),
        array(map(bulk, ids)),
    )  # fmt: skip


def _raise_last_id(key: bytes, group: bytes, consumer: bytes, last_id: bytes) -> Command:
    """Return a claim of nothing that has a group read up to an id at least."""
    return Command((b"XCLAIM", key, group, consumer, b"0", b"0-0", b"JUSTID", b"LASTID", last_id))


def _create_consumer(key: bytes, group: bytes, consumer: bytes) -> Command:
    return Command((b"XGROUP", b"CREATECONSUMER", key, group, consumer))


# --- reading ---------------------------------------------------------------------------------------------


class _Reading(NamedTuple):
    """An ``XREADGROUP``."""

    group: bytes
    consumer: bytes
    limit: bytes
    options: frozenset[bytes]
    begins: dict[bytes, bytes]
    """From which id on, by stream; ``>``: what nobody has got yet."""


_TAKING: Final = {b"GROUP": 2, b"COUNT": 1, b"BLOCK": 1, b"CLAIM": 1}
_ALL: Final = b"1000000000"


def _reading(args: Args) -> _Reading:
    found: dict[bytes, Args] = {}
    position = 1
    while (name := args[position].upper()) != b"STREAMS":
        behind = position + 1 + _TAKING.get(name, 0)
        found[name] = args[position + 1 : behind]
        position = behind
    names = args[position + 1 :]
    half = len(names) // 2
    begins = dict(zip(names[:half], names[half:], strict=True))
    if len(begins) < half:
        raise ValueError("a stream is read twice: which entries were new cannot be told")
    group, consumer = found[b"GROUP"]
    (limit,) = found.get(b"COUNT", (_ALL,))
    return _Reading(group, consumer, limit, frozenset(found), begins)


def _ids(entries: Iterable[bytes]) -> list[bytes]:
    """Return the ids of entries, each an id and its fields."""
    return [text(frames(entry)[0]) for entry in entries]


def _behind(entry_id: bytes) -> bytes:
    """Return the id that follows an id, as every server understands it (``(id`` is younger)."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return b"%d-%d" % (int(milliseconds), int(sequence or 0) + 1)


def _ask_behind_reading(args: Args) -> tuple[Args, ...]:
    reading = _reading(args)
    if b"CLAIM" in reading.options:
        return ()
    return tuple(
        _ask_for_groups(key)
        if begin == b">"
        else (b"XPENDING", key, reading.group, _behind(begin), b"+", reading.limit, reading.consumer)
        for key, begin in reading.begins.items()
    )


def _read(execution: Execution) -> Effects:
    """``XREADGROUP`` that did not have to wait; in a transaction, no answers are at hand."""
    reading = _reading(execution.args)
    if b"CLAIM" in reading.options:  # new entries and old ones in one reply
        return copies(list(reading.begins))
    answers = dict(zip(reading.begins, execution.answers, strict=False))
    delivered = dict(streams_of(execution.reply))
    commands: list[Command] = []
    for key, begin in reading.begins.items():
        entries = frames(delivered.get(key, _NULL))
        if not entries:
            commands.append(_create_consumer(key, reading.group, reading.consumer))
        elif begin == b">":
            commands += _delivered(reading, key, entries, answers.get(key), execution.at_ms)
        else:
            commands += _delivered_again(reading, key, entries, answers[key], execution.at_ms)
    return effects(*commands)


def _delivered(
    reading: _Reading, key: bytes, entries: list[bytes], answer: bytes | None, at_ms: int
) -> list[Command]:
    """Entries that nobody had before."""
    group, consumer = reading.group, reading.consumer
    ids = _ids(entries)
    if b"NOACK" not in reading.options:
        commands = [_claim(key, group, consumer, ids, at_ms, 1, b"LASTID", ids[-1])]
    else:
        commands = [_create_consumer(key, group, consumer)]
        if answer is None:
            commands.append(_raise_last_id(key, group, consumer, ids[-1]))
    if answer is not None:
        commands.append(_set_id(key, group, answer))
    return commands


def ask_after_waiting(args: Args, reply: bytes) -> tuple[Args, ...]:
    """Return what to ask on the lane once an ``XREADGROUP`` has come back that had waited beside it.

    The answers belong to `after_waiting`. Nothing is asked where only copies will do.

    Args:
        args: The request.
        reply: What it got: not nil.
    """
    try:
        reading = _reading(args)
        if b"CLAIM" in reading.options:
            return ()
        return tuple(
            question
            for key, entries in streams_of(reply)
            for question in (_ask_for_groups(key), _ask_what_became(reading, key, _ids(frames(entries))))
        )
    except (IndexError, ValueError, KeyError):
        return ()


def _ask_what_became(reading: _Reading, key: bytes, ids: list[bytes]) -> Args:
    """Of entries that were delivered a moment ago; or of the consumer, if no entry is pending."""
    if b"NOACK" in reading.options:
        return (b"XINFO", b"CONSUMERS", key, reading.group)
    return (b"XPENDING", key, reading.group, ids[0], ids[-1], b"%d" % len(ids))


def after_waiting(execution: Execution) -> Effects:
    """Return the effects of an ``XREADGROUP`` that had waited beside the lane, at the position of answers.

    It was executed at an unknown position before. So what is said is not what it did, but what there is of
    that now: where the group stands, and which of the entries are pending. Everything that the lane has
    executed before is there already. That suffices as long as all of the entries are the consumer's, and
    exist: the other store answers the claim with those that exist there, which are the same. Anything else
    (they were acknowledged, claimed or deleted meanwhile, the consumer or the group was removed) is rare, and
    the stream is copied.

    Args:
        execution: The answers are those to `ask_after_waiting`.
    """
    answers = execution.answers
    if not answers or any(map(is_error, answers)):
        return copies_of(execution)
    reading = _reading(execution.args)
    commands: list[Command] = []
    changed: list[bytes] = []
    for (key, entries), groups, rest in zip(
        streams_of(execution.reply), answers[::2], answers[1::2], strict=True
    ):
        found = _still_there(reading, key, _ids(frames(entries)), rest, execution.at_ms)
        if found:
            commands += [*found, _set_id(key, reading.group, groups)]
        else:
            changed.append(key)
    return Effects(tuple(commands), copies(changed).copies)


def _still_there(reading: _Reading, key: bytes, ids: list[bytes], answer: bytes, at_ms: int) -> list[Command]:
    """Return the commands for what was delivered a moment ago; none if it is not there as it was."""
    group, consumer = reading.group, reading.consumer
    if b"NOACK" in reading.options:
        consumers = [text(named(one)[b"name"]) for one in frames(answer)]
        return [_create_consumer(key, group, consumer)] if consumer in consumers else []
    pending = _pending(answer)
    if [(one.entry_id, one.consumer) for one in pending] != [(entry_id, consumer) for entry_id in ids]:
        return []
    return _claims(key, group, pending, at_ms)


def _delivered_again(
    reading: _Reading, key: bytes, entries: list[bytes], answer: bytes, at_ms: int
) -> list[Command]:
    """A consumer's own past: each entry counts as delivered once more, unless it was deleted."""
    ids = {text(entry_id) for entry_id, fields in map(frames, entries) if not is_null(fields)}
    again = (entry._replace(idle_ms=0) for entry in _pending(answer) if entry.entry_id in ids)
    return _claims(key, reading.group, again, at_ms)


def streams_of(reply: bytes) -> list[tuple[bytes, bytes]]:
    """Return key and entries of what ``XREADGROUP`` answered: pairs, or RESP3's map."""
    elements = frames(reply)
    if reply[:1] == b"%":
        return [(text(key), entries) for key, entries in zip(elements[::2], elements[1::2], strict=True)]
    return [(text(key), entries) for key, entries in map(frames, elements)]


# --- claiming --------------------------------------------------------------------------------------------

_ENTRY_ID: Final = re.compile(rb"\d+(?:-\d+)?")


def _claimed_ids(args: Args) -> list[bytes]:
    """Return the ids of an ``XCLAIM``, written in full, each once."""
    ids: dict[bytes, None] = {}
    for word in args[5:]:
        if not _ENTRY_ID.fullmatch(word):
            break
        ids[word if b"-" in word else word + b"-0"] = None
    return list(ids)


def _ask_for_each(args: Args) -> tuple[Args, ...]:
    return tuple((b"XPENDING", *args[1:3], entry, entry, b"1") for entry in _claimed_ids(args))


def _claim_named(execution: Execution) -> Effects:
    """``XCLAIM``: what is the consumer's now; what is nobody's, since the entry was deleted, is let go."""
    _, key, group, consumer = execution.args[:4]
    if any(map(is_null, frames(execution.reply))):  # Redis 6.2 has let it claim what newer ones let go
        return copies([key])
    ids = _claimed_ids(execution.args)
    found = [_pending(answer) for answer in execution.answers]
    gone = [entry_id for entry_id, entries in zip(ids, found, strict=True) if not entries]
    owned = [entry for entries in found for entry in entries if entry.consumer == consumer]
    commands = _claims(key, group, owned, execution.at_ms) or [_create_consumer(key, group, consumer)]
    if gone:
        commands.append(Command((b"XACK", key, group, *gone)))
    words = [word.upper() for word in execution.args]
    if b"LASTID" in words[5 + len(ids) :]:
        last_id = execution.args[words.index(b"LASTID", 5 + len(ids)) + 1]
        commands.append(_raise_last_id(key, group, consumer, last_id))
    return effects(*commands)


_MAX_ASKED: Final = 1000
_LOOKED_AT_PER_CLAIMED: Final = 10
"""So many entries a server looks at for each that it may claim."""


def _ask_what_consumer_has(args: Args) -> tuple[Args, ...]:
    words = [word.upper() for word in args]
    count = int(args[words.index(b"COUNT", 6) + 1]) if b"COUNT" in words[6:] else 100
    asked = min(count * _LOOKED_AT_PER_CLAIMED, _MAX_ASKED)
    return ((b"XPENDING", *args[1:3], args[5], b"+", b"%d" % asked, args[3]),)


def _claim_found(execution: Execution) -> Effects:
    """``XAUTOCLAIM``: a cursor, what was claimed, and (since 7.0) what was let go as it was deleted."""
    _, key, group, consumer = execution.args[:4]
    _, entries, *rest = frames(execution.reply)
    has_ids_only = any(word.upper() == b"JUSTID" for word in execution.args[6:])
    if any(map(is_null, frames(entries))):
        return copies([key])
    claimed = [text(entry if has_ids_only else frames(entry)[0]) for entry in frames(entries)]
    known = {entry.entry_id: entry for answer in execution.answers for entry in _pending(answer)}
    commands = _claims(key, group, (known[each] for each in claimed if each in known), execution.at_ms)
    if unknown := [each for each in claimed if each not in known]:  # counted over there
        time = (b"TIME", b"%d" % execution.at_ms)
        more = (b"JUSTID",) if has_ids_only else ()
        commands.append(Command((b"XCLAIM", key, group, consumer, b"0", *unknown, *time, *more)))
    if not commands:
        commands.append(_create_consumer(key, group, consumer))
    if rest and (gone := list(map(text, frames(rest[0])))):
        commands.append(Command((b"XACK", key, group, *gone), amount(len(gone))))
    return effects(*commands)


QUESTIONS: Final[dict[str, Questions]] = {
    "XGROUP CREATE": _ask_what_last_is,
    "XGROUP SETID": _ask_what_last_is,
    "XREADGROUP": _ask_behind_reading,
    "XCLAIM": _ask_for_each,
    "XAUTOCLAIM": _ask_what_consumer_has,
}

RULES: Final[dict[str, Rule]] = {
    "XGROUP CREATE": _place,
    "XGROUP SETID": _place,
    "XGROUP CREATECONSUMER": Verbatim(is_checked=False),
    "XGROUP DELCONSUMER": Verbatim(is_checked=True),
    "XGROUP DESTROY": Verbatim(is_checked=True),
    "XREADGROUP": _read,
    "XACK": Verbatim(is_checked=True),
    "XCLAIM": _claim_named,
    "XAUTOCLAIM": _claim_found,
}
