"""A key's state, copied between real servers of all versions at hand, is the same there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from dualkv.core.copying import BIG_BYTES, ChunkedCopy, KeyCopy, disturbs
from dualkv.core.dialect import lower
from dualkv.core.effects.model import Command, Effects
from dualkv.resp.replies import is_error
from dualkv.servers import EmbeddedServer
from tests.support.copies import Store, copy_key, execute, state_of_key
from tests.support.servers import Since, available_binaries

pytestmark = pytest.mark.e2e

BINARY: Final = bytes(range(256))
KEY: Final = b"k{\r\n\0\xff}"
LATER_MS: Final = 4_000_000_000_000
"""An expiry that no test reaches."""

Stores = tuple[Store, Store]


ALWAYS: Final = Since(redis="6.2", valkey="7.2")
ENTRIES_READ: Final = Since(redis="7.0", valkey="7.2")
FIELD_EXPIRY: Final = Since(redis="7.4", valkey="9.0")
FIELDS_AT_ONCE: Final = Since(redis="8.0", valkey="9.0")
VECTOR_SETS: Final = Since(redis="8.0")
REFERENCES: Final = Since(redis="8.2")
KEYS_AT_ONCE: Final = Since(redis="8.4", valkey="9.1")

Named = tuple[str, Path]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Copy between Debian's Redis and Valkey in every direction; `make matrix`: between all at hand.

    What needs a source that knows something (`source_knows`) gets just such sources; if none of those to be
    tested does, others that are at hand.
    """
    at_hand = sorted(available_binaries().items())
    wanted = at_hand
    if metafunc.config.getoption("--pairs") == "default":
        wanted = [named for named in at_hand if named[0].startswith(("Redis 7.0", "Valkey"))]

    def pairs(since: Since) -> list[tuple[Named, Named]]:
        sources = [named for named in wanted if since.is_in(named[0])]
        sources = sources or [named for named in at_hand if since.is_in(named[0])]
        return list(product(sources, [*wanted, *(named for named in sources if named not in wanted)]))

    def name(one: Named, other: Named) -> str:
        return f"{one[0]} to {other[0]}"

    if "effect" in metafunc.fixturenames:
        rows = [
            pytest.param(pair, before, effect, id=f"{name(*pair)}-{effect}")
            for before, effect, since in EFFECTS
            for pair in pairs(since)
        ]
        rows.sort(key=lambda row: str(row.id).partition("-")[0])  # servers are changed as seldom as possible
        metafunc.parametrize(("stores", "before", "effect"), rows, indirect=["stores"], scope="module")
    elif "stores" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("source_knows")
        found = pairs(marker.args[0] if marker else ALWAYS) or pairs(ALWAYS)
        names = [name(*pair) for pair in found]
        metafunc.parametrize("stores", found, ids=names, indirect=True, scope="module")
    else:
        metafunc.parametrize("named", at_hand, ids=[version for version, _ in at_hand], scope="module")


@pytest.fixture(name="servers", scope="module")
def _servers() -> Iterator[Callable[[Path], EmbeddedServer]]:
    """Start a server when it is first asked for."""
    running: dict[Path, EmbeddedServer] = {}
    with ExitStack() as stack:

        def server(binary: Path) -> EmbeddedServer:
            if binary not in running:
                running[binary] = stack.enter_context(EmbeddedServer(binary))
            return running[binary]

        yield server


