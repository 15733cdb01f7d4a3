"""Pub/Sub: whoever publishes, on whichever node, reaches the subscribers of all nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dualkv.core.glob import matches
from dualkv.resp import encode
from tests.fakes.elastickv.commands import Args, name_of

if TYPE_CHECKING:
    from tests.fakes.elastickv.session import Session

__all__ = ["Channels"]


class Channels:
    """Who hears what."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[bytes, set[Session]] = defaultdict(set)

    def subscribe(self, session: Session, channel: bytes) -> None:
        """Let *session* hear what is published on *channel*."""
        self._subscribers[channel].add(session)

    def unsubscribe(self, session: Session, channels: Iterable[bytes]) -> None:
        """Forget a session that has ended."""
        for channel in channels:
            self._subscribers[channel].discard(session)

    def publish(self, channel: bytes, message: bytes) -> bytes:
        """Answer ``PUBLISH``."""
        frame = encode.array(map(encode.bulk, (b"message", channel, message)))
        sessions = self._subscribers[channel]
        for session in sessions:
            session.push(frame)
        return encode.integer(len(sessions))

    def about(self, args: Args) -> bytes:
        """Answer ``PUBSUB``."""
        subcommand = name_of(args[1:])
        if subcommand == "CHANNELS":
            pattern = args[2] if len(args) > 2 else b"*"
            found = sorted(name for name, who in self._subscribers.items() if who and matches(pattern, name))
            return encode.array(map(encode.bulk, found))
        if subcommand == "NUMSUB":
            pairs = ((encode.bulk(name), encode.integer(len(self._subscribers[name]))) for name in args[2:])
            return encode.array(part for pair in pairs for part in pair)
        if subcommand == "NUMPAT":
            return encode.integer(0)
        return encode.error(f"ERR unsupported PUBSUB subcommand '{subcommand}'")
