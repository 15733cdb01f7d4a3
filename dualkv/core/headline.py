"""Whether all is well, in one word and a few sentences: what somebody needs who has just been woken up.

Four conditions, by what they mean for the reader: *trouble* is what clients notice, *attention* what somebody
should look at though clients are served, *busy* what dualkv is at work on by itself. Else all is *well*.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from dualkv.core.words import duration_text, some

__all__ = ["Condition", "Headline", "HeadlineFacts", "judge_headline"]

_PATIENCE_SECONDS: Final = 30.0
"""A key that has been dirty for longer, though writes flow, should have been copied."""
_BRIEF_SECONDS: Final = 5.0
"""Copies that take no longer are everyday business."""


class Condition(enum.StrEnum):
    """How things are, the worst last."""

    WELL = "well"
    BUSY = "busy"
    ATTENTION = "attention"
    TROUBLE = "trouble"

    @property
    def words(self) -> str:
        """What it is called, for a person."""
        return _TITLES[self]


_TITLES: Final = {
    Condition.WELL: "All is well",
    Condition.BUSY: "Catching up",
    Condition.ATTENTION: "Needs attention",
    Condition.TROUBLE: "Clients are affected",
}
_ORDER: Final = tuple(Condition)


@attrs.frozen
class HeadlineFacts:
    """What is known at one moment. By default nothing is wrong."""

    answers: str = "redis"
    """The name of the store that answers."""
    answers_state: str = "up"
    """``up``, ``connecting``, ``down``, ``closed``."""
    answers_error: str = ""
    follows: str = ""
    """The name of the store that follows; empty: nothing is mirrored."""
    follows_error: str = ""
    """The last failure to connect, while it is not connected; empty: there is none."""
    objection: str = ""
    """Why it must not be used; empty: it may."""
    is_draining: bool = False
    clients: int = 0
    max_clients: int = 1
    stream_state: str = "flowing"
    """Of the gate."""
    stream_age_seconds: float = 0.0
    max_stream_age_seconds: float = 1.0
    dirty_keys: int = 0
    dirty_seconds: float = 0.0
    """How long the oldest one has been dirty."""
    is_repairing: bool = True
    """Whether dirty keys are copied at all."""
    resync_required: str = ""
    """Why all keys have to be copied; empty: they need not."""
    is_resyncing: bool = False
    resync_share: float | None = None
    """How much of it is done, 0 to 1; None: nobody knows."""
    resync_eta_seconds: float | None = None
    is_seeded: bool = False
    """Whether all keys have been copied once."""
    divergences: int = 0
    """Confirmed in the window, gaps apart."""
    gaps: int = 0
    """Migration gaps in the window."""
    writes_differed: int = 0
    """Mirrored writes in the window that the stores answered differently."""
    window_seconds: float = 600.0
    selftest_failure: str = ""
    journal_gap: str = ""


@attrs.frozen
class Headline:
    """The answer."""

    condition: Condition
    reasons: tuple[str, ...]
    """Sentences, the most important first; at least one."""


def judge_headline(facts: HeadlineFacts) -> Headline:
    """Return how things are, and why."""
    found = [*_about_clients(facts)]
    if facts.follows:
        found += [*_about_stream(facts), *_about_differences(facts), *_about_copies(facts)]
    if not found:
        how = f"and {facts.follows} follows." if facts.follows else "in a mode in which nothing is mirrored."
        return Headline(Condition.WELL, (f"{facts.answers} serves the clients, {how}",))
    found.sort(key=lambda one: -_ORDER.index(one[0]))
    return Headline(found[0][0], tuple(reason for _, reason in found))


_Found = Iterable[tuple[Condition, str]]


def _about_clients(facts: HeadlineFacts) -> _Found:
    because = f" ({facts.answers_error})" if facts.answers_error else ""
    if facts.answers_state == "connecting":
        yield Condition.TROUBLE, f"Clients wait: {facts.answers} is being connected to{because}."
    elif facts.answers_state != "up":
        yield Condition.TROUBLE, f"Clients get errors: {facts.answers} cannot be reached{because}."
    if facts.clients >= facts.max_clients:
        yield Condition.TROUBLE, f"No more clients get in: {facts.clients:,} are connected, the limit."
    if facts.is_draining:
        yield Condition.ATTENTION, "Shutting down: clients should be sent elsewhere."


def _about_stream(facts: HeadlineFacts) -> _Found:
    wait = f"; {some(facts.dirty_keys, 'key')} will be copied" if facts.dirty_keys else ""
    because = f" ({facts.follows_error})" if facts.follows_error else ""
    if facts.objection:
        yield Condition.ATTENTION, f"{facts.follows} is not used ({facts.objection}){wait}."
        return
    match facts.stream_state:
        case "paused":
            yield Condition.ATTENTION, f"{facts.follows} is paused by hand{wait}."
        case "overloaded":
            slow = f"{facts.follows} is slower than the writers: keys are copied instead of writes{wait}."
            yield Condition.ATTENTION, slow
        case state if state == "unreachable" or facts.follows_error:
            yield Condition.ATTENTION, f"{facts.follows} does not answer{because}{wait}."
    if facts.stream_age_seconds > facts.max_stream_age_seconds:
        yield Condition.ATTENTION, f"{facts.follows} is {facts.stream_age_seconds:.1f} s behind."


def _about_differences(facts: HeadlineFacts) -> _Found:
    lately = f"in the last {duration_text(facts.window_seconds)}"
    if facts.divergences:
        yield Condition.ATTENTION, f"{some(facts.divergences, 'divergence')} {lately}: the stores differ."
    if facts.writes_differed:
        yield (
            Condition.ATTENTION,
            f"The stores answered {some(facts.writes_differed, 'write')} differently {lately}.",
        )
    if facts.selftest_failure:
        yield Condition.ATTENTION, f"The self-test failed: {facts.selftest_failure}."
    if facts.gaps:
        expected = "" if facts.is_seeded else ", as is expected before all keys have been copied"
        yield (
            Condition.ATTENTION if facts.is_seeded else Condition.BUSY,
            f"{some(facts.gaps, 'migration gap')} {lately}{expected}.",
        )


def _about_copies(facts: HeadlineFacts) -> _Found:
    if facts.is_resyncing:
        share = "" if facts.resync_share is None else f": {facts.resync_share:.0%}"
        eta = facts.resync_eta_seconds
        left = "" if eta is None else f", {duration_text(eta)} left"
        yield Condition.BUSY, f"All keys are being copied to {facts.follows}{share}{left}."
    elif facts.resync_required:
        yield Condition.ATTENTION, f"All keys have to be copied: {facts.resync_required}."
    elif facts.dirty_keys and facts.stream_state == "flowing":
        since = f"for {duration_text(facts.dirty_seconds)}"
        if not facts.is_repairing:
            yield Condition.ATTENTION, f"{some(facts.dirty_keys, 'dirty key')}, and repair is off."
        elif facts.dirty_seconds > _PATIENCE_SECONDS:
            yield Condition.ATTENTION, f"{some(facts.dirty_keys, 'dirty key')}, the oldest {since}."
        elif facts.dirty_seconds > _BRIEF_SECONDS:
            yield Condition.BUSY, f"{some(facts.dirty_keys, 'dirty key')} to copy, the oldest {since}."
    if facts.journal_gap:
        yield Condition.ATTENTION, f"Keys are missing in the journal: {facts.journal_gap}."
