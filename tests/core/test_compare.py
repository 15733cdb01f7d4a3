"""Whether two replies to the same read mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.commands.table import COMMANDS
from dualkv.core.compare import Comparator, comparator_for, compare
from dualkv.core.divergence import DivergenceKind
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from tests.core.building import Word, ask, bulks, double, flat, mapping, members, one, pairs, scored

GAP, MISMATCH, EXTRA = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH, DivergenceKind.EXTRA_DATA
NIL, NULL = b"$-1\r\n", b"_\r\n"
"""Nil in RESP2 and in RESP3."""


def judge(read: str, expected: bytes, actual: bytes) -> DivergenceKind | None:
    """Compare the replies to the read on a line, as its command demands."""
    return judge_read(read.split(), expected, actual)


def judge_read(args: list[str], expected: bytes, actual: bytes) -> DivergenceKind | None:
    """Compare the replies to the read with *args*."""
    request = ask(*args)
    comparator = plan_of(request.args).comparator
    assert comparator is not None
    return compare(comparator, request.args, expected, actual)


Outcome = DivergenceKind | Literal["equal", "not comparable"]

OPPOSITES: dict[Outcome, Outcome] = {
    "equal": "equal",
    "not comparable": "not comparable",
    GAP: EXTRA,
    EXTRA: GAP,
    MISMATCH: MISMATCH,
}
"""What an outcome is called with the stores exchanged."""


def outcome_of(comparator: Comparator, args: Sequence[bytes], expected: bytes, actual: bytes) -> Outcome:
    """Compare two replies; every outcome that a shadow reader can handle has a value."""
    try:
        return compare(comparator, args, expected, actual) or "equal"
    except ValueError:
        return "not comparable"


frames = st.recursive(
    st.sampled_from(
        [NIL, NULL, b"+none\r\n", b":0\r\n", b":1\r\n", b"#t\r\n", b"-ERR x\r\n", b"-LOADING x\r\n"]
    )
    | st.sampled_from(["", "a", "0.1", "0.10000000000000001", "inf", "nan", "none"]).map(one)
    | st.sampled_from(["0.1", "1", "inf", "nan"]).map(double),
    lambda children: st.builds(
        lambda kind, parts: kind % (len(parts) // 2 if kind[:1] == b"%" else len(parts)) + b"".join(parts),
        st.sampled_from([b"*%d\r\n", b"~%d\r\n", b"%%%d\r\n"]),
        st.lists(children, max_size=4).filter(lambda parts: len(parts) % 2 == 0)
        | st.lists(children, max_size=4).map(lambda parts: parts * 2),
    ),
    max_leaves=8,
)
"""Replies of any form, valid RESP."""


# --- which reads are compared, and how -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparator", "names"),
    [
        (
            Comparator.EXACT,
            "GET MGET GETRANGE SUBSTR HGET HMGET LINDEX LRANGE SISMEMBER XRANGE XREVRANGE",
        ),
        (Comparator.EXACT, "SMISMEMBER HEXISTS GETBIT BITPOS LPOS GEOHASH ZRANGEBYLEX ZREVRANGEBYLEX"),
        (Comparator.COUNT, "STRLEN HSTRLEN HLEN LLEN SCARD ZCARD XLEN BITCOUNT EXISTS ZCOUNT PFCOUNT"),
        (Comparator.UNORDERED, "HKEYS HVALS SMEMBERS SINTER SUNION SDIFF"),
        (Comparator.MAP, "HGETALL"),
        (Comparator.SCORES, "ZSCORE ZMSCORE"),
        (Comparator.SCORED_MEMBERS, "ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZDIFF ZRANK ZREVRANK"),
        (Comparator.SUMMED_MEMBERS, "ZUNION ZINTER"),
        (Comparator.TYPE, "TYPE"),
        (
            None,
            "TTL PTTL SCAN SSCAN HSCAN ZSCAN KEYS RANDOMKEY SRANDMEMBER HRANDFIELD ZRANDMEMBER DBSIZE DUMP",
        ),
        (None, "TIME INFO LASTSAVE ROLE TOUCH LOLWUT SET INCR EVAL_RO NOSUCH"),
    ],
)
def test_command_has_its_comparator(comparator: Comparator | None, names: str) -> None:
    """What equality means is known by the command; what depends on the server or the moment has none."""
    found = {comparator_for(plan_of(ask(name).args).spec) for name in names.split()}

    assert {comparator} == found


def test_only_reads_have_comparators() -> None:
    """Nothing that could write is ever sent as a shadow read."""
    kinds = {spec.kind for spec in COMMANDS if comparator_for(spec) is not None}

    assert {"read"} == kinds


# --- equal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected", "actual"),
    [
        # Two ways to write one value.
        ("TYPE k", b"+string\r\n", b"$6\r\nstring\r\n"),
        ("GET k", NIL, b"*-1\r\n"),
        ("LRANGE k 0 -1", b"*-1\r\n", NIL),
        ("SISMEMBER k m", b":1\r\n", b"#t\r\n"),
        ("GET k", b"=7\r\ntxt:abc\r\n", b"$3\r\nabc\r\n"),
        # Order that means nothing, in both RESP versions and between them.
        ("SMEMBERS k", bulks("a b c"), bulks("c a b")),
        ("SMEMBERS k", members("a b c"), members("b c a")),
        ("SMEMBERS k", members("a b"), bulks("b a")),
        ("SINTER a b", bulks("a b"), bulks("b a")),
        ("HKEYS k", bulks("f g"), bulks("g f")),
        ("HVALS k", bulks("1 1 2"), bulks("2 1 1")),
        ("SUNION a b", encode.array([bulks("a b"), one("c")]), encode.array([one("c"), bulks("a b")])),
        ("HGETALL k", bulks("f 1 g 2"), bulks("g 2 f 1")),
        ("HGETALL k", mapping("f 1 g 2"), mapping("g 2 f 1")),
        ("XREAD STREAMS a b 0 0", mapping("a 1 b 2"), mapping("b 2 a 1")),
        # Scores, however they are written.
        ("ZSCORE k m", one("0.1"), one("0.10000000000000001")),
        ("ZSCORE k m", one("1.0000000000000001e+300"), one("1e+300")),
        ("ZSCORE k m", double("0.1"), double("0.10000000000000001")),
        ("ZSCORE k m", double("3"), double("3.0")),
        ("ZSCORE k m", one("3"), double("3")),
        ("ZSCORE k m", one("-0"), one("0")),
        ("ZSCORE k m", one("inf"), one("+inf")),
        ("ZSCORE k m", one("inf"), double("inf")),
        ("ZSCORE k m", one("-inf"), double("-inf")),
        ("ZSCORE k m", NIL, b"*-1\r\n"),
        ("ZMSCORE k a b", flat("0.1", None), flat("0.10000000000000001", None)),
        ("ZMSCORE k a b", encode.array([double("0.1"), NULL]), encode.array([double("1e-1"), NULL])),
        ("ZRANGE k 0 -1 WITHSCORES", bulks("a 0.1 b inf"), bulks("a 0.10000000000000001 b inf")),
        ("ZRANGE k 0 -1 withscores", scored("a 0.1 b 2"), scored("a 0.10000000000000001 b 2.0")),
        ("ZREVRANGE k 0 -1 WITHSCORES", scored("a -inf"), scored("a -inf")),
        ("ZUNION 2 a b WITHSCORES", bulks("a 0.30000000000000004"), bulks("a 0.3")),
        ("ZRANGEBYSCORE k 0 1 WITHSCORES", bulks("a 1"), bulks("a 1.0")),
        # Errors with one code.
        ("GET k", encode.error("WRONGTYPE Operation against"), encode.error("WRONGTYPE other words")),
        ("GET k", encode.error("ERR a"), encode.error("ERR")),
    ],
)
def test_replies_that_mean_the_same_match(read: str, expected: bytes, actual: bytes) -> None:
    """Different bytes with one meaning are no divergence, whichever store says which."""
    assert judge(read, expected, actual) is None
    assert judge(read, actual, expected) is None


@pytest.mark.parametrize(
    "frame", [NIL, NULL, one("x"), bulks("a b"), scored("a 1"), encode.error("ERR x"), b",nan\r\n"]
)
@pytest.mark.parametrize("comparator", Comparator)
def test_equal_bytes_match_whatever_they_are(comparator: Comparator, frame: bytes) -> None:
    """A reply equals itself under every comparator."""
    assert compare(comparator, (b"X",), frame, frame) is None


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (bulks("nan 0.1"), bulks("nan 0.10000000000000001")),
        (encode.array([double("nan"), double("0.1")]), encode.array([double("nan"), double("1e-1")])),
    ],
)
def test_nan_equals_nan(expected: bytes, actual: bytes) -> None:
    """A score that is no number equals another one, in both RESP versions."""
    assert judge("ZMSCORE k a b", expected, actual) is None


@pytest.mark.parametrize("other", ["0", "inf", "1e308"])
def test_nan_equals_nothing_else(other: str) -> None:
    """A score that is no number differs from every number."""
    assert MISMATCH is judge("ZSCORE k m", one("nan"), one(other))
    assert MISMATCH is judge("ZSCORE k m", double(other), double("nan"))


def test_sums_of_scores_may_differ_around_zero() -> None:
    """A union adds in another order: what is left of 0.1 + 0.2 - 0.3 is as good as 0."""
    assert judge("ZUNION 3 a b c WITHSCORES", bulks("m 5.5511151231257827e-17"), bulks("m 0")) is None


@pytest.mark.parametrize("read", ["ZRANK k m WITHSCORE", "ZREVRANK k m WITHSCORE"])
def test_score_beside_a_rank_is_a_number(read: str) -> None:
    """The rank is compared exactly, its score however it is written."""
    assert judge(read, flat(1, "0.1"), flat(1, "0.10000000000000001")) is None
    assert judge(read, flat(1, "0.1"), flat(2, "0.1")) is MISMATCH
    assert judge(read, flat(1, "0.1"), flat(1, "0.2")) is MISMATCH


# --- different -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected", "actual"),
    [
        ("GET k", one("a"), one("b")),
        ("GET k", one("a"), one("")),
        ("GET k", one("1"), one("1.0")),
        ("GET k", one("0.1"), one("0.10000000000000001")),
        ("GET k", one("1"), b":1\r\n"),
        ("LRANGE k 0 -1", bulks("a b"), bulks("b a")),
        ("LRANGE k 0 -1", bulks("a b"), bulks("a b c")),
        ("MGET a b", flat("1", None), flat(None, "1")),
        ("SMEMBERS k", bulks("a b"), bulks("a c")),
        ("SMEMBERS k", bulks("a b"), bulks("a b c")),
        ("HVALS k", bulks("1 1 2"), bulks("1 2 2")),
        ("HGETALL k", bulks("f 1 g 2"), bulks("f 2 g 1")),
        ("HGETALL k", mapping("f 1"), mapping("g 1")),
        ("HGETALL k", bulks("f g"), bulks("g f")),
        ("LLEN k", b":2\r\n", b":3\r\n"),
        ("SISMEMBER k m", b":2\r\n", b":1\r\n"),
        ("ZSCORE k m", one("1"), one("1.000001")),
        ("ZSCORE k m", double("inf"), double("-inf")),
        ("ZSCORE k m", double("inf"), double("1.7976931348623157e308")),
        ("ZSCORE k m", one("1"), one("one")),
        ("ZMSCORE k a b", bulks("1 2"), bulks("2 1")),
        ("ZMSCORE k a", bulks("1"), bulks("1 1")),
        ("ZRANGE k 0 -1", bulks("a b"), bulks("b a")),
        ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1 b 1"), bulks("b 1 a 1")),
        ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1 b 2"), bulks("a 1 b 3")),
        ("ZRANGE k 0 -1 WITHSCORES", bulks("a 1"), bulks("a 1 b 2")),
        ("ZRANGE k 0 -1 WITHSCORES", scored("a 1"), scored("b 1")),
        ("ZRANGE k 0 -1 WITHSCORES", scored("a 1"), scored("a 2")),
        ("ZRANGE k 0 -1 WITHSCORES", scored("a 1 b 2"), bulks("a 1")),
        ("ZRANGE k 0 -1 WITHSCORES", scored("a 1 b 2"), bulks("a b")),
        ("XRANGE k - +", encode.array([pairs("1-1 f")]), encode.array([pairs("1-2 f")])),
        ("GET k", one("a"), encode.error("WRONGTYPE x")),
        ("GET k", NIL, encode.error("WRONGTYPE x")),
        ("GET k", encode.error("WRONGTYPE x"), encode.error("NOPERM x")),
        ("GET k", one("WRONGTYPE x"), encode.error("WRONGTYPE x")),
        ("TYPE k", b"+hash\r\n", b"+list\r\n"),
    ],
)
def test_replies_that_differ_are_a_mismatch(read: str, expected: bytes, actual: bytes) -> None:
    """Data on both sides that does not mean the same is a mismatch, whichever store says which."""
    assert MISMATCH is judge(read, expected, actual)
    assert MISMATCH is judge(read, actual, expected)


@pytest.mark.parametrize(
    ("read", "expected", "actual"),
    [
        ("GET k", one("a"), NIL),
        ("GET k", one("a"), NULL),
        ("GET k", one("a"), b"*-1\r\n"),
        ("GET k", one(""), NIL),
        ("GET k", one("0"), NIL),
        ("HGET k f", one(""), NULL),
        ("MGET a b", flat("1", "2"), flat(None, None)),
        ("MGET a b c", flat("1", "2", None), flat("1", None, None)),
        ("MGET a b c", flat("", "2", "3"), flat(None, "2", None)),
        ("HMGET k f g", encode.array([one("1"), one("2")]), encode.array([one("1"), NULL])),
        ("LRANGE k 0 -1", bulks("a"), bulks("")),
        ("LRANGE k 0 -1", bulks("a"), NIL),
        ("SMEMBERS k", bulks("a b"), bulks("")),
        ("SMEMBERS k", members("a b"), members("")),
        ("HKEYS k", bulks("f"), bulks("")),
        ("HGETALL k", bulks("f 1"), bulks("")),
        ("HGETALL k", mapping("f 1"), mapping("")),
        ("ZSCORE k m", one("0"), NIL),
        ("ZSCORE k m", double("0"), NULL),
        ("ZMSCORE k a b", flat("1", "2"), flat("1", None)),
        ("ZRANGE k 0 -1", bulks("a"), bulks("")),
        ("ZRANGE k 0 -1 WITHSCORES", scored("a 1"), scored("")),
        ("ZRANK k m", b":0\r\n", NIL),
        ("XRANGE k - +", encode.array([pairs("1-1 f")]), bulks("")),
        ("XREAD STREAMS k 0", mapping("k 1"), NULL),
        ("TYPE k", b"+string\r\n", b"+none\r\n"),
        ("EXISTS k", b":1\r\n", b":0\r\n"),
        ("STRLEN k", b":5\r\n", b":0\r\n"),
        ("LLEN k", b":2\r\n", b":0\r\n"),
    ],
)
def test_data_on_one_side_only_is_a_gap_or_extra(read: str, expected: bytes, actual: bytes) -> None:
    """Only the primary has it: a migration gap. Only the secondary has it: extra data."""
    assert GAP is judge(read, expected, actual)
    assert EXTRA is judge(read, actual, expected)


@pytest.mark.parametrize("read", ["GET k", "HGET k f", "LINDEX k 0", "GETRANGE k 0 -1"])
def test_value_none_is_data(read: str) -> None:
    """A client may store the word none; only TYPE means nothing by it."""
    assert GAP is judge(read, one("none"), NIL)
    assert EXTRA is judge(read, NIL, one("none"))
    assert MISMATCH is judge(read, one("none"), one("x"))


@pytest.mark.parametrize(
    ("expected", "actual"),
    [(bulks("none"), bulks("x")), (bulks("a none"), bulks("a x")), (bulks("x"), bulks("none"))],
)
def test_element_none_is_data(expected: bytes, actual: bytes) -> None:
    """The word none in a list is an element like any other."""
    assert MISMATCH is judge("LRANGE k 0 -1", expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (flat("0.10000000000000001", "5"), flat("0.1", None)),
        (
            encode.array([double("nan"), double("5")]),
            encode.array([double("nan"), NULL]),
        ),
    ],
)
def test_scores_that_mean_the_same_do_not_hide_a_gap(expected: bytes, actual: bytes) -> None:
    """Of several scores one is missing, and the others are only written differently: that is a gap."""
    assert GAP is judge("ZMSCORE k a b", expected, actual)


@pytest.mark.parametrize("read", ["ZRANGE k 0 -1", "ZREVRANGE k 0 -1", "ZUNION 2 a b", "ZRANGEBYSCORE k 0 1"])
def test_members_that_look_like_numbers_are_no_scores(read: str) -> None:
    """Without WITHSCORES every element is a member: 1 and 1.0 are two of them."""
    assert MISMATCH is judge(read, bulks("1 1"), bulks("1 1.0"))
    assert MISMATCH is judge(read, bulks("a 0.1"), bulks("a 0.10000000000000001"))
    assert MISMATCH is judge(f"{read} WITHSCORES", bulks("1 1"), bulks("1.0 1"))


@pytest.mark.parametrize("args", [["ZRANGE", "withscores", "0", "-1"], ["ZUNION", "2", "WITHSCORES", "b"]])
def test_key_called_withscores_is_a_key(args: list[str]) -> None:
    """The name of a key does not turn members into scores."""
    assert MISMATCH is judge_read(args, bulks("a 1"), bulks("a 1.0"))


# --- what cannot be judged -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"%1\r\n*1\r\n+a\r\n:1\r\n", id="map with an array as key"),
        pytest.param(b"%1\r\n%0\r\n:1\r\n", id="map with a map as key"),
        pytest.param(b"*1\r\n%1\r\n~1\r\n+a\r\n:1\r\n", id="the same inside an array"),
        pytest.param(b"!9\r\nERR wrong\r\n", id="RESP3's long error"),
    ],
)
def test_reply_without_a_python_value_is_not_comparable(frame: bytes) -> None:
    """What hiredis cannot make a value of is neither a match nor a divergence."""
    with pytest.raises(ValueError, match=r"unhashable|Protocol error"):
        judge("XREAD STREAMS k 0", frame, one("a"))
    with pytest.raises(ValueError, match=r"unhashable|Protocol error"):
        judge("XREAD STREAMS k 0", one("a"), frame)


@pytest.mark.parametrize(
    ("read", "actual"),
    [
        pytest.param("HGETALL k", pairs("f 1 g 2"), id="pairs instead of a flat map"),
        pytest.param("HGETALL k", encode.array([mapping("f 1"), one("x")]), id="a map as a field"),
        pytest.param("ZRANGE k 0 -1 WITHSCORES", encode.array([bulks(""), bulks("")]), id="empty pairs"),
        pytest.param("ZRANGE k 0 -1 WITHSCORES", encode.array([scored("a 1"), one("x")]), id="a stray pair"),
        pytest.param("SMEMBERS k", encode.array([mapping("a 1"), bulks("a")]), id="a map as a member"),
        pytest.param("ZSCORE k m", b"(%d\r\n" % 10**400, id="a number beyond floats"),
    ],
)
def test_odd_reply_is_a_difference_and_no_accident(read: str, actual: bytes) -> None:
    """A secondary that answers in an unexpected form makes a divergence or no comparison, never a crash."""
    request = ask(*read.split())
    comparator = plan_of(request.args).comparator
    assert comparator is not None

    for expected in (bulks("f 1 g 2"), scored("a 1 b 2"), mapping("f 1 g 2"), one("1")):
        assert outcome_of(comparator, request.args, expected, actual) in OPPOSITES
        assert outcome_of(comparator, request.args, actual, expected) in OPPOSITES


@settings(deadline=None, max_examples=300)
@given(
    comparator=st.sampled_from(Comparator),
    args=st.sampled_from([(b"ZRANGE", b"k", b"0", b"-1", b"WITHSCORES"), (b"GET", b"k")]),
    ours=frames,
    theirs=frames,
)
def test_any_two_replies_are_judged_alike_from_both_sides(
    comparator: Comparator, args: tuple[bytes, ...], ours: bytes, theirs: bytes
) -> None:
    """Whatever the stores answer, exchanging them turns a gap into extra data and changes nothing else."""
    outcome = outcome_of(comparator, args, ours, theirs)

    assert OPPOSITES[outcome] == outcome_of(comparator, args, theirs, ours)


def test_map_as_an_array_of_pairs_is_a_map() -> None:
    """A store may answer HGETALL as pairs: the same fields and values are equal."""
    assert judge("HGETALL k", bulks("f 1 g 2"), pairs("g 2 f 1")) is None


@pytest.mark.parametrize(
    "text",
    [
        "LOADING Redis is loading the dataset in memory", "BUSY server overloaded", "CLUSTERDOWN x",
        "MOVED 1 h:1", "ASK 1 h:1", "TRYAGAIN x", "READONLY x", "OOM x", "MISCONF x", "MASTERDOWN x",
        "NOREPLICAS x", "UNBLOCKED x",
    ],
)  # fmt: skip
def test_store_that_cannot_answer_now_is_not_comparable(text: str) -> None:
    """An error about the server says nothing about the data: neither a match nor a divergence."""
    with pytest.raises(ValueError, match=text.split(maxsplit=1)[0]):
        judge("GET k", one("a"), encode.error(text))


@pytest.mark.parametrize(
    "text",
    [
        "ERR unknown command 'MGET', with args beginning with: 'a' ",
        "ERR unknown subcommand 'X'. Try OBJECT HELP.",
        "ERR wrong number of arguments for 'exists' command",
        "ERR syntax error",
    ],
)
def test_command_that_the_secondary_does_not_have_is_not_comparable(text: str) -> None:
    """A read that the secondary does not understand says nothing about its data."""
    with pytest.raises(ValueError, match="ERR"):
        judge("MGET a b", bulks("1 2"), encode.error(text))


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "args",
    [("GET", "k"), ("MGET", "a"), ("SMEMBERS", "k"), ("HGETALL", "k"), ("ZSCORE", "k", "m"), ("ZRANGE", "k")],
)
def test_nothing_on_both_sides_is_equal(args: tuple[Word, ...], protocol: int) -> None:
    """Nil on both sides is a match under every comparator."""
    comparator = plan_of(ask(*args).args).comparator
    assert comparator is not None

    assert compare(comparator, ask(*args).args, encode.null(protocol), b"*-1\r\n") is None
