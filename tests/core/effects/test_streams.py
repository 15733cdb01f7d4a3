"""Streams."""

from __future__ import annotations

import pytest

from dualkv.resp import encode
from tests.core.building import flat
from tests.core.effects.telling import NIL, OK, asked, number, told, word

FIRST = encode.array([encode.array([word("5-1"), flat("f", "v")])])
EMPTY = b"*0\r\n"
FIRST_QUESTION = ["XRANGE s - + COUNT 1"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("XADD s * f v", ["XADD s 7-1 f v"]),
        ("XADD s 7-* f v g w", ["XADD s 7-1 f v g w"]),
        ("XADD s NOMKSTREAM * f v", ["XADD s 7-1 f v"]),
        ("XADD s MAXLEN 9 * f v", ["XADD s MAXLEN = 9 7-1 f v"]),
        ("xadd s maxlen = 9 * f v", ["XADD s MAXLEN = 9 7-1 f v"]),
        ("XADD s MINID 5 * f v", ["XADD s MINID = 5 7-1 f v"]),
        ("XADD s KEEPREF MAXLEN 9 * f v", ["XADD s MAXLEN = 9 7-1 f v"]),
        ("XADD s MAXLEN 9 DELREF * f v", ["XADD s MAXLEN = 9 DELREF 7-1 f v"]),
        ("XADD s MAXLEN 9 ACKED * f v", ["copy s"]),
        ("XADD s ACKED * f v", ["XADD s ACKED 7-1 f v"]),
        ("XADD s IDMP producer 1 * f v", ["copy s"]),
        ("XADD s IDMPAUTO producer * f v", ["copy s"]),
    ],
)
def test_entry_is_added_under_its_id(line: str, expected: list[str]) -> None:
    """With an exact limit as it is; nobody can tell what a limit did that depends on the layout in memory."""
    assert asked(line) == []
    assert told(line, word("7-1")) == expected


def test_entry_that_was_not_added_has_no_effect() -> None:
    """There was no stream, and none was wanted."""
    assert told("XADD s NOMKSTREAM * f v", NIL) == []


@pytest.mark.parametrize("line", ["XADD s MAXLEN ~ 9 * f v", "XADD s MINID ~ 5 LIMIT 10 * f v"])
def test_rough_limit_is_told_by_what_is_the_first_entry_now(line: str) -> None:
    """None: not even the new one has stayed. And without an answer, the stream is copied."""
    assert asked(line) == FIRST_QUESTION
    assert told(line, word("7-1"), FIRST) == ["XADD s MINID = 5-1 7-1 f v"]
    assert told(line, word("7-1"), EMPTY) == ["XADD s MAXLEN = 0 7-1 f v"]
    assert told(line, word("7-1"), encode.error("WRONGTYPE")) == ["copy s"]
    assert told(line, word("7-1")) == ["copy s"]


def test_what_becomes_of_references_is_kept() -> None:
    """Beside the limit that was found out."""
    assert told("XADD s DELREF MAXLEN ~ 9 * f v", word("7-1"), FIRST) == ["XADD s MINID = 5-1 DELREF 7-1 f v"]
    assert told("XTRIM s MAXLEN ~ 9 DELREF", number(3), EMPTY) == ["XTRIM s MAXLEN = 0 DELREF => :3"]


@pytest.mark.parametrize(
    ("line", "reply", "answers", "expected"),
    [
        ("XTRIM s MAXLEN 9", number(0), [], ["XTRIM s MAXLEN = 9 => :0"]),
        ("XTRIM s MINID = 5", number(3), [], ["XTRIM s MINID = 5 => :3"]),
        ("XTRIM s MAXLEN ~ 9", number(0), [FIRST], []),
        ("XTRIM s MAXLEN ~ 9", number(3), [FIRST], ["XTRIM s MINID = 5-1 => :3"]),
        ("XTRIM s MINID ~ 5 LIMIT 9", number(3), [EMPTY], ["XTRIM s MAXLEN = 0 => :3"]),
        ("XTRIM s MAXLEN 9 ACKED", number(0), [], []),
        ("XTRIM s MAXLEN 9 ACKED", number(2), [], ["copy s"]),
    ],
)
def test_trimming_is_checked_by_its_count(
    line: str, reply: bytes, answers: list[bytes], expected: list[str]
) -> None:
    """An exact limit also where it removed nothing: the other store may have more."""
    assert told(line, reply, *answers) == expected


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("XDEL s 1-1", number(0), ["XDEL s 1-1 => :0"]),
        ("XDELEX s ACKED IDS 1 1-1", flat(2), ["XDELEX s ACKED IDS 1 1-1"]),
        ("XACKDEL s g IDS 1 1-1", flat(1), ["XACKDEL s g IDS 1 1-1"]),
    ],
)
def test_the_rest_is_repeated(line: str, reply: bytes, expected: list[str]) -> None:
    """It names ids."""
    assert told(line, reply) == expected


def test_a_last_id_that_is_set_is_copied() -> None:
    """Redis 7.0 takes one below that of a deleted entry, and others refuse it."""
    assert told("XSETID s 9-9", OK) == ["copy s"]
