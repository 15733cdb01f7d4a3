"""How a run is told: a line per seed, what differs, and a table at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs

from dualkv.torture.compare import Difference
from dualkv.torture.history import Operation, shown

__all__ = ["Result", "as_json", "details", "line", "table"]

_SHOWN_DIFFERENCES: Final = 10
_SHOWN_ASPECTS: Final = 4


@attrs.define
class Result:
    """What became of one seed."""

    seed: int
    operations: int = 0
    seconds: float = 0.0
    faults: list[str] = attrs.field(factory=list)
    """What happened, in order, with its time."""
    errors: Counter[str] = attrs.field(factory=Counter)
    """Error replies to clients."""
    disconnects: int = 0
    drops: int = 0
    """Writes that did not reach the secondary in the ordinary way."""
    repairs: int = 0
    """Keys that were copied."""
    converged_seconds: float | None = None
    """From the end of traffic and faults until dualkv said that all is settled; None: it never did."""
    keys: int = 0
    """In the primary at the end."""
    differences: list[tuple[Difference, list[Operation]]] = attrs.field(factory=list)
    """Each with the last operations of its key."""
    further_differences: int = 0
    complaints: list[str] = attrs.field(factory=list)
    """What else must not be."""

    @property
    def differing_keys(self) -> int:
        """How many keys differ."""
        return len(self.differences) + self.further_differences

    @property
    def is_good(self) -> bool:
        """Whether the stores ended equal, and nothing else is wrong."""
        return not self.differing_keys and not self.complaints

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.differing_keys:
            return f"{self.differing_keys} keys differ"
        return "complaints" if self.complaints else "equal"


def line(result: Result) -> str:
    """Return one seed's result in one line."""
    settled = "never" if result.converged_seconds is None else f"{result.converged_seconds:.1f}s"
    return (
        f"seed {result.seed}: {result.verdict}; {result.operations} operations in {result.seconds:.1f}s, "
        f"{result.keys} keys, {result.drops} drops, {result.repairs} repairs, settled after {settled}; "
        f"faults: {', '.join(result.faults) or 'none'}"
    )


def details(result: Result) -> list[str]:
    """Return lines about what is wrong; none if nothing is."""
    lines = [f"  ! {complaint}" for complaint in result.complaints]
    for difference, operations in result.differences[:_SHOWN_DIFFERENCES]:
        where = f"db {difference.db} key" if difference.db >= 0 else "library"
        lines.append(f"  {where} {shown(difference.key)}")
        for name, one, other in difference.aspects[:_SHOWN_ASPECTS]:
            lines.append(f"    {name}: {_told(one)} at the primary, {_told(other)} at the secondary")
        if more := len(difference.aspects) - _SHOWN_ASPECTS:
            lines += [f"    … and {more} more aspects"] if more > 0 else []
        lines += [f"      {operation}" for operation in operations]
    if (more := result.differing_keys - _SHOWN_DIFFERENCES) > 0:
        lines.append(f"  … and {more} more keys")
    return lines


def _told(value: Any) -> str:
    if value is None:
        return "absent"
    return shown(value) if isinstance(value, bytes) else str(value)


def table(results: Sequence[Result]) -> list[str]:
    """Return a table of all seeds that were not good, and the sums, as lines."""
    rows: list[tuple[str, ...]] = [("seed", "operations", "faults", "drops", "repairs", "keys", "verdict")]
    rows += [_row(str(result.seed), [result], result.verdict) for result in results if not result.is_good]
    good = sum(result.is_good for result in results)
    rows.append(_row("all", results, f"{good} of {len(results)} good"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([*map(str.rjust, row[:-1], widths), row[-1]]) for row in rows]


def _row(name: str, results: Sequence[Result], verdict: str) -> tuple[str, ...]:
    sums = (
        sum(result.operations for result in results),
        sum(len(result.faults) for result in results),
        sum(result.drops for result in results),
        sum(result.repairs for result in results),
        sum(result.keys for result in results),
    )
    return (name, *map(str, sums), verdict)


def as_json(result: Result) -> dict[str, Any]:
    """Return a result as plain data."""
    return {
        "seed": result.seed,
        "good": result.is_good,
        "operations": result.operations,
        "seconds": round(result.seconds, 3),
        "faults": result.faults,
        "errors": dict(result.errors),
        "disconnects": result.disconnects,
        "drops": result.drops,
        "repairs": result.repairs,
        "converged_seconds": result.converged_seconds,
        "keys": result.keys,
        "complaints": result.complaints,
        "further_differences": result.further_differences,
        "differences": [
            {
                "db": difference.db,
                "key": shown(difference.key),
                "aspects": [[name, _told(one), _told(other)] for name, one, other in difference.aspects],
                "operations": [str(operation) for operation in operations],
            }
            for difference, operations in result.differences
        ],
    }
