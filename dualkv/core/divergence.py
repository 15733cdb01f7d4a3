"""A confirmed difference between the stores."""

from __future__ import annotations

import enum
from typing import Final

import attrs

__all__ = [
    "MAX_REPORTED_BYTES",
    "Cause",
    "Divergence",
    "DivergenceIds",
    "DivergenceKind",
    "HistoryEntry",
    "order_of",
]

MAX_REPORTED_BYTES: Final = 256
"""Values in reports are cut to this."""


class DivergenceKind(enum.StrEnum):
    """How two replies differ."""

    MIGRATION_GAP = "migration_gap"
    """Only the primary has the data: expected before it is copied."""
    DATA_MISMATCH = "data_mismatch"
    EXTRA_DATA = "extra_data"
    """Only the secondary has the data."""


class Cause(enum.StrEnum):
    """Why the stores probably differ, as far as this proxy can know."""

    DROPPED = "dropped"
    """A write of the key never got there."""
    FAILED = "failed"
    """The secondary answered a write of the key with an error, or nobody knows whether it was executed."""
    REORDERED = "reordered"
    """Another proxy wrote the key, too: each keeps an order of its own."""
    EXPIRED = "expired"
    """The key's time ran out on one store before it did on the other, or only one has an expiry for it."""
    EVICTED = "evicted"
    """The store that lacks it made room for other keys."""
    UNSUPPORTED = "unsupported"
    """The secondary has no command for it."""
    BYPASSED = "bypassed"
    """Somebody wrote past the proxy."""
    UNKNOWN = "unknown"


_DROPPED: Final = "dropped ("
_FAILED: Final = "failed ("
_UNSUPPORTED: Final = "unsupported ("
_COPIED: Final = "copied"


@attrs.frozen
class HistoryEntry:
    """What happened to a key in this proxy: a command, or what became of one on its way."""

    seconds_ago: float
    """Before the divergence was confirmed."""
    what: str
    """The command's label; or ``dropped (queue_full)``, ``failed (oom)``, ``copied``."""
    detail: str = ""
    """More, for a person; it must not hold values."""
    args: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    """The write itself, name first, where that is known: a divergence is reproduced with these."""

    @classmethod
    def dropped(cls, seconds_ago: float, reason: str, args: tuple[bytes, ...] = ()) -> HistoryEntry:
        """Return the entry of a write that never got to the secondary, for *reason*."""
        return cls(seconds_ago, f"{_DROPPED}{reason})", args=args)

    @classmethod
    def failed(cls, seconds_ago: float, reason: str, args: tuple[bytes, ...] = ()) -> HistoryEntry:
        """Return the entry of a write that the secondary refused, or whose outcome is unknown."""
        return cls(seconds_ago, f"{_FAILED}{reason})", args=args)

    @classmethod
    def unsupported(cls, seconds_ago: float, command: str, args: tuple[bytes, ...] = ()) -> HistoryEntry:
        """Return the entry of an effect of *command* that the secondary cannot hold."""
        return cls(seconds_ago, f"{_UNSUPPORTED}{command})", args=args)

    @classmethod
    def copied(cls, seconds_ago: float, detail: str = "") -> HistoryEntry:
        """Return the entry of a copy of the key's whole state: what was before does not matter any more."""
        return cls(seconds_ago, _COPIED, detail)

    @property
    def loss(self) -> Cause | None:
        """What kept a write from the secondary; None: nothing did."""
        for start, cause in _LOSSES.items():
            if self.what.startswith(start):
                return cause
        return None

    @property
    def is_copy(self) -> bool:
        """Whether the key's whole state was copied."""
        return self.what == _COPIED


_LOSSES: Final = {_DROPPED: Cause.DROPPED, _FAILED: Cause.FAILED, _UNSUPPORTED: Cause.UNSUPPORTED}


@attrs.frozen
class Divergence:
    """A confirmed difference between the stores."""

    command: str
    """The label of the read's command."""
    kind: DivergenceKind
    key: bytes
    """The key of the read, cut."""
    expected: bytes = attrs.field(repr=False)
    """What the primary answered: raw, cut to `MAX_REPORTED_BYTES`."""
    actual: bytes = attrs.field(repr=False)
    """What the secondary answered, likewise."""
    time_seconds: float = 0.0
    """When it was confirmed, as Unix time."""
    id: str = ""
    """Its name; later ones sort behind earlier ones. Empty until it has been recorded."""
    args: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    """The read, name first; each argument cut."""
    db: int = 0
    pattern: bytes = b""
    """Pub/Sub: the pattern of the subscription; empty: none."""
    detail: str = ""
    """What differs, for a person; it must not hold values."""
    expected_bytes: int = 0
    """How long the primary's whole reply was; 0: it was not cut."""
    actual_bytes: int = 0
    """How long the secondary's whole reply was; 0: it was not cut."""
    readings: int = 1
    """How often both stores were read with this outcome."""
    confirmed_over_seconds: float = 0.0
    """From the first of these readings to the last."""
    position: int = 0
    """Of the last reading in the lane's log: how many replies came before."""
    stream_age_seconds: float = 0.0
    """How old the stream was: how long the last reading had waited in it."""
    history: tuple[HistoryEntry, ...] = ()
    """What happened to the key lately in this proxy, oldest first."""
    cause: Cause = Cause.UNKNOWN
    """Why, probably."""

    @property
    def is_message(self) -> bool:
        """Whether it is about a message of Pub/Sub, and not about a read."""
        return self.command in _SUBSCRIBING

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, roughly."""
        args = sum(map(len, self.args)) + sum(len(arg) for entry in self.history for arg in entry.args)
        texts = len(self.detail) + sum(len(entry.what) + len(entry.detail) for entry in self.history)
        values = len(self.key) + len(self.expected) + len(self.actual) + len(self.pattern)
        return _RECORD_OVERHEAD_BYTES + 200 * len(self.history) + args + texts + values


_SUBSCRIBING: Final = frozenset({"subscribe", "psubscribe", "ssubscribe"})
_RECORD_OVERHEAD_BYTES: Final = 800


@attrs.define
class DivergenceIds:
    """Names divergences: what this process is called, a dash, and a number.

    Args:
        started_seconds: When the process started, as Unix time: names of a later process sort behind.
        salt: Two bytes that tell processes apart which started in the same second.
    """

    started_seconds: float
    salt: bytes
    _last: int = attrs.field(init=False, default=0)

    def next(self) -> str:
        """Return a new name."""
        self._last += 1
        return f"{int(self.started_seconds):08x}{self.salt[:2].hex()}-{self._last:06d}"


def order_of(divergence_id: str) -> tuple[str, int]:
    """Return what names of divergences sort by.

    Raises:
        ValueError: It is no such name.
    """
    process, dash, number = divergence_id.partition("-")
    if not dash or not process.isalnum() or not (number.isascii() and number.isdecimal()):
        raise ValueError(f"{divergence_id!r} is not the id of a divergence")
    return process, int(number)
