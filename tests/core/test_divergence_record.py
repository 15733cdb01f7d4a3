"""Divergences as plain data: complete, and without values unless they are asked for."""

from __future__ import annotations

import json

import pytest

from dualkv.core.divergence import Cause, Divergence, DivergenceKind, HistoryEntry
from dualkv.core.divergence_record import RecordMaker, keys_among

SECRET = b"5ecret"

FOUND = Divergence(
    command="hget", kind=DivergenceKind.DATA_MISMATCH, key=b"user:1",
    expected=b"$6\r\n5ecret\r\n", actual=b"$-1\r\n",
    time_seconds=1_700_000_000.25, id="6553f100abcd-000001", args=(b"HGET", b"user:1", SECRET), db=3,
    detail="a field", expected_bytes=70_000, readings=3, confirmed_over_seconds=2.0, position=17,
    stream_age_seconds=0.0125, cause=Cause.DROPPED,
    history=(
        HistoryEntry(9.5, "hset", args=(b"HSET", b"user:1", b"name", SECRET)),
        HistoryEntry.dropped(3.25, "queue_full"),
    ),
)  # fmt: skip


def test_everything_known_is_in_the_record() -> None:
    """With values, if they are to be shown."""
    assert RecordMaker(show_values=True, hash_key=b"k")(FOUND) == {
        "id": "6553f100abcd-000001",
        "time": "2023-11-14T22:13:20.250Z",
        "command": "hget",
        "kind": "data_mismatch",
        "cause": "dropped",
        "db": 3,
        "key": "user:1",
        "pattern": "",
        "args": ["HGET", "user:1", "5ecret"],
        "detail": "a field",
        "expected": {"bytes": 70_000, "text": "$6\\x0d\\x0a5ecret\\x0d\\x0a"},
        "actual": {"bytes": 5, "text": "$-1\\x0d\\x0a"},
        "readings": 3,
        "confirmed_over_seconds": 2.0,
        "position": 17,
        "stream_age_seconds": 0.0125,
        "history": [
            {"seconds_ago": 9.5, "what": "hset", "detail": "", "args": ["HSET", "user:1", "name", "5ecret"]},
            {"seconds_ago": 3.25, "what": "dropped (queue_full)", "detail": "", "args": []},
        ],
    }


def test_values_are_hidden_and_keys_are_not() -> None:
    """A field is a value, too; what is hidden has a length and a hash."""
    record = RecordMaker(show_values=False, hash_key=b"k")(FOUND)

    assert SECRET.decode() not in json.dumps(record)
    assert record["key"] == "user:1"
    assert record["args"][:2] == ["HGET", "user:1"]
    assert record["history"][0]["args"][:2] == ["HSET", "user:1"]
    assert record["expected"].keys() == {"bytes", "hash"}
    assert (record["expected"]["bytes"], record["actual"]["bytes"]) == (70_000, 5)


def test_a_hash_tells_equal_values_of_one_process_and_nothing_more() -> None:
    """Equal values have equal hashes; another process makes others, so that none can be looked up."""
    here, there = RecordMaker(False, b"here")(FOUND), RecordMaker(False, b"there")(FOUND)

    assert here["args"][2]["hash"] == here["history"][0]["args"][3]["hash"]
    assert here["args"][2]["hash"] != there["args"][2]["hash"]
    assert here["expected"]["hash"] != here["actual"]["hash"]


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        ((b"GET", b"a"), (b"a",)),
        ((b"mget", b"a", b"b"), (b"a", b"b")),
        ((b"OBJECT", b"ENCODING", b"a"), (b"a",)),
        ((b"SINTERCARD", b"2", b"a", b"b", b"LIMIT", b"1"), (b"a", b"b")),
        ((b"KEYS", b"*"), ()),
        ((b"NO.SUCH", b"a"), ()),
        ((b"GET",), ()),
        ((), ()),
    ],
)
def test_keys_are_found_where_the_command_has_them(args: tuple[bytes, ...], keys: tuple[bytes, ...]) -> None:
    """Not only behind the name; a request that is none has no keys."""
    assert keys_among(args) == keys


def test_a_subcommand_is_shown() -> None:
    """It is a part of the name."""
    found = Divergence(
        "object|encoding", DivergenceKind.DATA_MISMATCH, b"a", b"", b"", args=(b"OBJECT", b"ENCODING", b"a")
    )

    assert RecordMaker(False, b"k")(found)["args"] == ["OBJECT", "ENCODING", "a"]
