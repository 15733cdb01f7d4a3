"""Records of divergences, as dualkv tells them."""

from __future__ import annotations

from typing import Any

from dualkv.core.divergence import Cause, Divergence, DivergenceKind, HistoryEntry
from dualkv.core.divergence_record import RecordMaker

__all__ = ["record"]


def record(number: int = 1, *, show_values: bool = True, **facts: Any) -> dict[str, Any]:
    """Return the record of a lost write, with some facts changed."""
    key = facts.pop("key", b"user:1")
    given: dict[str, Any] = {
        "command": "get", "kind": DivergenceKind.DATA_MISMATCH, "key": key,
        "expected": b"$1\r\n2\r\n", "actual": b"$1\r\n1\r\n",
        "time_seconds": 1_700_000_000.0 + number, "id": f"6553f100abcd-{number:06d}",
        "args": (b"GET", key), "cause": Cause.DROPPED,
        "history": (
            HistoryEntry(2.0, "set", args=(b"SET", key, b"1")),
            HistoryEntry.dropped(1.0, "queue_full", (b"SET", key, b"2")),
        ),
    }  # fmt: skip
    return RecordMaker(show_values, b"k")(Divergence(**given | facts))
