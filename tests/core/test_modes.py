"""What each mode means."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode, parse_proxy_mode
from dualkv.core.modes import BackendRole, mode_plan


@pytest.mark.parametrize(
    ("name", "answers", "follows", "shadows"),
    [
        ("redis-only", "primary", None, False),
        ("dual-write", "primary", "secondary", False),
        ("dual-write-shadow", "primary", "secondary", True),
        ("elastickv-primary", "secondary", "primary", True),
        ("elastickv-only", "secondary", None, False),
        ("primary-only", "primary", None, False),
        ("secondary-primary", "secondary", "primary", True),
        ("secondary-only", "secondary", None, False),
    ],
)
def test_mode_says_who_answers_who_follows_and_whether_reads_are_shadowed(
    name: str, answers: BackendRole, follows: BackendRole | None, shadows: bool
) -> None:
    """Each mode names the backend that answers, the one that follows, and whether reads are compared."""
    plan = mode_plan(parse_proxy_mode(name))

    assert (answers, follows, shadows) == (plan.answers, plan.follows, plan.shadows)


@pytest.mark.parametrize("mode", ProxyMode)
def test_nobody_follows_himself(mode: ProxyMode) -> None:
    """The backend that follows is never the one that answers."""
    plan = mode_plan(mode)

    assert plan.follows != plan.answers


@pytest.mark.parametrize("mode", ProxyMode)
def test_reads_are_shadowed_only_where_writes_are_mirrored(mode: ProxyMode) -> None:
    """A mode without a follower compares nothing: the other store would be out of date."""
    plan = mode_plan(mode)

    assert plan.follows is not None or not plan.shadows


def test_modes_stand_in_the_order_of_the_migration() -> None:
    """From mode to mode only one thing changes at a time: mirroring, comparing, the roles."""
    path = [mode_plan(mode) for mode in ProxyMode]
    writes_to = [{plan.answers, plan.follows} - {None} for plan in path]

    assert list(map(len, writes_to)) == [1, 2, 2, 2, 1]
    assert [plan.shadows for plan in path] == [False, False, True, True, False]
    assert [plan.answers for plan in path] == ["primary"] * 3 + ["secondary"] * 2
