"""What stands for keys, values and times."""

from __future__ import annotations

import random

import pytest

from dualkv.resp import encode
from dualkv.torture.words import KEY_LETTERS, Memory, Words

NOW_MS = 1_700_000_000_000


def new_words(seed: int = 1, memory: Memory | None = None) -> Words:
    """Return words at a fixed time of day."""
    return Words(random.Random(seed), lambda: NOW_MS, memory or Memory())


@pytest.mark.parametrize("word", KEY_LETTERS)
def test_keys_have_the_letter_of_their_type_mostly(word: str) -> None:
    """So most commands find what they want; a few do not. Few keys are hot, many cold."""
    words = new_words()
    keys = [words.draw(word).decode() for _ in range(2000)]
    fitting = [key for key in keys if key.startswith(KEY_LETTERS[word] + ":")]

    assert 0.95 < len(fitting) / len(keys) < 1
    assert sum("c" in key for key in keys) > 600
    assert len({key for key in keys if "c" not in key}) <= 3 * len(KEY_LETTERS)


def test_a_like_key_has_the_type_of_the_one_before() -> None:
    """RENAME and COPY then leave a key that fits its name."""
    words = new_words()
    same = sum(words.draw("hash")[:1] == words.draw("like")[:1] for _ in range(500))

    assert same > 450


@pytest.mark.parametrize(
    ("word", "lowest", "highest"),
    [
        ("short_ms", 100, 1500),
        ("soon", NOW_MS + 100, NOW_MS + 1500),
        ("past", NOW_MS - 100_000, NOW_MS - 1),
        ("later_seconds", NOW_MS // 1000 + 200, NOW_MS // 1000 + 9000),
        ("db", 0, 2),
    ],
)
def test_times_and_numbers_keep_their_range(word: str, lowest: int, highest: int) -> None:
    """What is short expires during a run; what is long does not."""
    words = new_words()

    assert all(lowest <= int(words.draw(word)) <= highest for _ in range(500))


def test_values_are_of_many_kinds() -> None:
    """Empty, long, binary, with line ends."""
    words = new_words()
    values = [words.draw("value") for _ in range(2000)]

    assert b"" in values
    assert any(len(value) > 2000 for value in values)
    assert any(b"\r\n" in value for value in values)


def test_ids_and_payloads_come_from_replies() -> None:
    """Without any there is a stand-in."""
    memory = Memory()
    words = new_words(memory=memory)
    words.key = b"x:1"
    assert words.draw("id") == b"1-1"
    memory.learn((b"XADD", b"x:1", b"*", b"f", b"v"), encode.bulk("17-3"))
    assert words.draw("id") == b"17-3"

    words.key = b"h:9"
    assert words.draw("payload") == b"no payload"
    memory.learn((b"DUMP", b"h:1"), encode.bulk(b"dumped"))
    assert words.draw("payload") == b"dumped"
    memory.learn((b"FUNCTION", b"DUMP"), encode.bulk(b"libraries"))
    assert words.draw("library_dump") == b"libraries"


def test_replies_without_content_teach_nothing() -> None:
    """A nil is no payload, an error no id."""
    memory = Memory()
    memory.learn((b"DUMP", b"h:1"), encode.null(2))
    memory.learn((b"XADD", b"x:1", b"*", b"f", b"v"), encode.error("ERR no"))

    words = new_words(memory=memory)
    words.key = b"h:1"
    assert words.draw("payload") == b"no payload"


def test_a_hash_fits_its_script() -> None:
    """EVALSHA finds what EVAL has loaded."""
    assert new_words().draw("sha:bump") == b"8cd00688c05c46bde4a2e60658ef20a2e5c0b248"


def test_an_unknown_word_is_an_error() -> None:
    """A typing error in a template shows up."""
    with pytest.raises(KeyError):
        new_words().draw("nonsense")
