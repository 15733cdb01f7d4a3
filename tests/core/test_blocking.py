"""How long blocking commands wait, and what puts back what they took."""

from __future__ import annotations

import pytest

from dualkv.core.blocking import gives_back, shortened, wait_seconds
from dualkv.resp import encode
from tests.core.building import bulks, double, flat, planned

NIL = b"*-1\r\n"


def lines(commands: list[tuple[bytes | str | int, ...]]) -> list[str]:
    """Return commands as a person writes them."""
    return [
        " ".join(word.decode() if isinstance(word, bytes) else str(word) for word in one) for one in commands
    ]


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


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("BLPOP a b 1.5", "BLPOP a b 0.500"), ("BLPOP a 1", None), ("BLPOP a 0.5", None),
        ("BLPOP a 0", "BLPOP a 0"), ("BLMPOP 3 1 a LEFT", "BLMPOP 2.000 1 a LEFT"),
        ("XREAD BLOCK 1500 STREAMS s $", "XREAD BLOCK 500 STREAMS s $"), ("XREAD BLOCK", "XREAD BLOCK"),
    ],
)  # fmt: skip
def test_request_that_has_waited_waits_for_the_rest_of_its_time(line: str, expected: str | None) -> None:
    """After a second: never without an end instead of a short while."""
    plan, request = planned(*line.split())

    left = shortened(plan.spec, request.args, 1.0)

    assert (None if left is None else b" ".join(left).decode()) == expected


NESTED = encode.array([encode.bulk("k"), bulks("c b")])
SCORED = encode.array([encode.bulk("k"), encode.array([flat("m", "1"), flat("n", "2.5")])])


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
