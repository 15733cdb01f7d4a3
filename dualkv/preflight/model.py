"""What is known of both stores, and what is found about it."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from dualkv.config import BackendOptions, ProxyConfig
from dualkv.core.dialect import Dialect
from dualkv.core.identity import Identity

__all__ = [
    "BOTH",
    "Facts",
    "Finding",
    "Level",
    "Sample",
    "StoreFacts",
    "exit_code",
    "fail",
    "ok",
    "warn",
]

BOTH = "both"
"""Where a finding is about the pair."""


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as everybody would expect."""
    FAIL = "fail"
    """It would not work, or not keep its promises."""


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    store: str
    """``primary``, ``secondary`` or ``both``."""
    level: Level
    text: str
    """What is so, in one sentence."""
    advice: str = ""
    """What to do about it; empty if nothing has to be done."""
    details: tuple[str, ...] = ()
    """All that the sentence does not name, for ``--json``."""


def ok(check: str, store: str, text: str, advice: str = "", details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(check, store, Level.OK, text, advice, details)


def warn(check: str, store: str, text: str, advice: str, details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that somebody should know."""
    return Finding(check, store, Level.WARN, text, advice, details)


def fail(check: str, store: str, text: str, advice: str, details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that must be put right first."""
    return Finding(check, store, Level.FAIL, text, advice, details)


@attrs.define
class Sample:
    """What some keys of a store are like."""

    keys: int = 0
    """So many different keys were looked at."""
    types: Counter[str] = attrs.field(factory=Counter)
    ttl_classes: Counter[str] = attrs.field(factory=Counter)
    largest: list[tuple[int, str, str, bytes]] = attrs.field(factory=list)
    """The biggest ones, the biggest first: size, its unit (``bytes``, ``elements``), type, key."""


@attrs.frozen
class StoreFacts:
    """What one store says of itself. What it does not say is None or empty."""

    which: str
    """``primary`` or ``secondary``, as in the settings."""
    options: BackendOptions
    error: str | None = None
    """Why it cannot be reached; without secrets. None: it can."""
    dialect: Dialect | None = None
    identity: Identity | None = None
    knows_commands: bool = True
    """Whether it answers ``COMMAND``; if not, nothing of what follows was asked but ``INFO`` and ``PING``."""
    info: Mapping[str, str] = attrs.field(factory=dict)
    """Fields of ``INFO``."""
    settings: Mapping[str, str] = attrs.field(factory=dict)
    """Of ``CONFIG GET``."""
    protocols: frozenset[int] = frozenset({2})
    """RESP versions."""
    clock_offset_seconds: float | None = None
    """Its clock minus ours."""
    latency_seconds: float | None = None
    """Median of some PINGs."""
    user: str = ""
    """Who we are there."""
    denied: tuple[str, ...] = ()
    """Commands that we need, and that our user must not execute."""
    rights_are_known: bool = False
    """Whether that could be asked."""
    sample: Sample | None = None
    error_since: str = ""
    """Why asking ended before its end; empty: it did not."""

    @property
    def keys_by_db(self) -> dict[int, int]:
        """Return the number of keys by database, as ``INFO keyspace`` tells; empty if it does not."""
        found = {}
        for name, value in self.info.items():
            if name.startswith("db") and name[2:].isdecimal() and value.startswith("keys="):
                found[int(name[2:])] = int(value[5:].partition(",")[0])
        return found

    @property
    def tells_keyspace(self) -> bool:
        """Whether keys are counted there: ``INFO`` has the section, even if it is empty."""
        return "keyspace_hits" in self.info or bool(self.keys_by_db)

    def number(self, name: str) -> int | None:
        """Return a number from ``INFO`` or ``CONFIG GET``; None if it is not told."""
        text = self.settings.get(name, self.info.get(name, ""))
        return int(text) if text.isdecimal() else None


@attrs.frozen
class Facts:
    """Both stores, and what is wanted of them."""

    config: ProxyConfig
    primary: StoreFacts
    secondary: StoreFacts

    @property
    def stores(self) -> tuple[StoreFacts, StoreFacts]:
        """Both, the primary first."""
        return self.primary, self.secondary


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if any of them is a failure, else 0."""
    return int(any(finding.level is Level.FAIL for finding in findings))
