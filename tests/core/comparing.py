"""Replies to compare, in both versions of RESP, and what their command says of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from dualkv.core.compare import Verdict, judge
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from tests.core.building import ask, one

__all__ = ["Pairs", "array", "flat_map", "on", "resp3_map", "resp3_set", "scores", "shuffled"]

Pairs = list[tuple[bytes, bytes]]
T = TypeVar("T")


def on(line: str, expected: bytes, actual: bytes) -> Verdict:
    """Judge the replies to the read on a line."""
    args = ask(*line.split()).args
    rule = plan_of(args).comparator
    assert rule is not None
    return judge(rule, args, expected, actual)


def array(values: Sequence[bytes]) -> bytes:
    """Return an array of bulk strings."""
    return encode.array(map(one, values))


def flat_map(pairs: Pairs) -> bytes:
    """Return a map as RESP2 writes it."""
    return array([word for pair in pairs for word in pair])


def resp3_map(pairs: Pairs) -> bytes:
    """Return a map as RESP3 writes it."""
    return b"%%%d\r\n%b" % (len(pairs), b"".join(one(word) for pair in pairs for word in pair))


def resp3_set(values: Sequence[bytes]) -> bytes:
    """Return a set as RESP3 writes it."""
    return b"~%d\r\n%b" % (len(values), b"".join(map(one, values)))


def scores(entries: list[tuple[bytes, float]], style: str) -> bytes:
    """Return members with scores: in RESP2, in RESP2 with more digits, or in RESP3."""
    if style == "resp3":
        return encode.array(encode.array([one(member), b",%r\r\n" % score]) for member, score in entries)
    written = "%r" if style == "resp2" else "%.17g"
    return array([word for member, score in entries for word in (member, (written % score).encode())])


def shuffled(values: list[T], random: Random) -> list[T]:
    """Return the values in another order."""
    return random.sample(values, len(values))
