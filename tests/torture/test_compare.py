"""The comparison finds every difference that is planted, and none where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dualkv.torture.compare import Comparison, compare_stores, differing_aspects
from dualkv.torture.state import Moment
from tests.torture.conftest import Twins

Commands = Sequence[str]
TOLERANCE_MS = 500

FILLED: Commands = (
    "SET s value",
    "SET empty ''",
    "RPUSH l a b c",
    "SADD t a b c",
    "HSET h f 1 g 2",
    "HSET he f 1 g 2",
    "HPEXPIREAT he 99999999999999 FIELDS 1 f",
    "ZADD z 1.5 m 2 n",
    "GEOADD geo 10 50 p",
    "PFADD p a b c d",
    "XADD x 1-1 f v",
    "XADD x 2-1 f v",
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS x >",
    "XGROUP CREATE x other $",
    "SET e value PXAT 99999999999999",
)
"""A key of each kind."""


async def run(twins: Twins, commands: Commands, which: str = "both") -> None:
    """Execute commands, written as in redis-cli, on one store or both."""
    stores = [twins.primary, twins.secondary] if which == "both" else [getattr(twins, which)]
    for store in stores:
        for line in commands:
            await store.call(*("" if word == "''" else word for word in line.split()))


async def compare(twins: Twins) -> Comparison:
    """Compare, without giving differences time to go away."""
    return await compare_stores(twins.primary, twins.secondary, 3, TOLERANCE_MS, settle_seconds=0)


async def test_equal_stores_are_equal(twins: Twins) -> None:
    """A key of every kind, in several databases, with groups and pending entries."""
    await run(twins, [*FILLED, "SELECT 2", *FILLED, "SELECT 0"])

    found = await compare(twins)
    assert found.differences == []
    assert (found.is_equal, found.keys) == (True, 22)


@pytest.mark.parametrize(
    ("change", "key", "aspect"),
    [
        ("SET s other", "s", "value"),
        ("SET empty x", "empty", "value"),
        ("DEL s", "s", "type"),
        ("SET extra 1", "extra", "type"),
        ("PEXPIRE s 100000", "s", "expires"),
        ("PERSIST e", "e", "expires"),
        ("PEXPIREAT e 99999999990000", "e", "expires"),
        ("LSET l 1 other", "l", "element 1"),
        ("RPUSH l d", "l", "element 3"),
        ("SREM t b", "t", "member 'b'"),
        ("SADD t d", "t", "member 'd'"),
        ("HSET h f 2", "h", "field 'f'"),
        ("HDEL h g", "h", "field 'g'"),
        ("HPERSIST he FIELDS 1 f", "he", "field 'f' expires"),
        ("HPEXPIREAT he 99999999999999 FIELDS 1 g", "he", "field 'g' expires"),
        ("ZADD z 1.6 m", "z", "member 'm'"),
        ("ZADD z 1.5000000000000002 m", "z", "member 'm'"),
        ("PFADD p e f g", "p", "distinct elements"),
        ("XDEL x 2-1", "x", "max-deleted-entry-id"),
        ("XADD x 3-1 f v", "x", "last id"),
        ("XGROUP SETID x g 0", "x", "group 'g' last id"),
        ("XGROUP DESTROY x other", "x", "group 'other' last id"),
        ("XACK x g 1-1", "x", "group 'g' pending 1-1"),
        ("XGROUP CREATECONSUMER x g c2", "x", "group 'g' consumer 'c2'"),
        ("XCLAIM x g c3 0 1-1", "x", "group 'g' pending 1-1"),
        ("XCLAIM x g c 0 1-1 JUSTID RETRYCOUNT 9", "x", "group 'g' pending 1-1"),
        ("XCLAIM x g c 0 1-1 JUSTID IDLE 60000", "x", "group 'g' pending 1-1 since"),
    ],
)
async def test_a_planted_difference_is_found(twins: Twins, change: str, key: str, aspect: str) -> None:
    """On one store only: changed, missing, extra, expiry, one element, group and pending entry."""
    await run(twins, FILLED)
    await run(twins, [change], "secondary")

    found = await compare(twins)
    assert [difference.key for difference in found.differences] == [key.encode()]
    assert aspect in {name for name, _, _ in found.differences[0].aspects}


async def test_another_type_is_a_difference(twins: Twins) -> None:
    """Both types are told."""
    await run(twins, ["SET k 1"], "primary")
    await run(twins, ["RPUSH k 1"], "secondary")

    (difference,) = (await compare(twins)).differences
    assert difference.aspects[0] == ("type", "string", "list")


async def test_each_database_is_compared(twins: Twins) -> None:
    """The difference tells which."""
    await run(twins, ["SELECT 1", "SET k 1", "SELECT 0"], "primary")

    (difference,) = (await compare(twins)).differences
    assert (difference.db, difference.key) == (1, b"k")


async def test_functions_are_compared(twins: Twins) -> None:
    """By their code."""
    code = "#!lua name=a\nredis.register_function('f', function() return 1 end)"
    await twins.primary.call("FUNCTION", "LOAD", code)

    (difference,) = (await compare(twins)).differences
    assert (difference.db, difference.key) == (-1, b"a")


async def test_equal_contents_in_other_forms_are_equal(twins: Twins) -> None:
    """The order of a hash, the encoding of a list, and the layout of a HyperLogLog do not matter."""
    await run(twins, ["HSET h a 1 b 2", "SADD t 1 2 x", "PFADD p a b c"], "primary")
    await run(twins, ["SADD t x 2 1", "PFADD p c", "PFADD p b a", "PFCOUNT p"], "secondary")
    await twins.secondary.call("HSET", "h", "b", "2", "long", "x" * 1000)
    await run(twins, ["HDEL h long", "HSET h a 1"], "secondary")

    assert (await compare(twins)).is_equal


async def test_a_difference_that_goes_away_is_none(twins: Twins) -> None:
    """A key that is about to expire is gone on one side first; it is waited for."""
    await run(twins, ["SET k 1 PX 300"], "primary")

    found = await compare(twins)
    assert found.is_equal


async def test_many_keys_are_compared(twins: Twins) -> None:
    """More than fit into one batch; what differs is found among them."""
    for store in (twins.primary, twins.secondary):
        await store.ask([("SET", f"k{number}", number) for number in range(3000)])
    await twins.secondary.ask([("SET", "k2999", "x"), ("DEL", "k17")])

    found = await compare(twins)
    assert {difference.key for difference in found.differences} == {b"k2999", b"k17"}
    assert found.keys >= 3000


def test_times_are_equal_within_the_tolerance() -> None:
    """Other values are equal, or they are not."""
    one = {"type": "string", "expires": Moment(1000), "value": b"a"}

    assert differing_aspects(one, {**one, "expires": Moment(1500)}, 500) == []
    assert differing_aspects(one, {**one, "expires": Moment(1501)}, 500) == [
        ("expires", Moment(1000), Moment(1501))
    ]
    assert differing_aspects({}, {}, 500) == []


def test_what_only_newer_servers_tell_is_compared_where_both_do() -> None:
    """How many entries a stream ever had is not known to Redis 6.2."""
    old = {"type": "stream", "last id": b"1-1"}

    assert differing_aspects(old, {**old, "entries-added": 3}, 0) == []
    assert differing_aspects({**old, "entries-added": 2}, {**old, "entries-added": 3}, 0) != []
    read = "group g has read entries"
    assert differing_aspects(old, {**old, read: 3}, 0) == []
    assert differing_aspects({**old, read: 2}, {**old, read: 3}, 0) == [(read, 2, 3)]
