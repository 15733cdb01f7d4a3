"""A soak: what is judged, and a short one against real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualkv.torture.child import Child
from dualkv.torture.soak import Held, Soak
from tests.torture.test_run import torture


def judged(*held: Held) -> list[str]:
    """Return what is wrong with a process that held this after its rounds."""
    soak = Soak(Child({}, Path()), None, held=list(held))
    soak.judge()
    return soak.complaints


@pytest.mark.parametrize(
    ("held", "complaints"),
    [
        ([Held(100, 20, 30)] * 10, []),
        ([Held(50, 20, 30), *[Held(100, 20, 30)] * 9], []),
        ([*[Held(100, 20, 30)] * 9, Held(106, 20, 30)], ["memory has grown by 6.0 % since the warm-up"]),
        ([*[Held(100, 20, 30)] * 9, Held(100, 40, 30)], ["40 descriptors, 20 after the warm-up"]),
        ([*[Held(100, 20, 30)] * 9, Held(100, 20, 50)], ["50 tasks, 30 after the warm-up"]),
        ([Held(100, 20, 30)], ["too few rounds to tell whether anything piles up"]),
    ],
)
def test_what_piles_up_is_told(held: list[Held], complaints: list[str]) -> None:
    """Growth before the warm-up is over does not count, and what comes and goes has some room."""
    assert judged(*held) == complaints


def test_modes_change_under_load_and_nothing_is_lost() -> None:
    """Forth through all five modes and back: no client sees an error, counters are exact, all is equal."""
    ended = torture(
        "--soak", "20s", "--faults", "none", "--modes", "--operations", "15000", "--clients", "30"
    )

    lines = [line for line in ended.stdout.splitlines() if not line.startswith("  ! memory")]
    assert all(": equal; " in line for line in lines if line.startswith("round ")), ended.stdout
    assert not [line for line in lines if line.startswith("  ")], ended.stdout
    (changes,) = [line for line in lines if "changes of the mode" in line]
    assert int(changes.split(" ", 1)[0]) >= 8
