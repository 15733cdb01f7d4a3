"""Options of reads: what is asked for decides what the reply means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["asks_for_scores", "geo_options", "is_window", "name_of", "small_number", "sort_options"]

_COUNTS_ITS_KEYS: Final = frozenset({b"ZUNION", b"ZINTER", b"ZDIFF"})


def name_of(args: Sequence[bytes]) -> bytes:
    """Return the command's name in capitals."""
    return args[0].upper()


def asks_for_scores(args: Sequence[bytes]) -> bool:
    """Whether a read of a sorted set has the option; a key may be called like it."""
    first_option = 2 + small_number(args[1]) if name_of(args) in _COUNTS_ITS_KEYS else 3
    return any(option.upper() in (b"WITHSCORES", b"WITHSCORE") for option in args[first_option:])


def is_window(args: Sequence[bytes]) -> bool:
    """Whether a read of a sorted set may be cut between members with equal scores."""
    name = name_of(args)
    if name in _COUNTS_ITS_KEYS:
        return False
    options = {option.upper() for option in args[4:]}
    if b"LIMIT" in options:
        return True
    is_by_rank = name in (b"ZRANGE", b"ZREVRANGE") and not options & {b"BYSCORE", b"BYLEX"}
    return is_by_rank and tuple(args[2:4]) != (b"0", b"-1")


def small_number(text: bytes) -> int:
    """Return a count that a client wrote; 0 if it is none, or absurd."""
    return int(text) if text.isdigit() and len(text) < 10 else 0


_SORT_WORDS: Final = {b"BY": 1, b"LIMIT": 2, b"GET": 1, b"STORE": 1}
_GEO_WORDS: Final = {
    b"FROMMEMBER": 1, b"FROMLONLAT": 2, b"BYRADIUS": 2, b"BYBOX": 3, b"COUNT": 1, b"STORE": 1,
    b"STOREDIST": 1,
}  # fmt: skip
_GEO_FIRST_OPTION: Final = {
    b"GEOSEARCH": 2, b"GEORADIUS": 6, b"GEORADIUS_RO": 6, b"GEORADIUSBYMEMBER": 5, b"GEORADIUSBYMEMBER_RO": 5,
}  # fmt: skip


def sort_options(args: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Return the options of a ``SORT``, each with all its values."""
    return _options(args, 2, _SORT_WORDS)


def geo_options(args: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Return the options of a ``GEOSEARCH`` or ``GEORADIUS…``, each with its values."""
    return _options(args, _GEO_FIRST_OPTION[name_of(args)], _GEO_WORDS)


def _options(args: Sequence[bytes], position: int, words: Mapping[bytes, int]) -> dict[bytes, list[bytes]]:
    """Return options by name in capitals; *words* says how many values follow which."""
    found: dict[bytes, list[bytes]] = {}
    while position < len(args):
        name = args[position].upper()
        count = words.get(name, 0)
        found.setdefault(name, []).extend(args[position + 1 : position + 1 + count])
        position += 1 + count
        if name == b"BYPOLYGON" and position < len(args):
            position += 1 + 2 * small_number(args[position])
    return found
