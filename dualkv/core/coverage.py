"""Coverage: what has been compared, by prefix of the keys, so that silence does not look like success.

A key's prefix is what it begins with, up to and with the first delimiter: ``user:`` of ``user:17:name``; keys
without one share the empty prefix. Prefixes are learnt as keys come, up to a bound; the rest is counted
together. A command with several keys counts for its first one.

Keys are gathered in a list and counted a few hundred at a time, in loops of C: that costs 0.15 µs per key, so
that every compared read can be counted.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs

from dualkv.commands.keys import keys_of
from dualkv.commands.table import COMMANDS, CommandSpec
from dualkv.core.printable import text_of

__all__ = ["MESSAGES", "OTHER", "Coverage", "Outcome", "PrefixCoverage", "covered_key", "shown_prefix"]

_GATHERED: Final = 512
_MAX_PREFIX_BYTES: Final = 128
"""What has a longer one is counted with the rest."""

OTHER: Final = b"(other)\x00"
"""Stands for all prefixes that are not told apart; no key that clients use begins like this."""


MESSAGES: Final = b"(messages)\x00"
"""Stands for messages of Pub/Sub where prefixes are told: their channels are no keys."""


class Outcome(enum.StrEnum):
    """What became of one check."""

    MATCHED = "matched"
    """A read whose replies mean the same."""
    GAP = "gaps"
    """A read that found a confirmed migration gap."""
    DIVERGED = "diverged"
    """A read that found another confirmed difference."""
    INCONCLUSIVE = "inconclusive"
    """A read that could not be compared."""
    WRITE_CHECKED = "writes_checked"
    """A mirrored write that the secondary answered as the primary did."""
    WRITE_DIFFERED = "writes_differed"
    """A mirrored write that it answered otherwise."""


@attrs.define
class PrefixCoverage:
    """What was checked of the keys with one prefix."""

    matched: int = 0
    gaps: int = 0
    diverged: int = 0
    inconclusive: int = 0
    writes_checked: int = 0
    writes_differed: int = 0

    @property
    def compared(self) -> int:
        """How many reads were compared, whatever came out."""
        return self.matched + self.gaps + self.diverged


def shown_prefix(prefix: bytes) -> str:
    """Return a prefix as a person reads it."""
    if prefix in (OTHER, MESSAGES):
        return prefix[:-1].decode()
    return text_of(prefix) if prefix else "(none)"


def covered_key(spec: CommandSpec, args: tuple[bytes, ...]) -> bytes:
    """Return the key that a request counts for: its first one; empty if it has none.

    Args:
        spec: The command's facts.
        args: The request, name first.
    """
    place = _KEY_PLACES[spec.index]
    if place > 0:
        return args[place] if place < len(args) else b""
    return next(iter(keys_of(spec, args) or ()), b"") if place else b""


def _key_place(spec: CommandSpec) -> int:
    """Return which argument is a command's first key; 0: it has none; -1: its options tell."""
    if not spec.key_specs:
        return 0
    begin, find = spec.key_specs[0].begin, spec.key_specs[0].find
    if not isinstance(begin, int):
        return -1
    return begin if find[0] == "range" else begin + find[2]


_KEY_PLACES: Final = [_key_place(spec) for spec in COMMANDS]


class Coverage:
    """Counts of checks by prefix.

    Args:
        delimiter: What ends a prefix; empty: all keys have the same, empty one.
        max_prefixes: How many are told apart.
    """

    def __init__(self, delimiter: bytes = b":", max_prefixes: int = 1000) -> None:
        self._delimiter = delimiter
        self._max_prefixes = max_prefixes
        self._prefixes: dict[bytes, PrefixCoverage] = {}
        self._total = PrefixCoverage()
        self._gathered: dict[Outcome, list[bytes]] = {outcome: [] for outcome in Outcome}
        self._matched = self._gathered[Outcome.MATCHED]

    def __repr__(self) -> str:
        return f"<Coverage prefixes={len(self._prefixes)} compared={self.total().compared}>"

    def prefix_of(self, key: bytes) -> bytes:
        """Return a key's prefix, whether it is told apart or not."""
        delimiter = self._delimiter
        return key[: key.find(delimiter) + len(delimiter)] if delimiter in key else b""

    def group_of(self, key: bytes) -> bytes:
        """Return under which prefix a key is counted from now on: its own, or `OTHER`."""
        prefix = self.prefix_of(key)
        if prefix not in self._prefixes:
            self._learn(prefix)
        return prefix if prefix in self._prefixes else OTHER

    # --- counting

    def note_matches(self, keys: Iterable[bytes]) -> None:
        """Count reads that match, by their keys: `note` for the hot path. Best called once per batch."""
        matched = self._matched
        matched += keys
        if len(matched) >= _GATHERED:
            self._count(Outcome.MATCHED)

    def note(self, outcome: Outcome, keys: Iterable[bytes]) -> None:
        """Count checks with the same outcome, by their keys (one each)."""
        gathered = self._gathered[outcome]
        gathered += keys
        if len(gathered) >= _GATHERED:
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        gathered, name, known = self._gathered[outcome], outcome.value, self._prefixes
        for prefix, count in Counter(self._prefixes_of(gathered)).items():
            counts = known.get(prefix) or self._learn(prefix)
            setattr(counts, name, getattr(counts, name) + count)
        setattr(self._total, name, getattr(self._total, name) + len(gathered))
        gathered.clear()

    def _prefixes_of(self, keys: list[bytes]) -> list[bytes]:
        delimiter, length = self._delimiter, len(self._delimiter)
        if length == 1:  # where there is none, `find` says -1: the empty prefix
            return [key[: key.find(delimiter) + 1] for key in keys]
        return [self.prefix_of(key) for key in keys] if length else [b""] * len(keys)

    def _learn(self, prefix: bytes) -> PrefixCoverage:
        known = self._prefixes
        if len(prefix) > _MAX_PREFIX_BYTES or len(known) - (OTHER in known) >= self._max_prefixes:
            prefix = OTHER
        counts = known.get(prefix)
        if counts is None:
            counts = known[prefix] = PrefixCoverage()
        return counts

    # --- looking at it

    def by_prefix(self) -> dict[bytes, PrefixCoverage]:
        """Return the counts of each prefix, in the order in which they were learnt; do not change them."""
        self._count_all()
        return self._prefixes

    def total(self) -> PrefixCoverage:
        """Return the counts of all prefixes together."""
        self._count_all()
        return attrs.evolve(self._total)

    def _count_all(self) -> None:
        for outcome, gathered in self._gathered.items():
            if gathered:
                self._count(outcome)
