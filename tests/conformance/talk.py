"""Having a conversation: what is sent, in which pieces, and what comes back, as it comes."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from dualkv.errors import ReplyProtocolError
from dualkv.resp.encode import command as encoded
from dualkv.resp.replies import ReplySplitter
from tests.conformance.corpus import Command, Conversation, Kind
from tests.conformance.masks import REFUSED, is_refusal

__all__ = ["Turn", "Variant", "Way", "listen", "suits", "talk", "variants_of"]

CLOSED: Final = b"<closed>"
NOTHING: Final = b"<nothing>"

_REPLY_SECONDS: Final = 5.0
"""Longer than any command waits."""
_FIRST_SECONDS: Final = 0.3
"""How long to wait for the first byte of what may have no reply at all."""
_QUIET_SECONDS: Final = 0.05
"""How long nothing comes when everything has come."""


class Way(enum.Enum):
    """In which pieces a conversation is sent."""

    ONE_BY_ONE = "one-by-one"
    PIPELINED = "pipelined"
    IN_MULTI = "in-multi"
    """Each command in a transaction of its own."""


@attrs.frozen
class Variant:
    """A way to have a conversation."""

    protocol: int
    way: Way

    def __str__(self) -> str:
        return f"resp{self.protocol}-{self.way.value}"


def variants_of(kind: Kind) -> list[Variant]:
    """Return the ways in which conversations of this kind can be had."""
    ways = list(Way) if kind is Kind.ORDINARY else [Way.ONE_BY_ONE]
    return [Variant(protocol, way) for protocol in (2, 3) for way in ways]


_NOT_IN_MULTI: Final = frozenset(
    {"MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "HELLO", "AUTH", "RESET", "QUIT", "CLIENT REPLY"}
)


def suits(conversation: Conversation, way: Way) -> bool:
    """Whether a conversation makes sense in this way: those with transactions are not wrapped in others."""
    return way is not Way.IN_MULTI or not any(
        command.name in _NOT_IN_MULTI for command in conversation.commands
    )


@attrs.frozen
class Turn:
    """A command and its reply."""

    command: Command
    reply: bytes
    """Raw, with the pushes before it; `CLOSED` or `NOTHING` if there is none."""
    of: Command | None = None
    """The command that this MULTI or EXEC was added for."""


_MULTI: Final = Command.of("MULTI")
_EXEC: Final = Command.of("EXEC")
_Planned = tuple[Command, Command | None]


def _batches(conversation: Conversation, variant: Variant) -> list[list[_Planned]]:
    """Return what is written at once; a pipeline ends behind a command that the harness may have to mend."""
    batches: list[list[_Planned]] = [[(Command.of("HELLO", "3"), None)]] if variant.protocol == 3 else []
    batch: list[_Planned] = []
    for command in conversation.commands:
        if variant.way is Way.IN_MULTI:
            batch = [(_MULTI, command), (command, None), (_EXEC, command)]
        else:
            batch.append((command, None))
        if variant.way is not Way.PIPELINED or command.name in REFUSED:
            batches.append(batch)
            batch = []
    return [*batches, batch] if batch else batches


class _Connection:
    """A connection that takes what comes: also silence, an early end, or rubbish."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._splitter = ReplySplitter()
        self._frames: list[bytes] = []
        self._end = b""
        """Why there will be no more replies; empty: there may be."""

    async def send(self, commands: Sequence[Command]) -> None:
        try:
            await self._stream.send_all(b"".join(encoded(*command.args) for command in commands))
        except trio.BrokenResourceError:
            self._end = self._end or CLOSED

    async def receive(self) -> bytes:
        """Return the next piece, empty at the end."""
        try:
            return bytes(await self._stream.receive_some())
        except trio.BrokenResourceError:
            return b""

    async def reply(self) -> bytes:
        """Return the next reply; once there was none, there is none any more."""
        pushes = b""
        while True:
            frame = await self._frame()
            if frame[:1] != b">":
                return pushes + frame
            pushes += frame

    async def _frame(self) -> bytes:
        while not self._frames:
            if self._end:
                await trio.lowlevel.checkpoint()
                return self._end
            data = None
            with trio.move_on_after(_REPLY_SECONDS):
                data = await self.receive()
            if not data:
                self._end = NOTHING if data is None else CLOSED
                continue
            try:
                self._frames += self._splitter.feed(data)
            except ReplyProtocolError:
                self._end = b"<not RESP: %b>" % data
        return self._frames.pop(0)


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[_Connection]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        yield _Connection(stream)


async def talk(
    port: int,
    conversation: Conversation,
    variant: Variant,
    do_refused: Callable[[Command], Awaitable[object]] | None = None,
) -> list[Turn]:
    """Have a conversation in which each command has one reply.

    Args:
        port: Whom to talk to.
        conversation: What to say.
        variant: How.
        do_refused: Called with each command that dualkv refused.
    """
    turns: list[Turn] = []
    async with _connected(port) as connection:
        for batch in _batches(conversation, variant):
            await connection.send([command for command, _ in batch])
            for command, of in batch:
                reply = await connection.reply()
                if do_refused is not None and is_refusal(command.name, reply):
                    await do_refused(command)
                turns.append(Turn(command, reply, of))
        if conversation.commands[-1].name == "QUIT":
            turns.append(Turn(conversation.commands[-1], await connection.reply()))
    return turns


async def listen(
    port: int, conversation: Conversation, protocol: int, expected: Sequence[Turn] = ()
) -> list[Turn]:
    """Have a conversation in which a command may have any number of replies.

    Args:
        port: Whom to talk to.
        conversation: What to say, one by one.
        protocol: The RESP version.
        expected: What the other side has answered: so many frames are waited for longer.
    """
    turns: list[Turn] = []
    async with _connected(port) as connection:
        for number, [(command, _)] in enumerate(_batches(conversation, Variant(protocol, Way.ONE_BY_ONE))):
            await connection.send([command])
            awaited = _count_frames(expected[number].reply) if expected else None
            turns.append(Turn(command, await _hear(connection, awaited)))
    return turns


def _count_frames(heard: bytes) -> int:
    """Return how many frames were heard; the length would tell less: ids and times differ in length."""
    return len(ReplySplitter().feed(heard.removesuffix(CLOSED))) + heard.endswith(CLOSED)


async def _hear(connection: _Connection, awaited: int | None) -> bytes:
    """Return what comes until it is quiet.

    Args:
        connection: Where it comes from.
        awaited: So many frames are waited for longer; None: at least one, for a while.
    """
    heard = b""
    while not heard.endswith(CLOSED):
        patience = _QUIET_SECONDS
        if awaited is None and not heard:
            patience = _FIRST_SECONDS
        elif awaited is not None and _count_frames(heard) < awaited:
            patience = _REPLY_SECONDS
        data = None
        with trio.move_on_after(patience):
            data = await connection.receive()
        if data is None:
            break
        heard += data or CLOSED
    return heard
