"""From the first difference to a divergence."""

from __future__ import annotations

import pytest

from dualkv.core.confirming import READINGS, Confirming, Step, Suspicion, one_by_one
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from tests.core.building import planned


def read(line: str = "GET k", expected: bytes = b"$1\r\na\r\n") -> StreamItem:
    """Return a shadow read."""
    plan, request = planned(*line.split())
    return StreamItem(plan, Queue.SHADOW, request, 0.0, expected=expected)


def suspected(confirming: Confirming, item: StreamItem, now: float = 0.0) -> Suspicion:
    """Return the suspicion of an item that has differed."""
    suspicion = confirming.suspect(item, now)
    assert suspicion is not None
    return suspicion


def test_difference_that_stays_becomes_a_divergence() -> None:
    """Twice after the long wait, then at short intervals; then it is closed."""
    confirming = Confirming(10)
    suspicion = suspected(confirming, read())
    waits = []
    for number in range(1, READINGS):
        waits.append(suspicion.next_wait_seconds(1.0))
        step = confirming.differs_again(suspicion, b"$1\r\na\r\n", float(number))

    assert step is Step.IS_DIVERGENCE
    assert waits[:2] == [1.0, 1.0]
    assert 0 < sum(waits[2:]) < 0.5
    assert (len(confirming), suspicion.is_over) == (0, True)


@pytest.mark.parametrize(
    ("line", "first", "second", "step"),
    [
        ("GET k", b"$1\r\na\r\n", b"$1\r\nb\r\n", Step.IS_MOVING),
        ("PTTL k", b":60000\r\n", b":58900\r\n", Step.READ_AGAIN),
        ("PTTL k", b":60000\r\n", b":60000\r\n", Step.READ_AGAIN),
        ("PTTL k", b":60000\r\n", b":10000\r\n", Step.IS_MOVING),
        ("PTTL k", b":60000\r\n", b":-1\r\n", Step.IS_MOVING),
        ("PTTL k", b":-1\r\n", b":500\r\n", Step.IS_MOVING),
        ("PTTL k", b":900\r\n", b":-2\r\n", Step.READ_AGAIN),
        ("TTL k", b":60\r\n", b":59\r\n", Step.READ_AGAIN),
        ("TTL k", b":60\r\n", b":10\r\n", Step.IS_MOVING),
        ("EXPIRETIME k", b":1700000000\r\n", b":1700000001\r\n", Step.IS_MOVING),
    ],
)
def test_change_that_this_proxy_has_not_made_means_that_somebody_else_writes(
    line: str, first: bytes, second: bytes, step: Step
) -> None:
    """A time that runs out by itself is no change."""
    confirming = Confirming(10)
    suspicion = suspected(confirming, read(line, first))

    assert confirming.differs_again(suspicion, second, 1.0) is step


@pytest.mark.parametrize(("line", "counts"), [("SET k 1", True), ("FLUSHALL", True), ("SET other 1", False)])
def test_own_writes_explain_a_change(line: str, counts: bool) -> None:
    """Of the key, or of what may touch any; and only since the last reading."""
    confirming = Confirming(10)
    suspicion = suspected(confirming, read())
    plan, request = planned(*line.split())
    confirming.written([StreamItem(plan, Queue.WRITE, request, 0.0)])

    step = confirming.differs_again(suspicion, b"$1\r\nb\r\n", 1.0)
    assert step is (Step.READ_AGAIN if counts else Step.IS_MOVING)
    if counts:
        assert confirming.differs_again(suspicion, b"$1\r\nc\r\n", 2.0) is Step.IS_MOVING


def test_open_suspicions_are_bounded_and_known() -> None:
    """The same read is one suspicion; closing is idempotent and makes room."""
    confirming = Confirming(2)
    first = suspected(confirming, read("GET a"))
    suspected(confirming, read("GET b"))

    assert confirming.suspect(read("GET c"), 0.0) is None
    assert confirming.is_known(read("GET a"))
    confirming.close(first)
    confirming.close(first)
    assert not confirming.is_known(read("GET a"))
    assert confirming.suspect(read("GET c"), 0.0) is not None


def test_keys_of_mget_are_confirmed_one_by_one() -> None:
    """Those that differ; other reads as they are."""
    several = read("MGET a b c", b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n")
    parts = one_by_one(several, b"*3\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n4\r\n")
    alone = read("SUNION a b", b"*0\r\n")

    assert [(part.request.args, part.expected) for part in parts] == [
        ((b"GET", b"b"), b"$1\r\n2\r\n"),
        ((b"GET", b"c"), b"$-1\r\n"),
    ]
    assert one_by_one(alone, b"*1\r\n$1\r\na\r\n") == [alone]
