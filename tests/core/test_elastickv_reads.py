"""Reads in what ElasticKV has, and their replies built back."""

from __future__ import annotations

from typing import Final

import pytest

from dualkv.core.dialect import lower_read, reads_through
from dualkv.resp import encode
from tests.core.building import bulks, flat, planned
from tests.core.effects.telling import NIL, number, word
from tests.core.elastickv_dialect import ELASTICKV

NOW_MS: Final = 1_000_000
WRONG_TYPE: Final = encode.error("WRONGTYPE no")
ENTRY: Final = encode.array([word("5-1"), flat("f", "v")])
ENTRIES: Final = encode.array([ENTRY])
NONE: Final = flat()
SCORED: Final = bulks("a 1 b 2 c 2")


@pytest.mark.parametrize(
    ("line", "sent", "replies", "expected"),
    [
        ("GET k", ["GET k"], [word("v")], word("v")),
        ("MGET a b c", ["GET a", "GET b", "GET c"], [word("1"), NIL, WRONG_TYPE], flat("1", None, None)),
        ("STRLEN k", ["GET k"], [word("abc")], number(3)),
        ("STRLEN k", ["GET k"], [NIL], number(0)),
        ("STRLEN k", ["GET k"], [WRONG_TYPE], WRONG_TYPE),
        ("GETRANGE k 1 -1", ["GET k"], [word("abc")], word("bc")),
        ("GETRANGE k -9 0", ["GET k"], [word("abc")], word("a")),
        ("GETRANGE k 2 1", ["GET k"], [word("abc")], word("")),
        ("GETRANGE k -1 -2", ["GET k"], [word("abc")], word("")),
        ("SUBSTR k 0 9", ["GET k"], [NIL], word("")),
        ("GETBIT k 1", ["GET k"], [word("a")], number(1)),
        ("GETBIT k 800", ["GET k"], [word("a")], number(0)),
        ("BITCOUNT k", ["GET k"], [word("ab")], number(6)),
        ("EXPIRETIME k", ["PTTL k"], [number(1600)], number(1002)),
        ("PEXPIRETIME k", ["PTTL k"], [number(1600)], number(1_001_600)),
        ("PEXPIRETIME k", ["PTTL k"], [number(-2)], number(-2)),
        ("HKEYS k", ["HGETALL k"], [bulks("f 1 g 2")], bulks("f g")),
        ("HVALS k", ["HGETALL k"], [bulks("f 1 g 2")], bulks("1 2")),
        ("HSTRLEN k f", ["HGET k f"], [word("abc")], number(3)),
        ("HSTRLEN k f", ["HGET k f"], [NIL], number(0)),
        ("SMISMEMBER k a b", ["SISMEMBER k a", "SISMEMBER k b"], [number(1), number(0)], flat(1, 0)),
        ("SMISMEMBER k a", ["SISMEMBER k a"], [WRONG_TYPE], WRONG_TYPE),
        ("ZMSCORE k a b", ["ZSCORE k a", "ZSCORE k b"], [word("1"), NIL], flat("1", None)),
        ("ZRANK k b", ["ZRANGE k 0 -1"], [bulks("a b")], number(1)),
        ("ZRANK k c", ["ZRANGE k 0 -1"], [bulks("a b")], NIL),
        ("ZREVRANK k b", ["ZREVRANGE k 0 -1"], [bulks("b a")], number(0)),
        ("ZRANK k b WITHSCORE", ["ZRANGE k 0 -1 WITHSCORES"], [SCORED], flat(1, "2")),
        ("ZRANK k z WITHSCORE", ["ZRANGE k 0 -1 WITHSCORES"], [SCORED], b"*-1\r\n"),
        ("SINTER a b", ["SMEMBERS a", "SMEMBERS b"], [bulks("x y"), bulks("y z")], bulks("y")),
        ("SUNION a b", ["SMEMBERS a", "SMEMBERS b"], [bulks("x y"), bulks("y z")], bulks("x y z")),
        ("SDIFF a b", ["SMEMBERS a", "SMEMBERS b"], [bulks("x y"), bulks("y z")], bulks("x")),
        ("SINTERCARD 2 a b", ["SMEMBERS a", "SMEMBERS b"], [bulks("x y"), bulks("y x")], number(2)),
        ("SINTERCARD 1 a LIMIT 1", ["SMEMBERS a"], [bulks("x y")], number(1)),
        ("ZRANGE k 0 1 REV", ["ZRANGE k 0 1 REV"], [bulks("a")], bulks("a")),
        ("ZRANGE k (1 9 BYSCORE", ["ZRANGEBYSCORE k (1 9"], [bulks("a")], bulks("a")),
        (
            "ZRANGE k 9 1 REV BYSCORE WITHSCORES LIMIT 0 1", ["ZREVRANGEBYSCORE k 9 1 WITHSCORES LIMIT 0 1"],
            [SCORED], SCORED,
        ),
        ("ZRANGE k [b + BYLEX", ["ZRANGE k 0 -1"], [bulks("a b c")], bulks("b c")),
        ("ZRANGE k + (a BYLEX REV LIMIT 1 1", ["ZRANGE k 0 -1"], [bulks("a b c")], bulks("b")),
        ("ZRANGEBYLEX k (a [b", ["ZRANGE k 0 -1"], [bulks("a b c")], bulks("b")),
        ("ZRANGEBYLEX k + -", ["ZRANGE k 0 -1"], [bulks("a b c")], NONE),
        ("ZRANGEBYLEX k - + LIMIT -1 5", ["ZRANGE k 0 -1"], [bulks("a b c")], NONE),
        ("ZREVRANGEBYLEX k (c -", ["ZRANGE k 0 -1"], [bulks("a b c")], bulks("b a")),
        ("ZLEXCOUNT k - (c", ["ZRANGE k 0 -1"], [bulks("a b c")], number(2)),
        (
            "XREAD COUNT 2 STREAMS s t 0 5-1", ["XRANGE s 0-1 + COUNT 2", "XRANGE t 5-2 + COUNT 2"],
            [ENTRIES, NONE], encode.array([encode.array([word("s"), ENTRIES])]),
        ),
        ("XREAD STREAMS s 0", ["XRANGE s 0-1 +"], [NONE], b"*-1\r\n"),
        ("PFCOUNT a b", ["PFCOUNT a b"], [number(3)], number(3)),
    ],
)  # fmt: skip
def test_a_read_is_made_of_what_the_store_has(
    line: str, sent: list[str], replies: list[bytes], expected: bytes
) -> None:
    """And its reply is what RESP2 would have; an error of a part is an error of the whole."""
    _, request = planned(*line.split())
    reading = lower_read(request.args, ELASTICKV)

    assert reading is not None
    assert sent == [b" ".join(command).decode() for command in reading.commands]
    assert reading.rebuild(replies, NOW_MS) == expected
    name, through = (words.split(maxsplit=1)[0] for words in (line, sent[0]))
    assert reads_through(name) == (name if name == "ZRANGE" else through)


@pytest.mark.parametrize(
    "line",
    [
        "SCAN 0", "KEYS *", "DBSIZE", "HSCAN k 0", "RANDOMKEY", "SUBSCRIBE c", "LCS a b", "GEOPOS k a",
        "XINFO STREAM s", "XPENDING s g", "DUMP k", "OBJECT ENCODING k", "EVAL_RO x 0", "BITCOUNT k 0 1",
        "XREAD BLOCK 0 STREAMS s 0", "XREAD STREAMS s $", "XREAD STREAMS s", "XREAD STREAMS s x",
        "XREAD COUNT 1", "SINTERCARD x a",
    ],
)  # fmt: skip
def test_what_cannot_be_read_or_does_harm_is_not_sent(line: str) -> None:
    """Nor is what the primary refuses anyway."""
    _, request = planned(*line.split())

    assert lower_read(request.args, ELASTICKV) is None
