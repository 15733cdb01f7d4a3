"""Which process a backend is, and what it may have forgotten."""

from __future__ import annotations

import pytest

from dualkv.core.identity import IDENTIFYING, Forgotten, Identity, identify
from dualkv.resp import encode

SERVER = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\ntcp_port:6379\r\n"
KEYS = "# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\n"
NO_KEYS = "# Keyspace\r\n"
NO_LOG = "# Persistence\r\nloading:0\r\naof_enabled:0\r\n"
LOG = "# Persistence\r\nloading:0\r\naof_enabled:1\r\n"
MASTER = "# Replication\r\nrole:master\r\nmaster_replid:f00\r\n"
REPLICA = "# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_replid:f00\r\n"
LEADER = "# Replication\r\nrole:master\r\nraft_leader_redis:10.0.0.3:6379\r\n"
REFUSED = encode.error("NOPERM no")


def told(*texts: str) -> Identity:
    """Return what follows from the sections of INFO."""
    return identify([encode.bulk(text) for text in texts])


def test_each_question_has_its_answer() -> None:
    """There is one reply per request."""
    assert len(IDENTIFYING) == 4
    with pytest.raises(ValueError, match="unpack"):
        identify([REFUSED] * 3)


@pytest.mark.parametrize(
    ("texts", "identity"),
    [
        ((SERVER, LOG, KEYS, MASTER), Identity("abc", False, logs_writes=True, replication_id="f00")),
        (
            (SERVER, NO_LOG, NO_KEYS, REPLICA),
            Identity("abc", True, logs_writes=False, replication_id="f00", master="10.0.0.1:6379"),
        ),
        (("", "", "", LEADER), Identity("", False, logs_writes=True, raft_leader="10.0.0.3:6379")),
        (("", "", "", ""), Identity("", is_empty=False, logs_writes=True)),
    ],
)
def test_identity_is_what_the_backend_says(texts: tuple[str, ...], identity: Identity) -> None:
    """Its process, whether it has keys, and whether it logs; what it does not tell is taken for good."""
    assert identity == told(*texts)


def test_verbatim_strings_are_read_too() -> None:
    """RESP3 writes INFO in its own way."""
    frames = [b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text.encode()) for text in (SERVER, LOG, KEYS, MASTER)]

    assert identify(frames) == told(SERVER, LOG, KEYS, MASTER)


def test_backend_that_refuses_to_tell_has_no_identity() -> None:
    """Errors, and replies that are no text, tell nothing."""
    nobody = Identity("", is_empty=False, logs_writes=True)

    assert [nobody] * 3 == [
        identify([REFUSED] * 4), identify([encode.null(2)] * 4), identify([encode.OK] * 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("run_id", "is_empty", "logs_writes", "forgotten"),
    [
        ("a", True, False, Forgotten.NOTHING),
        ("", True, False, Forgotten.NOTHING),
        ("b", False, True, Forgotten.RECENT),
        ("b", True, True, Forgotten.ANYTHING),
        ("b", False, False, Forgotten.ANYTHING),
    ],
)
def test_another_process_may_have_forgotten(
    run_id: str, is_empty: bool, logs_writes: bool, forgotten: Forgotten
) -> None:
    """The same process nothing; one that logs its writes the last ones; an empty or older one anything."""
    before = Identity("a", is_empty=False, logs_writes=True)

    assert forgotten is Identity(run_id, is_empty, logs_writes).forgotten_since(before)


def test_first_one_has_forgotten_nothing() -> None:
    """Nobody has seen it before."""
    assert Identity("a", is_empty=True, logs_writes=False).forgotten_since(None) is Forgotten.NOTHING