@pytest.fixture(name="stores", scope="module")
def _stores(servers: Callable[[Path], EmbeddedServer], request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Connections to a source and a target; the same server in both roles is two databases of it."""
    (_, one), (_, other) = request.param
    with Store(servers(one).port) as source, Store(servers(other).port) as target:
        target.ask("SELECT", 1)
        yield source, target


@pytest.fixture(autouse=True)
def _emptied(request: pytest.FixtureRequest) -> None:
    """Let each test begin with nothing."""
    if "stores" in request.fixturenames:
        for store in request.getfixturevalue("stores"):
            store.ask("FLUSHALL")


# --- what there is to copy


def strings(source: Store) -> None:
    """Make strings of every form, and a HyperLogLog, which is one."""
    values: dict[str, bytes | str | int] = {"empty": "", "number": -(2**63), "big": b"x" * 3_000_000}
    for name, value in {**values, "binary": BINARY, "short": "v"}.items():
        source.ask("SET", name, value)
    source.ask("SET", KEY, BINARY)
    source.ask("PFADD", "hll", *range(1000))
    source.ask("SETBIT", "bits", 100_000, 1)


def lists(source: Store) -> None:
    """Make lists, one of several chunks and one with elements of more than a chunk."""
    source.ask("RPUSH", KEY, "", BINARY, 1, -1, BINARY)
    source.ask("RPUSH", "long", *range(5000))
    source.ask("RPUSH", "big", *[b"x" * 300_000] * 9)


def sets(source: Store) -> None:
    """Make sets in each of the server's encodings."""
    source.ask("SADD", "numbers", *range(50))
    source.ask("SADD", KEY, "", BINARY, "x")
    source.ask("SADD", "long", *(b"%d\0" % number for number in range(5000)))


def hashes(source: Store) -> None:
    """Make hashes, short and long."""
    source.ask("HSET", KEY, "", BINARY, BINARY, "", "n", 1)
    source.ask("HSET", "long", *range(10_000))


def zsets(source: Store) -> None:
    """Make sorted sets with scores that are hard to write down."""
    scores = (
        float("inf"),
        float("-inf"),
        0.1,
        1 / 3,
        5e-324,
        1.7976931348623157e308,
        -1.5e-7,
        2**53 + 2,
        1e21,
    )
    source.ask("ZADD", KEY, *(word for score in scores for word in (score, repr(score))), 0, BINARY)
    shaken = random.Random(1)
    source.ask("ZADD", "long", *(word for n in range(5000) for word in (shaken.uniform(-1e9, 1e9), n)))


def streams(source: Store) -> None:
    """Make streams without groups: filled, emptied, never filled, trimmed and deleted from."""
    for number in range(1, 2501):
        source.ask("XADD", "long", f"{number}-{number % 3}", "f", number, "f", BINARY, "", "")
    source.ask("XADD", KEY, f"{2**64 - 1}-{2**64 - 1}", BINARY, "")
    for key in ("emptied", "trimmed", "deleted"):
        for number in (1, 2, 3, 4, 5):
            source.ask("XADD", key, f"5-{number}", "f", "v")
    source.ask("XTRIM", "emptied", "MAXLEN", 0)
    source.ask("XTRIM", "trimmed", "MAXLEN", 2)
    source.ask("XDEL", "deleted", "5-2", "5-5")
    source.ask("XSETID", "trimmed", "99-0")
    source.ask("XGROUP", "CREATE", "never", "g", "0", "MKSTREAM")
    source.ask("XGROUP", "DESTROY", "never", "g")


def groups(source: Store) -> None:
    """Make streams with groups, consumers and pending entries, many of which are no more."""

    def read(key: str, group: str, consumer: str, count: int) -> None:
        source.ask("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", key, ">")

    def make(key: str, entries: int) -> None:
        for number in range(1, entries + 1):
            source.ask("XADD", key, f"{number}-1", "f", number)
        for group in ("g", BINARY):
            source.ask("XGROUP", "CREATE", key, group, "0")

    for key in ("trimmed", "deleted", "both", "all trimmed", "all deleted", "last deleted"):
        make(key, 9)
        read(key, "g", "c", 3)
        read(key, "g", "d", 9)
        source.ask("XREADGROUP", "GROUP", BINARY, BINARY, "COUNT", 5, "STREAMS", key, ">")
        source.ask("XACK", key, "g", "4-1")
        source.ask("XGROUP", "CREATECONSUMER", key, "g", "idle")
        source.ask("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", key, "0")  # a second delivery
    source.ask("XTRIM", "trimmed", "MAXLEN", 4)
    source.ask("XDEL", "deleted", "2-1", "3-1", "8-1")
    source.ask("XDEL", "both", "1-1", "6-1", "8-1")
    source.ask("XTRIM", "both", "MAXLEN", 3)
    source.ask("XTRIM", "all trimmed", "MAXLEN", 0)
    source.ask("XDEL", "all deleted", *(f"{number}-1" for number in range(1, 10)))
    source.ask("XDEL", "last deleted", "9-1", "7-1")
    make("long", 3000)
    read("long", "g", "c", 2200)
    source.ask("XTRIM", "long", "MAXLEN", 1500)
    source.ask("XGROUP", "CREATE", "only a group", "g", "$", "MKSTREAM")
    source.ask("XADD", "behind", "5-5", "f", "v")
    source.ask("XGROUP", "CREATE", "behind", "g", "77-0")


BUILDERS: Final[tuple[Callable[[Store], None], ...]] = (strings, lists, sets, hashes, zsets, streams, groups)


def check_equal(source: Store, target: Store) -> None:
    """Expect the same keys with the same state."""
    keys = sorted(source.ask("KEYS", "*"))
    assert keys == sorted(target.ask("KEYS", "*"))
    for key in keys:
        expected = state_of_key(source, key, target.dialect)
        assert state_of_key(target, key, source.dialect) == expected, key


# --- at once


@pytest.mark.parametrize("build", BUILDERS, ids=[build.__name__ for build in BUILDERS])
@pytest.mark.parametrize("with_dump", [True, False], ids=["by dump", "by type"])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_copy_is_equal(
    stores: Stores, build: Callable[[Store], None], with_dump: bool, protocol: int
) -> None:
    """Value, type and expiry, in either RESP version, whatever was there before; nothing is lost."""
    source, target = stores
    source.call("HELLO", protocol)
    build(source)
    keys = source.ask("KEYS", "*")
    for key in keys[::2]:
        source.ask("PEXPIREAT", key, LATER_MS)
    for number, key in enumerate(keys):
        target.ask(*(("SET", key, "old", "EX", 1000) if number % 2 else ("RPUSH", key, "old")))

    assert set().union(*(copy_key(source, target, key, with_dump=with_dump) for key in keys)) == set()
    check_equal(source, target)
    for key in keys:  # again, over itself
        copy_key(source, target, key, with_dump=with_dump)
    check_equal(source, target)


@pytest.mark.parametrize("with_dump", [True, False], ids=["by dump", "by type"])
def test_a_key_that_is_no_more_is_removed(stores: Stores, with_dump: bool) -> None:
    """Never there, or expired."""
    source, target = stores
    source.ask("SET", "expired", "v", "PX", 1)
    target.ask("SET", "expired", "v")
    target.ask("RPUSH", "never", "v")
    while source.ask("EXISTS", "expired"):
        pass

    for key in (b"expired", b"never"):
        copy_key(source, target, key, with_dump=with_dump)

    assert target.ask("DBSIZE") == 0


@pytest.mark.source_knows(FIELD_EXPIRY)
@pytest.mark.parametrize("with_dump", [True, False], ids=["by dump", "by type"])
def test_fields_expire_where_both_stores_can_tell_when(stores: Stores, with_dump: bool) -> None:
    """Else the values are copied, and the copy says what is lost."""
    source, target = stores
    for key, fields in (("short", 6), ("long", 2500)):
        source.ask("HSET", key, *range(2 * fields))
        source.ask("HPEXPIREAT", key, LATER_MS, "FIELDS", 2, 0, 4)
        source.ask("HPEXPIREAT", key, LATER_MS + 1, "FIELDS", 1, 6)

    lost = {key: copy_key(source, target, key, with_dump=with_dump) for key in (b"short", b"long")}

    is_held = target.dialect.has("HPEXPIREAT")
    assert set().union(*lost.values()) == (set() if is_held else {"HPEXPIREAT"})
    check_equal(source, target)


VECTOR: Final = ("VADD", "v", "VALUES", 3, 1, 2, 3, "e")


@pytest.mark.source_knows(VECTOR_SETS)
def test_vector_sets_are_copied_between_stores_that_have_them(stores: Stores) -> None:
    """Elsewhere the key is removed, and the copy says so; where none can be made, nothing is lost."""
    source, target = stores
    is_made = not is_error(source.call(*VECTOR))
    target.ask("SET", "v", "old")

    lost = copy_key(source, target, b"v")

    assert is_made == source.dialect.has("VADD")
    if not is_made:
        assert (lost, target.ask("EXISTS", "v")) == (set(), 0)
    elif target.dialect.has("VADD"):
        assert (lost, target.ask("VCARD", "v")) == (set(), 1)
    else:
        assert (lost, target.ask("EXISTS", "v")) == ({"vectorset"}, 0)


# --- in chunks

FILLED: Final = 4000


def fill(source: Store, kind: bytes, elements: int) -> None:
    """Make a key of so many elements."""
    for start in range(0, elements, 1000):
        numbers = range(start, start + 1000)
        match kind:
            case b"hash":
                source.ask("HSET", "k", *(word for n in numbers for word in (n, f"old {n}")))
            case b"set":
                source.ask("SADD", "k", *numbers)
            case _:
                source.ask("ZADD", "k", *(word for n in numbers for word in (n / 7, n)))


def random_write(kind: bytes, chance: random.Random, balance: float) -> tuple[Any, ...]:
    """Return a write to elements; *balance* is the share of those that add."""
    numbers = [chance.randrange(2 * FILLED) for _ in range(chance.choice((1, 1, 5, 50)))]
    adds = chance.random() < balance
    match kind:
        case b"hash":
            pairs = [word for number in numbers for word in (number, chance.random())]
            return ("HSET", "k", *pairs) if adds else ("HDEL", "k", *numbers)
        case b"set":
            return ("SADD" if adds else "SREM", "k", *numbers)
    if chance.random() < 0.05:
        lowest = chance.uniform(0, 2 * FILLED / 7)
        return ("ZREMRANGEBYSCORE", "k", lowest, f"({lowest + 20}")
    pairs = [word for number in numbers for word in (chance.uniform(0, 2 * FILLED / 7), number)]
    return ("ZADD", "k", *pairs) if adds else ("ZREM", "k", *numbers)


WHOLE: Final = (
    ("DEL", "k"),
    ("PEXPIREAT", "k", LATER_MS),
    ("PEXPIREAT", "k", LATER_MS + 1),
    ("PERSIST", "k"),
)


@pytest.mark.parametrize("kind", [b"hash", b"set", b"zset"])
@pytest.mark.parametrize("balance", [0.1, 0.5, 0.9], ids=["shrinking", "changing", "growing"])
@pytest.mark.parametrize("whole", [(), WHOLE], ids=["elements", "elements and key"])
def test_chunks_beside_live_writes_end_equal(
    stores: Stores, kind: bytes, balance: float, whole: tuple[tuple[Any, ...], ...]
) -> None:
    """Random writes to the key flow between the chunks, while the server grows and shrinks its tables."""
    source, target = stores
    for seed in range(3):
        chance = random.Random(f"{kind!r} {balance} {seed}")
        for store in stores:
            store.ask("FLUSHALL")
        fill(source, kind, FILLED)
        target.ask("SET", "k", "old", "EX", 1000)
        copy = ChunkedCopy(kind, b"k", source.dialect, target.dialect)
        chunks = 0
        while not copy.is_over:
            copied = copy.on_replies(source.piece(copy.next_read()), source.now_ms())
            execute(target, copied.commands)
            assert copied.lost == ()
            chunks += 1
            for _ in range(chance.randrange(60)):
                words = random_write(kind, chance, balance)
                if whole and chance.random() < 0.02:
                    words = chance.choice(whole)
                for store in stores:
                    store.ask(*words)
        assert whole or chunks > 3
        check_equal(source, target)


@pytest.mark.source_knows(FIELD_EXPIRY)
def test_fields_in_chunks_keep_their_expiry(stores: Stores) -> None:
    """Fields that expire, do no more, or begin to while the copy is under way."""
    source, target = stores
    chance = random.Random(5)
    fill(source, b"hash", FILLED)
    source.ask("HPEXPIREAT", "k", LATER_MS, "FIELDS", 1000, *range(1000))
    copy = ChunkedCopy(b"hash", b"k", source.dialect, target.dialect)
    lost: set[str] = set()
    while not copy.is_over:
        copied = copy.on_replies(source.piece(copy.next_read()), source.now_ms())
        execute(target, copied.commands)
        lost |= set(copied.lost)
        for _ in range(20):
            numbers = chance.sample(range(FILLED + 100), 10)
            name, time = chance.choice((("HPEXPIREAT", (LATER_MS + 1,)), ("HPERSIST", ())))
            words = (name, "k", *time, "FIELDS", 10, *numbers)
            source.ask(*words)
            if target.dialect.has(name):
                target.ask(*words)

    assert lost == (set() if target.dialect.has("HPEXPIREAT") else {"HPEXPIREAT"})
    check_equal(source, target)


@pytest.mark.parametrize("kind", [b"hash", b"set", b"zset"])
def test_big_keys_go_in_chunks_by_themselves(stores: Stores, kind: bytes) -> None:
    """By their size in memory; with the key's expiry, and however little memory an element takes."""
    source, target = stores
    fill(source, kind, 30_000)
    source.ask("PEXPIREAT", "k", LATER_MS)
    assert source.ask("MEMORY", "USAGE", "k") > BIG_BYTES
    copy = KeyCopy(b"k", source.dialect, target.dialect)

    pieces = 0
    while not copy.is_over:
        assert copy.is_under_way == (pieces > 1)
        execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)
        pieces += 1

    assert pieces > 20
    assert copy.progress[0] >= copy.progress[1] == 30_000
    check_equal(source, target)


