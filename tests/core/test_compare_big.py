"""Replies that are never held as values all at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from random import Random

import pytest

from dualkv.core.compare import Outcome, Reason
from dualkv.core.compare.big import BIG_BYTES, MAX_BYTES
from dualkv.core.compare.model import REPRESENTATION
from dualkv.core.divergence import DivergenceKind
from dualkv.resp import encode
from tests.core.building import one
from tests.core.comparing import Pairs, array, flat_map, on, resp3_map, resp3_set, scores, shuffled

MANY = [b"member:%08d" % number for number in range(25_000)]
"""More than `BIG_BYTES` in two replies."""
OTHERS = shuffled(MANY, Random(1))


def pairs_of(values: Sequence[bytes]) -> Pairs:
    """Return a map in which each value follows from its key."""
    return [(value, value[::-1]) for value in values]


def scored(values: Sequence[bytes]) -> list[tuple[bytes, float]]:
    """Return members with scores that have two spellings."""
    return [(value, 0.1) for value in values]


@pytest.mark.parametrize(
    ("line", "expected", "actual"),
    [
        pytest.param("SMEMBERS k", array(MANY), array(OTHERS), id="set"),
        pytest.param("SMEMBERS k", array(MANY), resp3_set(OTHERS), id="set in two versions"),
        pytest.param("HGETALL k", flat_map(pairs_of(MANY)), flat_map(pairs_of(OTHERS)), id="map"),
        pytest.param("HGETALL k", resp3_map(pairs_of(MANY)), flat_map(pairs_of(OTHERS)), id="map, versions"),
        pytest.param(
            "HGETALL k",
            flat_map(pairs_of(MANY)),
            encode.array(map(array, pairs_of(OTHERS))),
            id="map as an array of pairs",
        ),
        pytest.param(
            "ZRANGE k 0 -1 WITHSCORES",
            scores(scored(MANY), "resp2"),
            scores(scored(MANY), "resp3"),
            id="scores in two versions",
        ),
        pytest.param("LRANGE k 0 -1", array(MANY), resp3_set(MANY), id="list"),
        pytest.param("GET k", one(b"x" * BIG_BYTES), b"+%b\r\n" % (b"x" * BIG_BYTES), id="string"),
    ],
)
def test_big_replies_that_mean_the_same_match(line: str, expected: bytes, actual: bytes) -> None:
    """Replies that are never held as values are compared by meaning as well."""
    assert len(expected) + len(actual) > BIG_BYTES
    assert on(line, expected, actual) is REPRESENTATION
    assert on(line, actual, expected) is REPRESENTATION


FORMS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "SMEMBERS k": array,
    "HVALS k": array,
    "HGETALL k": lambda values: flat_map(pairs_of(values)),
    "LRANGE k 0 -1": array,
    "ZRANGE k 0 -1": array,
    "ZRANGE k 0 -1 WITHSCORES": lambda values: scores(scored(values), "resp2"),
    "MGET k": array,
    "XRANGE k - +": lambda values: encode.array(array([value, b"fields"]) for value in values),
}


@pytest.mark.parametrize("line", FORMS)
@pytest.mark.parametrize("index", [0, 12_500, 24_999])
def test_one_element_of_a_big_reply_is_found(line: str, index: int) -> None:
    """One of 25,000 elements that is another, or missing, makes a difference."""
    write = FORMS[line]
    changed = [*MANY[:index], b"member:99999999", *MANY[index + 1 :]]
    lost = MANY[:index] + MANY[index + 1 :]

    assert on(line, write(MANY), write(changed)).kind is DivergenceKind.DATA_MISMATCH
    assert on(line, write(MANY), write(lost)).detail == "missing"
    assert on(line, write(lost), write(MANY)).detail == "extra"


@pytest.mark.parametrize("line", FORMS)
@pytest.mark.parametrize("nothing", [b"*0\r\n", b"_\r\n", b"*-1\r\n"])
def test_big_reply_beside_nothing_is_a_gap_or_extra(line: str, nothing: bytes) -> None:
    """All of it missing is told from a part of it missing."""
    reply = FORMS[line]([*MANY, *MANY])

    assert on(line, reply, nothing).kind is DivergenceKind.MIGRATION_GAP
    assert on(line, nothing, reply).kind is DivergenceKind.EXTRA_DATA


def test_values_of_a_big_map_that_change_places_are_found() -> None:
    """The hashes of pairs are added, not those of keys and values."""
    pairs = pairs_of(MANY)
    for (first, first_value), (second, second_value) in zip(pairs[:8], pairs[8:16], strict=True):
        swapped = [(first, second_value), (second, first_value), *pairs[16:]]
        unchanged = [(first, first_value), (second, second_value), *pairs[16:]]

        assert on("HGETALL k", flat_map(unchanged), flat_map(swapped)).detail == "value"
        assert on("HGETALL k", resp3_map(unchanged), flat_map(swapped)).detail == "value"


def test_big_map_with_half_a_pair_is_not_equal() -> None:
    """A field without a value at the end makes a difference."""
    pairs = pairs_of(MANY)
    words = [word for pair in pairs for word in pair]

    assert on("HGETALL k", array(words), array([*words, b"field"])).detail == "extra"


def test_order_of_a_big_list_matters() -> None:
    """The same elements in another order differ by their order."""
    assert on("LRANGE k 0 -1", array(MANY), array(OTHERS)).detail == "order"


def test_gaps_in_a_big_array_of_values_are_gaps() -> None:
    """MGET of which some are missing is a gap however long it is."""
    some = encode.array(b"$-1\r\n" if index % 7 == 0 else one(value) for index, value in enumerate(MANY))

    assert on("MGET k", array(MANY), some).kind is DivergenceKind.MIGRATION_GAP


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        pytest.param("SMEMBERS k", one(b"x" * BIG_BYTES), id="a string"),
        pytest.param(
            "HGETALL k", encode.array([array([b"a", b"1"]), *map(one, MANY * 2)]), id="a stray pair"
        ),
    ],
)
def test_big_reply_of_another_form_is_another_type(line: str, reply: bytes) -> None:
    """What has not the form of the command's replies differs in type, on whichever side."""
    assert on(line, FORMS[line](MANY), reply).detail == "type"
    assert on(line, reply, FORMS[line](MANY)).detail == "type"


