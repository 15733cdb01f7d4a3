"""What follows from how many keys a store says that it has removed by itself."""

from __future__ import annotations

import attrs
import pytest

from dualkv.core.removals import Removals, Removed, told_removed
from dualkv.resp.encode import bulk, error

FIRST = Removed("run-1", evicted=5, expired=100, policy="allkeys-lru")
UNKNOWN_COMMAND = error("ERR unknown command")


def learnt(*told: tuple[float, Removed]) -> Removals:
    """Return what has heard answers, each at a time."""
    removals = Removals()
    for at, one in told:
        removals.learn(one, at)
    return removals


def more(evicted: int = 0, expired: int = 0) -> Removed:
    """Return an answer of the same process, of later."""
    return attrs.evolve(FIRST, evicted=5 + evicted, expired=100 + expired)


def test_answers_are_understood() -> None:
    """Each part may be missing: then nothing is known of it."""
    server, stats = (
        bulk("# Server\r\nrun_id:abc\r\n"),
        bulk("# Stats\r\nexpired_keys:7\r\nevicted_keys:3\r\n"),
    )
    memory = bulk("# Memory\r\nmaxmemory:2097152\r\nmaxmemory_policy:volatile-lru\r\n")

    assert told_removed((server, stats, memory)) == Removed("abc", 3, 7, "volatile-lru")
    assert told_removed((server, bulk("# Stats\r\n"), UNKNOWN_COMMAND)) == Removed("abc")
    assert told_removed((UNKNOWN_COMMAND,) * 3) == Removed()


@pytest.mark.parametrize(
    ("told", "since", "has_evicted", "has_expired"),
    [
        ([], 0.0, False, None),
        ([(1.0, Removed())], 0.0, False, None),
        ([(1.0, FIRST)], 0.0, False, False),
        ([(1.0, FIRST), (9.0, more())], 5.0, False, False),
        ([(1.0, FIRST), (9.0, more(evicted=1))], 5.0, True, False),
        ([(1.0, FIRST), (9.0, more(expired=1))], 5.0, False, True),
        ([(1.0, FIRST), (4.0, more(1, 1)), (9.0, more(1, 1))], 5.0, False, False),
        ([(1.0, FIRST), (4.0, more(1, 1)), (9.0, more(1, 1))], 2.0, True, True),
        ([(1.0, FIRST), (2.0, FIRST), (3.0, FIRST), (9.0, more(1, 1))], 2.5, True, True),
        ([(1.0, FIRST), (9.0, more(1, 1))], float("-inf"), True, True),
    ],
)
def test_growth_since_the_key_was_there_counts(
    told: list[tuple[float, Removed]], since: float, has_evicted: bool, has_expired: bool | None
) -> None:
    """From the last answer before that to the newest; of the time before the first nothing is known."""
    removals = learnt(*told)

    assert removals.has_evicted(since, has_expiry=False) is has_evicted
    assert removals.has_expired(since) is has_expired


@pytest.mark.parametrize(
    "later",
    [
        Removed("run-2", evicted=50, expired=500, policy="allkeys-lru"),
        Removed("run-1", evicted=0, expired=0, policy="allkeys-lru"),
    ],
)
def test_another_process_and_reset_counters_are_a_new_beginning(later: Removed) -> None:
    """Their numbers cannot be compared with those from before."""
    removals = learnt((1.0, FIRST), (2.0, more(3, 3)), (3.0, later))

    assert removals.has_evicted(0.0, has_expiry=False) is False
    assert removals.has_expired(0.0) is False


@pytest.mark.parametrize(
    ("policy", "has_expiry", "may_be_evicted"),
    [
        ("volatile-lru", False, False),
        ("volatile-ttl", True, True),
        ("volatile-lru", None, True),
        ("allkeys-lru", False, True),
        ("", False, True),
    ],
)
def test_policy_may_spare_keys_without_expiry(
    policy: str, has_expiry: bool | None, may_be_evicted: bool
) -> None:
    """Of those nothing is evicted, whatever has been."""
    removals = learnt((1.0, attrs.evolve(FIRST, policy=policy)), (2.0, attrs.evolve(more(1), policy=policy)))

    assert removals.has_evicted(0.0, has_expiry=has_expiry) is may_be_evicted


def test_answers_are_bounded() -> None:
    """However often it is asked."""
    assert len(repr(learnt(*((float(at), more(at)) for at in range(10_000))))) < 200
    assert "2 answers" in repr(learnt(*((float(at), FIRST) for at in range(10))))
    assert "256 answers" in repr(learnt(*((float(at), more(at)) for at in range(10_000))))
