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
REFUSED = encode.error("NOPERM no")


def told(*texts: str) -> Identity:
    """Return what follows from the sections of INFO."""
    return identify([encode.bulk(text) for text in texts])


def test_each_question_has_its_answer() -> None:
    """There is one reply per request."""
    assert len(IDENTIFYING) == 3
    with pytest.raises(ValueError, match="unpack"):
        identify([REFUSED, REFUSED])


@pytest.mark.parametrize(
    ("texts", "identity"),
    [
        ((SERVER, LOG, KEYS), Identity("abc", is_empty=False, logs_writes=True)),
        ((SERVER, NO_LOG, NO_KEYS), Identity("abc", is_empty=True, logs_writes=False)),
        (("", "", ""), Identity("", is_empty=False, logs_writes=True)),
    ],
)
def test_identity_is_what_the_backend_says(texts: tuple[str, str, str], identity: Identity) -> None:
    """Its process, whether it has keys, and whether it logs; what it does not tell is taken for good."""
    assert identity == told(*texts)


def test_verbatim_strings_are_read_too() -> None:
    """RESP3 writes INFO in its own way."""
    frames = [b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text.encode()) for text in (SERVER, LOG, KEYS)]

    assert identify(frames) == told(SERVER, LOG, KEYS)


def test_backend_that_refuses_to_tell_has_no_identity() -> None:
    """Errors, and replies that are no text, tell nothing."""
    nobody = Identity("", is_empty=False, logs_writes=True)

    assert [nobody] * 3 == [
        identify([REFUSED] * 3), identify([encode.null(2)] * 3), identify([encode.OK] * 3),
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
