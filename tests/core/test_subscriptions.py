"""Who is subscribed to what."""

from __future__ import annotations

import pytest

from dualkv.core.subscriptions import Kind, SubscriberBook, Subscriptions, kind_of, push


def test_channels_and_patterns_are_counted_together_and_shards_apart() -> None:
    """The numbers in confirmations are Redis's."""
    subscriptions = Subscriptions()
    confirmations = [
        subscriptions.subscribe(Kind.CHANNEL, b"a"),
        subscriptions.subscribe(Kind.PATTERN, b"p*"),
        subscriptions.subscribe(Kind.CHANNEL, b"a"),
        subscriptions.subscribe(Kind.SHARD, b"s"),
        subscriptions.unsubscribe(Kind.CHANNEL, b"nothing"),
        subscriptions.unsubscribe(Kind.CHANNEL, b"a"),
    ]

    assert [int(confirmation.split(b":")[-1]) for confirmation in confirmations] == [1, 2, 2, 1, 2, 1]
    assert subscriptions.names(Kind.PATTERN) == (b"p*",)
    assert subscriptions


@pytest.mark.parametrize(("protocol", "nil"), [(2, b"$-1\r\n"), (3, b"_\r\n")])
def test_unsubscribing_from_nothing_names_nil(protocol: int, nil: bytes) -> None:
    """Who is subscribed to nothing gets a confirmation without a name."""
    expected = b"*3\r\n$12\r\npunsubscribe\r\n" + nil + b":0\r\n"

    assert expected == Subscriptions().nothing_to_unsubscribe(Kind.PATTERN, protocol)


def test_message_is_a_push_in_resp3() -> None:
    """The same bytes but for the first."""
    assert (push(b"*1\r\n+x\r\n", 2), push(b"*1\r\n+x\r\n", 3)) == (b"*1\r\n+x\r\n", b">1\r\n+x\r\n")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("SUBSCRIBE", (Kind.CHANNEL, True)),
        ("PUNSUBSCRIBE", (Kind.PATTERN, False)),
        ("SSUBSCRIBE", (Kind.SHARD, True)),
    ],
)
def test_command_tells_kind_and_direction(command: str, expected: tuple[Kind, bool]) -> None:
    """Six commands, three kinds."""
    assert expected == kind_of(command)


def test_book_knows_the_first_and_the_last() -> None:
    """Only the last to leave a name ends its subscription at the primary."""
    book: SubscriberBook[str] = SubscriberBook()
    for one in ("x", "y"):
        book.add(Kind.CHANNEL, b"c", one)

    assert book.subscribers(Kind.CHANNEL, b"c") == ("x", "y")
    assert not book.remove(Kind.CHANNEL, b"c", "stranger")
    assert not book.remove(Kind.CHANNEL, b"c", "x")
    assert book.remove(Kind.CHANNEL, b"c", "y")
    assert not book.remove(Kind.CHANNEL, b"c", "y")
    assert not book


def test_surplus_is_what_the_primary_does_not_count() -> None:
    """Of those who share a subscription it sees one: for channels, patterns that match, and shards."""
    book: SubscriberBook[str] = SubscriberBook()
    for one in ("x", "y", "z"):
        book.add(Kind.CHANNEL, b"news", one)
        book.add(Kind.PATTERN, b"n*", one)
    book.add(Kind.PATTERN, b"other*", "x")
    book.add(Kind.SHARD, b"news", "x")

    assert book.surplus(Kind.CHANNEL, b"news") == 2
    assert book.surplus_receivers(Kind.CHANNEL, b"news") == 4
    assert book.surplus_receivers(Kind.CHANNEL, b"unknown") == 0
    assert book.surplus_receivers(Kind.SHARD, b"news") == 0
    assert book.everybody() == {"x", "y", "z"}
