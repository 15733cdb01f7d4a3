"""The aspects in which two stores differ, when nobody writes any more.

Both are walked with SCAN, a batch of keys at a time. What differs is looked at again for a while: a key that
expires is gone on one side a moment before the other.
"""

from __future__ import annotations

import time
from typing import Any, Final

import attrs
import trio

from dualkv.torture.state import Moment, State, is_everywhere, read_states
from dualkv.torture.stores import Store

__all__ = ["Comparison", "Difference", "compare_stores", "differing_aspects"]

_BATCH: Final = 200
_LOOK_AGAIN_SECONDS: Final = 0.5
_NEAR_EXPIRY_MS: Final = 5_000
_CREATES_CONSUMERS_EARLY: Final = (7, 2)
"""Before it, a consumer that gets nothing does not exist, which no reply tells: there it does not count."""

_MOST_SUSPECTS: Final = 2_000
"""More keys than this are not looked at again, only counted."""

_START: Final = b""
_END: Final = b"0"
"""The cursors of SCAN before the first and behind the last key."""

Aspects = list[tuple[str, Any, Any]]
"""Name, value at the primary, value at the secondary; None where there is none."""


@attrs.frozen
class Difference:
    """A key that is not the same in both stores."""

    db: int
    key: bytes
    aspects: Aspects


@attrs.define
class Comparison:
    """What a walk over both stores found."""

    keys: int = 0
    """How many the primary has."""
    differences: list[Difference] = attrs.field(factory=list)
    further: int = 0
    """Differing keys beyond those."""

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and not self.further


def differing_aspects(primary: State, secondary: State, tolerance_ms: int) -> Aspects:
    """Return the aspects in which two states of a key differ."""
    if not primary or not secondary:
        kinds = [(state or {}).get("type") for state in (primary, secondary)]
        return [("type", kinds[0], kinds[1])] if primary or secondary else []
    names = dict.fromkeys(
        name
        for name in [*primary, *secondary]
        if is_everywhere(name) or (name in primary and name in secondary)
    )
    return [
        (name, primary.get(name), secondary.get(name))
        for name in names
        if not _is_same(primary.get(name), secondary.get(name), tolerance_ms)
    ]


def _is_same(one: Any, other: Any, tolerance_ms: int) -> bool:
    if isinstance(one, Moment) and isinstance(other, Moment):
        return abs(one.ms - other.ms) <= tolerance_ms
    return bool(one == other)


async def compare_stores(
    primary: Store, secondary: Store, databases: int, tolerance_ms: int, settle_seconds: float = 1.5
) -> Comparison:
    """Compare everything in the first *databases* of two stores.

    Args:
        primary: One store.
        secondary: The other one.
        databases: How many databases.
        tolerance_ms: How far apart times may be.
        settle_seconds: How long to look again at what differs.
    """
    found = Comparison()
    for db in range(databases):
        for store in (primary, secondary):
            await store.call("SELECT", db)
        suspects = await _suspects(primary, secondary, tolerance_ms, found)
        found.differences += await _confirmed(db, suspects, primary, secondary, tolerance_ms, settle_seconds)
    found.differences += await _differing_libraries(primary, secondary)
    return found


async def _suspects(primary: Store, secondary: Store, tolerance_ms: int, found: Comparison) -> list[bytes]:
    """Return the keys that differ at first sight."""
    suspects: dict[bytes, None] = {}
    cursor = _START
    while cursor != _END:
        cursor, keys = await _some_keys(primary, cursor)
        found.keys += len(keys)
        suspects.update(dict.fromkeys(await _differing(keys, primary, secondary, tolerance_ms)))
    cursor = _START
    while cursor != _END:
        cursor, keys = await _some_keys(secondary, cursor)
        there = await primary.ask([("EXISTS", key) for key in keys])
        suspects.update({key: None for key, is_there in zip(keys, there, strict=True) if not is_there})
    found.further += max(0, len(suspects) - _MOST_SUSPECTS)
    return list(suspects)[:_MOST_SUSPECTS]


async def _some_keys(store: Store, cursor: bytes) -> tuple[bytes, list[bytes]]:
    """Return the next cursor and some keys of the current database; a key may come twice."""
    following, keys = await store.call("SCAN", cursor or b"0", "COUNT", _BATCH)
    return following, keys


async def _differing(
    keys: list[bytes], primary: Store, secondary: Store, tolerance_ms: int
) -> dict[bytes, tuple[Aspects, bool]]:
    """Return the keys that differ, in what, and whether one of them is about to expire."""
    states: dict[str, list[State]] = {}

    idle_consumers = primary.version >= _CREATES_CONSUMERS_EARLY

    async def read(name: str, store: Store) -> None:
        states[name] = await read_states(store, keys, idle_consumers=idle_consumers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "primary", primary)
        nursery.start_soon(read, "secondary", secondary)
    found = {}
    for key, one, other in zip(keys, states["primary"], states["secondary"], strict=True):
        aspects = differing_aspects(one, other, tolerance_ms)
        if aspects:
            found[key] = (aspects, _is_near_expiry(one) or _is_near_expiry(other))
    return found


def _is_near_expiry(state: State) -> bool:
    """Whether the key, or a part of it, goes soon."""
    # By our own clock, which may differ from the store's: it only decides how long to look again.
    soon_ms = time.time() * 1000 + _NEAR_EXPIRY_MS
    return any(
        isinstance(value, Moment) and value.ms < soon_ms and name.endswith("expires")
        for name, value in state.items()
    )


async def _confirmed(
    db: int, suspects: list[bytes], primary: Store, secondary: Store, tolerance_ms: int, settle_seconds: float
) -> list[Difference]:
    """Return what still differs after a while; keys near their expiry are given the time to go."""
    deadline = trio.current_time() + settle_seconds
    patience = deadline + _NEAR_EXPIRY_MS / 1000
    confirmed: dict[bytes, Aspects] = {}
    while suspects:
        differing: dict[bytes, tuple[Aspects, bool]] = {}
        for start in range(0, len(suspects), _BATCH):
            batch = suspects[start : start + _BATCH]
            differing |= await _differing(batch, primary, secondary, tolerance_ms)
        now = trio.current_time()
        for key, (aspects, expires) in differing.items():
            if now >= (patience if expires else deadline):
                confirmed[key] = aspects
        suspects = [key for key in differing if key not in confirmed]
        if suspects:
            await trio.sleep(_LOOK_AGAIN_SECONDS)
    return [Difference(db, key, aspects) for key, aspects in sorted(confirmed.items())]


async def _differing_libraries(primary: Store, secondary: Store) -> list[Difference]:
    """Return the libraries of functions that differ, as if they were keys of a database -1."""
    if not (primary.knows("FUNCTION LIST") and secondary.knows("FUNCTION LIST")):
        return []
    code = [await _libraries(store) for store in (primary, secondary)]
    return [
        Difference(-1, name, [("code", code[0].get(name), code[1].get(name))])
        for name in sorted({*code[0], *code[1]})
        if code[0].get(name) != code[1].get(name)
    ]


async def _libraries(store: Store) -> dict[bytes, bytes]:
    listed = await store.call("FUNCTION", "LIST", "WITHCODE")
    told = [dict(zip(library[::2], library[1::2], strict=True)) for library in listed]
    return {library[b"library_name"]: library[b"library_code"] for library in told}
