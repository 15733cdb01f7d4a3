"""Words of requests and frames of replies."""

from __future__ import annotations

import pytest

from dualkv.core.effects import parsing
from tests.core.building import bulks, double, flat, mapping
from tests.core.effects.telling import word


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (word("a\r\nb"), b"a\r\nb"),
        (word(""), b""),
        (b":-3\r\n", b"-3"),
        (b"+OK\r\n", b"OK"),
        (double("1.5"), b"1.5"),
    ],
)
def test_simple_frame_says_a_text(frame: bytes, expected: bytes) -> None:
    """A string, or a number as it is written."""
    assert parsing.text(frame) == expected


@pytest.mark.parametrize("frame", [b"-ERR x\r\n", b"_\r\n", b"*0\r\n"])
def test_other_frames_say_none(frame: bytes) -> None:
    """An error, nothing, an aggregate."""
    with pytest.raises(ValueError, match="not a simple reply"):
        parsing.text(frame)


def test_aggregates_have_elements() -> None:
    """Nil has none; a map is the same as a flat array."""
    assert parsing.texts(bulks("a b")) == [b"a", b"b"]
    assert [parsing.frames(nil) for nil in (b"*-1\r\n", b"$-1\r\n", b"_\r\n")] == [[], [], []]
    assert parsing.named(mapping("a 1")) == parsing.named(bulks("a 1")) == {b"a": word("1")}


def test_options_have_their_arguments() -> None:
    """By upper-case name, whatever an argument looks like."""
    found = parsing.options((b"nx", b"EX", b"get", b"GET"), {b"EX": 1})

    assert found == {b"NX": (), b"EX": (b"get",), b"GET": ()}


def test_fields_stand_behind_their_number() -> None:
    """Options may stand on either side, and a key may be called as the keyword is."""
    args = (b"HSETEX", b"FIELDS", b"EX", b"1", b"fields", b"1", b"f", b"v", b"FNX")

    assert parsing.fields_of(args, width=2) == ((b"EX", b"1", b"FNX"), (b"f", b"v"))


@pytest.mark.parametrize(
    ("unit", "expected"), [(b"EX", 12_000), (b"PX", 2_010), (b"EXAT", 10_000), (b"PXAT", 10)]
)
def test_deadline_is_absolute(unit: bytes, expected: int) -> None:
    """In milliseconds, from now if it is relative."""
    assert parsing.deadline_ms(unit, b"10", 2000) == expected
    assert parsing.expiry_ms({unit: (b"10",)}, 2000) == expected


def test_no_expiry_among_options() -> None:
    """Then there is none."""
    assert parsing.expiry_ms({b"NX": ()}, 2000) is None


def test_integer_may_be_a_string() -> None:
    """As some servers write it."""
    assert parsing.integer(word("3")) == parsing.integer(flat(3)[4:]) == 3
