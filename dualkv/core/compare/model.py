"""What a judgement is. All verdicts are made once, here: a judgement costs no object."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from dualkv.core.divergence import DivergenceKind

__all__ = [
    "COMPARATOR_FAILED", "EXTRA", "GAP", "MATCH", "MISMATCHES", "PRIMARY_FAILED", "REPRESENTATION",
    "SECONDARY_FAILED", "WRONG_TTL", "WRONG_TYPE", "WRONG_VALUE", "Detail", "Outcome", "Reason", "Tolerance",
    "Verdict", "inconclusive", "merged", "skipped",
]  # fmt: skip


class Outcome(enum.StrEnum):
    """What came out of a comparison."""

    MATCH = "match"
    MIGRATION_GAP = "migration_gap"
    DATA_MISMATCH = "data_mismatch"
    EXTRA_DATA = "extra_data"
    INCONCLUSIVE = "inconclusive"
    """It was tried, and nothing can be said."""
    ERROR = "error"
    """A store, or the comparing itself, failed."""
    SKIPPED = "skipped"
    """There is nothing to compare: not this command, or not with these arguments."""


class Detail(enum.StrEnum):
    """How replies differ, more exactly than the kind of a divergence says."""

    REPRESENTATION = "representation"
    """Only as they are written, or in an order that means nothing: a match."""
    MISSING = "missing"
    """What the secondary has is a part of what the primary has."""
    EXTRA = "extra"
    """The other way round."""
    VALUE = "value"
    TYPE = "type"
    TTL = "ttl"
    ORDER = "order"
    """The same elements in an order that matters."""


class Reason(enum.StrEnum):
    """Why there is no judgement: few enough to be labels of a metric."""

    # inconclusive
    UNAVAILABLE = "unavailable"
    """A store answered that it cannot now, or not for this user (``LOADING``, ``MOVED``, ``NOPERM`` …)."""
    NO_SCRIPT = "no_script"
    """A store does not know the script."""
    NOT_COMPARABLE = "not_comparable"
    """A reply that makes no value."""
    NEAR_EXPIRY = "near_expiry"
    """Gone on one side, about to go on the other."""
    TOO_BIG = "too_big"
    HYPERLOGLOG = "hyperloglog"
    """Two encodings of a HyperLogLog, which may hold the same: ``PFCOUNT`` tells."""
    TIES = "ties"
    """Another order, which may be among equals."""
    WINDOW = "window"
    """Other elements at the edge of a window, which may be equals that were cut differently."""
    TRIMMED = "trimmed"
    """The beginning of a stream is missing on one side, where trimming is said to differ."""
    SCRIPT = "script"
    """A script whose reply may depend on more than the data."""
    SEVERAL_ANSWERS = "several_answers"
    """Several replies would be right."""
    # error
    PRIMARY = "primary"
    """Only the primary answered an error."""
    SECONDARY = "secondary"
    """Only the secondary did, though it knows the command."""
    COMPARATOR = "comparator"
    """The comparing itself failed: a bug in dualkv."""
    # skipped
    UNSUPPORTED = "unsupported"
    """The secondary does not know the command, or an option of it."""
    CURSOR = "cursor"
    """A part of a scan: cursors are a server's own."""
    MOMENT = "moment"
    """The reply depends on the moment."""
    OTHER_KEYS = "other_keys"
    """It reads keys that the request does not name."""
    APPROXIMATE = "approximate"
    WRITES = "writes"
    """With these arguments it is a write."""


@attrs.frozen
class Verdict:
    """What two replies to one read say of the stores."""

    outcome: Outcome
    kind: DivergenceKind | None = None
    """The kind of the difference; None if none was found."""
    detail: Detail | None = None
    """How they differ; None for replies equal as bytes, and where there is no judgement."""
    reason: Reason | None = None
    """Why there is no judgement, or whose error it is; None if there is one."""

    @property
    def is_match(self) -> bool:
        """Whether they mean the same."""
        return self.outcome is Outcome.MATCH

    @property
    def is_error(self) -> bool:
        """Whether a store or the comparing failed: `reason` says which."""
        return self.outcome is Outcome.ERROR


@attrs.frozen
class Tolerance:
    """What may differ."""

    ttl_milliseconds: int = 1000
    """Times to live that differ by so much are equal; where they are told in seconds, one second more, since
    servers round. Somebody who knows the secondary's lag and the clocks' skew adds them.
    """
    count_share: float = 0.04
    """``PFCOUNT`` may differ by this share of the bigger count: five times the 0.81 % standard error that
    Redis documents, for a secondary that counts exactly or hashes otherwise.
    """
    are_ties_ordered: bool = True
    """Whether members with equal scores stand in the order of their bytes on both sides, as in Redis."""
    is_trimming_exact: bool = True
    """Whether streams are trimmed to the same entry on both sides. If not, they are compared from the later
    first entry on.
    """
    are_deliveries_counted: bool = True
    """Whether pending entries must have been delivered equally often."""


MATCH: Final = Verdict(Outcome.MATCH)
"""Equal as bytes; and inside the rules, whatever means the same."""
REPRESENTATION: Final = Verdict(Outcome.MATCH, detail=Detail.REPRESENTATION)
GAP: Final = Verdict(Outcome.MIGRATION_GAP, DivergenceKind.MIGRATION_GAP, Detail.MISSING)
EXTRA: Final = Verdict(Outcome.EXTRA_DATA, DivergenceKind.EXTRA_DATA, Detail.EXTRA)
MISMATCHES: Final = {
    detail: Verdict(Outcome.DATA_MISMATCH, DivergenceKind.DATA_MISMATCH, detail) for detail in Detail
}
"""Data on both sides that differs, by detail."""
WRONG_VALUE: Final = MISMATCHES[Detail.VALUE]
WRONG_TYPE: Final = MISMATCHES[Detail.TYPE]
WRONG_TTL: Final = MISMATCHES[Detail.TTL]
PRIMARY_FAILED: Final = Verdict(Outcome.ERROR, reason=Reason.PRIMARY)
SECONDARY_FAILED: Final = Verdict(Outcome.ERROR, reason=Reason.SECONDARY)
COMPARATOR_FAILED: Final = Verdict(Outcome.ERROR, reason=Reason.COMPARATOR)
_INCONCLUSIVE: Final = {reason: Verdict(Outcome.INCONCLUSIVE, reason=reason) for reason in Reason}
_SKIPPED: Final = {reason: Verdict(Outcome.SKIPPED, reason=reason) for reason in Reason}


def inconclusive(reason: Reason) -> Verdict:
    """Return the verdict that nothing can be said."""
    return _INCONCLUSIVE[reason]


def skipped(reason: Reason) -> Verdict:
    """Return the verdict that there is nothing to compare."""
    return _SKIPPED[reason]


def merged(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what the verdicts on the parts of a reply say of the whole.

    Parts that match do not count. A gap stays one if every part that differs is a gap; so does extra data.
    What was found counts more than what could not be judged.
    """
    found = {verdict for verdict in set(verdicts) if not verdict.is_match}
    differences = {verdict for verdict in found if verdict.kind is not None} or found
    if len(differences) > 1:
        kinds = {verdict.kind for verdict in differences}
        return WRONG_VALUE if kinds != {None} else min(differences, key=lambda one: one.reason or "")
    return differences.pop() if differences else MATCH
