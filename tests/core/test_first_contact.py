"""The first write to a key shows whether the other store had it."""

from __future__ import annotations

import pytest

from dualkv.core.effects.model import Command
from dualkv.core.first_contact import FirstContacts
from dualkv.resp import encode

KEY = (0, b"k")


@pytest.mark.parametrize(
    ("name", "counter"), [("HSET", b"HLEN"), ("SADD", b"SCARD"), ("ZINCRBY", b"ZCARD"), ("XADD", b"XLEN")]
)
def test_elements_are_counted_behind_the_first_write(name: str, counter: bytes) -> None:
    """The other store must have as many; afterwards nobody asks again."""
    contacts = FirstContacts()

    assert contacts.question(name, KEY) == (counter, b"k")
    assert contacts.check(name, KEY, encode.integer(7)) == Command((counter, b"k"), encode.integer(7))
    assert contacts.question(name, KEY) is None
    assert not contacts.is_first(name, KEY)


@pytest.mark.parametrize("name", ["APPEND", "SETBIT", "PFADD"])
def test_what_no_count_tells_is_copied(name: str) -> None:
    """A string of the same length can be another one."""
    contacts = FirstContacts()

    assert contacts.is_first(name, KEY)
    assert contacts.question(name, KEY) is None
    assert contacts.check(name, KEY, None) is None
    assert not contacts.is_first(name, KEY)


@pytest.mark.parametrize("answer", [None, encode.error("ERR no")])
def test_key_is_copied_if_nobody_could_count(answer: bytes | None) -> None:
    """No answer is not a good one."""
    assert FirstContacts().check("HSET", KEY, answer) is None


@pytest.mark.parametrize("name", ["SET", "INCR", "LPUSH", "DEL", "EXPIRE", "SREM"])
def test_effects_that_heal_or_check_need_no_help(name: str) -> None:
    """They say all there is, or answer a length."""
    assert not FirstContacts().is_first(name, KEY)


def test_nothing_is_new_once_all_keys_were_copied() -> None:
    """After a resync the other store has them."""
    assert not FirstContacts(lambda: True).is_first("HSET", KEY)


def test_everything_is_new_when_it_is_forgotten() -> None:
    """A store that was emptied has nothing."""
    contacts = FirstContacts()
    contacts.note(KEY)
    contacts.clear()

    assert contacts.is_first("HSET", KEY)
