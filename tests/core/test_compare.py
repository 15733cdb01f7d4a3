"""Whether two replies to the same read mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.commands.table import COMMANDS
from dualkv.core import compare
from dualkv.core.compare import Detail, Outcome, Reason, Rule, Verdict, comparator_for
from dualkv.core.divergence import DivergenceKind
from dualkv.core.routing import plan_of
from dualkv.resp import encode
from tests.core.building import Word, ask, bulks, double, flat, mapping, members, one, pairs, scored

GAP, MISMATCH, EXTRA = DivergenceKind.MIGRATION_GAP, DivergenceKind.DATA_MISMATCH, DivergenceKind.EXTRA_DATA
NIL, NULL = b"$-1\r\n", b"_\r\n"
"""Nil in RESP2 and in RESP3."""


def verdict_on(read: str, expected: bytes, actual: bytes) -> Verdict:
    """Judge the replies to the read on a line, as its command demands."""
    return verdict_on_read(read.split(), expected, actual)


def verdict_on_read(args: list[str], expected: bytes, actual: bytes) -> Verdict:
    """Judge the replies to the read with *args*."""
    request = ask(*args)
    rule = plan_of(request.args).comparator
    assert rule is not None
    return compare.judge(rule, request.args, expected, actual)


def judge(read: str, expected: bytes, actual: bytes) -> DivergenceKind | None:
    """Return how the replies to the read on a line differ; there must be a judgement."""
    return judge_read(read.split(), expected, actual)


def judge_read(args: list[str], expected: bytes, actual: bytes) -> DivergenceKind | None:
    """Return how the replies to the read with *args* differ; there must be a judgement."""
    verdict = verdict_on_read(args, expected, actual)
    assert verdict.kind is not None or verdict.is_match, verdict
    return verdict.kind


Judgement = DivergenceKind | Literal["equal", "not judged"]

OPPOSITES: dict[Judgement, Judgement] = {
    "equal": "equal",
    "not judged": "not judged",
    GAP: EXTRA,
    EXTRA: GAP,
    MISMATCH: MISMATCH,
}
"""What a judgement is called with the stores exchanged."""


def judgement_of(rule: Rule, args: Sequence[bytes], expected: bytes, actual: bytes) -> Judgement:
    """Judge two replies, which may be rubbish: the comparing itself must not fail."""
    verdict = compare.judge(rule, args, expected, actual)
    assert verdict.reason is not Reason.COMPARATOR
    return verdict.kind or ("equal" if verdict.is_match else "not judged")


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
    "names",
    [
        "KEYS SCAN DBSIZE RANDOMKEY",
        "SRANDMEMBER HRANDFIELD ZRANDMEMBER VRANDMEMBER VSIM VLINKS VINFO",
        "DUMP TOUCH LOLWUT ARINFO ARSCAN CLUSTERSCAN TIME INFO LASTSAVE ROLE",
        "SET INCR GETEX SPOP EVAL FCALL NOSUCH",
    ],
)
def test_reply_of_a_server_or_a_moment_has_no_comparator(names: str) -> None:
    """What depends on the server, the moment or all keys is not shadowed; nor is what writes."""
    assert {None} == {comparator_for(plan_of(ask(name).args).spec) for name in names.split()}


def test_every_rule_has_a_command() -> None:
    """No rule is left over."""
    assert set(Rule) == {comparator_for(spec) for spec in COMMANDS} - {None}


def test_only_reads_have_comparators() -> None:
    """Nothing that could write is ever sent as a shadow read."""
    kinds = {spec.kind for spec in COMMANDS if comparator_for(spec) is not None}

    assert {"read", "script_ro"} == kinds


# --- equal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "expected", "actual"),
    [
        # Two ways to write one value.
        ("TYPE k", b"+string\r\n", b"$6\r\nstring\r\n"),
        ("GET k", NIL, b"*-1\r\n"),
        ("LRANGE k 0 -1", b"*-1\r\n", NIL),
        ("SISMEMBER k m", b":1\r\n", b"#t\r\n"),
        ("GET k", one("1"), b":1\r\n"),
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
@pytest.mark.parametrize("rule", Rule)
def test_equal_bytes_match_whatever_they_are(rule: Rule, frame: bytes) -> None:
    """A reply equals itself under every rule."""
    assert compare.judge(rule, (b"X",), frame, frame).is_match


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
        ("GET k", encode.error("WRONGTYPE x"), encode.error("CROSSSLOT x")),
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
    ],
)
def test_reply_without_a_python_value_is_not_comparable(frame: bytes) -> None:
    """What hiredis cannot make a value of is neither a match nor a divergence."""
    assert Reason.NOT_COMPARABLE is verdict_on("XREAD STREAMS k 0", frame, one("a")).reason
    assert Reason.NOT_COMPARABLE is verdict_on("XREAD STREAMS k 0", one("a"), frame).reason


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
    rule = plan_of(request.args).comparator
    assert rule is not None

    for expected in (bulks("f 1 g 2"), scored("a 1 b 2"), mapping("f 1 g 2"), one("1")):
        assert judgement_of(rule, request.args, expected, actual) in OPPOSITES
        assert judgement_of(rule, request.args, actual, expected) in OPPOSITES


SOME_READS = [
    "GET k", "HGET k f", "EXISTS k", "PFCOUNT k", "TYPE k", "PTTL k", "SMEMBERS k", "HGETALL k", "ZSCORE k m",
    "VEMB k e", "ZRANK k m", "ZRANGE k 0 1", "ZRANGE k 0 1 WITHSCORES", "ZUNION 1 k WITHSCORES", "GEOPOS k m",
    "GEODIST k a b", "GEOSEARCH k FROMMEMBER m BYRADIUS 1 m ASC COUNT 2 WITHDIST WITHCOORD", "LCS a b",
    "LCS a b IDX", "LCS a b LEN", "SORT k ALPHA LIMIT 0 1", "XRANGE k - +", "XREAD STREAMS k 0",
    "XPENDING k g", "XPENDING k g - + 9", "XINFO STREAM k", "XINFO GROUPS k", "XINFO CONSUMERS k g",
    "SSCAN k 0", "HSCAN k 0", "ZSCAN k 0", "EVAL_RO x 0",
]  # fmt: skip
"""Reads of every rule."""


def test_some_reads_are_of_every_rule() -> None:
    """The examples leave no rule out."""
    assert set(Rule) == {plan_of(ask(*line.split()).args).comparator for line in SOME_READS}


@settings(deadline=None, max_examples=1000)
@given(
    line=st.sampled_from(SOME_READS),
    ours=frames,
    theirs=frames,
)
def test_any_two_replies_are_judged_alike_from_both_sides(line: str, ours: bytes, theirs: bytes) -> None:
    """Whatever the stores answer, exchanging them turns a gap into extra data and changes nothing else."""
    args = ask(*line.split()).args
    rule = plan_of(args).comparator
    assert rule is not None

    judgement = judgement_of(rule, args, ours, theirs)

    assert OPPOSITES[judgement] == judgement_of(rule, args, theirs, ours)


def test_map_as_an_array_of_pairs_is_a_map() -> None:
    """A store may answer HGETALL as pairs: the same fields and values are equal."""
    assert judge("HGETALL k", bulks("f 1 g 2"), pairs("g 2 f 1")) is None


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "LOADING Redis is loading the dataset in memory", "BUSY server overloaded", "CLUSTERDOWN x",
        "MOVED 1 h:1", "ASK 1 h:1", "TRYAGAIN x", "READONLY x", "OOM x", "MISCONF x", "MASTERDOWN x",
        "NOREPLICAS x", "UNBLOCKED x", "NOAUTH x", "NOPERM x", "NOTLEADER leader not found", "not leader",
        "ERR leader not found", "dial tcp h:1: connect: connection refused",
        "read tcp h:1: read: connection reset by peer", "read timestamp has been compacted",
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    ],
)  # fmt: skip
def test_store_that_cannot_answer_now_is_not_comparable(text: str) -> None:
    """An error about the server says nothing about the data: neither a match nor a divergence."""
    for expected, actual in ((one("a"), encode.error(text)), (encode.error(text), NIL)):
        verdict = verdict_on("GET k", expected, actual)
        assert (verdict.outcome, verdict.reason) == (Outcome.INCONCLUSIVE, Reason.UNAVAILABLE)


@pytest.mark.parametrize(
    "text",
    [
        "ERR unknown command 'MGET', with args beginning with: 'a' ",
        "ERR unknown command `MGET`, with args beginning with: `a`, ",
        "ERR unknown subcommand 'X'. Try OBJECT HELP.",
        "ERR wrong number of arguments for 'exists' command",
        "ERR syntax error",
        "ERR unsupported command 'MGET'",
    ],
)
@pytest.mark.parametrize("expected", [bulks("1 2"), encode.error("ERR other"), encode.error("WRONGTYPE x")])
def test_command_that_the_secondary_does_not_have_is_skipped(text: str, expected: bytes) -> None:
    """A read that the secondary does not understand says nothing about its data."""
    verdict = verdict_on("MGET a b", expected, encode.error(text))

    assert (verdict.outcome, verdict.reason) == (Outcome.SKIPPED, Reason.UNSUPPORTED)


def test_error_of_one_store_only_is_an_error() -> None:
    """An error that tells neither of the server's state nor of data is counted as such, with whose it is."""
    primary = verdict_on("GET k", encode.error("ERR internal"), one("a"))
    secondary = verdict_on("GET k", one("a"), encode.error("ERR internal"))

    assert (primary.outcome, primary.reason, primary.is_error) == (Outcome.ERROR, Reason.PRIMARY, True)
    assert (secondary.outcome, secondary.reason) == (Outcome.ERROR, Reason.SECONDARY)


