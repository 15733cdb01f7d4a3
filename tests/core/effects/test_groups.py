"""Consumer groups."""

from __future__ import annotations

import pytest

from dualkv.core.effects import effects_after_waiting, questions_after_waiting
from dualkv.core.effects.model import Execution
from dualkv.resp import encode
from tests.commands.writing import request, spec_of
from tests.core.building import flat, mapping
from tests.core.effects.telling import NOW_MS, OK, asked, lines_of, number, told, word

NIL = b"*-1\r\n"
NIL3 = b"_\r\n"
ENTRY = encode.array([word("5-1"), flat("f", "v")])
ENTRIES = encode.array([ENTRY, encode.array([word("6-1"), flat("f", "v")])])
READ = encode.array([encode.array([word("s"), ENTRIES])])
READ3 = b"%1\r\n" + word("s") + ENTRIES
GROUP = encode.array(
    [word("name"), word("g"), word("consumers"), number(1), word("last-delivered-id"), word("6-1")]
)
OTHER_GROUP = mapping("name other last-delivered-id 1-1 entries-read 1")
COUNTED_GROUP = mapping("name g last-delivered-id 6-1 entries-read 9")
UNCOUNTED_GROUP = (
    b"%3\r\n" + b"".join(map(word, ("name", "g", "last-delivered-id", "6-1", "entries-read"))) + NIL3
)
GROUPS = encode.array([OTHER_GROUP, COUNTED_GROUP])


def pending(*entries: tuple[str, str, int, int]) -> bytes:
    """Return what XPENDING answers: id, consumer, idle milliseconds, deliveries."""
    return encode.array(flat(*entry) for entry in entries)


NONE_PENDING = pending()


# --- groups ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("XGROUP CREATE s g 0", OK, ["XGROUP CREATE s g 0"]),
        ("XGROUP SETID s g 5-1 ENTRIESREAD 3", OK, ["XGROUP SETID s g 5-1 ENTRIESREAD 3"]),
        ("XGROUP CREATECONSUMER s g c", number(1), ["XGROUP CREATECONSUMER s g c"]),
        ("XGROUP DELCONSUMER s g c", number(3), ["XGROUP DELCONSUMER s g c => :3"]),
        ("XGROUP DESTROY s g", number(0), ["XGROUP DESTROY s g => :0"]),
        ("XACK s g 1-1 2-1", number(1), ["XACK s g 1-1 2-1 => :1"]),
    ],
)
def test_request_is_repeated(line: str, reply: bytes, expected: list[str]) -> None:
    """It says all there is to know, and nothing is asked."""
    assert asked(line) == []
    assert told(line, reply) == expected


@pytest.mark.parametrize("sub", ["CREATE", "SETID"])
def test_last_id_is_asked_for(sub: str) -> None:
    """``$`` is whatever is the last there; in a transaction, where the answer comes late, the same."""
    assert asked(f"XGROUP {sub} s g $") == ["XINFO GROUPS s"]
    assert told(f"XGROUP {sub} s g $ MKSTREAM", OK, GROUPS) == [f"XGROUP {sub} s g 6-1 MKSTREAM"]
    assert asked(f"XGROUP {sub} s g $", in_transaction=True) == []
    assert told(f"XGROUP {sub} s g $", OK) == [f"XGROUP {sub} s g '$'"]


# --- reading ---------------------------------------------------------------------------------------------

CLAIM = "XCLAIM s g c 0 5-1 6-1 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID LASTID 6-1 => 5-1 6-1"
NEW = "XREADGROUP GROUP g c COUNT 9 STREAMS s >"


