"""What a store holds, by value, in a form that compares.

Two stores are equal if `differences` finds none: types, contents, expiry of keys and of hash fields, entries,
groups and pending entries of streams. Layout in memory, frequencies of use and the cached count of a
HyperLogLog may differ.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import hiredis

from tests.support.wire import Wire

__all__ = ["UNTOLD", "Moment", "differences", "state_of"]

_HLL_MAGIC: Final = b"HYLL"
_HLL_CACHE: Final = slice(8, 16)
"""Where a HyperLogLog remembers its count, or that it does not know it."""


UNTOLD: Final = object()
"""What a server is too old to tell; it equals anything."""


@attrs.frozen
class Moment:
    """A time in milliseconds since 1970."""

    ms: int


def state_of(port: int, databases: Sequence[int] = (0,)) -> dict[tuple[int, bytes], dict[str, Any]]:
    """Return what the server on *port* holds: aspects by name, for each database and key."""
    with Wire(port) as wire:
        state = {}
        for db in databases:
            wire.ask("SELECT", db)
            for key in wire.ask("KEYS", "*"):
                aspects = _aspects(wire, key)
                if aspects:
                    state[db, key] = aspects
        return state


def differences(
    expected: Mapping[tuple[int, bytes], Mapping[str, Any]],
    actual: Mapping[tuple[int, bytes], Mapping[str, Any]],
    tolerance_ms: int = 2000,
) -> list[str]:
    """Return what differs between two states, in words; nothing if they are equal.

    Args:
        expected: One, as `state_of` has it.
        actual: The other.
        tolerance_ms: How far times may be apart.
    """
    found = []
    for place in sorted(expected.keys() | actual.keys()):
        one, other = expected.get(place, {}), actual.get(place, {})
        for aspect in sorted(one.keys() | other.keys()):
            ours, theirs = one.get(aspect), other.get(aspect)
            if isinstance(ours, Moment) and isinstance(theirs, Moment):
                is_equal = abs(ours.ms - theirs.ms) <= tolerance_ms
            else:
                is_equal = ours == theirs or UNTOLD in (ours, theirs)
            if not is_equal:
                found.append(f"{place[1]!r} in {place[0]}, {aspect}: {ours!r}, but {theirs!r}")
    return found


def _aspects(wire: Wire, key: bytes) -> dict[str, Any]:
    kind = wire.ask("TYPE", key).decode()
    if kind == "none":  # it has expired meanwhile
        return {}
    aspects: dict[str, Any] = {"type": kind}
    left_ms = wire.ask("PTTL", key)
    if left_ms >= 0:
        aspects["expires"] = _from_now(left_ms)
    contents = _READERS[kind](wire, key)
    return aspects | contents if contents else {}


def _from_now(ms: int) -> Moment:
    return Moment(time.time_ns() // 1_000_000 + ms)


def _string(wire: Wire, key: bytes) -> dict[str, Any]:
    value = wire.ask("GET", key)
    if value is not None and value.startswith(_HLL_MAGIC):
        registers = bytearray(value)
        registers[_HLL_CACHE] = bytes(8)
        value = bytes(registers)
    return {"value": value}


def _list(wire: Wire, key: bytes) -> dict[str, Any]:
    return {"elements": wire.ask("LRANGE", key, 0, -1)}


def _set(wire: Wire, key: bytes) -> dict[str, Any]:
    return {"members": set(wire.ask("SMEMBERS", key))}


def _zset(wire: Wire, key: bytes) -> dict[str, Any]:
    return {
        "members": [
            (member, float(score)) for member, score in _pairs(wire.ask("ZRANGE", key, 0, -1, "WITHSCORES"))
        ]
    }


def _hash(wire: Wire, key: bytes) -> dict[str, Any]:
    # All its fields may have expired, and the server may not have noticed yet.
    fields = dict(_pairs(wire.ask("HGETALL", key)))
    aspects: dict[str, Any] = {f"field {field!r}": value for field, value in fields.items()}
    lefts = wire.ask("HPTTL", key, "FIELDS", len(fields), *fields) if fields else []
    if not isinstance(lefts, hiredis.ReplyError):  # else the server has no such thing
        for field, left_ms in zip(fields, lefts or [], strict=True):
            if left_ms >= 0:
                aspects[f"field {field!r} expires"] = _from_now(left_ms)
    return aspects


def _stream(wire: Wire, key: bytes) -> dict[str, Any]:
    info = _named(wire.ask("XINFO", "STREAM", key))
    aspects: dict[str, Any] = {
        "entries": wire.ask("XRANGE", key, "-", "+"),
        **{
            name: info.get(name, UNTOLD)
            for name in ("last-generated-id", "entries-added", "max-deleted-entry-id")
        },
    }
    for group in map(_named, wire.ask("XINFO", "GROUPS", key)):
        name = group["name"]
        about = f"group {name!r}"
        aspects[f"{about} has read up to"] = group["last-delivered-id"]
        aspects[f"{about} has read entries"] = group.get("entries-read", UNTOLD)
        for consumer in map(_named, wire.ask("XINFO", "CONSUMERS", key, name)):
            aspects[f"{about} consumer {consumer['name']!r}"] = consumer["pending"]
        for entry_id, consumer, idle_ms, deliveries in wire.ask("XPENDING", key, name, "-", "+", 1_000_000):
            aspects[f"{about} pending {entry_id!r}"] = (consumer, deliveries)
            aspects[f"{about} pending {entry_id!r} since"] = _from_now(-idle_ms)
    return aspects


def _vectors(wire: Wire, key: bytes) -> dict[str, Any]:
    members = sorted(wire.ask("VRANDMEMBER", key, 1_000_000))
    return {f"member {member!r}": (wire.ask("VGETATTR", key, member)) for member in members}


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _named(flat: list[Any]) -> dict[str, Any]:
    return {name.decode(): value for name, value in _pairs(flat)}


_READERS: Final = {
    "string": _string,
    "list": _list,
    "set": _set,
    "zset": _zset,
    "hash": _hash,
    "stream": _stream,
    "vectorset": _vectors,
}
