"""Effects folded into fewer, what an answer to them means, and which items go together."""

from __future__ import annotations

import pytest

from dualkv.core.dialect.scripts import LIBRARY, RUNNER
from dualkv.core.effects.model import Command
from dualkv.core.fusing import Verdict, call, call_one, fold, judge, outcomes_of, portions, results, stretches
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, commands_item
from dualkv.resp.requests import RequestParser
from tests.core.building import planned

NOW_MS = 1_700_000_000_000


def effects(text: str) -> list[Command]:
    """Return effects, one a line; ``=> n`` is the integer that is due, ``=> OK`` the status."""
    found = []
    for line in text.strip().splitlines():
        words, _, reply = line.partition("=>")
        args = tuple(words.encode().split())
        due = reply.strip().encode()
        frame = None if not due else b"+OK\r\n" if due == b"OK" else b":%b\r\n" % due
        found.append(Command(args, frame))
    return found


def lines(commands: list[tuple[bytes, ...]]) -> list[str]:
    """Return commands as a person writes them."""
    return [b" ".join(args).decode() for args in commands]


FOLDED = {
    "pushes": ("RPUSH k a => 5\nRPUSH k b c => 7", ["RPUSH k a b c"]),
    "pushes in front": ("LPUSH k a => 1\nlpush k b => 2", ["LPUSH k a b"]),
    "pushes at both ends stay": ("RPUSH k a\nLPUSH k b", ["RPUSH k a", "LPUSH k b"]),
    "pushes between which something happened stay": (
        "RPUSH k a => 5\nRPUSH k b => 9", ["RPUSH k a", "RPUSH k b"],
    ),
    "members, each once": ("SADD k a b => 2\nSADD k b c => 1", ["SADD k a b c"]),
    "members that go": ("SREM k a => 1\nSREM k a b => 1", ["SREM k a b"]),
    "coming and going stay": (
        "SADD k a => 1\nSREM k a => 1\nSADD k a => 1", ["SADD k a", "SREM k a", "SADD k a"],
    ),
    "fields, their last values": ("HSET k f 1 => 1\nHSET k g 1 f 2 => 1", ["HSET k f 2 g 1"]),
    "fields that go": ("HDEL k f => 1\nHDEL k g => 0", ["HDEL k f g"]),
    "scores, their last ones": ("ZADD k 1 a => 1\nZADD k 2 a 3 b => 1", ["ZADD k 2 a 3 b"]),
    "conditions stay": ("ZADD k NX 1 a => 1\nZADD k NX 2 b => 1", ["ZADD k NX 1 a", "ZADD k NX 2 b"]),
    "a reply that is due and one that is not": ("SADD k a => 1\nSADD k b", ["SADD k a", "SADD k b"]),
    "times": ("PEXPIREAT k 1 => 1\nPEXPIREAT k 2 => 1", ["PEXPIREAT k 2"]),
    "values": ("SET k 1 => OK\nSET k 2 => OK\nSET k 3 => OK", ["SET k 3"]),
    "a value ends what was before": ("SADD k a => 1\nPEXPIREAT k 5 => 1\nSET k 3", ["SET k 3"]),
    "values that keep an expiry": ("SET k 1 PXAT 9\nSET k 2 KEEPTTL\nSET k 3 KEEPTTL", ["SET k 3 PXAT 9"]),
    "a value with a condition stays": ("SET k 1\nSET k 2 XX", ["SET k 1", "SET k 2 XX"]),
    "a value with two options stays": ("SET k 1\nSET k 2 KEEPTTL XX", ["SET k 1", "SET k 2 KEEPTTL XX"]),
    "a removal ends what was before": ("SADD k a => 1\nDEL k => 1", ["DEL k"]),
    "a removal, and what comes after": ("SET k 1\nDEL k => 1\nRPUSH k a => 1", ["DEL k", "RPUSH k a"]),
    "removals": ("DEL k => 1\nRPUSH k a => 1\nDEL k => 1\nRPUSH k b => 1", ["DEL k", "RPUSH k b"]),
    "a value behind a removal": ("DEL k\nSET k 1", ["SET k 1"]),
    "other keys do not matter": ("RPUSH k a => 1\nSET l 1\nRPUSH k b => 2", ["RPUSH k a b", "SET l 1"]),
    "a look at the key stays where it is": (
        "SADD k a => 1\nSCARD k => 1\nSADD k b => 1\nSET k 1", ["SADD k a", "SCARD k", "SET k 1"],
    ),
    "a look at several keys": ("SET k 1\nEXISTS l k => 1\nSET k 2", ["SET k 1", "EXISTS l k", "SET k 2"]),
    "a key that is moved": (
        "SET k 1\nRENAME k l\nSET l 2\nSET k 3", ["SET k 1", "RENAME k l", "SET l 2", "SET k 3"],
    ),
    "several keys removed": (
        "SET k 1\nSET l 1\nDEL k l => 2\nSET k 2", ["SET k 1", "SET l 1", "DEL k l", "SET k 2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_effects_on_one_key_become_fewer(name: str) -> None:
    """What is folded does the same in fewer commands, and never across what looks at the key."""
    text, expected = FOLDED[name]

    assert lines(fold(effects(text)).commands) == expected


UNFOLDED = {
    "length": ("RPUSH k a => 5\nRPUSH k b c => 7", [b":7"], [b":5", b":7"]),
    "another length": ("RPUSH k a => 5\nRPUSH k b c => 7", [b":6"], [b":4", b":6"]),
    "count": ("SADD k a b => 2\nSADD k b c => 1", [b":3"], [b":2", b":1"]),
    "another count": ("SADD k a b => 2\nSADD k b c => 1", [b":2"], [b":2", b":0"]),
    "status": ("SET k 1 KEEPTTL => OK\nSET k 2 KEEPTTL => OK", [b"+OK"], [b"+OK", b"+OK"]),
    "what is left out": ("SADD k a => 1\nSET k 1 => OK", [b"+OK"], [b":1", b"+OK"]),
    "left out, and nothing was due": ("SADD k a\nSET k 1", [b"+OK"], [b"+OK", b"+OK"]),
    "removed before it was there": ("SADD k a => 1\nDEL k => 1", [b":0"], [b":1", b":1"]),
    "removed twice": ("DEL k => 1\nSADD k a => 1\nDEL k => 1", [b":0"], [b":0", b":1", b":1"]),
    "two keys": ("SADD k a => 1\nSET l 1\nSADD k b => 1", [b":2", b"+OK"], [b":1", b"+OK", b":1"]),
    "error": ("SADD k a => 1\nSADD k b => 1", [b"-ERR x"], [b"-ERR x", b"-ERR x"]),
}


@pytest.mark.parametrize("name", UNFOLDED)
def test_each_effect_gets_its_reply(name: str) -> None:
    """The reply to a folded command tells what each effect would have answered, a difference included."""
    text, frames, expected = UNFOLDED[name]

    replies = fold(effects(text)).unfold([frame + b"\r\n" for frame in frames])

    assert [reply.removesuffix(b"\r\n") for reply in replies] == expected


def test_commands_do_not_grow_without_bounds() -> None:
    """What is pushed one by one goes in commands of two thousand words at most: a Lua stack ends."""
    folded = fold([Command((b"RPUSH", b"k", b"%d" % n), b":%d\r\n" % (n + 1)) for n in range(5000)])

    assert [len(args) for args in folded.commands] == [2002, 2002, 1002]
    assert folded.unfold([b":2000\r\n", b":4000\r\n", b":5000\r\n"])[::1000] == [
        b":%d\r\n" % (n + 1) for n in range(0, 5000, 1000)
    ]


# --- calls and answers


def args_of(wire: bytes) -> tuple[bytes, ...]:
    """Return a request's words."""
    (request,) = RequestParser().feed(wire)
    return request.args


def test_a_call_names_the_script_once_it_is_known() -> None:
    """The body goes once; then its hash will do."""
    first = call([(b"SET", b"k", b"1"), (b"SADD", b"s", b"a")], NOW_MS)
    second = call([(b"SET", b"k", b"1")], NOW_MS, {first.digest})

    assert args_of(first.wire) == (
        b"EVAL", RUNNER, b"2", b"k", b"s", b"3", b"SET", b"k", b"1", b"3", b"SADD", b"s", b"a",
    )  # fmt: skip
    assert args_of(second.wire) == (b"EVALSHA", first.digest, b"1", b"k", b"3", b"SET", b"k", b"1")


def test_times_are_said_as_what_is_left() -> None:
    """The store knows relative times only: they are counted when the request is made."""
    called = call([(b"PEXPIREAT", b"k", b"%d" % (NOW_MS + 1500))], NOW_MS)

    assert args_of(called.wire)[-4:] == (b"3", b"PEXPIRE", b"k", b"1500")


def test_one_command_goes_as_it_is_if_the_store_has_it() -> None:
    """A script is for what cannot be said without it."""
    plain = call_one((b"SET", b"k", b"1", b"PXAT", b"%d" % (NOW_MS + 9)), NOW_MS)
    scripted = call_one((b"SET", b"k", b"1", b"KEEPTTL"), NOW_MS)

    assert (args_of(plain.wire), plain.digest) == ((b"SET", b"k", b"1", b"PX", b"9"), b"")
    assert args_of(scripted.wire)[:2] == (b"EVAL", LIBRARY)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("*1\r\n:1", Verdict.DONE),
        ("+OK", Verdict.DONE),
        ("-NOSCRIPT No matching script. Please use EVAL.", Verdict.UNKNOWN_SCRIPT),
        ("-BUSY server overloaded", Verdict.BUSY),
        ("-ERR BUSY server overloaded", Verdict.BUSY),
        ("-ERR read timestamp has been compacted", Verdict.AGAIN),
        ("-invalid request", Verdict.TOO_MUCH),
        ("-marshaled request too large", Verdict.TOO_MUCH),
        ("-<string>:1: WRONGTYPE Operation against … stack traceback: [G]", Verdict.GUILTY),
        ("-<string>:4: ERR unsupported command 'X' stack traceback: [G]", Verdict.GUILTY),
        ("-WRONGTYPE Operation against a key holding the wrong kind of value", Verdict.GUILTY),
        ("-NOTLEADER leader not found", Verdict.FAILED),
        ("-ERR write conflict", Verdict.FAILED),
        ("-ERR context deadline exceeded", Verdict.FAILED),
    ],
)
def test_answers_are_told_apart(text: str, verdict: Verdict) -> None:
    """What was too much is sent again in smaller portions; only for a guilty effect it is searched."""
    assert judge(text.encode() + b"\r\n") is verdict


def test_status_is_a_status_again() -> None:
    """Lua and followers make a bulk string of OK."""
    assert results([b"$2\r\nOK\r\n", b":1\r\n", b"$1\r\nx\r\n"]) == [b"+OK\r\n", b":1\r\n", b"$1\r\nx\r\n"]


# --- batches


def item(line: str, expected: bytes | None = None) -> StreamItem:
    """Return an item of a line."""
    plan, request = planned(*line.split())
    queue = Queue.SHADOW if expected is not None else plan.queue
    assert queue is not None
    return StreamItem(plan, queue, request, 0.0, expected=expected)


def copy(text: str) -> StreamItem:
    """Return a copy of a key."""
    return commands_item(Queue.COPY, effects(text), 0.0, item("SET k 1").context)


def test_what_cannot_be_in_a_script_cuts_the_batch() -> None:
    """Shadow reads, scripts and unknown commands keep their places between the transactions."""
    batch = [
        item("SET a 1"), copy("DEL b\nSADD b x => 1"), item("GET a", b"$1\r\n1\r\n"), item("PFADD p x"),
        item("EVAL x 1 k"), item("SADD c x"), item("NEWCOMMAND x"),
    ]  # fmt: skip

    found = [(len(one.apart), len(one.fused)) for one in stretches(batch)]

    assert found == [(0, 2), (3, 1), (1, 0)]


def test_a_copy_with_a_command_that_is_not_possible_goes_apart() -> None:
    """An item is not torn apart."""
    assert [len(one.apart) for one in stretches([copy("DEL b\nPFADD b x")])] == [1]


def test_portions_hold_whole_items() -> None:
    """Effects and bytes are counted; one item that is too much goes alone."""
    items = [
        copy("DEL b\nSADD b x"),
        item("SET a 1"),
        item("SET c 1"),
        copy("DEL a\nSADD a x\nSADD a y\nSADD a z"),
    ]

    assert [len(one) for one in portions(items, 3, 10_000)] == [2, 1, 1]
    assert [len(one) for one in portions(items, 100, 1)] == [1, 1, 1, 1]


def test_items_get_the_frames_that_they_would_have_got() -> None:
    """Several commands of one item answer as ``EXEC`` does."""
    items = [copy("DEL b\nSADD b x"), item("SET a 1")]

    assert outcomes_of(items, [b":0\r\n", b":1\r\n", b"+OK\r\n"]) == [b"*2\r\n:0\r\n:1\r\n", b"+OK\r\n"]
