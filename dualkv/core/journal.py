r"""The journal's format: keys of writes on their way, so that a killed process knows them at its next start.

A segment is a head and records:

    head    magic and version (8 bytes), salt (8), CRC-32 of both (4), `Gap` (1)
    record  the salt (8), length of the payload (8), CRC-32 of both (4), CRC-32 of the payload (4), payload

All numbers are little-endian. A payload is a RESP array: the number of a database and keys in it.

The salt is made anew for each segment. It marks where a record begins: behind damage the next intact record
is found by it, and no client can put something into a key that looks like a record, since nobody knows it.

The gap is one byte that is overwritten in place, which works on a full disk too. It says that keys are
missing in this segment, so whoever reads it must take every key as dirty.

How a segment may end, and what it means:

- Within a record whose beginning is intact, or with zeros: a tear. The process died while it was writing,
  before the commands were sent. What was torn off is no loss.
- Anything else that is not a record is damage: keys are lost, every key must be taken as dirty.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import Final
from zlib import crc32

import attrs
import hiredis

from dualkv.resp.encode import pack

__all__ = ["GAP_OFFSET", "SALT_BYTES", "Gap", "Recovery", "encode_head", "encode_record"]

_MAGIC: Final = b"DUALKVJ1"
_HEAD: Final = struct.Struct("<8s8sIc")
_PREFIX: Final = struct.Struct("<8sQ")
_CHECKS: Final = struct.Struct("<II")
_FRONT_BYTES: Final = _PREFIX.size + _CHECKS.size

SALT_BYTES: Final = 8
GAP_OFFSET: Final = _HEAD.size - 1
"""Where the head's `Gap` stands."""


class Gap(enum.Enum):
    """Why keys are missing in a segment. No two codes differ in one bit only."""

    NONE = b"W"
    ANY_KEY = b"A"
    FAILED = b"F"
    FULL = b"L"
    POWER = b"P"

    @property
    def reason(self) -> str:
        """What it means, for a log."""
        return _REASONS[self]


_REASONS: Final = {
    Gap.NONE: "",
    Gap.ANY_KEY: "a write that may touch any key was not settled",
    Gap.FAILED: "the disk did not take all keys",
    Gap.FULL: "the journal was full",
    Gap.POWER: "the machine went down, or is another one",
}


def encode_head(salt: bytes, gap: Gap = Gap.NONE) -> bytes:
    """Return what a segment begins with; *salt* is `SALT_BYTES` random bytes."""
    return _HEAD.pack(_MAGIC, salt, crc32(_MAGIC + salt), gap.value)


def encode_record(salt: bytes, db: int, keys: Iterable[bytes]) -> bytes:
    """Return the record of *keys* in database *db*, for the segment with this *salt*."""
    payload = pack((db, *keys))
    prefix = _PREFIX.pack(salt, len(payload))
    return prefix + _CHECKS.pack(crc32(prefix), crc32(payload)) + payload


@attrs.define
class Recovery:
    """What the segments of a journal say; `read` takes them one after another, the oldest first."""

    keys: set[tuple[int, bytes]] = attrs.field(factory=set)
    """Dirty keys, each with its database."""
    reasons: list[str] = attrs.field(factory=list)
    """Why every key must be taken as dirty; empty if these are all."""
    torn_bytes: int = 0
    """What was cut off at the end: its commands were never sent."""
    damaged_bytes: int = 0
    """What cannot be read though it was written whole."""

    @property
    def must_resync(self) -> bool:
        """Whether every key must be taken as dirty."""
        return bool(self.reasons)

    def read(self, name: str, data: bytes) -> None:
        """Add what a segment says.

        Args:
            name: The segment's, for the reasons.
            data: The whole file, as it was found.
        """
        size = len(data)
        data = data.rstrip(b"\0")  # a file system may leave them behind a power failure; no record ends so
        if len(data) < _HEAD.size:
            self.torn_bytes += size
            return None
        magic, salt, check, gap = _HEAD.unpack_from(data)
        if magic != _MAGIC or check != crc32(_MAGIC + salt):
            return self._damaged(name, size)
        if gap != Gap.NONE.value:
            self._need_resync(name, gap)
        position = _HEAD.size
        while position < len(data):
            payload = _payload_at(data, position, salt)
            if payload is not None:
                db, *keys = _values(payload)
                self.keys.update([(int(db), key) for key in keys])
                position += _FRONT_BYTES + len(payload)
                continue
            intact = _next_intact(data, position, salt)
            if intact is None and _is_torn_at(data, position, salt):
                break
            end = size if intact is None else intact
            self._damaged(name, end - position)
            position = end
        self.torn_bytes += size - position

    def _need_resync(self, name: str, gap: bytes) -> None:
        try:
            self.reasons.append(f"{name}: {Gap(gap).reason}")
        except ValueError:
            self._damaged(name, len(gap))

    def _damaged(self, name: str, count: int) -> None:
        self.damaged_bytes += count
        reason = f"{name}: damaged"
        if reason not in self.reasons:
            self.reasons.append(reason)


def _values(payload: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(payload)
    values: list[bytes] = reader.gets()
    return values


def _payload_at(data: bytes, position: int, salt: bytes) -> bytes | None:
    """Return the payload of the record at *position*, or None if there is no intact one."""
    length = _length_at(data, position, salt)
    start = position + _FRONT_BYTES
    if length is None or start + length > len(data):
        return None
    payload = data[start : start + length]
    _, check = _CHECKS.unpack_from(data, position + _PREFIX.size)
    return payload if check == crc32(payload) else None


def _length_at(data: bytes, position: int, salt: bytes) -> int | None:
    """Return the length of the payload that is announced at *position*, or None if no record begins there."""
    if position + _FRONT_BYTES > len(data):
        return None
    found, length = _PREFIX.unpack_from(data, position)
    check, _ = _CHECKS.unpack_from(data, position + _PREFIX.size)
    if found != salt or check != crc32(data[position : position + _PREFIX.size]):
        return None
    return int(length)


def _next_intact(data: bytes, position: int, salt: bytes) -> int | None:
    """Return where the first intact record behind *position* begins."""
    while (position := data.find(salt, position + 1)) >= 0:
        if _payload_at(data, position, salt) is not None:
            return position
    return None


def _is_torn_at(data: bytes, position: int, salt: bytes) -> bool:
    """Return whether what begins at *position* is a record without its end."""
    left = len(data) - position
    if left < _FRONT_BYTES:
        return data[position : position + len(salt)] == salt[:left]
    length = _length_at(data, position, salt)
    return length is not None and left < _FRONT_BYTES + length
