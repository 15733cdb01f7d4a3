"""What a change of the mode means: decisions only."""

from __future__ import annotations

from itertools import permutations

import pytest

from dualkv.config import ProxyMode
from dualkv.core.gate import GateState
from dualkv.core.mode_change import ChangeFacts, ModeStep

REDIS_ONLY, DUAL_WRITE, SHADOW, SWAPPED, OTHER_ONLY = ProxyMode
ALL = list(permutations(ProxyMode, 2))


@pytest.mark.parametrize(("before", "after"), ALL)
def test_between_equal_stores_nothing_is_lost_but_from_one_that_was_not_mirrored_to(
    before: ProxyMode, after: ProxyMode
) -> None:
    """Another store may answer if writes were mirrored to it; the same one may answer always."""
    step = ModeStep(before, after)
    answers_alone = {before, after} == {REDIS_ONLY, OTHER_ONLY}
    skips_mirroring = before in (REDIS_ONLY, OTHER_ONLY) and step.swaps
    assert bool(step.losses(ChangeFacts())) is (answers_alone or skips_mirroring)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (ChangeFacts(is_resyncing=True), "a resync is under way: elastickv does not have all keys yet"),
        (ChangeFacts(needs_resync="too many dirty keys"), "elastickv needs a resync: too many dirty keys"),
        (ChangeFacts(gate=GateState.PAUSED), "writes do not flow to elastickv: paused"),
        (ChangeFacts(gate=GateState.UNREACHABLE), "writes do not flow to elastickv: unreachable"),
    ],
)
def test_what_would_be_lost_is_told(facts: ChangeFacts, why: str) -> None:
    """Only where another store answers afterwards."""
    assert ModeStep(SHADOW, SWAPPED).losses(facts) == (why,)
    assert ModeStep(SHADOW, DUAL_WRITE).losses(facts) == ()
    assert ModeStep(SHADOW, REDIS_ONLY).losses(facts) == ()


@pytest.mark.parametrize(("before", "after"), ALL)
def test_readiness_is_asked_on_the_way_there_and_not_on_the_way_back(
    before: ProxyMode, after: ProxyMode
) -> None:
    """The store that is new must have proved itself; one may always step back."""
    onward = after in (SWAPPED, OTHER_ONLY) and before is not OTHER_ONLY
    facts = ChangeFacts(unready=("nothing was compared",))
    assert ModeStep(before, after).doubts(facts) == (("not ready: nothing was compared",) if onward else ())


@pytest.mark.parametrize(("before", "after"), ALL)
def test_what_follows_comes_behind_what_is_queued(before: ProxyMode, after: ProxyMode) -> None:
    """The stream is drained unless nothing is mirrored before, or the follower is given up."""
    mirroring = {DUAL_WRITE, SHADOW, SWAPPED}
    gives_up = after is REDIS_ONLY and before in (DUAL_WRITE, SHADOW)
    gives_up = gives_up or (before, after) == (SWAPPED, OTHER_ONLY)
    assert ModeStep(before, after).drains is (before in mirroring and not gives_up)


def test_consequences_are_told() -> None:
    """What is no longer written, what has to be copied, and what must be copied first."""
    facts = ChangeFacts(dirty_keys=3)
    assert ModeStep(DUAL_WRITE, SHADOW).consequences(facts) == ()
    assert ModeStep(SHADOW, SWAPPED).consequences(facts) == ("3 dirty keys must be copied first",)
    (left,) = ModeStep(SWAPPED, OTHER_ONLY).consequences(facts)
    assert left.startswith("redis is not written any more")
    (left,) = ModeStep(DUAL_WRITE, REDIS_ONLY).consequences(facts)
    assert left.startswith("elastickv is not written any more")
    (copied,) = ModeStep(REDIS_ONLY, DUAL_WRITE).consequences(facts)
    assert copied.startswith("all keys are copied to elastickv")
    (copied,) = ModeStep(OTHER_ONLY, SWAPPED).consequences(facts)
    assert copied.startswith("all keys are copied to redis")
