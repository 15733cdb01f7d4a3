"""What dualkv tells clients about itself, as text."""

from __future__ import annotations

import pytest

from dualkv.core.about import HELP, KeyFacts, key_fields, lines_of, status_fields
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import HistoryEntry


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, b""), (True, b"yes"), (False, b"no"), (7, b"7"), (1.5, b"1.5"), (2.0, b"2"),
        (0.12345, b"0.123"),
        ("a:b", b"a:b"), (b"key\r\nmode:fake\x00", b"key\\x0d\\x0amode:fake\\x00"),
        ("refused\nmode:fake", b"refused\\x0amode:fake"), (b"\xff", b"\\xff"), ("größe", "größe".encode()),
    ],
)  # fmt: skip
def test_a_field_is_one_line_whatever_its_value(value: object, shown: bytes) -> None:
    """Nothing that a client has chosen can look like another field."""
    assert lines_of([("field", value)]) == b"field:" + shown + b"\r\n"


def test_a_clean_key_of_a_mode_without_mirroring_is_told_in_few_lines() -> None:
    """What there is nothing to say about is left out."""
    facts = KeyFacts(3, b"k", None, 0, None, 0, None)

    assert dict(key_fields(facts)) == {
        "key": b"k", "db": 3, "mirrored": False, "dirty": False, "being_confirmed": False,
        "history": "not kept in this mode",
    }  # fmt: skip


def test_a_keys_history_is_told_newest_first_without_arguments() -> None:
    """Arguments are values, or keys that nobody has asked for."""
    history = (
        HistoryEntry(9.0, "mset", args=(b"MSET", b"k", b"secret", b"other", b"secret")),
        HistoryEntry.dropped(1.25, "queue_full", (b"SET", b"k", b"secret")),
    )
    facts = KeyFacts(0, b"k", 2, 4, (DirtyReason.DROPPED, 1.25), 3, history)
    told = lines_of(key_fields(facts))

    assert told.decode().splitlines() == [
        "key:k", "db:0", "mirrored:yes", "shard:2 of 4", "dirty:yes", "dirty_reason:dropped",
        "dirty_seconds:1.25", "being_confirmed:yes", "differed_readings:3", "history:2",
        "history_0:1.250 s ago, dropped (queue_full)", "history_1:9.000 s ago, mset",
    ]  # fmt: skip


def test_nothing_is_told_where_nobody_knows_the_status() -> None:
    """A `DualWriter` without a server has none."""
    assert list(status_fields({})) == []


def test_the_help_names_every_subcommand() -> None:
    """An array of lines, as Redis's own HELP."""
    lines = HELP.split(b"\r\n+")

    assert HELP.startswith(b"*%d\r\n" % (len(lines) - 1))
    assert {b"HELP", b"KEY <key>", b"STATUS", b"WHOAMI"} <= set(lines)
