"""The comparison itself: what it finds, and what it lets pass."""

from __future__ import annotations

import pytest

from tests.conformance.compare import differences, executed
from tests.conformance.corpus import Command, Conversation, Kind
from tests.conformance.talk import Turn

REFUSAL = b"-NOPERM dualkv refuses %b: it is not safe through a proxy\r\n"


def turns(lines: dict[str, bytes]) -> list[Turn]:
    """Return turns of commands and their replies."""
    return [Turn(Command.of(*line.split()), reply) for line, reply in lines.items()]


def differing(direct: dict[str, bytes], proxied: list[bytes], kind: Kind = Kind.ORDINARY) -> list[str]:
    """Return the commands whose replies differ."""
    one = turns(direct)
    other = turns(dict(zip(direct, proxied, strict=True)))
    conversation = Conversation("test", tuple(turn.command for turn in one), kind)
    return [difference.command for difference in differences(conversation, one, other)]


@pytest.mark.parametrize(
    ("command", "direct", "proxied"),
    [
        ("GET k", b"$1\r\nv\r\n", b"$1\r\nw\r\n"),
        ("GET k", b"$-1\r\n", b"_\r\n"),
        ("GET k", b"+OK\r\n", b"$2\r\nOK\r\n"),
        ("SMEMBERS s", b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
        ("LRANGE l 0 -1", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
        ("GET k", b"$1\r\nv\r\n", REFUSAL % b"GET"),
        ("SMEMBERS s", b"*0\r\n", b"<closed>"),
        ("TIME", b"*0\r\n", b"-ERR no\r\n"),
    ],
)
def test_differences_are_found(command: str, direct: bytes, proxied: bytes) -> None:
    """A byte, a type, an order, a refusal that is not in the list, no reply."""
    assert differing({command: direct}, [proxied]) == [command]


@pytest.mark.parametrize(
    ("command", "direct", "proxied"),
    [
        ("SMEMBERS s", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
        ("HELLO", b"*2\r\n$2\r\nid\r\n:1\r\n", b"*2\r\n$2\r\nid\r\n:23\r\n"),
        ("CONFIG SET hz 10", b"+OK\r\n", REFUSAL % b"CONFIG SET"),
    ],
)
def test_what_may_differ_is_let_pass(command: str, direct: bytes, proxied: bytes) -> None:
    """Hash tables' order, ids, and what dualkv is known to refuse."""
    assert differing({command: direct}, [proxied]) == []


def test_masks_reach_into_transactions() -> None:
    """The elements of an EXEC are compared as the replies they are."""
    direct = {
        "MULTI": b"+OK\r\n",
        "TIME": b"+QUEUED\r\n",
        "GET k": b"+QUEUED\r\n",
        "EXEC": b"*2\r\n:1\r\n+a\r\n",
    }
    queued = [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n"]

    assert differing(direct, [*queued, b"*2\r\n:2\r\n+a\r\n"]) == []
    assert differing(direct, [*queued, b"*2\r\n:1\r\n+b\r\n"]) == ["EXEC"]


def test_a_transaction_with_a_refused_command_may_abort() -> None:
    """What dualkv does not queue breaks its transaction; without that, an abort is a difference."""
    direct = {"MULTI": b"+OK\r\n", "SLOWLOG RESET": b"+QUEUED\r\n", "EXEC": b"*1\r\n+OK\r\n"}
    aborted = b"-EXECABORT Transaction discarded because of previous errors.\r\n"

    assert differing(direct, [b"+OK\r\n", REFUSAL % b"SLOWLOG RESET", aborted]) == []
    assert differing(direct, [b"+OK\r\n", b"+QUEUED\r\n", aborted]) == ["EXEC"]


def test_unstable_replies_are_compared_by_kind() -> None:
    """Numbers, texts and lengths may differ; types and error codes may not."""
    one = b"*2\r\n:1\r\n$1\r\na\r\n"

    assert differing({"X": one}, [b"*4\r\n:7\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n"], Kind.UNSTABLE) == []
    assert differing({"X": one}, [b"*2\r\n:1\r\n:2\r\n"], Kind.UNSTABLE) == ["X"]
    assert differing({"X": b"-ERR a\r\n"}, [b"-NOPERM a\r\n"], Kind.UNSTABLE) == ["X"]


def test_executed_is_what_was_not_answered_with_an_error() -> None:
    """Queued commands count if their element of the EXEC is no error."""
    recorded = turns(
        {
            "GET": b"-ERR arity\r\n",
            "MULTI": b"+OK\r\n",
            "INCR s": b"+QUEUED\r\n",
            "SET k v": b"+QUEUED\r\n",
            "EXEC": b"*2\r\n-ERR not an integer\r\n+OK\r\n",
        }
    )

    assert executed(recorded) == {"MULTI", "SET", "EXEC"}
