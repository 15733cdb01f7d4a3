"""A TCP proxy before one store, through which dualkv reaches it: it does what networks and sick stores do.

It counts requests and replies, so that it can answer in the store's place without mixing up the order. In a
transaction it behaves as Redis does: what was refused makes EXEC fail as a whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import attrs
import trio

from dualkv.commands.table import find_command
from dualkv.errors import ReplyProtocolError, RequestProtocolError
from dualkv.resp.encode import EXECABORT, command
from dualkv.resp.replies import ReplySplitter
from dualkv.resp.requests import Request, RequestParser

__all__ = ["REFUSALS", "Behaviour", "Link"]

_GARBAGE: Final = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    bytes(range(256)),
    b"+OK\r\n" * 50,
    b"$99999999999\r\n",
)


@attrs.frozen
class Behaviour:
    """What a link does to all its connections. Without anything set: it passes everything on."""

    delay_seconds: float = 0.0
    """Replies come so much later."""
    is_silent: bool = False
    """Nothing passes either way until the behaviour ends; then everything does."""
    is_closed: bool = False
    """New connections are closed at once."""
    garbles: bool = False
    """Replies are something else."""
    refuses: Callable[[Request], bytes | None] | None = None
    """Returns the error that is answered to a request instead of executing it, if any."""


_PASS: Final = Behaviour()


def _refusing(error: bytes, is_refused: Callable[[frozenset[str], str], bool]) -> Behaviour:
    def refuse(request: Request) -> bytes | None:
        spec = find_command(*request.args[:2])
        return error if is_refused(spec.flags, spec.kind) else None

    return Behaviour(refuses=refuse)


REFUSALS: Final = {
    "busy": _refusing(
        b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
        lambda flags, _: "allow_busy" not in flags,
    ),
    "loading": _refusing(
        b"-LOADING Redis is loading the dataset in memory\r\n", lambda flags, _: "loading" not in flags
    ),
    "oom": _refusing(
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        lambda flags, kind: "denyoom" in flags or kind == "script",
    ),
    "readonly": _refusing(
        b"-READONLY You can't write against a read only replica.\r\n",
        lambda _, kind: kind in ("write", "script"),
    ),
}
"""How a store refuses, by name."""


@attrs.define(eq=False)
class _Conversation:
    """One connection through the link."""

    client: trio.SocketStream
    store: trio.SocketStream
    owed: int = 0
    """Requests that the store has not answered yet."""
    replies: int = 0
    unwanted: int = 0
    """Its next replies that are not the client's."""
    answered: trio.Event = attrs.field(factory=trio.Event)
    """Set, and replaced, when the store has answered something."""
    is_in_multi: bool = False
    is_spoiled: bool = False
    """Whether something in the transaction was refused."""
    cut: str = ""
    """``request`` or ``reply``: ends in the middle of the next one."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled: both connections end."""


class Link:
    """Use `run` in a nursery; it listens on a free loopback port.

    Args:
        host: The store's host.
        port: The store's port.
        rng: Decides where a connection is cut.
    """

    def __init__(self, host: str, port: int, rng: random.Random) -> None:
        self._target = (host, port)
        self._rng = rng
        self._conversations: set[_Conversation] = set()
        self._behaviour = _PASS
        self._changed = trio.Event()
        self.port = 0
        """Where it listens, once `run` has started."""

    def behave(self, behaviour: Behaviour = _PASS) -> None:
        """Do something else from now on."""
        self._behaviour = behaviour
        self._changed.set()
        self._changed = trio.Event()
        if behaviour.is_closed:
            for conversation in self._conversations:
                conversation.scope.cancel("the link is closed")

    def cut(self, min_replies: int = 0) -> int:
        """Let connections end in the middle of their next request or reply; return how many.

        Args:
            min_replies: Only those that have brought so many replies: then the store counts as reachable.
        """
        chosen = [talk for talk in self._conversations if not talk.cut and talk.replies >= min_replies]
        for talk in chosen:
            talk.cut = self._rng.choice(("request", "reply", "reply"))
        return len(chosen)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pass on until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._serve, listeners)
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        """Pass one connection on."""
        if self._behaviour.is_closed:
            return
        try:
            store = await trio.open_tcp_stream(*self._target)
        except OSError:
            return
        async with store:
            conversation = _Conversation(client, store)
            self._conversations.add(conversation)
            try:
                with conversation.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._pass_requests, conversation)
                        nursery.start_soon(self._pass_replies, conversation)
            finally:
                self._conversations.discard(conversation)

    async def _while_silent(self) -> None:
        while self._behaviour.is_silent:
            await self._changed.wait()

    # --- towards the store

    async def _pass_requests(self, talk: _Conversation) -> None:
        parser = RequestParser()
        try:
            while data := bytes(await talk.client.receive_some()):
                await self._while_silent()
                if talk.cut == "request":
                    await talk.store.send_all(data[: self._rng.randrange(len(data))])
                    break
                await self._pass(talk, parser.feed(data))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, RequestProtocolError):
            pass
        talk.scope.cancel("no more requests")

    async def _pass(self, talk: _Conversation, requests: list[Request]) -> None:
        """Send requests to the store, but for those that are refused."""
        if self._behaviour.refuses is None and not talk.is_spoiled:
            talk.owed += len(requests)
            for request in requests:
                self._follow_transaction(talk, request)
            await talk.store.send_all(b"".join([request.raw for request in requests]))
            return
        for request in requests:
            while talk.owed:  # an answer of ours must not overtake the store's
                await talk.answered.wait()
            await self._pass_or_refuse(talk, request)

    async def _pass_or_refuse(self, talk: _Conversation, request: Request) -> None:
        if talk.is_spoiled and request.args[0].upper() == b"EXEC":
            request = Request((b"DISCARD",), command("DISCARD"))
            talk.unwanted += 1
            await talk.client.send_all(EXECABORT)
        refuses = self._behaviour.refuses
        refusal = refuses(request) if refuses is not None else None
        if refusal is not None:
            talk.is_spoiled = talk.is_in_multi
            await talk.client.send_all(refusal)
            return
        self._follow_transaction(talk, request)
        talk.owed += 1
        await talk.store.send_all(request.raw)

    @staticmethod
    def _follow_transaction(talk: _Conversation, request: Request) -> None:
        name = request.args[0].upper()
        if name == b"MULTI":
            talk.is_in_multi = True
        elif name in (b"EXEC", b"DISCARD", b"RESET"):
            talk.is_in_multi = talk.is_spoiled = False

    # --- towards the client

    async def _pass_replies(self, talk: _Conversation) -> None:
        splitter = ReplySplitter()
        try:
            while data := bytes(await talk.store.receive_some()):
                if self._behaviour.delay_seconds:
                    await trio.sleep(self._behaviour.delay_seconds)
                await self._while_silent()
                frames = splitter.feed(data)
                if talk.cut == "reply":
                    wire = b"".join(frames)
                    await talk.client.send_all(
                        wire[: self._rng.choice((0, self._rng.randrange(len(wire) or 1)))]
                    )
                    break
                await self._pass_frames(talk, frames)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ReplyProtocolError):
            pass
        talk.scope.cancel("no more replies")

    async def _pass_frames(self, talk: _Conversation, frames: list[bytes]) -> None:
        wanted = frames[talk.unwanted :]
        if self._behaviour.garbles:
            wanted = [self._rng.choice(_GARBAGE)]
        await talk.client.send_all(b"".join(wanted))
        talk.unwanted = max(0, talk.unwanted - len(frames))
        talk.owed -= len(frames)
        talk.replies += len(frames)
        talk.answered.set()
        talk.answered = trio.Event()