def test_long_error_of_resp3_is_an_error() -> None:
    """An error written with its length has a code like another."""
    long = b"!19\r\nWRONGTYPE Operation\r\n"

    assert judge("GET k", encode.error("WRONGTYPE x"), long) is None
    assert MISMATCH is judge("GET k", one("a"), long)


def test_wrong_type_is_a_difference_of_type() -> None:
    """A key that only one store holds as another type differs in its type."""
    assert Detail.TYPE is verdict_on("GET k", one("a"), encode.error("WRONGTYPE x")).detail
    assert Detail.TYPE is verdict_on("GET k", encode.error("WRONGTYPE x"), NIL).detail


@pytest.mark.parametrize(
    ("read", "text"),
    [("XPENDING k g", "NOGROUP No such key 'k'"), ("XINFO STREAM k", "ERR no such key")],
)
def test_error_that_nothing_is_there_is_a_gap_or_extra(read: str, text: str) -> None:
    """A group or a stream that only one store has is missing in the other, though it says so by an error."""
    reply = flat(1, "1-1", "1-1", None)

    assert GAP is judge(read, reply, encode.error(text))
    assert EXTRA is judge(read, encode.error(text), reply)


def test_unknown_script_is_not_comparable() -> None:
    """A store that has not seen the script says nothing about its data."""
    assert Reason.NO_SCRIPT is verdict_on("EVALSHA_RO x 0", one("a"), encode.error("NOSCRIPT x")).reason


@pytest.mark.parametrize("frame", [b"", b"?", b"$5\r\nab", b"*x\r\n", b"-"])
def test_comparing_that_fails_is_a_verdict(frame: bytes) -> None:
    """What is no reply at all makes no accident: either there is no judgement, or the error is told."""
    verdict = verdict_on("GET k", one("a"), frame)

    assert not verdict.is_match
    assert verdict.kind in (None, MISMATCH)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "args",
    [("GET", "k"), ("MGET", "a"), ("SMEMBERS", "k"), ("HGETALL", "k"), ("ZSCORE", "k", "m"), ("ZRANGE", "k")],
)
def test_nothing_on_both_sides_is_equal(args: tuple[Word, ...], protocol: int) -> None:
    """Nil on both sides is a match by every rule."""
    rule = plan_of(ask(*args).args).comparator
    assert rule is not None

    assert compare.judge(rule, ask(*args).args, encode.null(protocol), b"*-1\r\n").is_match
