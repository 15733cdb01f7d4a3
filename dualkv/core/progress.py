"""How far a resync is."""

from __future__ import annotations

import enum
import json
from typing import Any, Self

import attrs

__all__ = ["Phase", "ResyncProgress"]


class Phase(enum.StrEnum):
    """What a resync does now."""

    IDLE = "idle"
    CLEANING = "cleaning"
    """It walks the secondary's keys and removes what the primary has not."""
    COPYING = "copying"
    """It walks the primary's keys and copies each."""
    CHECKING = "checking"
    """It walks the secondary's once more: a key may have expired on the primary before it was copied."""


@attrs.define
class ResyncProgress:
    """A resync: where it is, how much it has done, and what is left."""

    phase: Phase = Phase.IDLE
    why: str = ""
    started_at: float = 0.0
    """On our clock, in seconds; one that another process has begun: when this one went on."""
    keys_done: int = 0
    keys_total: int = 0
    """As the primary counted them at the start: it may be more or less in the end."""
    bytes_done: int = 0
    """What these keys take in the primary's memory, as it says."""
    keys_removed: int = 0
    """Keys of the secondary that the primary had not."""
    db: int = 0
    cursor: bytes = b"0"
    """Where to go on."""
    run_id: str = ""
    """Of the primary that the cursor belongs to."""
    completed: int = 0
    """Resyncs that have come to their end."""
    copying_since: float = 0.0
    """When this process began to copy, on our clock."""
    ended_at: float = float("-inf")
    """When the last one came to its end, on our clock."""
    done_before: int = 0
    """Keys that an earlier process has done."""

    def begin(self, why: str, now: float) -> None:
        """Begin, or go on where another process had to stop."""
        self.why, self.started_at, self.copying_since = why, now, now
        if self.phase is Phase.IDLE:
            self.phase = Phase.CLEANING
            self.keys_done = self.bytes_done = self.keys_removed = self.db = 0
            self.cursor = b"0"
        self.done_before = self.keys_done

    def begin_again(self, run_id: str) -> None:
        """The primary is another process: its cursors are others, and its keys may be."""
        self.phase, self.run_id, self.db, self.cursor = Phase.CLEANING, run_id, 0, b"0"
        self.keys_done = self.bytes_done = 0

    def begin_copying(self, now: float) -> None:
        """The secondary has been walked."""
        self.phase, self.db, self.cursor, self.copying_since = Phase.COPYING, 0, b"0", now

    def begin_checking(self) -> None:
        """The primary has been walked."""
        self.phase, self.db, self.cursor = Phase.CHECKING, 0, b"0"

    def end(self, now: float) -> None:
        """It is over."""
        self.phase = Phase.IDLE
        self.completed += 1
        self.ended_at = now

    def has_copied_since(self, moment: float) -> bool:
        """Whether keys have been copied since a moment, by its clock."""
        return self.is_running or self.ended_at >= moment

    def abandon(self) -> None:
        """It will not come to its end."""
        self.phase = Phase.IDLE

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self.phase is not Phase.IDLE

    def keys_per_second(self, now: float) -> float:
        """Return how fast copying has been since this process began with it."""
        return (self.keys_done - self.done_before) / max(now - self.copying_since, 0.001)

    def eta_seconds(self, now: float) -> float | None:
        """Return how long it will take from now on; None: nobody knows."""
        rate = self.keys_per_second(now)
        if self.phase is not Phase.COPYING or not rate:
            return None
        return max(self.keys_total - self.keys_done, 0) / rate

    def saved(self) -> bytes:
        """Return what the next process needs to go on."""
        return json.dumps(
            {
                "phase": self.phase.value,
                "why": self.why,
                "run_id": self.run_id,
                "db": self.db,
                "cursor": self.cursor.decode(),
                "done": self.keys_done,
                "removed": self.keys_removed,
            }
        ).encode()

    @classmethod
    def loaded(cls, data: bytes | None) -> Self | None:
        """Return where another process had to stop; None if it did not say, or not clearly."""
        try:
            found: dict[str, Any] = json.loads(data or b"null") or {}
            return cls(
                phase=Phase(found["phase"]),
                why=str(found["why"]),
                run_id=str(found["run_id"]),
                db=int(found["db"]),
                cursor=str(found["cursor"]).encode(),
                keys_done=int(found["done"]),
                keys_removed=int(found["removed"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError):
            return None
