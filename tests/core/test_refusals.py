"""What of clients' commands a store that is no Redis must not get."""

from __future__ import annotations

import hashlib

import pytest

from dualkv.core.dialect import Dialect, learn
from dualkv.core.refusals import refusal_of, select_refusal
from dualkv.core.scripts import ScriptCache
from tests.core.building import Word, planned
from tests.core.elastickv_dialect import ELASTICKV

REDIS = learn((b"-ERR\r\n", b"-ERR\r\n"))
KEYS_CALLED = "return redis.call('KEYS', '*')"


def refusal(
    *args: Word,
    dialect: Dialect = ELASTICKV,
    scripts: ScriptCache | None = None,
    may_list: bool = False,
    db: int = 0,
) -> str:
    """Return the refusal, as text; empty: there is none."""
    plan, request = planned(*args)
    told = refusal_of(
        plan, request.args, dialect, ScriptCache() if scripts is None else scripts,
        may_list=may_list, elsewhere=select_refusal(db, (0, 0), dialect),
    )  # fmt: skip
    return (told or b"").decode()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("DBSIZE",), "DBSIZE"),
        (("scan", 0), "SCAN"),
        (("EVAL", KEYS_CALLED, 0), "a script that calls KEYS"),
        (("eval", "local c = redis.call return c('dbsize')", 0), "a script that calls DBSIZE"),
    ],
)
def test_keys_are_not_listed(words: tuple[Word, ...], what: str) -> None:
    """By a command, or by a script whose text shows it; unless a setting allows it."""
    assert refusal(*words).startswith(f"-NOPERM dualkv refuses {what}: a node of this store goes down of it")
    assert not refusal(*words, may_list=True)


def test_script_by_its_hash_is_refused_as_by_its_text() -> None:
    """Once the text was seen, even if it was refused; of others nobody can tell."""
    scripts = ScriptCache()
    digest = hashlib.sha1(KEYS_CALLED.encode()).hexdigest()
    assert not refusal("EVALSHA", digest, 0, scripts=scripts)
    assert refusal("EVAL", KEYS_CALLED, 0, scripts=scripts)
    assert "a script that calls KEYS" in refusal("EVALSHA", digest.upper(), 0, scripts=scripts)


@pytest.mark.parametrize(
    "words", [("EVAL", "return redis.call('GET', KEYS[1])", 1, "k"), ("EVALSHA", "0" * 40, 0), ("GET", "k")]
)
def test_what_does_no_harm_passes(words: tuple[Word, ...]) -> None:
    """Whatever the store says to it."""
    assert not refusal(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "k", 1), ("GET", "k"), ("FLUSHDB",), ("BLPOP", "k", 1), ("EVAL", "", 0), ("WATCH", "k"),
        ("NEW", 1),
    ],
)  # fmt: skip
def test_data_of_another_database_is_not_touched_where_all_are_one(words: tuple[Word, ...]) -> None:
    """The error names the reason, and the database that is there."""
    assert refusal(*words, db=3) == (
        "-ERR dualkv: all databases of the store that answers (ElasticKV) are one, and it holds the keys of "
        "database 0: those of database 3 are not here (SELECT 0)\r\n"
    )
    assert not refusal(*words, db=3, dialect=REDIS)


@pytest.mark.parametrize(
    "words", [("PING",), ("INFO",), ("PUBLISH", "c", "m"), ("SUBSCRIBE", "c"), ("EXEC",)]
)
def test_what_is_the_same_in_each_database_passes(words: tuple[Word, ...]) -> None:
    """A client that has selected another one still hears, publishes, and may go back."""
    assert not refusal(*words, db=3)


def test_numbers_of_the_mirrored_database_are_its_own() -> None:
    """The one that clients know, and the one that the other store has given it."""
    assert select_refusal(2, (2, 0), ELASTICKV) is None
    assert select_refusal(0, (2, 0), ELASTICKV) is None
    assert b"(SELECT 2)" in (select_refusal(1, (2, 0), ELASTICKV) or b"")
    assert select_refusal(1, (2, 0), REDIS) is None


def test_patterns_have_an_error_that_says_what_to_use() -> None:
    """Where the store has them, it answers itself."""
    assert refusal("PSUBSCRIBE", "a*") == (
        "-ERR dualkv: the store that answers (ElasticKV) has no PSUBSCRIBE: subscribe to each channel by its "
        "name (SUBSCRIBE)\r\n"
    )
    assert "has no SSUBSCRIBE: use SUBSCRIBE and PUBLISH" in refusal("SSUBSCRIBE", "a", may_list=True)
    assert not refusal("PSUBSCRIBE", "a*", dialect=REDIS)