def test_big_reply_without_a_python_value_is_not_comparable() -> None:
    """An element that cannot be a value is neither a match nor a divergence."""
    odd = b"*2\r\n%1\r\n*0\r\n+a\r\n" + one(b"x" * BIG_BYTES)

    assert on("LRANGE k 0 -1", array(MANY), odd).reason is Reason.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("line", "reply", "size"),
    [
        ("SMEMBERS k", array(MANY), MAX_BYTES // len(array(MANY))),
        ("GEOSEARCH k FROMMEMBER a BYRADIUS 1 m", array(MANY), 1),
        ("XREAD STREAMS k 0", array(MANY), 1),
        ("ZUNION 1 k", array(MANY), 1),
    ],
)
def test_reply_that_is_too_big_is_not_judged(line: str, reply: bytes, size: int) -> None:
    """Beyond the limit, or without a way in bounded memory, the check is counted as not made."""
    verdict = on(line, reply, encode.array([reply] * max(2, size)))

    assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.TOO_BIG)


def test_ties_of_a_big_union_are_not_judged() -> None:
    """Sums have no order among equals: where members differ, nothing is said."""
    ours, theirs = scores(scored(MANY), "resp2"), scores(scored(OTHERS), "resp2")

    assert on("ZUNION 1 k WITHSCORES", ours, theirs).reason is Reason.TOO_BIG


@pytest.mark.parametrize("line", FORMS)
def test_big_replies_take_bounded_memory(line: str) -> None:
    """However many elements there are, comparing needs less than a tenth of the replies' size."""
    expected, actual = FORMS[line](MANY), FORMS[line]([*MANY[:-1], b"member:99999999"])
    on(line, expected, actual)
    tracemalloc.start()
    try:
        on(line, expected, actual)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < (len(expected) + len(actual)) / 10