def test_a_chunk_is_small_where_elements_are_big(stores: Stores) -> None:
    """The number of elements adapts to their size."""
    source, target = stores
    for number in range(300):
        source.ask("HSET", "k", number, b"x" * 100_000)
    copy = ChunkedCopy(b"hash", b"k", source.dialect, target.dialect)

    sizes = []
    while not copy.is_over:
        replies = source.piece(copy.next_read())
        sizes.append(len(replies[-1]))
        execute(target, copy.on_replies(replies, source.now_ms()).commands)

    assert max(sizes[1:]) < 4_000_000
    check_equal(source, target)


def test_a_key_that_is_written_over_is_looked_at_again(stores: Stores) -> None:
    """A chunk that finds another type ends the chunks; the copy goes on in the way of that type."""
    source, target = stores
    fill(source, b"hash", 30_000)
    copy = KeyCopy(b"k", source.dialect, target.dialect)
    for _ in range(3):
        execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)
    assert copy.is_under_way
    source.ask("DEL", "k")
    source.ask("RPUSH", "k", "a", "b")

    while not copy.is_over:
        execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)

    check_equal(source, target)


def test_a_key_that_vanishes_is_removed(stores: Stores) -> None:
    """Whatever removed it: the chunk that finds nothing is the last."""
    source, target = stores
    fill(source, b"set", FILLED)
    copy = ChunkedCopy(b"set", b"k", source.dialect, target.dialect)
    execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)
    assert target.ask("SCARD", "k") > 0
    source.ask("DEL", "k")

    execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)

    assert copy.is_over
    assert target.ask("EXISTS", "k") == 0


