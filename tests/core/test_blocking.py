"""How long blocking commands wait, and what mirrors them."""

from __future__ import annotations

import pytest

from dualkv.core.blocking import effects_of, gives_back, wait_seconds
from dualkv.resp import encode
from tests.core.building import bulks, double, flat, planned

NIL = b"*-1\r\n"


def lines(commands: list[tuple[bytes | str | int, ...]]) -> list[str]:
    """Return commands as a person writes them."""
    return [
        " ".join(word.decode() if isinstance(word, bytes) else str(word) for word in one) for one in commands
    ]


def effects(line: str, reply: bytes) -> list[str]:
    """Return the effects of the request on *line*."""
    plan, request = planned(*line.split())
    return lines(effects_of(plan.spec, request.args, reply, 1234))


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("BLPOP a b 1.5", 1.5), ("BLPOP a 0", None), ("BLPOP a x", None), ("BLPOP a inf", None),
        ("BLMOVE a b LEFT LEFT 2", 2.0), ("BLMPOP 3 1 a LEFT", 3.0), ("BZMPOP 0 1 a MIN", None),
        ("XREAD BLOCK 1500 STREAMS s $", 1.5), ("XREAD BLOCK", None),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", None),
    ],
)  # fmt: skip
def test_wait_is_what_the_request_says(line: str, seconds: float | None) -> None:
    """Seconds, or milliseconds for streams; None for no end, and for what the primary will refuse."""
    plan, request = planned(*line.split())

    assert seconds == wait_seconds(plan.spec, request.args)


NESTED = encode.array([encode.bulk("k"), bulks("c b")])
SCORED = encode.array([encode.bulk("k"), encode.array([flat("m", "1"), flat("n", "2.5")])])
STREAM = encode.array(
    [encode.array([encode.bulk("s"), encode.array([encode.array([encode.bulk("5-1"), NIL])])])]
)
STREAM3 = b"%1\r\n" + encode.bulk("s") + encode.array([encode.array([encode.bulk("5-1"), NIL])])
CLAIM = "XCLAIM s g c 0 5-1 TIME 1234 RETRYCOUNT 1 FORCE JUSTID LASTID 5-1"


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("BLPOP k 0", bulks("k v"), ["LREM k 1 v"]),
        ("BRPOP x k 0", bulks("k v"), ["LREM k -1 v"]),
        ("BLPOP k 1", NIL, []),
        ("BLPOP k 1", b"_\r\n", []),
        ("BLPOP k 1", b"-WRONGTYPE x\r\n", []),
        ("BLMPOP 0 2 x k RIGHT COUNT 2", NESTED, ["LREM k -1 c", "LREM k -1 b"]),
        ("BLMPOP 0 1 k LEFT", NESTED, ["LREM k 1 c", "LREM k 1 b"]),
        ("BLMOVE k to RIGHT LEFT 0", encode.bulk("v"), ["LREM k -1 v", "LPUSH to v"]),
        ("BLMOVE k to left right 0", encode.bulk("v"), ["LREM k 1 v", "RPUSH to v"]),
        ("BRPOPLPUSH k to 0", encode.bulk("v"), ["LREM k -1 v", "LPUSH to v"]),
        ("BZPOPMIN k 0", flat("k", "m", "1"), ["ZREM k m"]),
        ("BZPOPMAX k 0", encode.array([*map(encode.bulk, "km"), double("1")]), ["ZREM k m"]),
        ("BZMPOP 0 1 k MIN COUNT 2", SCORED, ["ZREM k m n"]),
        ("XREAD BLOCK 0 STREAMS s $", STREAM, []),
        (
            "XREADGROUP GROUP g c BLOCK 0 STREAMS s >", STREAM,
            ["XGROUP CREATECONSUMER s g c", CLAIM],
        ),
        (
            "XREADGROUP GROUP g c BLOCK 0 STREAMS s >", STREAM3,
            ["XGROUP CREATECONSUMER s g c", CLAIM],
        ),
        (
            "XREADGROUP GROUP g c BLOCK 0 NOACK STREAMS s >", STREAM,
            ["XGROUP CREATECONSUMER s g c", "XGROUP SETID s g 5-1"],
        ),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", STREAM, ["XGROUP CREATECONSUMER s g c"]),
        ("XREADGROUP GROUP g c BLOCK 9 STREAMS s t > >", NIL,
         ["XGROUP CREATECONSUMER s g c", "XGROUP CREATECONSUMER t g c"]),
    ],
)  # fmt: skip
def test_effect_names_what_was_taken(line: str, reply: bytes, expected: list[str]) -> None:
    """By value, not by position; nothing for a time-out, an error or a read."""
    assert expected == effects(line, reply)


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("BLPOP k 0", bulks("k v"), ["LPUSH k v"]),
        ("BRPOP k 0", bulks("k v"), ["RPUSH k v"]),
        ("BLMPOP 0 1 k RIGHT COUNT 2", NESTED, ["RPUSH k b c"]),
        ("BZPOPMIN k 0", flat("k", "m", "1"), ["ZADD k 1 m"]),
        ("BZPOPMIN k 0", encode.array([*map(encode.bulk, "km"), double("1.5")]), ["ZADD k 1.5 m"]),
        ("BZMPOP 0 1 k MIN COUNT 2", SCORED, ["ZADD k 1 m 2.5 n"]),
        ("BLMOVE k to LEFT LEFT 0", encode.bulk("v"), []),
        ("BLPOP k 0", NIL, []),
        ("BLPOP k 0", encode.UNBLOCKED, []),
    ],
)
def test_what_nobody_got_is_put_back(line: str, reply: bytes, expected: list[str]) -> None:
    """At the end where it was taken, with its score; what was moved is safe where it is."""
    plan, request = planned(*line.split())

    assert expected == lines(gives_back(plan.spec, request.args, reply))
