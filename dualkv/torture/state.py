"""Everything that is to be known of a key, as aspects: its type, each element, when each field expires.

Two states of a key are equal if all aspects are, and a difference can be told aspect by aspect. Times are
each a `Moment`: they are equal within a tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import hiredis

from dualkv.torture.history import shown
from dualkv.torture.stores import Store

__all__ = ["Moment", "State", "is_everywhere", "read_states"]

State = Mapping[str, Any]
"""Aspects by name; empty for a key that is not there."""

_PENDING_AT_ONCE: Final = 100_000
_HLL_MAGIC: Final = b"HYLL"
_ABSENT_TYPES: Final = ("none", "")
_COUNTERS: Final = ("entries-added", "max-deleted-entry-id")
_ENTRIES_READ: Final = " has read entries"

_BUSY: Final = "has pending entries"
_IDLE: Final = "has none"


@attrs.frozen
class Moment:
    """A time of day in milliseconds."""

    ms: int

    def __str__(self) -> str:
        return time.strftime("%H:%M:%S", time.gmtime(self.ms / 1000)) + f".{self.ms % 1000:03d}"


def is_everywhere(aspect: str) -> bool:
    """Whether every server tells an aspect; only newer ones (Redis 7.0) have certain counters of streams."""
    return aspect not in _COUNTERS and not aspect.endswith(_ENTRIES_READ)


async def read_states(store: Store, keys: Sequence[bytes], *, idle_consumers: bool = True) -> list[State]:
    """Return the state of each of *keys* in the store's current database.

    Everything of all these keys is in memory at once.

    Args:
        store: Where they are.
        keys: Which.
        idle_consumers: Whether consumers of groups count that have no pending entries.
    """
    now_ms = await _now_ms(store)
    absolute = store.knows("PEXPIRETIME")
    heads = await store.ask(
        [question for key in keys for question in (("TYPE", key), _expiry_question(key, absolute=absolute))]
    )
    kinds = [_text(kind) for kind in heads[::2]]
    bodies = await store.ask(
        [question for key, kind in zip(keys, kinds, strict=True) for question in _questions(kind, key)]
    )
    states: list[State] = []
    rest = iter(bodies)
    for key, kind, expiry in zip(keys, kinds, heads[1::2], strict=True):
        answers = [next(rest) for _ in _questions(kind, key)]
        # It may have gone, or become something else, between the questions. And Valkey 9.1 keeps a hash for
        # ever that COPY has made of one whose fields had expired by then: there is nothing in it.
        is_hollow = kind == "hash" and answers[0] == []
        if kind in _ABSENT_TYPES or is_hollow or any(_is_no_answer(answer) for answer in answers):
            states.append({})
            continue
        state: dict[str, Any] = {"type": kind}
        if isinstance(expiry, int) and expiry >= 0:
            state["expires"] = Moment(expiry if absolute else now_ms + expiry)
        state |= _READERS.get(kind, _read_payload)(answers)
        state |= await _more(store, kind, key, answers, now_ms)
        if not idle_consumers:
            state = _without_idle_consumers(state)
        states.append(state)
    return states


def _is_no_answer(answer: Any) -> bool:
    return answer is None or isinstance(answer, hiredis.ReplyError)


def _expiry_question(key: bytes, *, absolute: bool) -> tuple[bytes | str, ...]:
    return ("PEXPIRETIME" if absolute else "PTTL", key)


async def _now_ms(store: Store) -> int:
    seconds, microseconds = await store.call("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _questions(kind: str, key: bytes) -> list[tuple[bytes | str | int, ...]]:
    """Return what to ask about a key of a type, in one piece."""
    match kind:
        case "string":
            return [("GET", key)]
        case "list":
            return [("LRANGE", key, 0, -1)]
        case "set":
            return [("SMEMBERS", key)]
        case "hash":
            return [("HGETALL", key)]
        case "zset":
            return [("ZRANGE", key, 0, -1, "WITHSCORES")]
        case "stream":
            return [("XRANGE", key, "-", "+"), ("XINFO", "STREAM", key), ("XINFO", "GROUPS", key)]
        case "none" | "":
            return []
        case "vectorset":
            return [("VDIM", key), ("VRANDMEMBER", key, 1_000_000)]
        case _:
            return [("DUMP", key)]


# --- answers → aspects


def _read_string(answers: list[Any]) -> dict[str, Any]:
    return {"value": answers[0]}


def _read_list(answers: list[Any]) -> dict[str, Any]:
    return {f"element {index}": value for index, value in enumerate(answers[0])}


def _read_set(answers: list[Any]) -> dict[str, Any]:
    return {f"member {shown(member)}": True for member in answers[0]}


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _read_hash(answers: list[Any]) -> dict[str, Any]:
    return {f"field {shown(field)}": value for field, value in _pairs(answers[0])}


def _read_zset(answers: list[Any]) -> dict[str, Any]:
    return {f"member {shown(member)}": float(score) for member, score in _pairs(answers[0])}


def _read_stream(answers: list[Any]) -> dict[str, Any]:
    entries, info, groups = answers
    about = {_text(name): value for name, value in _pairs(info)}
    state: dict[str, Any] = {"last id": about["last-generated-id"]}
    state |= {name: about[name] for name in _COUNTERS if name in about}
    state |= {f"entry {_text(entry)}": fields for entry, fields in entries}
    for group in groups:
        told = {_text(name): value for name, value in _pairs(group)}
        about_group = f"group {shown(told['name'])}"
        state[f"{about_group} last id"] = told["last-delivered-id"]
        if "entries-read" in told:
            state[about_group + _ENTRIES_READ] = told["entries-read"]
    return state


def _read_payload(answers: list[Any]) -> dict[str, Any]:
    """A type that only DUMP can tell: its payload, without version and checksum."""
    payload = answers[0]
    return {"payload": payload[:-10] if isinstance(payload, bytes) else repr(payload)}


def _read_vectorset(answers: list[Any]) -> dict[str, Any]:
    dimension, members = answers
    return {"dimension": dimension, **{f"member {shown(member)}": True for member in members or ()}}


_READERS: Final = {
    "string": _read_string, "list": _read_list, "set": _read_set, "hash": _read_hash, "zset": _read_zset,
    "stream": _read_stream, "vectorset": _read_vectorset,
}  # fmt: skip


async def _more(store: Store, kind: str, key: bytes, answers: list[Any], now_ms: int) -> dict[str, Any]:
    """Return the aspects that need further questions."""
    if kind == "string" and answers[0].startswith(_HLL_MAGIC):
        # Named twice, it is counted by its registers: a count kept beside them may outlive damage to them.
        count = await store.call("PFCOUNT", key, key)
        if not isinstance(count, int):
            return {"value": answers[0][:8] + bytes(8) + answers[0][16:]}
        # The registers may be laid out in two ways, with the count beside them or not.
        return {"value": "a HyperLogLog", "distinct elements": count}
    if kind == "hash" and store.knows("HPEXPIRETIME") and answers[0]:
        return await _field_expiry(store, key, answers[0][::2])
    if kind == "stream":
        return await _pending(store, key, answers[2], now_ms)
    if kind == "vectorset":
        return await _vectors(store, key, answers[1] or [])
    return {}


async def _field_expiry(store: Store, key: bytes, fields: list[bytes]) -> dict[str, Any]:
    times = await store.call("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
    if _is_no_answer(times):
        return {}
    return {
        f"field {shown(field)} expires": Moment(at)
        for field, at in zip(fields, times, strict=True)
        if isinstance(at, int) and at >= 0
    }


async def _pending(store: Store, key: bytes, groups: list[Any], now_ms: int) -> dict[str, Any]:
    names = [{_text(name): value for name, value in _pairs(group)}["name"] for group in groups]
    answers = await store.ask(
        [
            question
            for name in names
            for question in (
                ("XINFO", "CONSUMERS", key, name),
                ("XPENDING", key, name, "-", "+", _PENDING_AT_ONCE),
            )
        ]
    )
    state: dict[str, Any] = {}
    for name, consumers, pending in zip(names, answers[::2], answers[1::2], strict=True):
        if _is_no_answer(consumers) or _is_no_answer(pending):
            continue
        group = f"group {shown(name)}"
        for consumer in consumers:
            told = {_text(field): value for field, value in _pairs(consumer)}
            state[f"{group} consumer {shown(told['name'])}"] = _BUSY if told["pending"] else _IDLE
        for entry, owner, idle_ms, deliveries in pending:
            state[f"{group} pending {_text(entry)}"] = (owner, f"{deliveries} deliveries")
            state[f"{group} pending {_text(entry)} since"] = Moment(now_ms - idle_ms)
    return state


def _without_idle_consumers(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if value is not _IDLE}


async def _vectors(store: Store, key: bytes, members: list[bytes]) -> dict[str, Any]:
    answers = await store.ask(
        [question for member in members for question in (("VEMB", key, member), ("VGETATTR", key, member))]
    )
    state: dict[str, Any] = {}
    for member, vector, attributes in zip(members, answers[::2], answers[1::2], strict=True):
        state[f"vector of {shown(member)}"] = [round(float(number), 2) for number in vector or ()]
        state[f"attributes of {shown(member)}"] = attributes
    return state
