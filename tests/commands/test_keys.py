"""Which keys a request names."""

from __future__ import annotations

import pytest

from dualkv.commands.keys import keys_of
from dualkv.commands.table import COMMANDS
from tests.commands.writing import found_keys


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("GET k", "k"),
        ("get k", "k"),
        ("SET k v", "k"),
        ("RENAME a b", "a b"),
        ("BITOP AND d a b", "d a b"),
        ("OBJECT ENCODING k", "k"),
        ("XGROUP CREATE s g $", "s"),
        ("ZRANGESTORE d s 0 -1", "d s"),
        ("PING", ""),
        ("PUBLISH c m", ""),
        ("SUBSCRIBE c", ""),
        ("CLIENT SETNAME n", ""),
        ("MULTI", ""),
    ],
)
def test_keys_at_fixed_places(line: str, keys: str) -> None:
    """One key, several, or none, behind the name or the sub-command."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("MGET a b c", "a b c"),
        ("MSET a 1 b 2", "a b"),
        ("MSET a 1 b", "a b"),
        ("BLPOP a b 0", "a b"),
        ("BLPOP a", ""),
        ("PFMERGE d a b", "d a b"),
        ("PFMERGE d", "d"),
    ],
)
def test_keys_up_to_the_end(line: str, keys: str) -> None:
    """All arguments, every other one, or all but the last."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("EVAL s 2 a b x", "a b"),
        ("EVALSHA_RO s 1 a x", "a"),
        ("FCALL f 1 a x", "a"),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"),
        ("ZDIFF 2 a b WITHSCORES", "a b"),
        ("SINTERCARD 2 a b LIMIT 1", "a b"),
        ("LMPOP 2 a b LEFT COUNT 2", "a b"),
        ("BLMPOP 0 2 a b LEFT", "a b"),
        ("BZMPOP 0 1 a MIN", "a"),
        ("MSETEX 2 a 1 b 2 EX 9", "a b"),
    ],
)
def test_keys_behind_their_number(line: str, keys: str) -> None:
    """As many arguments as the request says."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("ZUNION", ""),
        ("ZUNION x a b", ""),
        ("ZUNION 1.5 a b", ""),
        ("ZUNION -1 a b", ""),
        ("ZUNION 0 a b", ""),
        ("ZUNION 3 a b", "a b"),
        ("ZUNION 99999999999999999999 a b", "a b"),
        ("ZUNIONSTORE d", "d"),
        ("ZUNIONSTORE d x a", "d"),
        ("LMPOP", ""),
        ("MSETEX 9 a 1 b 2", "a b"),
    ],
)
def test_a_wrong_number_of_keys_names_none_beyond_the_request(line: str, keys: str) -> None:
    """The server will refuse it; looking for its keys must not fail."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("XREAD STREAMS a b 0 0", "a b"),
        ("xread count 2 block 10 streams a 0", "a"),
        ("XREAD COUNT 2 STREAMS STREAMS 0", "STREAMS"),
        ("XREADGROUP GROUP g c STREAMS a '>'", "a"),
        ("XREADGROUP GROUP STREAMS STREAMS STREAMS a '>'", "a"),
        ("XREADGROUP GROUP g c COUNT 1 BLOCK 0 NOACK STREAMS a b '>' '>'", "a b"),
        ("XREAD COUNT 2", ""),
        ("XREAD STREAMS", ""),
        ("XREADGROUP GROUP", ""),
    ],
)
def test_keys_of_streams(line: str, keys: str) -> None:
    """The first half of what stands behind STREAMS, whatever group and consumer are called."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("SORT k", "k"),
        ("SORT k STORE d", "k d"),
        ("SORT k LIMIT 0 1 ALPHA store d", "k d"),
        ("SORT k BY nosort GET '#' STORE d", "k d"),
        ("SORT k STORE d1 STORE d2", "k d2"),
        ("SORT k BY STORE STORE d", "k d"),
        ("SORT k LIMIT STORE 1 STORE d", "k d"),
        ("SORT_RO k", "k"),
        ("SORT", ""),
    ],
)
def test_keys_of_sort(line: str, keys: str) -> None:
    """The source and the last target; words behind other options are no targets."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("GEORADIUS k 1 1 1 m", "k"),
        ("GEORADIUS k 1 1 1 m STORE d", "k d"),
        ("GEORADIUS k 1 1 1 m STORE d1 STOREDIST d2", "k d2"),
        ("GEORADIUS k 1 1 1 m COUNT 3 storedist d", "k d"),
        ("GEORADIUS k 1 1 1 m STORE", "k"),
        ("GEORADIUSBYMEMBER k STORE 1 m", "k"),
        ("GEORADIUSBYMEMBER k STORE 1 m STOREDIST d", "k d"),
        ("GEORADIUSBYMEMBER_RO k m 1 m", "k"),
        ("GEORADIUS", ""),
    ],
)
def test_keys_of_places(line: str, keys: str) -> None:
    """The source and the last target; a member may be called like an option."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("MIGRATE h 1 k 0 10", "k"),
        ("MIGRATE h 1 k 0 10 COPY KEYS a", "k"),
        ("MIGRATE h 1 '' 0 10 KEYS a b", "a b"),
        ("MIGRATE h 1 '' 0 10 COPY REPLACE AUTH pw keys a b", "a b"),
        ("MIGRATE h 1 '' 0 10 AUTH KEYS KEYS a", "a"),
        ("MIGRATE h 1 '' 0 10 AUTH2 u KEYS KEYS a", "a"),
        ("MIGRATE h 1 '' 0 10", ""),
        ("MIGRATE h", ""),
    ],
)
def test_keys_of_migrate(line: str, keys: str) -> None:
    """The one key, or with an empty one those behind KEYS; a password may be called KEYS."""
    assert found_keys(line) == keys.split()


@pytest.mark.parametrize("line", ["DEL a b a", "MSET a 1 b 2 a 3", "RENAME a b", "EVAL s 3 a b a"])
def test_a_key_that_is_named_twice_is_found_once(line: str) -> None:
    """Keys come without duplicates, in the order in which they are first named."""
    assert found_keys(line) == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "FLUSHALL",
        "FLUSHDB ASYNC",
        "SWAPDB 0 1",
        "KEYS *",
        "SCAN 0",
        "DBSIZE",
        "RANDOMKEY",
        "MOVE k 1",
        "SCRIPT FLUSH",
        "FUNCTION LOAD code",
        "NONSENSE k",
        "SORT k BY weight_*",
        "SORT k GET data_* STORE d",
        "SORT_RO k GET '#' GET data_*",
        "EVAL s 0",
        "EVAL s 0 x",
        "EVAL s x a",
        "EVALSHA s",
        "EVAL_RO s 0",
        "FCALL f 0",
        "FCALL_RO f -1 a",
    ],
)
def test_what_may_touch_keys_that_it_does_not_name_has_no_list_of_keys(line: str) -> None:
    """None means *any key*: the whole database, patterns, undeclared keys of scripts, unknown commands."""
    assert found_keys(line) is None


def test_keys_are_bytes_and_stay_as_they_are() -> None:
    """A key may hold anything, also nothing."""
    spec = next(spec for spec in COMMANDS if spec.name == "MGET")

    assert keys_of(spec, (b"MGET", b"\xff\x00\r\n", b"", b"K", b"k")) == (b"\xff\x00\r\n", b"", b"K", b"k")


@pytest.mark.parametrize("length", range(9))
@pytest.mark.parametrize("word", [b"", b"0", b"2", b"-1", b"STREAMS", b"STORE", b"KEYS"])
def test_no_request_is_too_short_or_too_strange(word: bytes, length: int) -> None:
    """For whatever follows the name, the keys are some of the arguments, and nothing is raised."""
    for spec in COMMANDS:
        args = (*spec.name.encode().split(b" "), *[word] * length)
        assert set(keys_of(spec, args) or ()) <= {*args, b""}