def test_a_disturbed_copy_begins_again(stores: Stores) -> None:
    """ZREMRANGEBYRANK would remove others over there: it is not sent, and what it did comes with the copy."""
    source, target = stores
    fill(source, b"zset", 30_000)
    copy = KeyCopy(b"k", source.dialect, target.dialect)
    chance = random.Random(3)
    pieces = 0
    while not copy.is_over:
        execute(target, copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)
        pieces += 1
        for words in (random_write(b"zset", chance, 0.5), ("ZREMRANGEBYRANK", "k", 5, 7)):
            if pieces > 10 and disturbs(words[0]):
                continue
            source.ask(*words)
            if disturbs(words[0]):
                copy.restart()
            elif copy.is_under_way or copy.is_over:
                target.ask(*words)

    check_equal(source, target)


def test_a_wrong_count_is_found_by_the_last_chunk(stores: Stores) -> None:
    """An effect that was lost on the way leaves a number of elements that differs."""
    source, target = stores
    fill(source, b"set", FILLED)
    copy = ChunkedCopy(b"set", b"k", source.dialect, target.dialect)
    commands: list[Command] = []
    while not copy.is_over:
        commands = list(copy.on_replies(source.piece(copy.next_read()), source.now_ms()).commands)
        target.piece([one.args for one in commands])
        target.ask("SADD", "k", "nobody knows")

    assert target.call("SCARD", "k") != commands[-1].reply
    assert commands[-1] == Command((b"SCARD", b"k"), b":%d\r\n" % FILLED)


