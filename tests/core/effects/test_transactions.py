"""Effects of commands that were executed in one piece."""

from __future__ import annotations

import pytest

from dualkv.core.effects import Part, settled
from dualkv.core.effects.model import Command, Effects

CHECKED = Effects((Command((b"X",), b":1\r\n"),))
UNCHECKED = Effects((Command((b"X",)),))
K, J, OTHER = (0, b"k"), (0, b"j"), (1, b"k")


def copied(*keys: tuple[int, bytes]) -> Effects:
    """Return the effect of copying *keys*."""
    return Effects((), keys)


def test_effects_stay_what_they_are() -> None:
    """Where nothing was asked, and nothing is copied."""
    parts = [Part(CHECKED, 0, [K, J], False), Part(CHECKED, 0, [K], False)]

    assert settled(parts) == [CHECKED, CHECKED]


def test_what_was_made_of_a_copied_key_is_copied_too() -> None:
    """And what was made of that; in whatever database it is."""
    copy = Effects(copies=((None, b"k"),))

    assert settled(
        [Part(copy, 0, [K], False), Part(CHECKED, 0, [K, J], False), Part(CHECKED, 0, [J], False)]
    ) == [
        copy,
        copied(K, J),
        copied(J),
    ]
    assert settled([Part(copy, 1, [OTHER], False), Part(CHECKED, 0, [K], False)]) == [copy, CHECKED]


def test_key_that_is_ahead_has_unknown_replies() -> None:
    """Its last state is right; the replies on the way there are not the primary's."""
    parts = [Part(CHECKED, 0, [K], True), Part(CHECKED, 0, [K], False), Part(CHECKED, 0, [J], False)]

    assert settled(parts) == [CHECKED, UNCHECKED, CHECKED]


def test_what_takes_over_a_key_that_is_ahead_is_copied() -> None:
    """It would take what the primary had later; unless it was asked for what it did."""
    asked = Part(CHECKED, 0, [K, J], True)

    assert settled([asked, Part(CHECKED, 0, [K, J], False)]) == [CHECKED, copied(K, J)]
    assert settled([asked, asked]) == [CHECKED, UNCHECKED]


@pytest.mark.parametrize("name", [b"XDEL", b"XCLAIM"])
def test_what_meets_entries_that_are_trimmed_already_is_copied(name: bytes) -> None:
    """The stream would not remember that the entry was deleted, nor who was reading it."""
    command = Effects((Command((name, b"k", b"1-0"), b":1\r\n"),))

    assert settled([Part(CHECKED, 0, [K], True), Part(command, 0, [K], False)]) == [CHECKED, copied(K)]
    assert settled([Part(command, 0, [K], False), Part(CHECKED, 0, [K], True)]) == [command, CHECKED]


def test_command_without_known_keys_stays() -> None:
    """``FLUSHALL`` needs nothing that was there."""
    parts = [Part(copied(K), 0, [K], False), Part(CHECKED, 0, None, False)]

    assert settled(parts) == [copied(K), CHECKED]
