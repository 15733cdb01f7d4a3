"""Who is subscribed to what, and the frames that say so.

Subscribers share one connection to the primary: a channel is subscribed there once, however many clients want
it. This module keeps the books; `dualkv.net.pubsub` moves the bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

import attrs

from dualkv.core.glob import matches
from dualkv.resp import encode

__all__ = ["MESSAGE_WORDS", "Kind", "SubscriberBook", "Subscriptions", "kind_of", "push"]

Subscriber = TypeVar("Subscriber")


class Kind(enum.Enum):
    """What can be subscribed to. The value is the first letters of its commands."""

    CHANNEL = b""
    PATTERN = b"p"
    SHARD = b"s"


MESSAGE_WORDS: Final = {kind.value + b"message": kind for kind in Kind}
"""What a message begins with, by kind of subscription."""

_BY_COMMAND: Final = {
    f"{kind.value.decode().upper()}{verb}": (kind, verb == "SUBSCRIBE")
    for kind in Kind
    for verb in ("SUBSCRIBE", "UNSUBSCRIBE")
}


def kind_of(command: str) -> tuple[Kind, bool]:
    """Return what a command (upper case) is about, and whether it subscribes."""
    return _BY_COMMAND[command]


def push(frame: bytes, protocol: int) -> bytes:
    """Return a RESP2 message or confirmation as a client of RESP *protocol* gets it."""
    return b">" + frame[1:] if protocol == 3 else frame


@attrs.define
class Subscriptions:
    """What one client is subscribed to."""

    _names: dict[Kind, dict[bytes, None]] = attrs.field(factory=lambda: {kind: {} for kind in Kind})

    def __bool__(self) -> bool:
        return any(self._names.values())

    def names(self, kind: Kind) -> tuple[bytes, ...]:
        """Return the names of one kind, in the order of subscribing."""
        return tuple(self._names[kind])

    def subscribe(self, kind: Kind, name: bytes) -> bytes:
        """Add a name; return the confirmation as RESP2 writes it."""
        self._names[kind][name] = None
        return self._confirmation(kind, b"subscribe", encode.bulk(name))

    def unsubscribe(self, kind: Kind, name: bytes) -> bytes:
        """Take out a name, if it is there; return the confirmation as RESP2 writes it."""
        self._names[kind].pop(name, None)
        return self._confirmation(kind, b"unsubscribe", encode.bulk(name))

    def nothing_to_unsubscribe(self, kind: Kind, protocol: int) -> bytes:
        """Return the confirmation of an unsubscribing from everything by who is subscribed to nothing."""
        return self._confirmation(kind, b"unsubscribe", encode.null(protocol))

    def count(self, kind: Kind) -> int:
        """Return the number that confirmations of a kind tell: channels and patterns count together."""
        if kind is Kind.SHARD:
            return len(self._names[kind])
        return len(self._names[Kind.CHANNEL]) + len(self._names[Kind.PATTERN])

    def _confirmation(self, kind: Kind, verb: bytes, name: bytes) -> bytes:
        return encode.array([encode.bulk(kind.value + verb), name, encode.integer(self.count(kind))])


class SubscriberBook(Generic[Subscriber]):
    """All subscribers, by what they are subscribed to."""

    def __init__(self) -> None:
        self._by_name: dict[Kind, dict[bytes, dict[Subscriber, None]]] = {kind: {} for kind in Kind}

    def __bool__(self) -> bool:
        return any(self._by_name.values())

    def has(self, kind: Kind, name: bytes) -> bool:
        """Return whether anybody is subscribed to it."""
        return name in self._by_name[kind]

    def add(self, kind: Kind, name: bytes, subscriber: Subscriber) -> None:
        """Enter a subscription."""
        self._by_name[kind].setdefault(name, {})[subscriber] = None

    def remove(self, kind: Kind, name: bytes, subscriber: Subscriber) -> bool:
        """Strike out a subscription; return whether it was the last one to this name."""
        subscribers = self._by_name[kind].get(name)
        if subscribers is None or subscriber not in subscribers:
            return False
        del subscribers[subscriber]
        if not subscribers:
            del self._by_name[kind][name]
        return not subscribers

    def subscribers(self, kind: Kind, name: bytes) -> tuple[Subscriber, ...]:
        """Return who is subscribed to a name."""
        return tuple(self._by_name[kind].get(name, ()))

    def names(self) -> list[tuple[Kind, bytes]]:
        """Return what anybody is subscribed to."""
        return [(kind, name) for kind, names in self._by_name.items() for name in names]

    def everybody(self) -> set[Subscriber]:
        """Return all subscribers, each once."""
        return {
            one for names in self._by_name.values() for subscribers in names.values() for one in subscribers
        }

    def surplus(self, kind: Kind, channel: bytes) -> int:
        """Return how many subscriptions the primary does not see: of those to one name, it sees one."""
        return max(0, len(self._by_name[kind].get(channel, ())) - 1)

    def surplus_receivers(self, kind: Kind, channel: bytes) -> int:
        """Return by how much the primary's count of a message's receivers is too low."""
        surplus = self.surplus(kind, channel)
        if kind is Kind.CHANNEL:
            patterns = self._by_name[Kind.PATTERN]
            surplus += sum(len(patterns[pattern]) - 1 for pattern in _matching(patterns, channel))
        return surplus


def _matching(patterns: Iterable[bytes], channel: bytes) -> list[bytes]:
    return [pattern for pattern in patterns if matches(pattern, channel)]
