"""Redis's glob patterns, as ``PSUBSCRIBE``, ``KEYS`` and ACLs have them."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["matches"]


def matches(pattern: bytes, text: bytes) -> bool:
    """Return whether *text* matches *pattern* (Redis: ``stringmatchlen``)."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: bytes) -> re.Pattern[bytes]:
    pieces: list[bytes] = []
    position = 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        position += 1
        if byte == b"*":
            if pieces[-1:] != [b".*"]:
                pieces.append(b".*")
        elif byte == b"?":
            pieces.append(b".")
        elif byte == b"[":
            piece, position = _class(pattern, position)
            pieces.append(piece)
        else:
            if byte == b"\\" and position < len(pattern):
                byte = pattern[position : position + 1]
                position += 1
            pieces.append(re.escape(byte))
    return re.compile(b"".join(pieces), re.DOTALL)


def _class(pattern: bytes, position: int) -> tuple[bytes, int]:
    """Return what a class, whose bracket is open, is in a regular expression, and where it ends."""
    is_negated = pattern[position : position + 1] == b"^"
    position += is_negated
    wanted: set[int] = set()
    while position < len(pattern) and pattern[position : position + 1] != b"]":
        if pattern[position : position + 1] == b"\\" and position + 1 < len(pattern):
            wanted.add(pattern[position + 1])
            position += 2
        elif pattern[position + 1 : position + 2] == b"-" and position + 2 < len(pattern):
            first, last = sorted((pattern[position], pattern[position + 2]))
            wanted.update(range(first, last + 1))
            position += 3
        else:
            wanted.add(pattern[position])
            position += 1
    if not wanted:
        return (b"." if is_negated else b"(?!)"), position + 1
    listed = b"".join(re.escape(bytes([byte])) for byte in sorted(wanted))
    return b"[" + (b"^" if is_negated else b"") + listed + b"]", position + 1
