"""What is read of a key and written for it; the copies between real servers are in tests/e2e."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from dualkv.commands.table import COMMANDS
from dualkv.core.copying import (
    BIG_BYTES,
    ChunkedCopy,
    Copied,
    CopyFailed,
    KeyCopy,
    asked_together,
    can_chunk,
    disturbs,
    dump_reads,
    dump_writes,
    fits,
    is_payload_refusal,
    reads,
    writes,
)
from dualkv.core.copying.by_type import KINDS
from dualkv.core.copying.model import batches
from dualkv.core.dialect import Dialect, learn
from dualkv.core.effects.model import Args
from dualkv.resp import encode
from dualkv.resp.encode import array, bulk, integer
from tests.core.elastickv_dialect import ELASTICKV

NOW_MS = 1_000_000
LATER_MS = 2_000_000
ERROR = b"-NOPERM no\r\n"
NIL = b"$-1\r\n"


def store(version: str, *more: str, product: str = "") -> Dialect:
    """Return the dialect of a store with the commands of Redis 7.0 and *more*."""
    info = f"redis_version:{version}\r\n{product}"
    dialect = learn((bulk(info), ERROR))
    return attrs.evolve(dialect, commands=dialect.commands | set(more))


FIELD_EXPIRY = ("HPEXPIREAT", "HPEXPIRETIME", "HPERSIST", "HSETEX")
REDIS_6_2 = attrs.evolve(store("6.2.14"), commands=store("6.2.14").commands - {"PEXPIRETIME", "EVAL_RO"})
REDIS_7_0 = store("7.0.15")
REDIS_8_2 = store("8.2.3", "VADD", *FIELD_EXPIRY)
VALKEY_9 = store("7.2.4", *FIELD_EXPIRY, product="valkey_version:9.1.2\r\n")


def payload(version: int, kind: int = 0) -> bytes:
    """Return something with the footer of a dump."""
    return bytes((kind,)) + b"value" + bytes((version, 0)) + bytes(8)


def words(commands: Sequence[Args]) -> list[str]:
    """Return commands as one would write them."""
    return [b" ".join(command).decode() for command in commands]


def written(copied: Copied | None) -> list[str]:
    """Return what a copy writes."""
    assert copied is not None
    return words([command.args for command in copied.commands])


def flat(*values: bytes | str | int) -> bytes:
    """Return an array of strings."""
    return array(bulk(value if isinstance(value, bytes | str) else str(value)) for value in values)


# --- by dump


def test_dump_keeps_the_expiry() -> None:
    """An absolute one; 0 stands for none."""
    assert words(dump_reads(b"k", REDIS_7_0)) == ["DUMP k", "PEXPIRETIME k"]
    frames = [bulk(payload(10)), integer(LATER_MS)]

    copied = dump_writes(b"k", frames, NOW_MS, REDIS_7_0, REDIS_7_0)

    assert copied is not None
    (command,) = copied.commands
    assert command.args == (b"RESTORE", b"k", b"%d" % LATER_MS, payload(10), b"REPLACE", b"ABSTTL")
    assert command.reply == encode.OK
    without = dump_writes(b"k", [frames[0], integer(-1)], NOW_MS, REDIS_7_0, REDIS_7_0)
    assert without is not None
    assert without.commands[0].args[2] == b"0"


def test_what_is_left_becomes_a_time() -> None:
    """Before 7.0 the primary tells only how long a key has."""
    assert words(dump_reads(b"k", REDIS_6_2)) == ["DUMP k", "PTTL k"]

    copied = dump_writes(b"k", [bulk(payload(9)), integer(5000)], NOW_MS, REDIS_6_2, REDIS_7_0)

    assert copied is not None
    assert copied.commands[0].args[2] == b"1005000"


@pytest.mark.parametrize(
    "frames",
    [[NIL, integer(-2)], [bulk(payload(10)), integer(NOW_MS)], [b"_\r\n", integer(-2)]],
    ids=["gone", "expired", "gone in RESP3"],
)
def test_a_key_that_is_gone_is_removed(frames: list[bytes]) -> None:
    """Also if it only waits for the primary to notice that it has expired."""
    assert written(dump_writes(b"k", frames, NOW_MS, REDIS_7_0, REDIS_7_0)) == ["DEL k"]


@pytest.mark.parametrize(
    ("source", "target", "version", "kind", "expected"),
    [
        (REDIS_7_0, VALKEY_9, 10, 0, True),
        (VALKEY_9, VALKEY_9, 80, 0, True),
        (VALKEY_9, REDIS_8_2, 80, 0, False),
        (REDIS_8_2, VALKEY_9, 12, 0, False),
        (REDIS_8_2, REDIS_7_0, 12, 0, False),
        (REDIS_8_2, REDIS_8_2, 12, 7, True),
        (store("8.2.3", "VADD", "JSON.SET"), REDIS_8_2, 12, 7, False),
    ],
)
def test_payloads_fit_by_their_footer(
    source: Dialect, target: Dialect, version: int, kind: int, expected: bool
) -> None:
    """And values of modules only where all of the source's commands are."""
    assert fits(source, target, payload(version, kind)) is expected


