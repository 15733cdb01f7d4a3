"""What ElasticKV gets at the moment of sending, and how its answers are read."""

from __future__ import annotations

from typing import Final

import pytest

from dualkv.core.dialect import is_scriptable, said_now, script_call, speak
from dualkv.core.dialect.scripts import LIBRARY, RUNNER
from dualkv.core.dialect.speaking import MAX_COMMANDS
from dualkv.core.effects.model import Args
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.routing import plan_of
from dualkv.core.scripts import ScriptCache
from dualkv.core.spoken import spoken_item
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.core.building import ask, flat
from tests.core.effects.telling import OK, number
from tests.core.elastickv_dialect import ELASTICKV

NOW_MS: Final = 1_000_000
ERROR: Final = encode.error("<string>:1: ERR no stack traceback: [G]: ?")


def words(line: str) -> Args:
    """Return the words of a command."""
    return tuple(line.encode().split())


def calls(*lines: str) -> list[Args]:
    """Return the commands on the wire for some commands."""
    wire = speak([words(line) for line in lines], NOW_MS).wire
    return [request.args for request in RequestParser().feed(wire)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PEXPIREAT k 1000500", "PEXPIRE k 500"),
        ("PEXPIREAT k 1000000", "PEXPIRE k -1"),
        ("PEXPIREAT k 5", "PEXPIRE k -1"),
        ("PEXPIREAT k 9223372036854775807", "PEXPIRE k 4503599627370496"),
        ("SET k v PXAT 1000500", "SET k v PX 500"),
        ("SET k v PXAT 5", "SET k v PX 1"),
        ("SET k v", "SET k v"),
        ("SET PXAT v KEEPTTL", "SET PXAT v KEEPTTL"),
    ],
)
def test_times_are_what_is_left_of_them(line: str, expected: str) -> None:
    """What is over is removed; a SET stays one, so that its reply does."""
    assert said_now(words(line), NOW_MS) == words(expected)


def test_a_command_of_the_store_goes_alone() -> None:
    """As it is, with its own reply."""
    spoken = speak([words("SADD k a")], NOW_MS)

    assert RequestParser().feed(spoken.wire)[0].args == words("SADD k a")
    assert (spoken.reply_count, spoken.fold([number(1)], NOW_MS)) == (1, number(1))


def test_several_commands_are_one_transaction() -> None:
    """With all keys declared, and a reply for each."""
    spoken = speak([words("DEL k"), words("RPUSH l a b")], NOW_MS)
    replies = encode.array([number(0), number(2)])

    (call,) = RequestParser().feed(spoken.wire)
    assert call.args == (b"EVAL", RUNNER, *words("2 k l 2 DEL k 4 RPUSH l a b"))
    assert (spoken.reply_count, spoken.fold([replies], NOW_MS)) == (1, replies)
    assert spoken.fold([ERROR], NOW_MS) == ERROR


def test_a_command_that_the_store_lacks_is_a_script_with_its_own_reply() -> None:
    """Its error is passed on."""
    spoken = speak([words("persist k")], NOW_MS)

    (call,) = RequestParser().feed(spoken.wire)
    assert call.args == (b"EVAL", LIBRARY, *words("1 k 2 PERSIST k"))
    assert spoken.fold([flat(1)], NOW_MS) == number(1)
    assert spoken.fold([ERROR], NOW_MS) == ERROR


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("SET k v KEEPTTL", LIBRARY),
        ("XTRIM s MINID 1-1", LIBRARY),
        ("XTRIM s MAXLEN 1", RUNNER),
        ("SETBIT k 1 1", LIBRARY),
        ("SET k v PX 1", RUNNER),
    ],
)
def test_the_longer_script_is_sent_only_where_it_is_needed(line: str, script: bytes) -> None:
    """It has several thousand bytes."""
    assert script_call([words("DEL x"), words(line)])[1] == script


def test_what_no_script_can_do_goes_one_by_one() -> None:
    """Each in its own way; the replies are put together."""
    spoken = speak([words("PFADD k a"), words("PEXPIREAT k 1000500"), words("PERSIST k")], NOW_MS)

    sent = RequestParser().feed(spoken.wire)
    assert [call.args[0] for call in sent] == [b"PFADD", b"PEXPIRE", b"EVAL"]
    assert spoken.fold([number(1), ERROR, flat(0)], NOW_MS) == encode.array([number(1), ERROR, number(0)])
    assert not is_scriptable(words("publish c m"))


def test_very_many_commands_are_several_transactions() -> None:
    """In order; an error of one is the error of all."""
    spoken = speak([words(f"XADD s {number}-1 f v") for number in range(MAX_COMMANDS + 1)], NOW_MS)
    first, second = flat("a", "b"), flat("c")

    assert [call.args[-5] for call in RequestParser().feed(spoken.wire)] == [b"XADD", b"XADD"]
    assert spoken.reply_count == 2
    assert spoken.fold([first, second], NOW_MS) == flat("a", "b", "c")
    assert spoken.fold([first, ERROR], NOW_MS) == ERROR


# --- items


def read(line: str, expected: bytes = OK) -> StreamItem:
    """Return a shadow read."""
    request = ask(*line.split())
    return StreamItem(plan_of(request.args), Queue.SHADOW, request, 0.0, expected=expected)


def test_a_read_that_cannot_be_made_is_not_sent() -> None:
    """It comes out as the store would refuse it."""
    spoken = spoken_item(read("LCS a b"), ELASTICKV, NOW_MS, ScriptCache())

    assert (spoken.wire, spoken.reply_count) == (b"", 0)
    assert spoken.fold([], NOW_MS) == b"-ERR unsupported command 'LCS'\r\n"


def test_the_bytes_of_a_hyperloglog_are_not_compared() -> None:
    """There is a plain set in its place."""
    spoken = spoken_item(read("GET h", encode.bulk(b"HYLL\1")), ELASTICKV, NOW_MS, ScriptCache())

    assert spoken.wire == b""


def test_a_reply_of_which_nothing_can_be_made_tells_nothing() -> None:
    """It is an error that passes, not a difference."""
    spoken = spoken_item(read("HKEYS h"), ELASTICKV, NOW_MS, ScriptCache())

    assert spoken.reply_count == 1
    assert spoken.fold([number(1)], NOW_MS).startswith(b"-TRYAGAIN")


def test_a_script_is_sent_with_its_text() -> None:
    """Whatever the connection has seen: the leader may be another one now."""
    scripts = ScriptCache()
    body = "return redis.call('INCR', KEYS[1])"
    scripts.learn("EVAL", (b"EVAL", body.encode(), b"1", b"k"))
    request = ask("EVALSHA", "61636018f4e6b5817b89791bbed242f93fa089e3", 1, "k")
    item = StreamItem(plan_of(request.args), Queue.SCRIPT, request, 0.0)

    (call,) = RequestParser().feed(spoken_item(item, ELASTICKV, NOW_MS, scripts).wire)

    assert call.args == (b"EVAL", body.encode(), b"1", b"k")