@pytest.mark.parametrize("reply", [READ, READ3], ids=["RESP2", "RESP3"])
@pytest.mark.parametrize(
    ("groups", "progress"),
    [
        (GROUPS, ["XGROUP SETID s g 6-1 ENTRIESREAD 9"]),
        (encode.array([GROUP]), ["XGROUP SETID s g 6-1"]),
        (encode.array([UNCOUNTED_GROUP]), ["XGROUP SETID s g 6-1"]),
        (None, []),
    ],
    ids=["counted", "Redis 6.2", "unknown", "not asked"],
)
def test_new_entries_are_pending(reply: bytes, groups: bytes | None, progress: list[str]) -> None:
    """At the consumer, from now, once; and the group has read so far."""
    assert asked(NEW) == ["XINFO GROUPS s"]
    assert told(NEW, reply, *([] if groups is None else [groups])) == [CLAIM, *progress]


def test_entries_that_need_no_acknowledgement_are_only_read() -> None:
    """The consumer exists, and the group has read so far; without an answer, at least so far."""
    line = "XREADGROUP GROUP g c NOACK STREAMS s >"

    assert told(line, READ, GROUPS) == ["XGROUP CREATECONSUMER s g c", "XGROUP SETID s g 6-1 ENTRIESREAD 9"]
    assert told(line, READ) == ["XGROUP CREATECONSUMER s g c", "XCLAIM s g c 0 0-0 JUSTID LASTID 6-1"]


@pytest.mark.parametrize("reply", [NIL, NIL3])
def test_consumer_that_got_nothing_exists(reply: bytes) -> None:
    """In every stream that it asked for."""
    line = "XREADGROUP BLOCK 5 GROUP g c STREAMS s t > >"

    assert asked(line) == ["XINFO GROUPS s", "XINFO GROUPS t"]
    assert told(line, reply, GROUPS, GROUPS) == ["XGROUP CREATECONSUMER s g c", "XGROUP CREATECONSUMER t g c"]


@pytest.mark.parametrize(("begin", "behind"), [("0", "0-1"), ("5", "5-1"), ("5-1", "5-2")])
def test_own_past_is_delivered_once_more(begin: str, behind: str) -> None:
    """As often as the primary says; what was deleted keeps its count."""
    line = f"XREADGROUP GROUP g c COUNT 2 STREAMS s {begin}"
    deleted = encode.array([word("6-1"), NIL])
    reply = encode.array([encode.array([word("s"), encode.array([ENTRY, deleted])])])
    answer = pending(("5-1", "c", 1, 3), ("6-1", "c", 900, 1))

    assert asked(line) == [f"XPENDING s g {behind} + 2 c"]
    assert told(line, reply, answer) == ["XCLAIM s g c 0 5-1 TIME 1000000 RETRYCOUNT 3 FORCE JUSTID => 5-1"]
    assert told(line, reply) == ["copy s"]


WAITED = "XREADGROUP GROUP g c BLOCK 0 STREAMS s >"
CONSUMERS = encode.array([flat("name", "other", "pending", 0), flat("name", "c", "pending", 0)])


def told_after_waiting(line: str, reply: bytes, *answers: bytes) -> list[str]:
    """Return the effects of a request that had waited, at the position of *answers*."""
    return lines_of(effects_after_waiting(Execution(spec_of(line), request(line), reply, NOW_MS, answers)))


def asked_after_waiting(line: str, reply: bytes) -> list[str]:
    """Return what is asked once a request has come back."""
    questions = questions_after_waiting(spec_of(line), request(line), reply)
    return [b" ".join(question).decode() for question in questions]


