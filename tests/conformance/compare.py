"""Comparing two recordings of a conversation, and telling the differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from dualkv.resp.replies import elements_of, is_error
from tests.conformance.corpus import Conversation, Kind
from tests.conformance.masks import is_known, is_refusal, masked, masked_exec, shape
from tests.conformance.talk import Turn

__all__ = ["Difference", "differences", "executed", "told"]

_SHOWN: Final = 150
_SHOWN_BEFORE: Final = 40
_QUEUED: Final = b"+QUEUED\r\n"
_EXECABORT: Final = b"-EXECABORT "


@attrs.frozen
class Difference:
    """A command with two replies."""

    conversation: str
    command: str
    direct: bytes
    proxied: bytes


@attrs.define
class _Queue:
    """The commands that a transaction holds, as far as the direct replies tell."""

    names: list[str] = attrs.field(factory=list)
    lacks_refused: bool = False
    """Whether dualkv refused to queue what the server queued: its transaction is broken."""

    def note(self, turn: Turn, *, is_refused: bool = False) -> None:
        """Take note of a turn behind which the transaction goes on or ends."""
        if turn.reply == _QUEUED:
            self.names.append(turn.command.name)
            self.lacks_refused |= is_refused
        elif turn.command.name in ("EXEC", "DISCARD", "RESET"):
            self.names.clear()
            self.lacks_refused = False


def executed(turns: Sequence[Turn]) -> set[str]:
    """Return the names of the commands that were answered with something else than an error."""
    names: set[str] = set()
    queue = _Queue()
    for turn in turns:
        if turn.command.name == "EXEC" and turn.reply[:1] == b"*":
            names.update(
                name
                for name, element in zip(queue.names, elements_of(turn.reply), strict=False)
                if not is_error(element)
            )
        if turn.reply and turn.reply != _QUEUED and not is_error(turn.reply):
            names.add(turn.command.name)
        queue.note(turn)
    return names


def differences(
    conversation: Conversation, direct: Sequence[Turn], proxied: Sequence[Turn]
) -> Iterator[Difference]:
    """Yield where two recordings of *conversation* differ, masks applied."""
    queue = _Queue()
    for one, other in zip(direct, proxied, strict=True):
        name = one.command.name
        is_refused = is_refusal(name, other.reply)
        if not is_refused and not _is_same(conversation.kind, queue, one, other):
            of = f"{one.command.text} of {one.of.text}" if one.of else one.command.text
            if not is_known(conversation.name, of):
                yield Difference(conversation.name, of, one.reply, other.reply)
        queue.note(one, is_refused=is_refused)


def _is_same(kind: Kind, queue: _Queue, one: Turn, other: Turn) -> bool:
    if one.reply == other.reply:
        return True
    name = one.command.name
    if name == "EXEC" and queue.lacks_refused:
        return other.reply.startswith(_EXECABORT)
    if kind is Kind.UNSTABLE:
        return shape(one.reply) == shape(other.reply)
    if name == "EXEC":
        return masked_exec(queue.names, one.reply) == masked_exec(queue.names, other.reply)
    return masked(name, one.reply) == masked(name, other.reply)


def told(found: Sequence[Difference]) -> str:
    """Return differences as text, by conversation."""
    lines: list[str] = []
    conversation = None
    for difference in found:
        if difference.conversation != conversation:
            conversation = difference.conversation
            lines.append(f"  {conversation}")
        direct, proxied = _excerpts(difference.direct, difference.proxied)
        lines += [f"    {difference.command[:_SHOWN]}", f"      direct  {direct}", f"      proxied {proxied}"]
    return "\n".join(lines)


def _excerpts(one: bytes, other: bytes) -> tuple[str, str]:
    """Return both as text, from a little before they differ."""
    common = next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
    start = max(0, common - _SHOWN_BEFORE)
    return _excerpt(one, start), _excerpt(other, start)


def _excerpt(reply: bytes, start: int) -> str:
    text = repr(reply[start : start + _SHOWN])[2:-1]
    return ("…" if start else "") + text + ("…" if len(reply) > start + _SHOWN else "")
