"""The self-test: whether writes still arrive, and whether a difference would still be noticed.

Canaries are keys of its own, with a minute to live. One is written like a client's, and must arrive on both
stores. Three are put on the stores directly so that they differ, each in another way. Then all are compared
as reads of clients are: the first must match, and each of the others raise exactly one alarm, of its kind.

Here is what is written, what is expected, and the verdict; `dualkv.net.selftest` does it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

import attrs

__all__ = [
    "KEY_PREFIX",
    "LIFE_MILLISECONDS",
    "Canary",
    "Finding",
    "SelfTestResult",
    "SelfTestState",
    "Step",
    "canaries_of",
    "is_undecided",
    "steps_of",
    "undecided",
    "why_not",
]

KEY_PREFIX: Final = b"dualkv:selftest:"
LIFE_MILLISECONDS: Final = 60_000
"""If dualkv is killed meanwhile, the stores forget the canaries by themselves."""

_INCONCLUSIVE: Final = "inconclusive"


class Step(enum.StrEnum):
    """What is tested, in this order; from `MATCH` on the name is what must come out."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    WRITE = "write"
    MATCH = "match"
    MIGRATION_GAP = "migration_gap"
    DATA_MISMATCH = "data_mismatch"
    EXTRA_DATA = "extra_data"

    @property
    def meaning(self) -> str:
        """What it is, for a person."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Step.PRIMARY: "the store that answers can be reached",
    Step.SECONDARY: "the store that follows can be reached",
    Step.WRITE: "a write arrives on both",
    Step.MATCH: "equal values raise no alarm",
    Step.MIGRATION_GAP: "a value that only the first store has raises one",
    Step.DATA_MISMATCH: "values that differ raise one",
    Step.EXTRA_DATA: "a value that only the other store has raises one",
}


@attrs.frozen
class Canary:
    """A key, and what the stores hold of it."""

    step: Step
    key: bytes
    on_primary: bytes | None
    on_secondary: bytes | None


def canaries_of(token: bytes) -> tuple[Canary, ...]:
    """Return the canaries: first the one that is mirrored, then those that differ.

    Args:
        token: Makes their names unique.
    """
    one, other = b"canary " + token, b"another canary " + token
    values = {
        Step.MATCH: (one, one),
        Step.MIGRATION_GAP: (one, None),
        Step.DATA_MISMATCH: (one, other),
        Step.EXTRA_DATA: (None, other),
    }
    return tuple(
        Canary(step, b"%b%b:%b" % (KEY_PREFIX, token, step.encode()), *both) for step, both in values.items()
    )


def steps_of(*, is_comparing: bool) -> tuple[Step, ...]:
    """Return what is tested, in a mode that compares reads or not."""
    return tuple(Step) if is_comparing else (Step.PRIMARY, Step.SECONDARY, Step.WRITE)


# --- what comes out of a canary


def undecided(reason: str) -> str:
    """Return what is told of a reading from which nothing follows."""
    return f"{_INCONCLUSIVE} ({reason})"


def is_undecided(told: Sequence[str]) -> bool:
    """Whether a canary has to be read again: nothing was told of it, or the last reading said nothing."""
    return not told or told[-1].startswith(_INCONCLUSIVE)


def why_not(step: Step, told: Sequence[str]) -> str:
    """Return why a canary has not passed, in one line; empty if it has.

    Args:
        step: What must come out.
        told: What came out of its readings: ``match``, ``transient``, a kind for each alarm, `undecided`, or
            the error of a store.
    """
    decided = [one for one in told if not is_undecided([one])]
    if decided == [step.value]:
        return ""
    if decided:
        return f"came out as {', '.join(decided)}"
    return f"could not be judged: {told[-1]}" if told else "was never judged"


# --- the result


@attrs.frozen
class Finding:
    """What came out of one step."""

    step: Step
    why: str = ""
    """What is wrong; empty if nothing is."""

    @property
    def is_ok(self) -> bool:
        """Whether it went as it must."""
        return not self.why

    def __str__(self) -> str:
        return f"{self.step.value}: {self.why or 'ok'}"

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "step": self.step.value,
            "meaning": self.step.meaning,
            "passed": self.is_ok,
            "why": self.why or None,
        }


@attrs.frozen
class SelfTestResult:
    """What came out of all steps that were tried; the first one that makes no sense to go on from is last."""

    findings: tuple[Finding, ...]
    seconds: float
    obstacle: str = ""
    """Why it could not be made at all: then nothing has failed. Empty if it was made."""

    @property
    def is_passed(self) -> bool:
        """Whether everything went as it must."""
        return bool(self.findings) and all(finding.is_ok for finding in self.findings)

    @property
    def why(self) -> str:
        """What is wrong, in one line; empty if nothing is."""
        return "; ".join(str(finding) for finding in self.findings if not finding.is_ok)

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        steps = [finding.told() for finding in self.findings]
        return {"passed": self.is_passed, "seconds": round(self.seconds, 3), "steps": steps}


@attrs.define
class SelfTestState:
    """Where the self-test of a running dualkv is."""

    is_wanted: bool = False
    """Whether there is to be one."""
    waits_for: str = ""
    """What the next one waits for before it can be made; empty: for nothing."""
    result: SelfTestResult | None = None
    """Of the last one."""

    @property
    def has_passed(self) -> bool:
        """Whether there was one, and the last one has passed."""
        return self.result is not None and self.result.is_passed

    @property
    def gauge(self) -> int:
        """1: passed, 0: failed, -1: not run."""
        return -1 if self.result is None else int(self.result.is_passed)

    @property
    def failure(self) -> str:
        """Why the last one failed; empty if it did not, or there was none."""
        return "" if self.result is None else self.result.why

    def told(self) -> dict[str, Any]:
        """Return it as plain data."""
        if self.result is not None:
            state = "passed" if self.result.is_passed else "failed"
        elif not self.is_wanted:
            state = "off"
        else:
            state = "waiting" if self.waits_for else "running"
        return {"state": state, "why": self.failure or self.waits_for or None}