def test_a_payload_that_does_not_fit_is_not_written() -> None:
    """The key has to be copied by type then."""
    assert dump_writes(b"k", [bulk(payload(12)), integer(-1)], NOW_MS, REDIS_8_2, REDIS_7_0) is None


def test_refusals_of_payloads_are_known() -> None:
    """As the servers word them."""
    assert is_payload_refusal(b"-ERR DUMP payload version or checksum are wrong\r\n")
    assert is_payload_refusal(b"-ERR Bad data format\r\n")
    assert not is_payload_refusal(b"-BUSYKEY Target key name already exists.\r\n")


# --- by type


def of_type(
    kind: bytes, *frames: bytes, expires: int = -1, source: Dialect = REDIS_7_0, target: Dialect = REDIS_7_0
) -> Copied | None:
    """Return what is written after these replies."""
    replies = [b"+%b\r\n" % kind, integer(expires), *frames]
    assert len(replies) == len(reads(kind, b"k", source))
    return writes(kind, b"k", replies, NOW_MS, source, target)


def test_a_string_is_one_command() -> None:
    """So it needs no transaction."""
    assert written(of_type(b"string", bulk("v"))) == ["SET k v"]
    assert written(of_type(b"string", bulk("v"), expires=LATER_MS)) == ["SET k v PXAT 2000000"]


@pytest.mark.parametrize(
    ("kind", "frame", "expected"),
    [
        (b"list", flat("a", "b"), ["DEL k", "RPUSH k a b"]),
        (b"set", b"~2\r\n" + bulk("a") + bulk("b"), ["DEL k", "SADD k a b"]),
        (b"hash", flat("f", "v"), ["DEL k", "HSET k f v"]),
        (b"hash", b"%1\r\n" + bulk("f") + bulk("v"), ["DEL k", "HSET k f v"]),
        (b"zset", flat("m", "-inf", "n", "0.30000000001"), ["DEL k", "ZADD k -inf m 0.30000000001 n"]),
        (b"zset", array([array([bulk("m"), b",0.1\r\n"])]), ["DEL k", "ZADD k 0.1 m"]),
    ],
    ids=["list", "set", "hash", "hash in RESP3", "zset", "zset in RESP3"],
)  # fmt: skip
def test_collections_replace_the_key(kind: bytes, frame: bytes, expected: list[str]) -> None:
    """As either RESP version tells them, with the expiry at the end."""
    assert written(of_type(kind, frame)) == expected
    assert written(of_type(kind, frame, expires=LATER_MS)) == [*expected, "PEXPIREAT k 2000000"]


