"""Bytes as text: readable, harmless, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualkv.core.printable import data_of, text_of


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"user:1 name", "user:1 name"),
        ("schlüssel:鍵".encode(), "schlüssel:鍵"),
        (b"\xff\x00a", "\\xff\\x00a"),
        (b"two\nlines\x1b[31m", "two\\x0alines\\x1b[31m"),
        (b"a\\x00b", "a\\\\x00b"),
        ("\u202e".encode(), "\\xe2\\x80\\xae"),
    ],
)
def test_what_a_person_can_read_stays_as_it_is(data: bytes, text: str) -> None:
    """Everything else is escaped: control characters, broken UTF-8, what turns the direction of writing."""
    assert text_of(data) == text


@given(st.binary())
def test_every_text_is_printable_and_tells_its_bytes(data: bytes) -> None:
    """Whatever the bytes are."""
    assert text_of(data).isprintable()
    assert data_of(text_of(data)) == data


@given(st.text())
def test_any_text_is_understood(text: str) -> None:
    """Somebody types a key as he likes: a backslash that escapes nothing is a backslash."""
    data_of(text)
    assert data_of("a\\b\\xZZ") == b"a\\b\\xZZ"