# --- effects that a store has to be told in other words

LATER: Final = str(LATER_MS)
STREAM: Final = (
    *(f"XADD x {number}-1 f v" for number in range(1, 6)),
    "XGROUP CREATE x g 0",
    "XREADGROUP GROUP g c COUNT 3 STREAMS x >",
)
EFFECTS: Final[tuple[tuple[tuple[str, ...], str, Since], ...]] = (
    (("SET k old",), f"SET k v PXAT {LATER}", ALWAYS),
    ((f"SET k old PXAT {LATER}",), "SET k v KEEPTTL", ALWAYS),
    ((f"SET a old PXAT {LATER}",), "MSETEX 2 a 1 b 2 KEEPTTL", KEYS_AT_ONCE),
    ((), f"MSETEX 2 a 1 b 2 PXAT {LATER}", KEYS_AT_ONCE),
    (("HSET h f 1",), f"HSETEX h PXAT {LATER} FIELDS 2 f 2 g 3", FIELDS_AT_ONCE),
    (("HSET h f 1",), "HSETEX h KEEPTTL FIELDS 1 f 2", FIELDS_AT_ONCE),
    (("HSET h f 1",), "HSETEX h FIELDS 1 f 2", FIELDS_AT_ONCE),
    (("HSET h f 1",), f"HPEXPIREAT h {LATER} FIELDS 1 f", FIELD_EXPIRY),
    (("HSET h f 1",), "HPERSIST h FIELDS 1 f", FIELD_EXPIRY),
    (("RPUSH l a b c d",), "LPOP l 3", ALWAYS),
    (STREAM, "XADD x MAXLEN = 2 6-1 f v", ALWAYS),
    (STREAM, "XADD x KEEPREF MINID = 3-1 6-1 f v", REFERENCES),
    (STREAM, "XADD x DELREF MAXLEN = 2 6-1 f v", REFERENCES),
    (STREAM, "XTRIM x MINID = 3-1 ACKED", REFERENCES),
    (STREAM, "XDELEX x KEEPREF IDS 2 1-1 5-1", REFERENCES),
    (STREAM, "XDELEX x DELREF IDS 2 1-1 5-1", REFERENCES),
    (STREAM, "XACKDEL x g IDS 2 1-1 2-1", REFERENCES),
    (STREAM, "XGROUP CREATE x h 3-1 ENTRIESREAD 3", ENTRIES_READ),
    (STREAM, "XGROUP SETID x g 1-1 ENTRIESREAD 1", ENTRIES_READ),
    (STREAM, "XSETID x 9-1 ENTRIESADDED 20 MAXDELETEDID 7-7", ENTRIES_READ),
    (("SET a abc", "SET b b"), "BITOP DIFF d a b", REFERENCES),
    (("SET a abc", "SET b b"), "BITOP XOR d a b", ALWAYS),
    (("SET a abc", "SET b b"), "COPY a b REPLACE", ALWAYS),
    (("SADD a x y", "SADD b y z"), "SUNIONSTORE d a b", ALWAYS),
    (("ZADD z 1 a 2 b 3 c",), "ZREMRANGEBYRANK z 0 1", ALWAYS),
)
"""What is there before, an effect, and who knows it."""