@pytest.mark.parametrize(
    ("kind", "frame", "counts"),
    [
        (b"list", flat(*range(2500)), [1000, 2000, 2500]),
        (b"set", flat(*range(2500)), [1000, 1000, 500]),
        (b"hash", flat(*range(5000)), [1000, 1000, 500]),
        (b"zset", flat(*range(5000)), [1000, 1000, 500]),
    ],
)
def test_long_collections_go_in_several_commands(kind: bytes, frame: bytes, counts: list[int]) -> None:
    """Each is expected to add all of its elements: the key was empty."""
    copied = of_type(kind, frame)
    assert copied is not None
    assert [command.reply for command in copied.commands[1:]] == [integer(count) for count in counts]


def test_batches_are_bounded_in_bytes() -> None:
    """But pairs stay together, and an element is never cut."""
    big = b"x" * 700_000

    assert [len(batch) for batch in batches([big] * 5)] == [2, 2, 1]
    assert [len(batch) for batch in batches([b"f", big] * 5, 2)] == [4, 4, 2]
    assert list(batches([])) == []


def test_a_type_that_has_changed_is_noticed() -> None:
    """What was read then means nothing."""
    replies = [b"+list\r\n", integer(-1), b"-WRONGTYPE Operation against a key\r\n"]

    assert writes(b"string", b"k", replies, NOW_MS, REDIS_7_0, REDIS_7_0) is None


