"""Why two stores probably differ at a key: what this proxy knows, weighed.

It is a guess, and the record says what it was made from. What is certain comes first: a write of this key
that did not get there, after the last copy of its state. Then what stores do by themselves (eviction,
expiry). What is left when the stores are known to have been equal is somebody else's write.
"""

from __future__ import annotations

from typing import Final

import attrs

from dualkv.core.divergence import Cause, DivergenceKind, HistoryEntry

__all__ = ["CauseFacts", "suspected_cause"]


@attrs.frozen
class CauseFacts:
    """What is known of a key when it differs. Everything that is not known keeps its default."""

    history: tuple[HistoryEntry, ...] = ()
    """What happened to the key lately in this proxy, oldest first."""
    has_expiry_on_one: bool = False
    """Whether it has an expiry on exactly one of the stores: on the other it has none, or is not there."""
    has_expired: bool | None = None
    """Whether keys have expired on the store that lacks it since it was there; None: it does not tell."""
    has_evicted: bool = False
    """Whether the store that lacks it has evicted keys since then."""
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
    was_equal = facts.last_write_equal is True or facts.is_copied or is_copied_since
    if was_equal or facts.saw_write:
        is_missing = kind is not DivergenceKind.DATA_MISMATCH
        if is_missing and facts.has_evicted:
            return Cause.EVICTED
        if facts.has_expiry_on_one and not (is_missing and facts.has_expired is False):
            return Cause.EXPIRED
    if facts.last_write_equal is False or not was_equal:
        return Cause.UNKNOWN
    return Cause.REORDERED if facts.has_other_proxies and facts.saw_write else Cause.BYPASSED


def _last_loss(history: tuple[HistoryEntry, ...]) -> tuple[Cause | None, bool]:
    """Return the last loss behind the last copy of the key's state, and whether there was a copy."""
    is_replaced = False
    for entry in reversed(history):
        if entry.is_copy:
            return None, True
        if entry.loss is Cause.UNSUPPORTED and (is_replaced or entry.what.startswith(_UNREAD)):
            continue
        if entry.loss is not None:
            return entry.loss, False
        is_replaced = is_replaced or entry.what in _REPLACING
    return None, False


_UNREAD: Final = "unsupported (x"
"""Groups of streams, and the like: no read shows them that a store without them could be compared by."""
_REPLACING: Final = frozenset({"set", "setex", "psetex", "getset", "del", "unlink", "getdel"})
"""After them nothing is left in a key of what was there before."""
