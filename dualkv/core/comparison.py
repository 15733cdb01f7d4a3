"""The result of comparing one read by hand, and the record of a difference that was confirmed."""

from __future__ import annotations

from typing import Any

import attrs

from dualkv.commands.table import CommandSpec
from dualkv.core.compare import Outcome, Verdict
from dualkv.core.coverage import covered_key
from dualkv.core.divergence import MAX_REPORTED_BYTES, Divergence, DivergenceKind

__all__ = ["Comparison", "divergence_between"]

_MAX_ARGS = 64


@attrs.frozen
class Comparison:
    """What comparing one read has come to."""

    outcome: Outcome
    """``match``, a kind of divergence that was confirmed, or why there is no judgement."""
    expected: bytes = attrs.field(repr=False)
    """What the primary answered last: a raw frame."""
    actual: bytes = attrs.field(repr=False)
    """What the secondary answered last."""
    readings: int = 1
    """How often both stores were read."""
    reason: str = ""
    """Why there is no judgement, as the labels of the metrics say it; empty if there is one."""
    divergence: Divergence | None = None
    """What differs; None unless it was confirmed."""

    @property
    def is_match(self) -> bool:
        """Whether both stores answered alike, the last time at least."""
        return self.outcome is Outcome.MATCH

    @property
    def is_transient(self) -> bool:
        """Whether they differed first, and then did not any more."""
        return self.is_match and self.readings > 1


def divergence_between(
    spec: CommandSpec,
    args: tuple[bytes, ...],
    kind: DivergenceKind,
    verdict: Verdict,
    expected: bytes,
    actual: bytes,
    **more: Any,
) -> Divergence:
    """Return the record of a confirmed difference, its values cut.

    Args:
        spec: The read's command.
        args: The read, name first.
        kind: How the replies differ.
        verdict: The same in more words.
        expected: The primary's raw reply.
        actual: The secondary's.
        more: Other fields of `Divergence`.
    """
    return Divergence(
        command=spec.label,
        kind=kind,
        key=covered_key(spec, args)[:MAX_REPORTED_BYTES],
        expected=expected[:MAX_REPORTED_BYTES],
        actual=actual[:MAX_REPORTED_BYTES],
        args=tuple(arg[:MAX_REPORTED_BYTES] for arg in args[:_MAX_ARGS]),
        detail="" if verdict.detail is None else verdict.detail.value,
        expected_bytes=len(expected) if len(expected) > MAX_REPORTED_BYTES else 0,
        actual_bytes=len(actual) if len(actual) > MAX_REPORTED_BYTES else 0,
        **more,
    )
