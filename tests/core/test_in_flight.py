"""Which keys are in flight where, and which keys a command keeps its order with."""

from __future__ import annotations

import pytest

from dualkv.core.in_flight import KeysInFlight, ordered_keys, ordered_keys_of_all
from dualkv.core.routing import plan_of
from dualkv.resp.requests import Request


def test_key_belongs_to_a_lane_while_something_is_in_flight_on_it() -> None:
    """As long as not all is answered it is there; afterwards it is nowhere."""
    flights: KeysInFlight[str] = KeysInFlight()
    flights.enter((b"a", b"b"), "one")
    flights.enter((b"a",), "one")
    flights.enter((b"c",), "other")

    assert flights.lanes((b"a", b"x")) == {"one"}
    assert flights.lanes((b"b", b"c")) == {"one", "other"}
    assert (flights.lanes((b"x",)), flights.lanes(())) == (set(), set())
    assert flights.lanes(None) == {"one", "other"}

    flights.leave((b"a", b"b"))
    assert (flights.lanes((b"a",)), flights.lanes((b"b",))) == ({"one"}, set())
    flights.leave((b"a",))
    flights.leave((b"c",))
    assert not flights


def test_what_may_touch_any_key_is_followed_by_all_that_has_keys() -> None:
    """Behind FLUSHALL everything goes to its lane, but for what has no keys at all."""
    flights: KeysInFlight[str] = KeysInFlight()
    flights.enter(None, "one")

    assert (flights.lanes((b"a",)), flights.lanes(None), flights.lanes(())) == ({"one"}, {"one"}, set())
    flights.enter((b"a",), "one")
    flights.leave(None)
    assert (flights.lanes((b"a",)), flights.lanes((b"b",)), flights.lanes(None)) == ({"one"}, set(), {"one"})


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("GET a", (b"a",)),
        ("MSET a 1 b 2", (b"a", b"b")),
        ("RENAME a b", (b"a", b"b")),
        ("PING", ()),
        ("INFO", ()),
        ("TIME", ()),
        ("SCAN 0", ()),
        ("DBSIZE", ()),
        ("KEYS *", ()),
        ("FLUSHALL", None),
        ("SWAPDB 0 1", None),
        ("EVAL script 0", None),
        ("EVAL script 1 a", (b"a",)),
        ("SCRIPT LOAD script", None),
        ("NOBODY KNOWS", None),
        ("PUBLISH news text", (b"news",)),
    ],
)
def test_ordered_keys(words: str, keys: tuple[bytes, ...] | None) -> None:
    """Its keys; all, if it writes what it does not name; none, if it only looks around."""
    args = tuple(words.encode().split())

    assert ordered_keys(plan_of(args), args) == keys


def test_ordered_keys_of_several_commands() -> None:
    """Each key once; one command that may touch any key is enough."""

    def of(*commands: str) -> tuple[bytes, ...] | None:
        requests = [Request(tuple(words.encode().split()), b"") for words in commands]
        return ordered_keys_of_all([(plan_of(request.args), request) for request in requests])

    assert of("SET a 1", "PING", "GET a", "DEL b") == (b"a", b"b")
    assert of("SET a 1", "FLUSHALL") is None
