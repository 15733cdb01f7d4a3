"""The last operations of a key."""

from __future__ import annotations

from dualkv.torture.history import History, Operation, shown


def operation(number: int, *args: bytes, reply: bytes | None = b"+OK\r\n", within: str = "") -> Operation:
    """Return an operation of client 3 in database 1."""
    return Operation(number, 1.0, 1.5, 3, 1, args, reply, within)


def test_the_newest_operations_of_each_key_are_kept() -> None:
    """A command is remembered with every key that it names."""
    history = History(per_key=2)
    for number in range(3):
        history.record(operation(number, b"SET", b"a", b"%d" % number))
    history.record(operation(3, b"MSET", b"a", b"1", b"b", b"2"))

    assert [one.number for one in history.of(b"a")] == [2, 3]
    assert [one.number for one in history.of(b"b")] == [3]
    assert history.of(b"c") == []


def test_what_touches_all_keys_is_told_with_each() -> None:
    """As long as it is not older than the key's own operations."""
    history = History(per_key=5)
    history.record(operation(1, b"FLUSHALL"))
    history.record(operation(2, b"SET", b"a", b"1"))
    history.record(operation(3, b"FLUSHDB"))

    assert [one.number for one in history.of(b"a")] == [2, 3]


def test_what_happened_to_a_value_before_it_came_is_told() -> None:
    """Of the key that it was copied or moved from, up to that moment."""
    history = History(per_key=5)
    history.record(operation(1, b"SET", b"a", b"1"))
    history.record(operation(2, b"RENAME", b"a", b"b"))
    history.record(operation(3, b"SET", b"a", b"2"))

    assert [one.number for one in history.of(b"b")] == [1, 2]
    assert [one.number for one in history.of(b"a")] == [1, 2, 3]


def test_commands_whose_keys_are_hard_to_tell_are_kept_with_some() -> None:
    """The first and the last argument are keys there."""
    history = History(per_key=5)
    history.record(operation(1, b"SORT", b"a", b"STORE", b"b"))
    history.record(operation(2, b"MOVE", b"a", b"1"))
    history.record(operation(3, b"SCRIPT", b"LOAD", b"a"))

    assert [one.number for one in history.of(b"a")] == [1, 2]
    assert [one.number for one in history.of(b"b")] == [1]


def test_an_operation_reads_like_a_log() -> None:
    """Number, time, client, database, command and reply; long values are cut."""
    told = str(operation(7, b"SET", b"a", b"x" * 100, within="EXEC"))

    assert told.startswith("#7 1.000-1.500s client 3 db 1 EXEC SET a 'xxx")
    assert "'… (100 bytes) -> '+OK" in told
    assert str(operation(8, b"GET", b"a:1", reply=None)).endswith("GET 'a:1' -> no reply")


def test_values_are_shown_without_surprises() -> None:
    """Whatever bytes they are."""
    assert shown(b"a'\r\n\xff") == '"a\'\\r\\n\\xff"'