@pytest.mark.parametrize(("kind", "expires"), [(b"none", -2), (b"string", NOW_MS - 1)])
def test_a_key_that_has_gone_meanwhile_is_removed(kind: bytes, expires: int) -> None:
    """Whatever the other replies are."""
    replies = [b"+%b\r\n" % kind, integer(expires), NIL]

    assert written(writes(b"string", b"k", replies, NOW_MS, REDIS_7_0, REDIS_7_0)) == ["DEL k"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_read_is_told(kind: bytes) -> None:
    """An error of the primary is nobody's value."""
    replies = [b"+%b\r\n" % kind, integer(-1), *[ERROR] * (len(reads(kind, b"k", REDIS_8_2)) - 2)]

    with pytest.raises(CopyFailed, match="NOPERM") as caught:
        writes(kind, b"k", replies, NOW_MS, REDIS_8_2, REDIS_8_2)

    assert (caught.value.key, caught.value.error) == (b"k", ERROR)


def test_fields_expire_together_by_their_time() -> None:
    """One command per time; none where the target has no field expiry, and the loss is named."""
    times = array([bulk("f"), integer(5), bulk("g"), integer(6), bulk("h"), integer(5)])
    frames = (flat("f", 1, "g", 2, "h", 3), times)

    held = of_type(b"hash", *frames, source=REDIS_8_2, target=VALKEY_9)
    assert written(held)[2:] == ["HPEXPIREAT k 5 FIELDS 2 f h", "HPEXPIREAT k 6 FIELDS 1 g"]
    lost = of_type(b"hash", *frames, source=REDIS_8_2, target=REDIS_7_0)
    assert written(lost) == ["DEL k", "HSET k f 1 g 2 h 3"]
    assert lost is not None
    assert lost.lost == ("HPEXPIREAT",)


def test_fields_are_copied_where_scripts_are_refused() -> None:
    """Without their expiry: nobody knows whether there was any."""
    copied = of_type(b"hash", flat("f", "v"), ERROR, source=REDIS_8_2, target=VALKEY_9)

    assert written(copied) == ["DEL k", "HSET k f v"]
    assert copied is not None
    assert copied.lost == ("HPEXPIREAT",)


# --- streams


def stream(
    entries: Sequence[str],
    last: str,
    groups: Sequence[bytes] = (),
    counters: tuple[int, str] | None = (9, "3-1"),
) -> bytes:
    """Return what XINFO STREAM FULL tells; without *counters* as Redis 6.2 does."""
    told = [bulk("length"), integer(len(entries)), bulk("last-generated-id"), bulk(last)]
    if counters:
        told += [bulk("entries-added"), integer(counters[0]), bulk("max-deleted-entry-id"), bulk(counters[1])]
    told += [bulk("entries"), array(array([bulk(entry), flat("f", "v")]) for entry in entries)]
    return array([*told, bulk("groups"), array(groups)])


def group(last: str, entries_read: int | None, **pending: Sequence[tuple[str, int, int]]) -> bytes:
    """Return a group ``g`` in it: pending entries (id, time, deliveries) by consumer."""
    told = [bulk("name"), bulk("g"), bulk("last-delivered-id"), bulk(last)]
    if entries_read is not None:
        told += [bulk("entries-read"), integer(entries_read) if entries_read >= 0 else NIL]
    rows = [
        array([bulk(entry), bulk(name), integer(time), integer(count)])
        for name, of_one in pending.items()
        for entry, time, count in of_one
    ]
    consumers = [
        array([bulk("name"), bulk(name), bulk("pending"), array(_row(*row) for row in of_one)])
        for name, of_one in pending.items()
    ]
    return array([*told, bulk("pending"), array(rows), bulk("consumers"), array(consumers)])


def _row(entry: str, time: int, count: int) -> bytes:
    return array([bulk(entry), integer(time), integer(count)])


def test_a_stream_has_its_counters() -> None:
    """Entries that are no more are counted."""
    assert written(of_type(b"stream", stream(["1-1", "4-1"], "5-0"))) == [
        "DEL k",
        "XADD k 1-1 f v",
        "XADD k 4-1 f v",
        "XSETID k 5-0 ENTRIESADDED 9 MAXDELETEDID 3-1",
    ]


def test_a_stream_is_told_by_its_entries_where_there_is_no_xinfo() -> None:
    """ElasticKV has none; the last id is that of the last entry, and of an empty stream nothing is known."""
    assert words(reads(b"stream", b"k", ELASTICKV)) == ["TYPE k", "PTTL k", "XRANGE k - +"]
    frame = array([array([bulk("1-1"), flat("f", "v")])])
    assert written(of_type(b"stream", frame, source=ELASTICKV, target=REDIS_6_2)) == [
        "DEL k",
        "XADD k 1-1 f v",
        "XSETID k 1-1",
    ]
    assert written(of_type(b"stream", array([]), source=ELASTICKV, target=REDIS_6_2)) == [
        "DEL k",
        "XADD k 0-1  ",
        "XTRIM k MAXLEN 0",
        "XSETID k 0-0",
    ]


def test_a_stream_of_redis_6_2_counts_what_it_has() -> None:
    """As RESTORE does; and 6.2 itself is not told."""
    frame = stream(["1-1"], "5-0", counters=None)

    told = of_type(b"stream", frame, source=REDIS_6_2, target=REDIS_7_0)
    assert written(told)[-1] == "XSETID k 5-0 ENTRIESADDED 1 MAXDELETEDID 0-0"
    assert written(of_type(b"stream", frame, source=REDIS_6_2, target=REDIS_6_2))[-1] == "XSETID k 5-0"


@pytest.mark.parametrize(("last", "dummy"), [("0-0", "0-1"), ("7-3", "7-3")])
def test_an_empty_stream_is_filled_and_trimmed(last: str, dummy: str) -> None:
    """XADD needs an id, and the smallest is 0-1."""
    assert written(of_type(b"stream", stream([], last, counters=(3, "0-0")))) == [
        "DEL k",
        f"XADD k {dummy}  ",
        "XTRIM k MAXLEN 0",
        f"XSETID k {last} ENTRIESADDED 3 MAXDELETEDID 0-0",
    ]


def test_groups_have_consumers_and_pending_entries() -> None:
    """One command for neighbours with the same time and count; a consumer without entries is there too."""
    told = group("4-1", 7, c=[("1-1", 50, 1), ("2-1", 50, 1), ("3-1", 60, 2)], d=[])

    assert written(of_type(b"stream", stream(["1-1", "2-1", "3-1", "4-1"], "4-1", [told])))[5:] == [
        "XGROUP CREATE k g 4-1 ENTRIESREAD 7",
        "XGROUP CREATECONSUMER k g c",
        "XCLAIM k g c 0 1-1 2-1 TIME 50 RETRYCOUNT 1 FORCE JUSTID",
        "XCLAIM k g c 0 3-1 TIME 60 RETRYCOUNT 2 FORCE JUSTID",
        "XGROUP CREATECONSUMER k g d",
        "XSETID k 4-1 ENTRIESADDED 9 MAXDELETEDID 3-1",
    ]


@pytest.mark.parametrize("entries_read", [None, -1], ids=["not told", "unknown"])
def test_a_group_that_lost_count_is_told_none(entries_read: int | None) -> None:
    """XGROUP CREATE without ENTRIESREAD."""
    assert "XGROUP CREATE k g 1-1" in written(
        of_type(b"stream", stream(["1-1"], "1-1", [group("1-1", entries_read)]))
    )


def test_pending_entries_that_are_no_more_are_added_and_removed() -> None:
    """What lies before the first entry is trimmed, which moves no counter; the rest is deleted, as it was."""
    told = group("6-1", 6, c=[(f"{number}-1", 50, 1) for number in range(1, 7)])

    copied = of_type(b"stream", stream(["3-1", "5-1"], "9-0", [told]))

    assert written(copied) == [
        "DEL k",
        "XADD k 1-1  ",
        "XADD k 2-1  ",
        "XADD k 3-1 f v",
        "XADD k 4-1  ",
        "XADD k 5-1 f v",
        "XADD k 6-1  ",
        "XGROUP CREATE k g 6-1 ENTRIESREAD 6",
        "XGROUP CREATECONSUMER k g c",
        "XCLAIM k g c 0 1-1 2-1 3-1 4-1 5-1 6-1 TIME 50 RETRYCOUNT 1 FORCE JUSTID",
        "XTRIM k MAXLEN 4",
        "XDEL k 4-1 6-1",
        "XSETID k 9-0 ENTRIESADDED 9 MAXDELETEDID 3-1",
    ]
    assert copied is not None
    assert copied.lost == ()


def test_a_pending_entry_behind_the_last_id_cannot_be_held() -> None:
    """XSETID has lowered it; an entry cannot be added there and the last id lowered again."""
    copied = of_type(b"stream", stream(["1-1"], "1-1", [group("9-1", 1, c=[("9-1", 50, 1)])]))

    assert copied is not None
    assert copied.lost == ("XCLAIM",)


def test_groups_are_not_held_by_a_store_without_them() -> None:
    """The entries are, and with them the last id."""
    without = {"XGROUP", "XGROUP CREATE", "XGROUP CREATECONSUMER", "XCLAIM", "XSETID"}
    small = attrs.evolve(REDIS_7_0, commands=REDIS_7_0.commands - without)

    copied = of_type(b"stream", stream(["1-1"], "1-1", [group("1-1", 1, c=[("1-1", 50, 1)])]), target=small)

    assert written(copied) == ["DEL k", "XADD k 1-1 f v"]
    assert copied is not None
    assert set(copied.lost) == without - {"XGROUP", "XSETID"}


def test_a_last_id_without_an_entry_needs_to_be_set() -> None:
    """A store that cannot do so keeps the last entry's."""
    small = attrs.evolve(REDIS_7_0, commands=REDIS_7_0.commands - {"XSETID"})

    copied = of_type(b"stream", stream(["1-1"], "9-0"), target=small)

    assert written(copied) == ["DEL k", "XADD k 1-1 f v"]
    assert copied is not None
    assert copied.lost == ("XSETID",)


# --- in chunks


def chunk(cursor: str, *members: str, expires: int = -1, total: int = 9) -> list[bytes]:
    """Return the replies to one read of a set or a hash."""
    return [integer(expires), integer(total), array([bulk(cursor), flat(*members)])]


def test_chunks_begin_with_an_empty_key_and_end_with_a_count() -> None:
    """In between the cursor goes on; the expiry comes with each."""
    copy = ChunkedCopy(b"set", b"k", REDIS_7_0, REDIS_7_0)
    assert words(copy.next_read()) == ["PEXPIRETIME k", "SCARD k", "SSCAN k 0 COUNT 100"]
    assert repr(copy) == "<ChunkedCopy b'k' 0/0 not begun>"

    first = copy.on_replies(chunk("17", "a", "b", expires=LATER_MS, total=3), NOW_MS)
    assert written(first) == ["DEL k", "SADD k a b", "PEXPIREAT k 2000000"]
    assert repr(copy) == "<ChunkedCopy b'k' 2/3 under way>"
    assert words(copy.next_read())[-1] == "SSCAN k 17 COUNT 200"
    assert written(copy.on_replies(chunk("5"), NOW_MS)) == []
    last = copy.on_replies(chunk("0", "c", total=3), NOW_MS)

    assert written(last) == ["SADD k c", "PERSIST k", "SCARD k"]
    assert last.commands[-1].reply == integer(3)
    assert (copy.is_over, copy.is_under_way, copy.done, copy.total) == (True, False, 3, 3)
    assert repr(copy) == "<ChunkedCopy b'k' 3/3 over>"


def test_chunks_adapt_to_the_size_of_elements() -> None:
    """About a megabyte each, ten elements at least and a thousand at most."""
    copy = ChunkedCopy(b"set", b"k", REDIS_7_0, REDIS_7_0)
    counts = []
    for size in (1, 1, 1, 1, 1, 4_000_000, 40_000_000, 40_000_000):
        copy.on_replies(chunk("1", "x" * size), NOW_MS)
        counts.append(int(copy.next_read()[-1][-1]))

    assert counts == [200, 400, 800, 1000, 1000, 262, 10, 10]


def test_fields_of_a_chunk_bring_their_expiry() -> None:
    """A script tells both at one position; expired fields may be counted, so there is no count then."""
    copy = ChunkedCopy(b"hash", b"k", REDIS_8_2, VALKEY_9)
    assert copy.next_read()[-1][0] == b"EVAL_RO"
    assert copy.next_read()[-1][2:] == (b"1", b"k", b"0", b"100")

    times = array([bulk("f"), integer(5)])
    replies = [integer(-1), integer(2), array([bulk("0"), flat("f", "v", "g", "w"), times])]

    assert written(copy.on_replies(replies, NOW_MS)) == [
        "DEL k",
        "HSET k f v g w",
        "HPEXPIREAT k 5 FIELDS 1 f",
        "PERSIST k",
    ]


def test_refused_scripts_are_done_without() -> None:
    """The same chunk again, without expiries; the loss is named."""
    copy = ChunkedCopy(b"hash", b"k", REDIS_8_2, VALKEY_9)

    assert copy.on_replies([integer(-1), integer(1), ERROR], NOW_MS) == Copied()
    assert words(copy.next_read())[-1] == "HSCAN k 0 COUNT 100"
    copied = copy.on_replies(chunk("0", "f", "v", total=1), NOW_MS)

    assert written(copied) == ["DEL k", "HSET k f v", "PERSIST k"]
    assert copied.lost == ("HPEXPIREAT",)


def test_a_chunk_that_is_refused_is_told() -> None:
    """Where there is no other way to ask."""
    copy = ChunkedCopy(b"zset", b"k", REDIS_7_0, REDIS_7_0)

    for replies in ([ERROR] * 3, [integer(-1), ERROR, ERROR], [integer(-1), integer(1), ERROR]):
        with pytest.raises(CopyFailed, match="NOPERM"):
            copy.on_replies(replies, NOW_MS)


@pytest.mark.parametrize("expires", [-2, NOW_MS])
def test_a_chunk_of_a_key_that_is_gone_removes_it(expires: int) -> None:
    """And is the last."""
    copy = ChunkedCopy(b"set", b"k", REDIS_7_0, REDIS_7_0)

    assert written(copy.on_replies([integer(expires), integer(0), array([bulk("0"), flat()])], NOW_MS)) == [
        "DEL k"
    ]
    assert copy.is_over


def test_only_element_wise_commands_may_pass_beside_chunks() -> None:
    """What is not known does not."""
    assert not any(
        map(disturbs, ("HSET", "ZADD", "SREM", "DEL", "PEXPIREAT", "HINCRBY", "ZPOPMIN", "FLUSHALL"))
    )
    assert all(
        map(
            disturbs,
            ("ZREMRANGEBYRANK", "RENAME", "SUNIONSTORE", "SORT", "COPY", "EVAL", "SWAPDB", "OTHER", "MOVE"),
        )
    )
    assert {spec.name for spec in COMMANDS if not disturbs(spec.name)} <= {
        spec.name for spec in COMMANDS if spec.kind == "write"
    }


# --- whichever way is right


def look(kind: str, size: int | None) -> list[bytes]:
    """Return the replies to the first read."""
    return [b"+%b\r\n" % kind.encode(), NIL if size is None else integer(size)]


@pytest.mark.parametrize(
    ("source", "target", "kind", "size", "first"),
    [
        (REDIS_7_0, VALKEY_9, "hash", 100, "DUMP k"),
        (REDIS_7_0, VALKEY_9, "list", 10 * BIG_BYTES, "DUMP k"),
        (VALKEY_9, REDIS_7_0, "list", 10 * BIG_BYTES, "TYPE k"),
        (VALKEY_9, REDIS_8_2, "string", 100, "TYPE k"),
        (REDIS_8_2, VALKEY_9, "string", 100, "TYPE k"),
        (REDIS_8_2, REDIS_8_2, "vectorset", 100, "DUMP k"),
        (REDIS_7_0, VALKEY_9, "zset", BIG_BYTES + 1, "PEXPIRETIME k"),
    ],
)
def test_a_look_decides_how_to_copy(
    source: Dialect, target: Dialect, kind: str, size: int, first: str
) -> None:
    """By dump where the target can read it, in chunks where that would be too much at once, else by type."""
    copy = KeyCopy(b"k", source, target)
    assert words(copy.next_read()) == ["TYPE k", "MEMORY USAGE k"]

    assert copy.on_replies(look(kind, size), NOW_MS) == Copied()

    assert words(copy.next_read())[0] == first
    assert not copy.is_over


def test_a_key_that_is_not_there_is_removed_at_once() -> None:
    """One look is enough."""
    copy = KeyCopy(b"k", REDIS_7_0, REDIS_7_0)

    assert written(copy.on_replies(look("none", None), NOW_MS)) == ["DEL k"]
    assert copy.is_over
    assert repr(copy) == "<KeyCopy b'k' over>"


def test_without_dump_a_key_goes_by_type() -> None:
    """As after a RESTORE that was refused."""
    copy = KeyCopy(b"k", REDIS_7_0, REDIS_7_0, with_dump=False)
    copy.on_replies(look("string", 50), NOW_MS)

    assert words(copy.next_read()) == ["TYPE k", "PEXPIRETIME k", "GET k"]


def test_a_payload_that_turns_out_unreadable_is_copied_by_type() -> None:
    """The footer knows better than the version."""
    copy = KeyCopy(b"k", REDIS_7_0, REDIS_7_0)
    copy.on_replies(look("string", 50), NOW_MS)

    assert copy.on_replies([bulk(payload(12)), integer(-1)], NOW_MS) == Copied()
    assert words(copy.next_read()) == ["TYPE k", "PEXPIRETIME k", "GET k"]
    assert written(copy.on_replies([b"+string\r\n", integer(-1), bulk("v")], NOW_MS)) == ["SET k v"]
    assert copy.is_over


def test_a_type_of_a_module_is_removed_where_it_cannot_be_held() -> None:
    """Rather no value than one from before; the copy says so."""
    copy = KeyCopy(b"k", REDIS_8_2, REDIS_7_0)

    copied = copy.on_replies(look("vectorset", 50), NOW_MS)

    assert (written(copied), copied.lost, copy.is_over) == (["DEL k"], ("vectorset",), True)


def test_another_type_is_another_look() -> None:
    """Between the look and the reading the key was written over."""
    copy = KeyCopy(b"k", REDIS_8_2, REDIS_7_0)
    copy.on_replies(look("string", 50), NOW_MS)

    assert copy.on_replies([b"+list\r\n", integer(-1), b"-WRONGTYPE\r\n"], NOW_MS) == Copied()

    assert words(copy.next_read())[0] == "TYPE k"
    assert len(copy.next_read()) == 2
    assert not copy.is_over


def test_chunks_go_on_and_end() -> None:
    """The copy is under way between the first chunk and the last; a disturbed one begins with a look."""
    copy = KeyCopy(b"k", REDIS_7_0, REDIS_7_0)
    copy.on_replies(look("set", BIG_BYTES + 1), NOW_MS)
    assert (copy.is_under_way, copy.progress) == (False, (0, 0))
    copy.on_replies(chunk("1", "a"), NOW_MS)
    assert (copy.is_under_way, copy.progress) == (True, (1, 9))

    wrong = b"-WRONGTYPE Operation against a key\r\n"
    assert copy.on_replies([integer(-1), wrong, wrong], NOW_MS) == Copied()
    assert (copy.is_under_way, copy.is_over, words(copy.next_read())[0]) == (False, False, "TYPE k")

    copy.on_replies(look("set", BIG_BYTES + 1), NOW_MS)
    assert written(copy.on_replies(chunk("0", "a"), NOW_MS))[0] == "DEL k"
    assert (copy.is_under_way, copy.is_over, copy.progress) == (False, True, (1, 9))


def test_a_store_that_does_not_tell_sizes_is_only_asked_for_types() -> None:
    """Then everything is small."""
    silent = attrs.evolve(REDIS_7_0, commands=REDIS_7_0.commands - {"MEMORY USAGE"})
    copy = KeyCopy(b"k", silent, REDIS_7_0)

    assert words(copy.next_read()) == ["TYPE k"]
    copy.on_replies([b"+hash\r\n"], NOW_MS)
    assert words(copy.next_read())[0] == "DUMP k"


def test_what_can_be_chunked_has_elements() -> None:
    """Lists have positions, strings are one, streams have an order."""
    assert [kind for kind in KINDS if can_chunk(kind)] == [b"set", b"zset", b"hash"]


# --- several reads at one position


def test_three_reads_are_a_transaction_and_two_are_not() -> None:
    """A look at a key needs none."""
    two, three = [(b"TYPE", b"k")] * 2, [(b"TYPE", b"k")] * 3
    asked = asked_together(two, REDIS_7_0)
    assert (asked.reply_count, asked.replies([b"+a\r\n", b"+b\r\n"])) == (2, [b"+a\r\n", b"+b\r\n"])
    asked = asked_together(three, REDIS_7_0)
    assert asked.wire.count(b"MULTI") == asked.wire.count(b"EXEC") == 1
    frames = [b"+OK\r\n", *[b"+QUEUED\r\n"] * 3, b"*3\r\n:1\r\n:2\r\n:3\r\n"]
    assert list(asked.replies(frames)) == [b":1\r\n", b":2\r\n", b":3\r\n"]


def test_elastickv_is_asked_by_a_script() -> None:
    """Its MULTI takes neither TYPE nor most reads; an error is the answer to each of them."""
    asked = asked_together([(b"TYPE", b"k")] * 3, ELASTICKV)
    assert asked.wire.startswith(b"*13\r\n$4\r\nEVAL\r\n")
    assert b"MULTI" not in asked.wire
    assert list(asked.replies([b"*3\r\n:1\r\n:2\r\n:3\r\n"])) == [b":1\r\n", b":2\r\n", b":3\r\n"]
    assert asked.replies([b"-BUSY\r\n"]) == [b"-BUSY\r\n"] * 3
