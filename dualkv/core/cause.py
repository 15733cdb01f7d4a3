"""Why two stores probably differ at a key: what this proxy knows, weighed.

It is a guess, and the record says what it was made from. What is certain comes first: a write of this key
that did not get there, after the last copy of its state. Then what stores do by themselves (expiry,
eviction). What is left when the stores are known to have been equal is somebody else's write.
"""

from __future__ import annotations

import attrs

from dualkv.core.divergence import Cause, DivergenceKind, HistoryEntry

__all__ = ["CauseFacts", "suspected_cause"]


@attrs.frozen
class CauseFacts:
    """What is known of a key when it differs. Everything that is not known keeps its default."""

    history: tuple[HistoryEntry, ...] = ()
    """What happened to the key lately in this proxy, oldest first."""
    is_unsupported: bool = False
    """Whether effects of the key's kind cannot be held by the secondary."""
    is_near_expiry: bool = False
    """Whether the key has an expiry on one of the stores and it is near or just over."""
    has_expiry_on_one: bool = False
    """Whether it has an expiry on exactly one of the stores."""
    has_evicted: bool = False
    """Whether the secondary's ``evicted_keys`` has grown since the key was last known to be equal."""
    last_write_equal: bool | None = None
    """Whether both stores answered the last checked write of the key alike; None: no write was checked."""
    saw_write: bool = False
    """Whether this proxy has mirrored any write of the key."""
    is_copied: bool = False
    """Whether a copy of all keys has come to its end: the stores were equal once."""
    has_other_proxies: bool = False
    """Whether other proxies are known to write to the same stores."""


def suspected_cause(kind: DivergenceKind, facts: CauseFacts) -> Cause:
    """Return why the stores probably differ.

    Args:
        kind: How they differ.
        facts: What is known of the key.
    """
    loss, is_copied_since = _last_loss(facts.history)
    if loss is not None:
        return loss
    if facts.is_unsupported:
        return Cause.UNSUPPORTED
    is_missing_somewhere = kind is not DivergenceKind.DATA_MISMATCH
    if facts.is_near_expiry and is_missing_somewhere:
        return Cause.EXPIRED
    if facts.has_expiry_on_one and kind is DivergenceKind.MIGRATION_GAP:
        return Cause.EXPIRED
    was_equal = facts.last_write_equal is True or facts.is_copied or is_copied_since
    if facts.has_evicted and kind is DivergenceKind.MIGRATION_GAP and (was_equal or facts.saw_write):
        return Cause.EVICTED
    if facts.last_write_equal is False or not was_equal:
        return Cause.UNKNOWN
    return Cause.REORDERED if facts.has_other_proxies and facts.saw_write else Cause.BYPASSED


def _last_loss(history: tuple[HistoryEntry, ...]) -> tuple[Cause | None, bool]:
    """Return the last loss behind the last copy of the key's state, and whether there was a copy."""
    for entry in reversed(history):
        if entry.is_copy:
            return None, True
        if entry.loss is not None:
            return entry.loss, False
    return None, False
