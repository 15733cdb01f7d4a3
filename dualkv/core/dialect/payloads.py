"""Whose ``DUMP`` who can ``RESTORE``.

A payload ends with the RDB version of the store that made it (2 bytes, little endian) and a checksum (8
bytes). A store reads what is not newer than its own version. Valkey counts on from 80, and reads nothing
that only Redis has written (12 to 79). Measured between Redis 6.2, 7.0, 8.2 and Valkey 9.1.
"""

from __future__ import annotations

from typing import Final

from dualkv.core.dialect.model import Dialect

__all__ = ["payload_version", "rdb_version_of", "reads_payload", "reads_version"]

_FOOTER_BYTES: Final = 10
_REDIS_ONLY: Final = range(12, 80)

_RDB_VERSIONS: Final[dict[str, tuple[tuple[tuple[int, ...], int], ...]]] = {
    "Redis": (((7, 4), 12), ((7, 2), 11), ((7, 0), 10), ((5, 0), 9)),
    "Valkey": (((9, 0), 80), ((7, 2), 11)),
    "Dragonfly": (((1,), 9),),
}
"""From which version of a product on, newest first. Too low is safe: then keys are copied by type."""


def rdb_version_of(product: str, version: tuple[int, ...]) -> int:
    """Return the newest RDB version that a product in a version reads, 0 if nothing is known."""
    rows = _RDB_VERSIONS.get(product, ())
    return next((rdb_version for since, rdb_version in rows if version >= since), 0)


def payload_version(payload: bytes) -> int:
    """Return the RDB version in a ``DUMP`` payload's footer."""
    return int.from_bytes(payload[-_FOOTER_BYTES:][:2], "little")


def reads_version(dialect: Dialect, rdb_version: int) -> bool:
    """Whether a store can ``RESTORE`` what was made with an RDB version."""
    if not dialect.has("RESTORE") or (dialect.product == "Valkey" and rdb_version in _REDIS_ONLY):
        return False
    return rdb_version <= dialect.rdb_version


def reads_payload(dialect: Dialect, payload: bytes) -> bool:
    """Whether a store can ``RESTORE`` a payload, as far as its footer tells."""
    return len(payload) > _FOOTER_BYTES and reads_version(dialect, payload_version(payload))
