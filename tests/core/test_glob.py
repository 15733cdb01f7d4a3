"""Redis's glob patterns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.core.glob import matches


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("*", "any\nthing", True),
        ("a*c", "abbbc", True),
        ("a*c", "abbbd", False),
        ("a**c", "ac", True),
        ("h?llo", "hello", True),
        ("h?llo", "hllo", False),
        ("h[ae]llo", "hallo", True),
        ("h[ae]llo", "hillo", False),
        ("h[^e]llo", "hallo", True),
        ("h[^e]llo", "hello", False),
        ("h[a-b]llo", "hbllo", True),
        ("h[b-a]llo", "hallo", True),
        ("h[a-b]llo", "hcllo", False),
        (r"h[\]]", "h]", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a.c", "abc", False),
        ("a.c", "a.c", True),
        ("[abc", "a", True),
        ("(a|b)", "a", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_pattern_is_redis_own(pattern: str, text: str, expected: bool) -> None:
    """Stars, question marks, classes, ranges, negation and escapes mean what they mean to Redis."""
    assert expected == matches(pattern.encode(), text.encode())


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_any_bytes_are_a_pattern(pattern: bytes, text: bytes) -> None:
    """No pattern of a client is an error."""
    assert matches(pattern, text) in (True, False)