@pytest.mark.parametrize("reply", [READ, READ3], ids=["RESP2", "RESP3"])
def test_what_was_delivered_after_waiting_is_said_as_it_is_now(reply: bytes) -> None:
    """Who has it, since when and how often; where the group stands, be that further or not as far."""
    answer = pending(("5-1", "c", 7, 1), ("6-1", "c", 7, 1))

    assert asked_after_waiting(WAITED, reply) == ["XINFO GROUPS s", "XPENDING s g 5-1 6-1 2"]
    assert told_after_waiting(WAITED, reply, GROUPS, answer) == [
        "XCLAIM s g c 0 5-1 6-1 TIME 999993 RETRYCOUNT 1 FORCE JUSTID => 5-1 6-1",
        "XGROUP SETID s g 6-1 ENTRIESREAD 9",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        NONE_PENDING,
        pending(("5-1", "c", 7, 1)),
        pending(("5-1", "c", 7, 1), ("6-1", "d", 7, 1)),
        pending(("5-1", "c", 7, 1), ("7-1", "c", 7, 1)),
        encode.error("NOGROUP No such key 's' or consumer group 'g'"),
        OK,
    ],
    ids=["acknowledged", "one acknowledged", "one claimed", "another", "group removed", "nonsense"],
)
def test_stream_is_copied_if_what_was_delivered_after_waiting_is_not_as_it_was(answer: bytes) -> None:
    """Nobody knows what else has happened."""
    assert told_after_waiting(WAITED, READ, GROUPS, answer) == ["copy s"]


def test_stream_is_copied_if_its_group_is_another() -> None:
    """It was removed meanwhile."""
    answer = pending(("5-1", "c", 7, 1), ("6-1", "c", 7, 1))

    assert told_after_waiting(WAITED, READ, encode.array([OTHER_GROUP]), answer) == ["copy s"]


def test_delivery_after_waiting_that_needs_no_acknowledgement() -> None:
    """The consumer exists, if it still does, and the group stands where it stands."""
    line = "XREADGROUP GROUP g c NOACK BLOCK 0 STREAMS s >"

    assert asked_after_waiting(line, READ) == ["XINFO GROUPS s", "XINFO CONSUMERS s g"]
    assert told_after_waiting(line, READ, GROUPS, CONSUMERS) == [
        "XGROUP CREATECONSUMER s g c",
        "XGROUP SETID s g 6-1 ENTRIESREAD 9",
    ]
    assert told_after_waiting(line, READ, GROUPS, encode.array([])) == ["copy s"]


def test_streams_that_delivered_after_waiting_are_told_apart() -> None:
    """Those that delivered nothing are not asked about; one is copied, the other one is said."""
    line = "XREADGROUP GROUP g c BLOCK 0 STREAMS s t u > > >"
    reply = encode.array([encode.array([word(key), encode.array([ENTRY])]) for key in "su"])

    assert asked_after_waiting(line, reply) == [
        "XINFO GROUPS s", "XPENDING s g 5-1 5-1 1", "XINFO GROUPS u", "XPENDING u g 5-1 5-1 1",
    ]  # fmt: skip
    assert told_after_waiting(line, reply, GROUPS, NONE_PENDING, GROUPS, pending(("5-1", "c", 0, 1))) == [
        "XCLAIM u g c 0 5-1 TIME 1000000 RETRYCOUNT 1 FORCE JUSTID => 5-1",
        "XGROUP SETID u g 6-1 ENTRIESREAD 9",
        "copy s",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "XREADGROUP GROUP g c BLOCK 0 CLAIM 5 STREAMS s >",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s s > >",
        "BLPOP s 0",
    ],
)
def test_keys_are_copied_where_nothing_can_be_asked_after_waiting(line: str) -> None:
    """Old entries among new ones, a stream twice, and what is no stream."""
    assert asked_after_waiting(line, READ) == []
    assert told_after_waiting(line, READ) == ["copy s"]


def test_entries_that_are_alike_share_a_claim() -> None:
    """One for each number of deliveries."""
    answer = pending(("5-1", "c", 0, 2), ("6-1", "c", 0, 2))

    assert told("XREADGROUP GROUP g c STREAMS s 0", READ, answer) == [
        "XCLAIM s g c 0 5-1 6-1 TIME 1000000 RETRYCOUNT 2 FORCE JUSTID => 5-1 6-1"
    ]


def test_old_and_new_entries_in_one_reply_are_copied() -> None:
    """What was claimed and what was new cannot be told apart; nor what was read twice."""
    assert asked("XREADGROUP GROUP g c CLAIM 9 STREAMS s >") == []
    assert told("XREADGROUP GROUP g c CLAIM 9 STREAMS s >", READ) == ["copy s"]
    assert asked("XREADGROUP GROUP g c STREAMS s s > 0") == []
    assert told("XREADGROUP GROUP g c STREAMS s s > 0", READ) == ["copy s"]