def test_an_effect_in_other_words_does_the_same(stores: Stores, before: tuple[str, ...], effect: str) -> None:
    """Every store executes what it is told, and ends equal, unless the loss is named."""
    source, target = stores
    for words in before:
        source.ask(*words.split())
    for key in source.ask("KEYS", "*"):
        copy_key(source, target, key)
    args = tuple(word.encode() for word in effect.split())
    source.ask(*args)

    lowered = lower(Effects((Command(args),)), target.dialect)
    execute(target, lowered.effects.commands)
    lost = set(lowered.unheld)
    for _, key in lowered.effects.copies:
        lost |= copy_key(source, target, key)

    is_lost = effect.startswith(("HPEXPIREAT", "HSETEX h PXAT")) and not target.dialect.has("HPEXPIREAT")
    assert lost == ({"HPEXPIREAT"} if is_lost else set())
    check_equal(source, target)


# --- which sources are tried with what


def test_a_version_knows_what_it_is_taken_to_know(
    servers: Callable[[Path], EmbeddedServer], named: Named
) -> None:
    """Nothing is tried with fewer sources than there are: what is not tried is refused."""
    version, binary = named
    with Store(servers(binary).port) as store:
        known = {}
        for before, effect, since in (*EFFECTS, ((), " ".join(map(str, VECTOR)), VECTOR_SETS)):
            store.ask("FLUSHALL")
            for words in before:
                store.ask(*words.split())
            known[effect] = (not is_error(store.call(*effect.split())), since.is_in(version))

    assert {effect: facts for effect, facts in known.items() if len(set(facts)) > 1} == {}
