"""Looks at some hundred keys of a store: types, expiry, size. Bounded, and nothing that takes it long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from dualkv.core.dialect import Dialect
from dualkv.core.effects.model import Args
from dualkv.preflight.model import Sample
from dualkv.resp.replies import is_error, value_of

__all__ = ["TTL_CLASSES", "sample_keys", "ttl_class"]

_KEYS: Final = 300
_AT_ONCE: Final = 50
_LARGEST: Final = 5

TTL_CLASSES: Final = ("none", "< 1 min", "< 1 h", "< 1 day", "longer")
_BOUNDS_SECONDS: Final = (60, 3600, 86400)

_LENGTHS: Final = {
    "string": "STRLEN", "list": "LLEN", "set": "SCARD", "hash": "HLEN", "zset": "ZCARD", "stream": "XLEN",
}  # fmt: skip

Ask = Callable[[Sequence[Args]], Awaitable[list[bytes]]]


def ttl_class(milliseconds: int) -> str:
    """Return the class of what ``PTTL`` has answered."""
    if milliseconds < 0:
        return TTL_CLASSES[0]
    for name, seconds in zip(TTL_CLASSES[1:], _BOUNDS_SECONDS, strict=False):
        if milliseconds < seconds * 1000:
            return name
    return TTL_CLASSES[-1]


async def sample_keys(ask: Ask, dialect: Dialect) -> Sample | None:
    """Return what some keys of the current database are like.

    Args:
        ask: Sends requests in one piece, and returns their raw replies.
        dialect: What the store has; it can be enumerated.

    Returns:
        The sample; None: it does not let us look.
    """
    if not (dialect.has("TYPE") and dialect.has("PTTL")):
        return None
    keys = await _some_keys(ask, dialect)
    if keys is None:
        return None
    sample = Sample(keys=0)
    sizes: list[tuple[int, str, str, bytes]] = []
    for at in range(0, len(keys), _AT_ONCE):
        sizes += await _look_at(keys[at : at + _AT_ONCE], ask, dialect, sample)
    sizes.sort(key=lambda size: (-size[0], size[3]))
    sample.largest += sizes[:_LARGEST]
    return sample


async def _some_keys(ask: Ask, dialect: Dialect) -> list[bytes] | None:
    if dialect.has("RANDOMKEY"):
        found: dict[bytes, None] = {}
        for _ in range(_KEYS // _AT_ONCE):
            replies = await ask([(b"RANDOMKEY",)] * _AT_ONCE)
            if is_error(replies[0]):
                return None
            keys = [value_of(reply) for reply in replies]
            found |= dict.fromkeys(key for key in keys if isinstance(key, bytes))
        return list(found)
    if dialect.has("SCAN"):
        (reply,) = await ask([(b"SCAN", b"0", b"COUNT", b"%d" % _KEYS)])
        return None if is_error(reply) else list(value_of(reply)[1])[:_KEYS]
    return None


async def _look_at(
    keys: list[bytes], ask: Ask, dialect: Dialect, sample: Sample
) -> list[tuple[int, str, str, bytes]]:
    replies = await ask([request for key in keys for request in ((b"TYPE", key), (b"PTTL", key))])
    asked: list[Args] = []
    measured: list[tuple[str, str, bytes]] = []
    for key, of_type, of_ttl in zip(keys, replies[::2], replies[1::2], strict=True):
        kind, ttl = value_of(of_type), value_of(of_ttl)
        if not isinstance(kind, bytes) or not isinstance(ttl, int) or ttl == -2:
            continue  # it has gone meanwhile, or is not ours to see
        name = kind.decode(errors="replace")
        sample.keys += 1
        sample.types[name] += 1
        sample.ttl_classes[ttl_class(ttl)] += 1
        length = _LENGTHS.get(name, "")
        if dialect.has("MEMORY USAGE"):
            asked.append((b"MEMORY", b"USAGE", key))
            measured.append(("bytes", name, key))
        elif dialect.has(length):
            asked.append((length.encode(), key))
            measured.append(("bytes" if name == "string" else "elements", name, key))
    sizes = [value_of(reply) for reply in await ask(asked)]
    return [(size, *facts) for size, facts in zip(sizes, measured, strict=True) if isinstance(size, int)]
