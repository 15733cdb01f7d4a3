"""Commands outside the table, as the primary describes them."""

from __future__ import annotations

import pytest

from dualkv.commands.keys import keys_of
from dualkv.core.ledger import Queue
from dualkv.core.routing import Route
from dualkv.core.vocabulary import Vocabulary
from dualkv.resp import encode


def facts(name: str, arity: int, flags: str, first: int = 1, last: int = 1, step: int = 1) -> bytes:
    """Return an element of COMMAND INFO's reply."""
    listed = encode.array(b"+%b\r\n" % flag.encode() for flag in flags.split())
    numbers = (encode.integer(number) for number in (first, last, step))
    return encode.array([encode.bulk(name), encode.integer(arity), listed, *numbers, encode.array([])])


@pytest.mark.parametrize(
    ("flags", "route", "queue"),
    [
        ("write denyoom module", Route.LANE, Queue.WRITE),
        ("readonly module", Route.LANE, None),
        ("module", Route.LANE, Queue.WRITE),
        ("admin module", Route.REFUSED, None),
        ("write blocking", Route.BLOCKING, Queue.WRITE),
    ],
)
def test_flags_decide(flags: str, route: Route, queue: Queue | None) -> None:
    """What may write is mirrored, what reads is not, administration is refused."""
    vocabulary = Vocabulary()
    vocabulary.learn(b"JSON.SET", facts("json.set", -4, flags), 0.0)
    plan = vocabulary.plan(b"Json.Set")

    assert plan is not None
    assert (plan.route, plan.queue, plan.comparator) == (route, queue, None)
    assert (plan.spec.label, plan.spec.takes(3), plan.spec.takes(4)) == ("json.set", False, True)


@pytest.mark.parametrize(
    ("positions", "keys"), [((1, 1, 1), (b"a",)), ((1, -1, 2), (b"a", b"c")), ((2, 3, 1), (b"b", b"c"))]
)
def test_keys_are_where_the_primary_says(positions: tuple[int, int, int], keys: tuple[bytes, ...]) -> None:
    """Order per key needs the keys."""
    vocabulary = Vocabulary()
    vocabulary.learn(b"m.set", facts("m.set", -2, "write", *positions), 0.0)
    plan = vocabulary.plan(b"m.set")

    assert plan is not None
    assert keys == keys_of(plan.spec, (b"M.SET", b"a", b"b", b"c"))


def test_command_that_does_not_exist_is_asked_for_again_later() -> None:
    """A module may be loaded: what is missing is believed for a while."""
    vocabulary = Vocabulary()
    vocabulary.learn(b"NOSUCH", b"*-1\r\n", 100.0)

    assert vocabulary.plan(b"nosuch") is None
    assert vocabulary.is_missing(b"nosuch", 105.0)
    assert not vocabulary.is_missing(b"nosuch", 111.0)


def test_another_command_than_the_one_asked_for_is_none() -> None:
    """A server that reads names up to a NUL may tell of another command."""
    vocabulary = Vocabulary()
    vocabulary.learn(b"GET\x00", facts("get", 2, "readonly"), 0.0)

    assert vocabulary.plan(b"GET\x00") is None
    assert vocabulary.is_missing(b"GET\x00", 1.0)


def test_vocabulary_is_bounded_and_can_be_forgotten() -> None:
    """However many names clients make up, memory has an end."""
    vocabulary = Vocabulary()
    for number in range(3000):
        vocabulary.learn(b"no%d" % number, b"_\r\n", 0.0)
        vocabulary.learn(b"m%d" % number, facts(f"m{number}", 1, "write"), 0.0)
    known = [number for number in range(3000) if vocabulary.plan(b"m%d" % number)]
    vocabulary.forget()

    assert 0 < len(known) <= 1024
    assert vocabulary.plan(b"m2999") is None
