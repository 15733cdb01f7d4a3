"""What is said on a connection that follows what somebody wants to be subscribed to. RESP2, no I/O.

There is no queue of requests: what is to be said is the difference between what is wanted and what was asked
for. So it is bounded by the number of names, however slow the server is and however fast wishes change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

import attrs

from dualkv.core.subscriptions import MESSAGE_WORDS, Kind
from dualkv.errors import ReplyProtocolError
from dualkv.resp.encode import command
from dualkv.resp.replies import elements_of, is_error, value_of

__all__ = ["Confirmed", "Delivered", "Name", "Refused", "Subscribing"]

MAX_QUESTIONS: Final = 1024
"""Requests that may wait for an answer."""

Name = tuple[Kind, bytes]
"""What can be subscribed to."""

_PING: Final = command("PING")


@attrs.frozen
class Delivered:
    """A message has come."""

    name: Name
    elements: list[bytes] = attrs.field(repr=False)
    """The message's, as raw frames; channel and payload are the last."""


@attrs.frozen
class Confirmed:
    """From here on messages to this name are delivered."""

    name: Name


@attrs.frozen
class Refused:
    """The server does not take a request."""

    name: Name
    error: bytes
    """Its raw reply."""


@attrs.define(eq=False)
class _Asked:
    """A subscription on the connection."""

    is_confirmed: bool = False


@attrs.frozen(eq=False)
class _Question:
    """A request that has not been answered."""

    name: Name
    asked: _Asked | None
    """What it subscribes to; None: it unsubscribes."""

    @property
    def words(self) -> tuple[bytes, bytes]:
        """The request; its answer begins with the same."""
        kind, name = self.name
        return kind.value + (b"unsubscribe" if self.asked is None else b"subscribe"), name


class Subscribing:
    """One connection's side of the talk.

    Args:
        is_wanted: Tells whether to be subscribed to a name.
        names: To be looked at first.
    """

    def __init__(self, is_wanted: Callable[[Name], bool], names: Iterable[Name]) -> None:
        self._is_wanted = is_wanted
        self._changed = dict.fromkeys(names)
        """Names for which what is wanted may differ from what was asked for."""
        self._asked: dict[Name, _Asked] = {}
        self._questions: deque[_Question | None] = deque()
        """What has not been answered; None: a PING."""

    def look_at(self, name: Name) -> None:
        """Take note that another thing may be wanted of a name than was."""
        self._changed[name] = None

    @property
    def has_work(self) -> bool:
        """Whether `next_request` may have something to say."""
        return bool(self._changed) and self._has_room

    @property
    def _has_room(self) -> bool:
        return len(self._questions) < MAX_QUESTIONS

    def next_request(self) -> tuple[bytes, list[Confirmed]]:
        """Return what to send now, and what is confirmed already since nobody came to unsubscribe from it.

        While it `has_work` there may be more.
        """
        wires: list[bytes] = []
        confirmed: list[Confirmed] = []
        for name in [*islice(self._changed, MAX_QUESTIONS)]:
            if not self._has_room:
                break
            del self._changed[name]
            asked = self._asked.get(name)
            if not self._is_wanted(name):
                if asked is not None:
                    del self._asked[name]
                    wires.append(self._question(_Question(name, None)))
            elif asked is None:
                self._asked[name] = asked = _Asked()
                wires.append(self._question(_Question(name, asked)))
            elif asked.is_confirmed:
                confirmed.append(Confirmed(name))
        return b"".join(wires), confirmed

    def _question(self, question: _Question) -> bytes:
        self._questions.append(question)
        return command(*question.words)

    def ping(self) -> bytes:
        """Return a request that must be answered; empty while so many have not been that one more is idle."""
        if not self._has_room:
            return b""
        self._questions.append(None)
        return _PING

    def take(self, frame: bytes) -> Delivered | Confirmed | Refused | None:
        """Return what a frame of the server says; None if it says nothing new.

        Raises:
            ReplyProtocolError: It answers nothing that was asked. The connection cannot be trusted any more.
        """
        elements = elements_of(frame) if frame[:1] in b"*>" else []
        word, name = [*map(_word, elements[:2]), b"", b""][:2]
        kind = MESSAGE_WORDS.get(word)
        if kind is not None and len(elements) == (4 if kind is Kind.PATTERN else 3):
            return Delivered((kind, name), elements)
        if not self._questions:
            raise ReplyProtocolError(f"unasked: {frame[:64]!r}")
        question = self._questions.popleft()
        if question is None:
            return None
        if is_error(frame):
            return Refused(question.name, frame)
        if (word, name) != question.words:
            raise ReplyProtocolError(f"no answer to what was asked: {frame[:64]!r}")
        asked = question.asked
        if asked is None or self._asked.get(question.name) is not asked:
            return None  # meanwhile something else was asked for
        asked.is_confirmed = True
        return Confirmed(question.name)


def _word(frame: bytes) -> bytes:
    """Return a string; empty if it is none."""
    value = value_of(frame) if frame[:1] == b"$" else b""
    return value if isinstance(value, bytes) else b""
