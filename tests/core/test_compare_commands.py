"""What equality means, command by command: a table of replies and verdicts.

The replies were seen on Valkey 9.1, Redis 8.2 and Redis 7.0 where they differ by server.
"""

from __future__ import annotations

import pytest

from dualkv.core.compare import Reason, Tolerance, Verdict, judge, rule_of
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from tests.core.building import Value, Word, ask, bulks, double, flat, mapping, members, one, scored

NIL, NULL, EMPTY = b"$-1\r\n", b"_\r\n", b"*0\r\n"
Row = tuple[str, bytes, bytes, str]


def number(value: int) -> bytes:
    """Return an integer reply."""
    return encode.integer(value)


def rows(*values: bytes) -> bytes:
    """Return an array of frames."""
    return encode.array(values)


def entry(entry_id: str, *fields: Value) -> bytes:
    """Return an entry of a stream."""
    return rows(one(entry_id), flat(*(fields or ("f", "v"))))


def map3(*parts: bytes) -> bytes:
    """Return a RESP3 map of frames: keys and values in turn."""
    return b"%%%d\r\n%b" % (len(parts) // 2, b"".join(parts))


def place(name: str, *facts: bytes) -> bytes:
    """Return a place with facts about it."""
    return rows(one(name), *facts)


def hll(cache: bytes = b"\0" * 8, registers: bytes = b"\1\2\3", encoding: int = 0) -> bytes:
    """Return a HyperLogLog as GET shows it."""
    return one(b"HYLL" + bytes([encoding]) + b"\0\0\0" + cache + registers)


def told(verdict: Verdict) -> str:
    """Return a verdict in few words: its outcome, and how they differ or why there is none."""
    return f"{verdict.outcome} {verdict.reason or verdict.detail}"


def judged(line: str | list[Word], expected: bytes, actual: bytes, tolerance: Tolerance | None = None) -> str:
    """Judge two replies to a read, which need not be shadowed."""
    args = ask(*(line.split() if isinstance(line, str) else line)).args
    rule = rule_of(plan_of(args).spec)
    assert rule is not None
    return told(judge(rule, args, expected, actual, tolerance or Tolerance()))


SAME, GAP, EXTRA = "match representation", "migration_gap missing", "extra_data extra"
VALUE, ORDER, TTL, TYPE = (f"data_mismatch {word}" for word in ("value", "order", "ttl", "type"))
LESS, MORE = "data_mismatch missing", "data_mismatch extra"


def unclear(reason: Reason) -> str:
    """Return what `told` says of an inconclusive verdict."""
    return f"inconclusive {reason}"


MIRRORED = {GAP: EXTRA, EXTRA: GAP, LESS: MORE, MORE: LESS}
"""What a verdict is called with the stores exchanged, where that differs."""

STRINGS: list[Row] = [
    ("GET k", one("a"), one("b"), VALUE),
    ("GET k", one("a"), NIL, GAP),
    ("GET k", one("1"), number(1), SAME),
    ("GET k", one("a"), bulks("a"), TYPE),
    ("GET k", hll(), hll(cache=b"\7" * 8), SAME),
    ("GET k", hll(), hll(registers=b"\1\2\4"), VALUE),
    ("GET k", hll(encoding=1), hll(encoding=1, registers=b"\5"), unclear(Reason.HYPERLOGLOG)),
    ("GET k", hll(encoding=0), hll(encoding=1), unclear(Reason.HYPERLOGLOG)),
    ("GET k", hll(), one("a"), VALUE),
    ("MGET a b", rows(hll(), one("x")), rows(hll(cache=b"\7" * 8), one("x")), SAME),
    ("MGET a b", rows(hll(), one("x")), rows(hll(cache=b"\7" * 8), NIL), GAP),
    ("MGET a b", flat("1", "2"), flat("1", None), GAP),
    ("MGET a b", flat("1", None), flat("1", "2"), EXTRA),
    ("MGET a b", flat("1", "2"), flat(None, "3"), VALUE),
    ("GETRANGE k 0 3", one("abcd"), one(""), VALUE),
    ("STRLEN k", number(3), number(0), GAP),
    ("STRLEN k", number(3), number(4), VALUE),
    ("GETBIT k 7", number(1), number(0), VALUE),
    ("BITCOUNT k", number(9), number(8), VALUE),
    ("BITPOS k 1", number(-1), number(3), VALUE),
    ("BITFIELD_RO k GET u8 0", flat(1), flat(2), VALUE),
    ("DIGEST k", one("00ff"), one("00fe"), VALUE),
    ("LCS a b", one("ab"), one("ba"), unclear(Reason.SEVERAL_ANSWERS)),
    ("LCS a b", one("ab"), one("abc"), VALUE),
    ("LCS a b", one("ab"), one(""), GAP),
    ("LCS a b LEN", number(2), number(0), GAP),
    ("LCS a b LEN", number(2), number(3), VALUE),
    (
        "LCS a b IDX",
        rows(one("matches"), EMPTY, one("len"), number(0)),
        map3(one("len"), number(0), one("matches"), EMPTY),
        SAME,
    ),
    (
        "LCS a b IDX",
        flat("matches", "x", "len", 2),
        flat("matches", "y", "len", 2),
        "inconclusive several_answers",
    ),
    ("LCS a b IDX", flat("matches", "x", "len", 2), flat("matches", "y", "len", 3), VALUE),
    ("PFCOUNT k", number(1000), number(1039), SAME),
    ("PFCOUNT k", number(1000), number(1050), VALUE),
    ("PFCOUNT k", number(2), number(1), VALUE),
    ("PFCOUNT k", number(5), number(0), GAP),
]

KEYS: list[Row] = [
    ("TYPE k", b"+hash\r\n", b"+list\r\n", TYPE),
    ("TYPE k", b"+hash\r\n", b"+none\r\n", GAP),
    ("EXISTS a b", number(2), number(1), VALUE),
    ("EXISTS k", number(1), number(0), GAP),
    ("TTL k", number(100), number(102), SAME),
    ("TTL k", number(100), number(103), TTL),
    ("TTL k", number(-1), number(100), TTL),
    ("TTL k", number(100), number(-2), GAP),
    ("TTL k", number(-1), number(-2), GAP),
    ("TTL k", number(2), number(-2), unclear(Reason.NEAR_EXPIRY)),
    ("TTL k", number(0), number(-2), unclear(Reason.NEAR_EXPIRY)),
    ("PTTL k", number(5000), number(6000), SAME),
    ("PTTL k", number(5000), number(6001), TTL),
    ("PTTL k", number(1000), number(-2), unclear(Reason.NEAR_EXPIRY)),
    ("PTTL k", number(1001), number(-2), GAP),
    ("PTTL k", number(1), number(-1), TTL),
    ("pttl k", number(5000), one("5900"), SAME),
    ("EXPIRETIME k", number(1_800_000_000), number(1_800_000_002), SAME),
    ("EXPIRETIME k", number(1_800_000_000), number(1_800_000_009), TTL),
    ("EXPIRETIME k", number(1_800_000_000), number(-2), GAP),
    ("PEXPIRETIME k", number(1_800_000_000_000), number(1_800_000_000_900), SAME),
    ("PEXPIRETIME k", number(1_800_000_000_000), number(1_800_000_002_000), TTL),
    ("PEXPIRETIME k", number(-1), number(1_800_000_002_000), TTL),
    ("HTTL k FIELDS 3 a b c", flat(100, -1, -2), flat(101, -1, -2), SAME),
    ("HTTL k FIELDS 2 a b", flat(100, -1), flat(100, -2), GAP),
    ("HTTL k FIELDS 2 a b", flat(100, -1), flat(200, -1), TTL),
    ("HPTTL k FIELDS 2 a b", flat(500, 900), flat(-2, 900), unclear(Reason.NEAR_EXPIRY)),
    ("HPTTL k FIELDS 2 a b", flat(500, 90_000), flat(-2, 9000), TTL),
    ("HEXPIRETIME k FIELDS 1 a", flat(1_800_000_000), flat(1_800_000_001), SAME),
    ("HPEXPIRETIME k FIELDS 1 a", flat(-1), flat(1_800_000_000_000), TTL),
    ("HTTL k FIELDS 1 a", EMPTY, flat(5), EXTRA),
]

COLLECTIONS: list[Row] = [
    ("LRANGE k 0 -1", bulks("a b c"), bulks("a c b"), ORDER),
    ("LRANGE k 0 -1", bulks("a b"), bulks("a b c"), MORE),
    ("LRANGE k 0 -1", bulks("a b"), bulks("a x"), VALUE),
    ("LRANGE k 0 -1", bulks("a b"), EMPTY, GAP),
    ("LRANGE k 0 -1", EMPTY, NULL, SAME),
    ("LINDEX k 0", one("a"), NIL, GAP),
    ("LLEN k", number(3), number(4), VALUE),
    ("LPOS k a", number(0), NIL, GAP),
    ("LPOS k a COUNT 0", flat(0, 2), flat(0), LESS),
    ("HGET k f", one("1"), one("2"), VALUE),
    ("HMGET k f g", flat("1", "2"), flat("1", None), GAP),
    ("HGETALL k", bulks("f 1 g 2"), mapping("g 2 f 1"), SAME),
    ("HGETALL k", bulks("f 1 g 2"), bulks("f 1"), LESS),
    ("HGETALL k", bulks("f 1 g 2"), bulks("f 1 h 2"), VALUE),
    ("HGETALL k", bulks("f 1 g 2"), mapping("f 1 g 3"), VALUE),
    ("HGETALL k", EMPTY, b"%0\r\n", SAME),
    ("HGETALL k", bulks("f 1"), bulks("f 1 f 1"), MORE),
    ("HGETALL k", bulks("f 1"), bulks("f"), LESS),
    ("HKEYS k", bulks("f g"), bulks("g f"), SAME),
    ("HKEYS k", bulks("f g"), bulks("f"), LESS),
    ("HVALS k", bulks("1 2 1"), bulks("1 1 2"), SAME),
    ("HVALS k", bulks("1 2 1"), bulks("1 2 2"), VALUE),
    ("HLEN k", number(1), number(2), VALUE),
    ("HSTRLEN k f", number(1), number(0), GAP),
    ("HEXISTS k f", number(1), number(0), GAP),
    ("SMEMBERS k", bulks("a b c"), members("c b a"), SAME),
    ("SMEMBERS k", bulks("a b c"), members("c b x"), VALUE),
    ("SMEMBERS k", bulks("a b c"), members("c b"), LESS),
    ("SISMEMBER k a", number(1), number(0), GAP),
    ("SMISMEMBER k a b", flat(1, 1), flat(1, 0), GAP),
    ("SMISMEMBER k a b", flat(1, 0), flat(0, 1), ORDER),
    ("SCARD k", number(3), number(0), GAP),
    ("SINTER a b", bulks("a b"), bulks("b a"), SAME),
    ("SUNION a b", members("a b"), bulks("b a"), SAME),
    ("SDIFF a b", bulks("a b"), bulks("a"), LESS),
    ("SINTERCARD 1 a", number(1), number(2), VALUE),
    ("SUNIONCARD 1 APPROX", number(1), number(2), VALUE),
    ("SUNIONCARD 1 k APPROX", number(1), number(2), "skipped approximate"),
    ("VISMEMBER k e", number(1), number(0), GAP),
    ("VEMB k e", bulks("0.5 0.25"), bulks("0.505 0.249"), SAME),
    ("VEMB k e", bulks("0.5 0.25"), bulks("0.6 0.25"), VALUE),
    ("ARGET k 0", one("a"), one("b"), VALUE),
    ("AROP k 0 9 SUM", one("0.1"), one("0.10000000000000001"), SAME),
]

ZSETS: list[Row] = [
    ("ZSCORE k m", one("0.1"), double("0.10000000000000001"), SAME),
    ("ZSCORE k m", one("1e+300"), one("1.0000000000000001e+300"), SAME),
    ("ZSCORE k m", one("1"), one("1.0000001"), VALUE),
    ("ZSCORE k m", one("1"), NULL, GAP),
    ("ZMSCORE k a b", flat("1", None), rows(double("1"), NULL), SAME),
    ("ZRANK k m", number(3), number(4), VALUE),
    ("ZRANK k m WITHSCORE", flat(3, "0.1"), rows(number(3), double("0.1")), SAME),
    ("ZRANK k m WITHSCORE", flat(3, "0.1"), flat(4, "0.1"), VALUE),
    ("ZREVRANK k m", number(3), NIL, GAP),
    ("ZRANGE k 0 -1", bulks("a b"), bulks("b a"), ORDER),
    ("ZRANGE k 0 -1", bulks("a b"), bulks("a"), LESS),
    ("ZRANGE k 0 -1 WITHSCORES", bulks("a 0.1 b 2"), scored("a 0.1 b 2"), SAME),
    ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1 b 2"), scored("a 1 b 3"), VALUE),
    ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1 b 1"), bulks("b 1 a 1"), ORDER),
    ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1 b 1"), bulks("a 1"), LESS),
    ("ZRANGE k 0 -1 WITHSCORES", EMPTY, bulks("a 1"), EXTRA),
    ("ZRANGE k (1 5 BYSCORE WITHSCORES", bulks("a 2"), bulks("a 2.0"), SAME),
    ("ZREVRANGE k 0 1 WITHSCORES", bulks("b 2 a 1"), bulks("a 1 b 2"), ORDER),
    ("ZRANGEBYSCORE k 0 9 WITHSCORES LIMIT 0 2", bulks("a 1 b 2"), bulks("a 1 c 2"), VALUE),
    ("ZRANGEBYLEX k - +", bulks("a b"), bulks("b a"), ORDER),
    ("ZUNION 2 a b WITHSCORES", bulks("a 0.3"), bulks("a 0.30000000000000004"), SAME),
    ("ZUNION 2 a b WITHSCORES", bulks("a 0.3 b 0.30000000000000004"), bulks("b 0.3 a 0.3"), SAME),
    ("ZUNION 2 a b WITHSCORES", bulks("a 0.3 b 0.4"), bulks("b 0.3 a 0.4"), VALUE),
    ("ZINTER 2 a b", bulks("a b"), bulks("b a"), unclear(Reason.TIES)),
    ("ZINTER 2 a b", bulks("a b"), bulks("a c"), VALUE),
    ("ZDIFF 2 a b WITHSCORES", scored("a 1"), bulks("a 1"), SAME),
    ("ZDIFF 2 a b", bulks("a b"), bulks("b a"), ORDER),
    ("ZCARD k", number(1), number(2), VALUE),
    ("ZCOUNT k 0 1", number(1), number(0), GAP),
]

LONGITUDE, OTHER_LONGITUDE = "13.361389338970184", "13.36138933897018433"
LATITUDE = "38.115556395496299"
NEARBY = "GEOSEARCH k FROMMEMBER ANY BYRADIUS 9 km"

PLACES: list[Row] = [
    ("GEOHASH k a", bulks("sqc8b49rny0"), bulks("sqc8b49rny1"), VALUE),
    (
        "GEOPOS k a",
        rows(flat(LONGITUDE, LATITUDE)),
        rows(rows(double(OTHER_LONGITUDE), double(LATITUDE))),
        SAME,
    ),
    (
        "GEOPOS k a b",
        rows(flat(LONGITUDE, LATITUDE), b"*-1\r\n"),
        rows(flat(LONGITUDE, LATITUDE), NULL),
        SAME,
    ),
    ("GEOPOS k a", rows(flat(LONGITUDE, LATITUDE)), rows(b"*-1\r\n"), GAP),
    ("GEOPOS k a", rows(flat(LONGITUDE, LATITUDE)), rows(flat("13.3614", LATITUDE)), VALUE),
    ("GEODIST k a b", one("166274.1516"), one("166274.1517"), SAME),
    ("GEODIST k a b", one("166274.1516"), one("166274.1526"), VALUE),
    ("GEODIST k a b", one("166274.1516"), NIL, GAP),
    (NEARBY, bulks("a b"), bulks("b a"), SAME),
    (NEARBY, bulks("a b"), bulks("a"), LESS),
    (NEARBY, bulks("a b"), bulks("a c"), VALUE),
    (f"{NEARBY} ASC", bulks("a b"), bulks("b a"), unclear(Reason.TIES)),
    (f"{NEARBY} ASC", bulks("a b"), bulks("a c"), VALUE),
    (
        f"{NEARBY} ASC WITHDIST",
        rows(place("a", one("1.0000")), place("b", one("1.0001"))),
        rows(place("b", one("1.0000")), place("a", one("1.0000"))),
        SAME,
    ),
    (
        f"{NEARBY} ASC WITHDIST",
        rows(place("a", one("1.0000")), place("b", one("2.0000"))),
        rows(place("b", one("2.0000")), place("a", one("1.0000"))),
        ORDER,
    ),
    (
        f"{NEARBY} WITHCOORD WITHDIST WITHHASH",
        rows(place("a", one("1.5"), number(7), flat(LONGITUDE, LATITUDE))),
        rows(place("a", one("1.5"), number(7), rows(double(OTHER_LONGITUDE), double(LATITUDE)))),
        SAME,
    ),
    (
        f"{NEARBY} WITHHASH",
        rows(place("a", number(7))),
        rows(place("a", number(8))),
        VALUE,
    ),
    (f"{NEARBY} COUNT 2 ANY", bulks("a b"), bulks("b c"), unclear(Reason.SEVERAL_ANSWERS)),
    (f"{NEARBY} COUNT 3 ANY", bulks("a b"), bulks("b c"), VALUE),
    (f"{NEARBY} COUNT 2 ANY", bulks("a b"), bulks("a"), LESS),
    (
        f"{NEARBY} COUNT 1 WITHDIST",
        rows(place("a", one("1.0000"))),
        rows(place("b", one("1.0000"))),
        unclear(Reason.WINDOW),
    ),
    ("GEORADIUS_RO k 1 1 9 km", bulks("a b"), bulks("b a"), SAME),
    ("GEORADIUSBYMEMBER_RO k ANY 9 km", bulks("a b"), bulks("b"), LESS),
    ("GEORADIUS k 1 1 9 km", bulks("a b"), bulks("b a"), SAME),
    ("GEORADIUS k 1 1 9 km STORE d", number(1), number(2), "skipped writes"),
]

STREAMS: list[Row] = [
    ("XLEN k", number(1), number(2), VALUE),
    ("XRANGE k - +", rows(entry("1-1")), rows(entry("1-1", "f", "w")), VALUE),
    ("XRANGE k - +", rows(entry("1-1"), entry("2-1")), rows(entry("2-1")), LESS),
    ("XREVRANGE k + -", rows(entry("1-1")), EMPTY, GAP),
    (
        "XREAD STREAMS a b 0 0",
        rows(rows(one("a"), rows(entry("1-1")))),
        map3(one("a"), rows(entry("1-1"))),
        SAME,
    ),
    (
        "XREAD STREAMS a b 0 0",
        map3(one("a"), rows(entry("1-1")), one("b"), rows(entry("1-1"))),
        map3(one("a"), rows(entry("1-1"))),
        GAP,
    ),
    ("XREAD STREAMS a 0", NULL, b"*-1\r\n", SAME),
    ("XREAD STREAMS a 0", map3(one("a"), rows(entry("1-1"))), map3(one("a"), rows(entry("1-2"))), VALUE),
    ("XREAD COUNT 1 STREAMS a $", map3(one("a"), rows(entry("1-1"))), NULL, "skipped moment"),
    ("XREAD STREAMS $ 0", map3(one("$"), rows(entry("1-1"))), NULL, GAP),
    (
        "XPENDING k g",
        rows(number(3), one("1-1"), one("3-1"), rows(flat("c", "1"), flat("d", "2"))),
        rows(number(3), one("1-1"), one("3-1"), rows(flat("d", "2"), flat("c", "1"))),
        SAME,
    ),
    (
        "XPENDING k g",
        rows(number(3), one("1-1"), one("3-1"), rows(flat("c", "1"), flat("d", "2"))),
        rows(number(3), one("1-1"), one("3-1"), rows(flat("c", "2"), flat("d", "1"))),
        VALUE,
    ),
    (
        "XPENDING k g",
        rows(number(1), one("1-1"), one("1-1"), rows(flat("c", "1"))),
        flat(0, None, None, None),
        GAP,
    ),
    ("XPENDING k g - + 9", rows(flat("1-1", "c", 500, 1)), rows(flat("1-1", "c", 90_000, 1)), SAME),
    ("XPENDING k g - + 9", rows(flat("1-1", "c", 500, 1)), rows(flat("1-1", "c", 500, 2)), VALUE),
    ("XPENDING k g - + 9", rows(flat("1-1", "c", 500, 1)), rows(flat("1-1", "d", 500, 1)), VALUE),
    ("XPENDING k g IDLE 9 - + 9", rows(flat("1-1", "c", 500, 1)), EMPTY, "skipped moment"),
    (
        "XINFO STREAM k",
        flat("length", 2, "radix-tree-keys", 1, "last-generated-id", "2-1", "entries-added", 5),
        flat("length", 2, "radix-tree-keys", 9, "last-generated-id", "2-1", "idmp-duration", 100),
        SAME,
    ),
    ("XINFO STREAM k", flat("length", 2, "entries-added", 5), flat("length", 2, "entries-added", 6), VALUE),
    ("XINFO STREAM k", flat("length", 2), mapping("length 2"), SAME),
    ("XINFO STREAM k", flat("length", 2), flat("length", 0), GAP),
    ("XINFO STREAM k", flat("length", 2), flat("length", 3), VALUE),
    (
        "XINFO GROUPS k",
        rows(flat("name", "g", "last-delivered-id", "1-1", "pending", 1, "lag", 4)),
        rows(map3(*map(one, ("name", "g", "last-delivered-id", "1-1", "pending", 1, "lag", None)))),
        SAME,
    ),
    (
        "XINFO GROUPS k",
        rows(flat("name", "g", "pending", 1), flat("name", "h", "pending", 0)),
        rows(flat("name", "g", "pending", 1)),
        LESS,
    ),
    ("XINFO GROUPS k", rows(flat("name", "g", "pending", 1)), rows(flat("name", "g", "pending", 2)), VALUE),
    ("XINFO GROUPS k", rows(flat("name", "g", "pending", 1)), EMPTY, GAP),
    (
        "XINFO CONSUMERS k g",
        rows(flat("name", "c", "pending", 1, "idle", 5), flat("name", "d", "pending", 0, "idle", 5)),
        rows(flat("name", "c", "pending", 1, "idle", 9, "inactive", 9)),
        SAME,
    ),
    (
        "XINFO CONSUMERS k g",
        rows(flat("name", "c", "pending", 1)),
        rows(flat("name", "c", "pending", 2)),
        VALUE,
    ),
]

REPEATABLE, TIMED = "return redis.call('lrange', KEYS[1], 0, -1)", "return redis.call('time')"
OTHERS: list[tuple[str | list[Word], bytes, bytes, str]] = [
    ("SSCAN k 0", rows(one("0"), bulks("a b")), rows(one("0"), bulks("b a a")), SAME),
    ("SSCAN k 0", rows(one("0"), bulks("a b")), rows(one("0"), bulks("a")), LESS),
    ("SSCAN k 0", rows(one("0"), bulks("a b")), rows(one("17"), bulks("a")), "skipped cursor"),
    ("SSCAN k 17", rows(one("0"), bulks("a b")), rows(one("0"), bulks("a")), "skipped cursor"),
    ("HSCAN k 0", rows(one("0"), bulks("f 1 g 2")), rows(one("0"), bulks("g 2 f 1")), SAME),
    ("HSCAN k 0", rows(one("0"), bulks("f 1 g 2")), rows(one("0"), bulks("g 1 f 2")), VALUE),
    ("HSCAN k 0", rows(one("0"), bulks("f 1")), rows(one("0"), EMPTY), GAP),
    ("HSCAN k 0 NOVALUES", rows(one("0"), bulks("f g h")), rows(one("0"), bulks("h g f")), SAME),
    (
        "ZSCAN k 0",
        rows(one("0"), bulks("a 0.1 b 2")),
        rows(one("0"), bulks("b 2 a 0.10000000000000001")),
        SAME,
    ),
    ("ZSCAN k 0", rows(one("0"), bulks("a 0.1")), rows(one("0"), bulks("a 0.2")), VALUE),
    ("SORT_RO k", bulks("1 2"), bulks("2 1"), ORDER),
    ("SORT_RO k", bulks("1 2"), bulks("1 3"), VALUE),
    ("SORT_RO k ALPHA", bulks("a B"), bulks("B a"), unclear(Reason.TIES)),
    ("SORT_RO k ALPHA", bulks("a B"), bulks("a b"), VALUE),
    ("SORT_RO k ALPHA LIMIT 0 2", bulks("a B"), bulks("a b"), unclear(Reason.WINDOW)),
    ("SORT_RO k BY nosort", bulks("a B"), bulks("B a"), unclear(Reason.TIES)),
    ("SORT_RO k BY w_*", bulks("a B"), bulks("B a"), "skipped other_keys"),
    ("SORT k GET # GET d_*", bulks("a B"), bulks("B a"), "skipped other_keys"),
    ("SORT k STORE d", number(1), number(2), "skipped writes"),
    ("SORT k BY STORE LIMIT 0 9", bulks("1 2"), bulks("1"), LESS),
    (["EVAL_RO", REPEATABLE, 1, "k"], bulks("a b"), bulks("b a"), ORDER),
    (["EVAL_RO", REPEATABLE, 1, "k"], bulks("a b"), EMPTY, GAP),
    (["EVAL_RO", TIMED, 0], bulks("1 2"), bulks("1 3"), unclear(Reason.SCRIPT)),
    ("EVALSHA_RO 1234 0", one("a"), one("b"), unclear(Reason.SCRIPT)),
    ("FCALL_RO f 0", one("a"), NIL, unclear(Reason.SCRIPT)),
    ("FCALL_RO f 0", one("1"), number(1), SAME),
]
ROWS = [*STRINGS, *KEYS, *COLLECTIONS, *ZSETS, *PLACES, *STREAMS, *OTHERS]


@pytest.mark.parametrize(("line", "expected", "actual", "verdict"), ROWS)
def test_command_is_judged_by_its_meaning(
    line: str | list[Word], expected: bytes, actual: bytes, verdict: str
) -> None:
    """Each row's verdict, and its mirror image with the stores exchanged."""
    assert verdict == judged(line, expected, actual)
    assert MIRRORED.get(verdict, verdict) == judged(line, actual, expected)


@pytest.mark.parametrize("kind", ["match", "migration_gap", "data_mismatch"])
def test_examples_are_of_every_kind(kind: str) -> None:
    """The table is not one-sided."""
    assert sum(row[3].startswith(kind) for row in ROWS) > 20


# --- what may differ -------------------------------------------------------------------------------------


def test_ttl_tolerance_is_a_setting() -> None:
    """A secondary that lags may be given more time; seconds get one more for rounding."""
    wide = Tolerance(ttl_milliseconds=4500)

    assert judged("PTTL k", number(10_000), number(14_500), wide) == SAME
    assert judged("PTTL k", number(10_000), number(14_501), wide) == TTL
    assert judged("TTL k", number(10), number(16), wide) == SAME
    assert judged("TTL k", number(10), number(17), wide) == TTL
    assert judged("PTTL k", number(4500), number(-2), wide) == unclear(Reason.NEAR_EXPIRY)


@pytest.mark.parametrize(
    ("line", "expected", "actual", "verdict"),
    [
        ("ZRANGE k 0 -1 WITHSCORES", "a 1 b 1 c 2", "b 1 a 1 c 2", SAME),
        ("ZRANGE k 0 -1 WITHSCORES", "a 1 b 1 c 2", "b 1 c 1 a 2", VALUE),
        ("ZRANGE k 0 1 WITHSCORES", "a 1 b 2", "a 1 c 2", unclear(Reason.WINDOW)),
        ("ZRANGE k 0 2 WITHSCORES", "a 1 b 2 d 3", "a 1 c 2 d 3", VALUE),
        ("ZRANGE k 0 -1 WITHSCORES", "a 1 b 2", "a 1 c 2", VALUE),
        ("ZRANGEBYSCORE k 0 9 WITHSCORES LIMIT 0 2", "a 1 b 2", "a 1 c 2", unclear(Reason.WINDOW)),
        ("ZRANGE k 0 -1", "a b", "b a", unclear(Reason.TIES)),
        ("ZRANGE k - + BYLEX", "a b", "b a", ORDER),
    ],
)
def test_ties_may_be_open(line: str, expected: str, actual: str, verdict: str) -> None:
    """A store that does not order equal scores by member is not accused of it, and of nothing less."""
    assert verdict == judged(line, bulks(expected), bulks(actual), Tolerance(are_ties_ordered=False))


@pytest.mark.parametrize(
    ("line", "expected", "actual", "verdict"),
    [
        ("XRANGE k - +", (1, 2, 3), (2, 3), unclear(Reason.TRIMMED)),
        ("XRANGE k - +", (1, 2, 3), (1, 3), LESS),
        ("XRANGE k - +", (1, 2, 3), (2, 4), VALUE),
        ("XRANGE k - +", (1, 2), (), unclear(Reason.TRIMMED)),
        ("XRANGE k - + COUNT 3", (1, 2, 3), (2, 3, 4), unclear(Reason.TRIMMED)),
        ("XREVRANGE k + -", (3, 2, 1), (3, 2), unclear(Reason.TRIMMED)),
        ("XREVRANGE k + -", (3, 2, 1), (2, 1), LESS),
        ("XRANGE k - +", (9, 10, 11), (10, 11), unclear(Reason.TRIMMED)),
        ("XRANGE k - +", (1, 2), (3, 4), unclear(Reason.TRIMMED)),
    ],
)
def test_trimming_may_be_inexact(
    line: str, expected: tuple[int, ...], actual: tuple[int, ...], verdict: str
) -> None:
    """Where trimming differs, entries are compared from the later first one on."""
    loose = Tolerance(is_trimming_exact=False)
    ours, theirs = (rows(*(entry(f"{one}-0") for one in ids)) for ids in (expected, actual))

    assert verdict == judged(line, ours, theirs, loose)


def test_deliveries_may_be_left_out() -> None:
    """Reading a history raises the count of deliveries, which no store tells another."""
    loose = Tolerance(are_deliveries_counted=False)
    ours, theirs = rows(flat("1-1", "c", 5, 1)), rows(flat("1-1", "c", 5, 2))

    assert judged("XPENDING k g - + 9", ours, theirs, loose) == SAME


def test_estimates_may_have_to_be_equal() -> None:
    """Two stores with the same hashes count the same."""
    assert judged("PFCOUNT k", number(1000), number(1001), Tolerance(count_share=0.0)) == VALUE


def test_option_is_found_behind_a_polygon() -> None:
    """The corners of a polygon are no options."""
    line = "GEOSEARCH k BYPOLYGON 3 1 1 2 2 3 3 WITHHASH"

    assert judged(line, rows(place("a", number(7))), rows(place("a", number(8)))) == VALUE
