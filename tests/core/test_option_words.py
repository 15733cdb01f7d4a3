"""The options of a request, in words of our own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.commands.table import COMMANDS
from dualkv.core.option_words import OPTIONS, options_in


@pytest.mark.parametrize(
    ("request_line", "options"),
    [
        ("SET k v", ()),
        ("set k NX", ()),
        ("SET k v nx ex 10", ("EX", "NX")),
        ("SET k v EX NX", ("EX",)),
        ("GET k", ()),
        ("LPOP k", ()),
        ("LPOP k 2", ("COUNT",)),
        ("ZADD k NX CH 1 XX", ("CH", "NX")),
        ("XADD s * f MAXLEN", ()),
        (
            "XADD s NOMKSTREAM MAXLEN ~ 10 LIMIT 5 7-* f v",
            ("LIMIT", "MAXLEN", "NOMKSTREAM", "PARTIAL-ID", "~"),
        ),
        ("XADD s MINID = 1-1 1-2 f v", ("EXPLICIT-ID", "MINID")),
        ("XADD s 5 f v", ("PARTIAL-ID",)),
        ("XTRIM s MAXLEN ~ 10", ("MAXLEN", "~")),
        ("XREAD COUNT 2 BLOCK 0 STREAMS NOACK 0", ("BLOCK", "COUNT")),
        ("XREADGROUP GROUP g c NOACK STREAMS s >", ("NOACK",)),
        ("SORT k BY STORE GET # LIMIT 0 1 STORE d", ("BY", "GET", "LIMIT", "STORE")),
        ("BITOP and d a", ("AND",)),
        ("BITOP secret d a", ()),
        ("EVAL s 0", ("NO-KEYS",)),
        ("ZRANGE k 0 1 REV WITHSCORES", ("REV", "WITHSCORES")),
        ("HELLO 3 AUTH u p", ("3", "AUTH")),
        ("GEORADIUS k 1 2 3 m STORE d", ("STORE",)),
    ],
)
def test_options_are_found_where_they_stand(request_line: str, options: tuple[str, ...]) -> None:
    """In any case, with their arguments skipped; a value that looks like one is none."""
    args = tuple(word.encode() for word in request_line.split())

    assert options_in(args[0].upper().decode(), args) == options


_WORDS = {word for known in OPTIONS.values() for word in known.words} | {
    b"COUNT", b"~", b"EXPLICIT-ID", b"PARTIAL-ID", b"NO-KEYS", b"3", b"AND", b"OR", b"XOR", b"NOT", b"DIFF",
    b"DIFF1", b"ANDOR", b"ONE",
}  # fmt: skip


@given(st.sampled_from(sorted(OPTIONS)), st.lists(st.binary(max_size=6) | st.sampled_from(sorted(_WORDS))))
def test_no_word_of_a_client_ever_comes_out(name: str, words: list[bytes]) -> None:
    """Whatever a request says, however short or wrong it is."""
    found = options_in(name, (name.encode(), *words))

    assert {option.encode() for option in found} <= _WORDS
    assert list(found) == sorted(set(found))


def test_commands_with_options_exist() -> None:
    """A name that is misspelt would find nothing."""
    assert set(OPTIONS) <= {spec.name for spec in COMMANDS}
