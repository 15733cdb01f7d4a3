"""A confirmed difference between the stores."""

from __future__ import annotations

import enum
from typing import Final

import attrs

__all__ = ["MAX_REPORTED_BYTES", "Divergence", "DivergenceKind"]

MAX_REPORTED_BYTES: Final = 256
"""Values in reports are cut to this."""


class DivergenceKind(enum.StrEnum):
    """How two replies differ."""

    MIGRATION_GAP = "migration_gap"
    """Only the primary has the data: expected before it is copied."""
    DATA_MISMATCH = "data_mismatch"
    EXTRA_DATA = "extra_data"
    """Only the secondary has the data."""


@attrs.frozen
class Divergence:
    """A confirmed difference between the stores."""

    command: str
    kind: DivergenceKind
    key: bytes
    """The first argument of the read."""
    expected: bytes = attrs.field(repr=False)
    """What the primary answered, cut."""
    actual: bytes = attrs.field(repr=False)
    """What the secondary answered, cut."""
    time_seconds: float = 0.0
    """When, as Unix time."""
