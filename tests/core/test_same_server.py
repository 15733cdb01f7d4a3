"""Whether two stores are one, by what they say of themselves."""

from __future__ import annotations

import pytest

from dualkv.config import BackendOptions
from dualkv.core.identity import Identity
from dualkv.core.same_server import Acquaintance, objection_to

ONE = BackendOptions("redis", "10.0.0.1", 6379)
OTHER = BackendOptions("elastickv", "10.0.0.2", 6379)


def who(run_id: str = "", *, replid: str = "", master: str = "", leader: str = "") -> Identity:
    """Return a store that says so much of itself."""
    return Identity(
        run_id, is_empty=False, logs_writes=True, replication_id=replid, master=master, raft_leader=leader
    )


@pytest.mark.parametrize(
    ("answering", "following", "words"),
    [
        (who("a"), who("a"), "10.0.0.1:6379 and 10.0.0.2:6379 are the same server"),
        (who(leader="h:1"), who(leader="h:1"), "are the same server"),
        (
            who("a", replid="f"),
            who("b", replid="f", master="10.0.0.7:1"),
            "10.0.0.2:6379 is a replica of 10.0.0.1:6379",
        ),
        (
            who("a", replid="f"),
            who("b", replid="e", master="10.0.0.1:6379"),
            "10.0.0.2:6379 is a replica of 10.0.0.1:6379",
        ),
        (
            who("a", replid="f", master="x:1"),
            who("b", replid="f"),
            "10.0.0.1:6379 is a replica of 10.0.0.2:6379",
        ),
    ],
)
def test_stores_that_are_one_are_objected_to(answering: Identity, following: Identity, words: str) -> None:
    """By process, by leader, by replication id or by the primary's address; in one sentence."""
    assert words in (objection_to(answering, following, ONE, OTHER) or "")


@pytest.mark.parametrize(
    ("answering", "following"),
    [
        (who("a"), who("b")),
        (who("a"), who()),
        (who(), who("b")),
        (who(), who()),
        (who("a"), who(leader="h:1")),
        (who(leader="h:1"), who(leader="h:2")),
        (who("a", replid="f"), who("b", replid="f")),
        (who("a", replid="f"), who("b", replid="e", master="10.0.0.3:6379")),
    ],
)
def test_others_are_not(answering: Identity, following: Identity) -> None:
    """A store that does not tell is not the same as one that does; a replica of a third one neither."""
    assert objection_to(answering, following, ONE, OTHER) is None


def test_two_databases_of_one_server_are_two_stores() -> None:
    """They hold different keys; but not in a store in which all databases are one."""
    other_db = BackendOptions("elastickv", "10.0.0.1", 6379, db=1)

    assert objection_to(who("a"), who("a"), ONE, other_db) is None
    assert objection_to(who(leader="h:1"), who(leader="h:1"), ONE, other_db) is not None


def test_loopback_has_several_names() -> None:
    """A replica that is not synchronised yet is known by its primary's address only."""
    near = BackendOptions("redis", "localhost", 7000)

    assert objection_to(who("a"), who("b", master="127.0.0.1:7000"), near, OTHER) is not None
    assert objection_to(who("a"), who("b", master="127.0.0.1:7001"), near, OTHER) is None


def test_stores_are_judged_when_both_are_known_and_again_when_one_changes() -> None:
    """It does not matter who comes first; an address may lead to another server later."""
    stores = Acquaintance(ONE, OTHER)

    assert stores.is_allowed(follows=who("a"))
    assert not stores.is_allowed(answers=who("a"))
    assert "same server" in (stores.objection or "")
    assert stores.is_allowed(follows=who("b"))
    assert stores.objection is None


def test_somebody_may_say_that_it_does_not_matter() -> None:
    """Then nothing is objected to."""
    stores = Acquaintance(ONE, OTHER, allows_one_server=True)

    assert stores.is_allowed(answers=who("a"), follows=who("a"))
