"""What clients may ask dualkv about itself: ``DUALKV STATUS``, ``WHOAMI``, ``KEY``, ``HELP``.

Answers are lines ``field:value``, as those of ``INFO``, so that any client can read them. They hold no
values, and no key but the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import HistoryEntry
from dualkv.core.printable import text_of
from dualkv.resp import encode

__all__ = ["HELP", "KeyFacts", "key_fields", "lines_of", "status_fields"]

Fields = Iterable[tuple[str, object]]

HELP: Final = encode.array(
    b"+%b\r\n" % line.encode()
    for line in (
        "DUALKV <subcommand> [<arg> ...]. Answered by the proxy, never by a store. Subcommands are:",
        "HELP",
        "    Return this help.",
        "KEY <key>",
        "    Return what the proxy knows of a key: dirty or not, being confirmed, its last writes.",
        "STATUS",
        "    Return mode, stores, stream, differences, in short.",
        "WHOAMI",
        "    Return who you are to the proxy, and which proxy and mode it is.",
    )
)


def lines_of(fields: Fields) -> bytes:
    """Return fields as text, a line each; nothing in a value can begin another line."""
    return b"".join(f"{name}:{_shown(value)}\r\n".encode() for name, value in fields)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case bytes():
            return text_of(value)
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case _:
            text = str(value)
            return text if text.isprintable() else text_of(text.encode(errors="backslashreplace"))


@attrs.frozen
class KeyFacts:
    """What is known of a key."""

    db: int
    key: bytes
    shard: int | None
    """Which shard of the stream its writes go through; None: nothing is mirrored."""
    shards: int
    dirty: tuple[DirtyReason, float] | None
    """Why it is dirty, and for how long, in seconds; None: it is not."""
    readings: int
    """How often a difference of it has been seen that is being confirmed; 0: there is none."""
    history: tuple[HistoryEntry, ...] | None
    """What happened to it lately, oldest first; None: that is not remembered in this mode."""


def key_fields(facts: KeyFacts) -> Iterator[tuple[str, object]]:
    """Yield what is told of a key."""
    yield "key", facts.key
    yield "db", facts.db
    yield "mirrored", facts.shard is not None
    if facts.shard is not None:
        yield "shard", f"{facts.shard} of {facts.shards}"
    yield "dirty", facts.dirty is not None
    if facts.dirty is not None:
        reason, seconds = facts.dirty
        yield "dirty_reason", reason.value
        yield "dirty_seconds", seconds
    yield "being_confirmed", facts.readings > 0
    if facts.readings:
        yield "differed_readings", facts.readings
    if facts.history is None:
        yield "history", "not kept in this mode"
        return
    yield "history", len(facts.history)
    for number, entry in enumerate(reversed(facts.history)):
        yield f"history_{number}", f"{entry.seconds_ago:.3f} s ago, {entry.what}"


def status_fields(status: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the most important of a status.

    Args:
        status: As `dualkv.admin.status.status_of` returns it; empty: there is nobody who knows.
    """
    if not status:
        return
    yield from _about_process(status)
    for which, backend in status["backends"].items():
        yield f"{which}_name", backend["name"]
        yield f"{which}_role", backend["role"]
        yield f"{which}_state", backend["state"]
        if "leader" in backend:
            yield f"{which}_leader", backend["leader"]
    for name, rate in status["traffic"]["backends"].items():
        yield f"ops_per_second_{name}", rate["ops_per_second"]
        yield f"p99_ms_{name}", rate["p99_ms"]
    for account, count in status["ledger"].items():
        yield f"ledger_{account}", count
    converging = status["convergence"]
    if converging is not None:
        yield "stream", converging["stream"]
        yield "stream_oldest_seconds", converging["oldest_seconds"]
        yield "dirty_keys", converging["dirty_keys"]
        yield "resync", converging["resync"]["phase"]
        yield "resync_eta_seconds", converging["resync"]["eta_seconds"]
    comparing = status["comparing"]
    yield "comparing", comparing["is_on"]
    yield "compared", comparing["coverage"]["compared"]
    for kind, count in comparing["divergences"]["so_far"].items():
        yield f"divergences_{kind}", count
    yield "selftest", status["selftest"]["state"]
    yield "ready", status["readiness"]["ready"]


def _about_process(status: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "dualkv_version", status["version"]
    yield "instance", status["instance"]
    yield "uptime_seconds", status["uptime_seconds"]
    yield "condition", status["headline"]["condition"]
    for number, reason in enumerate(status["headline"]["reasons"]):
        yield f"reason_{number}", reason
    yield "mode", status["mode"]
    yield "mode_seconds", status["mode_seconds"]
    yield "clients", status["clients"]["connected"]