# --- claiming --------------------------------------------------------------------------------------------


def test_claimed_entries_are_what_the_primary_says() -> None:
    """Owner, time and deliveries; what is another's stays, and what nobody has is let go."""
    line = "XCLAIM s g d 5 1-1 2 1-1 3-1 4-1 IDLE 100 LASTID 9-9"
    answers = (
        pending(("1-1", "d", 100, 7)),
        pending(("2-0", "d", 100, 7)),
        pending(("3-1", "c", 1, 1)),
        NONE_PENDING,
    )

    assert asked(line) == [f"XPENDING s g {each} {each} 1" for each in ("1-1", "2-0", "3-1", "4-1")]
    assert told(line, encode.array([ENTRY]), *answers) == [
        "XCLAIM s g d 0 1-1 2-0 TIME 999900 RETRYCOUNT 7 FORCE JUSTID => 1-1 2-0",
        "XACK s g 4-1",
        "XCLAIM s g d 0 0-0 JUSTID LASTID 9-9",
    ]


def test_consumer_that_claimed_nothing_exists() -> None:
    """As newer servers have it."""
    assert told("XCLAIM s g d 99 1-1", b"*0\r\n", pending(("1-1", "c", 1, 1))) == [
        "XGROUP CREATECONSUMER s g d"
    ]
    assert told("XAUTOCLAIM s g d 99 0", flat("0-0", "", "").replace(word(""), b"*0\r\n"), NONE_PENDING) == [
        "XGROUP CREATECONSUMER s g d"
    ]


def test_entries_that_were_found_and_claimed() -> None:
    """With the deliveries that the primary says; what was deleted is let go."""
    line = "XAUTOCLAIM s g d 0 0 COUNT 5"
    reply = encode.array([word("0-0"), ENTRIES, flat("1-1", "2-1")])
    answer = pending(("4-1", "d", 7, 1), ("5-1", "d", 0, 2), ("6-1", "d", 0, 3))

    assert asked(line) == ["XPENDING s g 0 + 50 d"]
    assert told(line, reply, answer) == [
        "XCLAIM s g d 0 5-1 TIME 1000000 RETRYCOUNT 2 FORCE JUSTID => 5-1",
        "XCLAIM s g d 0 6-1 TIME 1000000 RETRYCOUNT 3 FORCE JUSTID => 6-1",
        "XACK s g 1-1 2-1 => :2",
    ]


def test_what_was_not_answered_is_counted_over_there() -> None:
    """An ordinary claim adds one, one for ids only does not."""
    assert asked("XAUTOCLAIM s g d 0 (1-1 COUNT 500") == ["XPENDING s g '(1-1' + 1000 d"]
    assert asked("XAUTOCLAIM s g d 0 - JUSTID") == ["XPENDING s g - + 1000 d"]
    assert told("XAUTOCLAIM s g d 0 0", encode.array([word("0-0"), ENTRIES])) == [
        "XCLAIM s g d 0 5-1 6-1 TIME 1000000"
    ]
    assert told("XAUTOCLAIM s g d 0 0 JUSTID", encode.array([word("0-0"), flat("5-1")])) == [
        "XCLAIM s g d 0 5-1 TIME 1000000 JUSTID"
    ]


@pytest.mark.parametrize("nil", [NIL, NIL3])
def test_deleted_entries_that_redis_6_claims_are_copied(nil: bytes) -> None:
    """No newer server lets them be claimed."""
    entries = encode.array([ENTRY, nil])

    assert told("XCLAIM s g d 0 5-1 6-1", entries, NONE_PENDING, NONE_PENDING) == ["copy s"]
    assert told("XAUTOCLAIM s g d 0 0", encode.array([word("0-0"), entries]), NONE_PENDING) == ["copy s"]
