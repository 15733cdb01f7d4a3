"""A canary tells whether the databases of a store are one."""

from __future__ import annotations

import pytest

from dualkv.core.dialect import canary, is_back_home, is_one_database
from dualkv.resp import encode

OK, SEEN, UNSEEN, REFUSED = encode.OK, b":1\r\n", b":0\r\n", encode.error("NOPERM no")


@pytest.mark.parametrize(("own", "other"), [(0, b"1"), (1, b"0"), (7, b"0")])
def test_it_looks_from_another_database_and_comes_back(own: int, other: bytes) -> None:
    """What was put into the own one is removed there, and would not live long."""
    put, away, look, back, remove = canary(own, b"token")
    key = put[1]
    assert b"token" in key
    assert put[3:] == (b"PX", b"10000")
    assert [away, look, back, remove] == [
        (b"SELECT", other),
        (b"EXISTS", key),
        (b"SELECT", b"%d" % own),
        (b"DEL", key),
    ]


@pytest.mark.parametrize(
    ("replies", "is_one"),
    [
        ((OK, OK, SEEN, OK, SEEN), True),
        ((OK, OK, UNSEEN, OK, SEEN), False),
        ((OK, REFUSED, SEEN, OK, SEEN), False),
        ((REFUSED, OK, UNSEEN, OK, UNSEEN), False),
        ((REFUSED, OK, SEEN, OK, SEEN), False),
        ((OK, OK, REFUSED, OK, SEEN), False),
    ],
    ids=["seen", "not seen", "no other database", "may not write", "somebody else's", "may not look"],
)
def test_only_a_canary_that_is_seen_proves_something(replies: tuple[bytes, ...], is_one: bool) -> None:
    """Where it could not be tried, what else is known of the store counts."""
    assert is_one_database(replies) is is_one


def test_a_connection_that_does_not_come_back_is_noticed() -> None:
    """Who never left is at home as well."""
    assert is_back_home((OK, OK, UNSEEN, OK, SEEN))
    assert is_back_home((OK, REFUSED, SEEN, REFUSED, SEEN))
    assert not is_back_home((OK, OK, UNSEEN, REFUSED, UNSEEN))
