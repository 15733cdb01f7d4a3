"""A backend that does as a test tells it, right or wrong, and writes down what it was told.

    async with running_fake(answer=echo) as fake:
        fake.replies.shut()
        ...
        assert fake.last.commands == [(b"SET", b"k", b"v")]

A connection begins with its introduction: up to the first ``HELLO 2``, and the questions that mirroring asks
behind it (``INFO``, ``COMMAND``). What follows are its commands. Plain attributes and the gates may be
changed while it runs.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from dualkv.core.dialect import LEARNING, canary
from dualkv.core.dialect.separation import KEY_PREFIX
from dualkv.core.identity import IDENTIFYING
from dualkv.errors import RequestProtocolError
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser

__all__ = ["Answer", "FakeBackend", "FakeConnection", "Gate", "echo", "ok", "running_fake"]

Args = tuple[bytes, ...]
Answer = Callable[[Args], bytes | None]
"""From a command to the bytes that answer it: garbage, no reply (``b""``) or several; None: close."""


def ok(_: Args) -> bytes:
    """Answer every command with OK."""
    return encode.OK


def echo(args: Args) -> bytes:
    """Answer every command with its last argument, so that replies can be told apart."""
    return encode.bulk(args[-1])


class Gate:
    """Lets through while it is open."""

    def __init__(self) -> None:
        self._is_open = trio.Event()
        self.open()

    def open(self) -> None:
        """Let everything through from now on."""
        self._is_open.set()

    def shut(self) -> None:
        """Hold what comes from now on."""
        self._is_open = trio.Event()

    async def wait(self) -> None:
        """Return when it is open."""
        await self._is_open.wait()


@attrs.define(eq=False)
class FakeConnection:
    """One accepted connection: what it was told, and a hand to misbehave with."""

    _socket: trio.socket.SocketType
    _stream: trio.abc.Stream
    received: list[Args] = attrs.field(factory=list)
    """All commands, in order."""
    introduction_length: int | None = None
    """How many of them belong to the introduction; None while it goes on."""
    _questions: list[Args] = attrs.field(factory=list)
    """What may still follow ``HELLO 2`` and belong to it."""
    is_gone: trio.Event = attrs.field(factory=trio.Event)
    """Set once it is closed, by whichever side."""
    protocol: int = 2
    is_known: bool = False
    """Whether it has given the password, or there is none."""
    has_hung_up: bool = False
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def introduction(self) -> list[Args]:
        """What it was told to begin with."""
        return self.received[: self.introduction_length]

    @property
    def commands(self) -> list[Args]:
        """What it was told behind the introduction, but for ``TIME``, which is asked now and then."""
        if self.introduction_length is None:
            return []
        return [args for args in self.received[self.introduction_length :] if args != (b"TIME",)]

    def open_questions(self) -> None:
        """From now on, the questions of mirroring belong to the introduction, if they come at once."""
        self._questions = [*LEARNING, *IDENTIFYING, *canary(0, b"")]

    def is_question(self, args: Args) -> bool:
        """Whether what has just been received belongs to the introduction."""
        if args[1:] and args[1].startswith(KEY_PREFIX):
            args = (args[0], KEY_PREFIX, *args[2:])
        if not self._questions or args != self._questions[0]:
            self._questions = []
            return False
        del self._questions[0]
        assert self.introduction_length is not None
        self.introduction_length += 1
        return True

    async def send(self, data: bytes) -> None:
        """Send bytes, asked for or not."""
        async with self._sending:
            await self._stream.send_all(data)

    def reset(self) -> None:
        """Break it, without a goodbye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def hang_up(self) -> None:
        """Take note of nothing more and send nothing more; what has been sent still arrives."""
        self.has_hung_up = True
        self._socket.shutdown(socket.SHUT_WR)


class FakeBackend:
    """A server on loopback; `running_fake` makes one.

    Args:
        answer: What it answers to commands behind the introduction.
        speaks: RESP versions that its ``HELLO`` takes; none: it does not know the command.
        password: What ``AUTH`` demands, if anything.
        username: The only user, if not ``default``.
        tls: How to speak TLS, if it does.
        path: Where its Unix socket is; None: TCP on a free port.
    """

    def __init__(
        self,
        answer: Answer = ok,
        *,
        speaks: tuple[int, ...] = (2, 3),
        password: str | None = None,
        username: str = "default",
        tls: ssl.SSLContext | None = None,
        path: Path | None = None,
    ) -> None:
        self.answer = answer
        self.speaks = speaks
        self.password = password
        self.username = username
        self.close_after: int | None = None
        """Close a connection when it has answered so many commands; once."""
        self.is_mute = False
        """It reads, and answers nothing at all, not even the introduction."""
        self.hangs_up_at_once = False
        """It closes each new connection before it has read anything."""
        self.introduction_answer: Answer | None = None
        """What it answers to introductions instead of the right thing."""
        self.accepts = Gate()
        """Holds new connections: they are made, and nothing is read from them."""
        self.reads = Gate()
        """Holds the reading of commands; introductions are read."""
        self.replies = Gate()
        """Holds replies to commands; introductions are answered."""
        self.tells: dict[Args, bytes] = {}
        """What it tells of itself; errors to all other questions."""
        self.connections: list[FakeConnection] = []
        self._tls = tls
        self._path = path
        family = socket.AF_INET if path is None else socket.AF_UNIX
        self._listener = trio.socket.socket(family, socket.SOCK_STREAM)

    async def bind(self) -> None:
        """Take the address; connecting to it is refused until `listen`."""
        await self._listener.bind(("127.0.0.1", 0) if self._path is None else str(self._path))

    @property
    def port(self) -> int:
        """Its TCP port."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """Where it is, as settings write it."""
        if self._path is not None:
            return f"unix://{self._path}"
        return f"{'rediss://localhost' if self._tls else '127.0.0.1'}:{self.port}"

    @property
    def last(self) -> FakeConnection:
        """The newest connection."""
        return self.connections[-1]

    @property
    def commands(self) -> list[Args]:
        """The commands of all connections, one connection after the other."""
        return [args for connection in self.connections for args in connection.commands]

    def listen(self) -> None:
        """Take connections from now on."""
        self._listener.listen()

    async def serve(self) -> None:
        """Accept and serve until cancelled; `listen` must have been called."""
        async with trio.open_nursery() as nursery:
            while True:
                accepted, _ = await self._listener.accept()
                nursery.start_soon(self._serve_one, accepted)
                await self.accepts.wait()

    def close(self) -> None:
        """Give the address back."""
        self._listener.close()

    async def _serve_one(self, accepted: trio.socket.SocketType) -> None:
        stream: trio.abc.Stream = trio.SocketStream(accepted)
        if self._tls is not None:
            stream = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        connection = FakeConnection(accepted, stream, is_known=self.password is None)
        self.connections.append(connection)
        try:
            async with stream:
                await self.accepts.wait()
                if not self.hangs_up_at_once:
                    await self._converse(connection, stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side, or the test, has closed it
        finally:
            connection.is_gone.set()

    async def _converse(self, connection: FakeConnection, stream: trio.abc.Stream) -> None:
        """Read and answer; replies that are held do not hold the reading."""
        send, receive = trio.open_memory_channel[bytes | None](100_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_replies, connection, receive)
            parser = RequestParser()
            with send:
                while True:
                    data = await stream.receive_some(65536)
                    if connection.introduction_length is not None:
                        await self.reads.wait()
                    if not data:
                        break
                    try:
                        requests = parser.feed(bytes(data))
                    except RequestProtocolError:
                        break
                    for request in requests:
                        if connection.has_hung_up:
                            break
                        connection.received.append(request.args)
                        reply = self._reply(connection, request.args)
                        send.send_nowait(reply)
                        connection.has_hung_up = reply is None
            nursery.cancel_scope.cancel("the connection is closed")

    async def _send_replies(
        self,
        connection: FakeConnection,
        replies: trio.MemoryReceiveChannel[bytes | None],
    ) -> None:
        """Send what has been answered, in as few pieces as possible."""
        answered = 0
        async for reply in replies:
            pieces = [reply]
            answered += 1
            if answered > (connection.introduction_length or 0):
                await self.replies.wait()
            while None not in pieces:
                try:
                    pieces.append(replies.receive_nowait())
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
                answered += 1
            data = b"".join([piece for piece in pieces if piece is not None])
            if data:
                await connection.send(data)
            if None in pieces:
                return connection.hang_up()

    def _reply(self, connection: FakeConnection, args: Args) -> bytes | None:
        if self.is_mute:
            return b""
        if connection.introduction_length is None:
            if args == (b"HELLO", b"2"):
                connection.introduction_length = len(connection.received)
                connection.open_questions()
            if self.introduction_answer is not None:
                return self.introduction_answer(args)
            return self._introduce(connection, args)
        if connection.is_question(args):
            return (
                self._introduce(connection, args)
                if self.introduction_answer is None
                else self.introduction_answer(args)
            )
        if args[0] == b"HELLO":
            return self._introduce(connection, args)
        if self.close_after is not None and len(connection.commands) > self.close_after:
            self.close_after = None
            return None
        return self.answer(args)

    def _introduce(self, connection: FakeConnection, args: Args) -> bytes:
        if args[0] == b"AUTH":
            credentials = tuple(arg.decode() for arg in args[1:])
            if self.password is None:
                return encode.error("ERR AUTH <password> called without any password configured")
            if ("default", *credentials)[-2:] != (self.username, self.password):
                return encode.error("WRONGPASS invalid username-password pair or user is disabled.")
            connection.is_known = True
        elif not connection.is_known:
            return encode.error("NOAUTH Authentication required.")
        elif args[0] == b"HELLO":
            if not self.speaks:
                return encode.error("ERR unknown command 'HELLO'")
            if int(args[1]) not in self.speaks:
                return encode.error("NOPROTO unsupported protocol version")
            connection.protocol = int(args[1])
            facts = {"server": encode.bulk("fake"), "proto": encode.integer(connection.protocol)}
            return encode.mapping({**facts, "id": encode.integer(7)}, connection.protocol)
        elif args[0] in (b"INFO", b"COMMAND"):
            return self.tells.get(args, encode.error("NOPERM not told"))
        return encode.OK


@asynccontextmanager
async def running_fake(
    answer: Answer = ok,
    *,
    speaks: tuple[int, ...] = (2, 3),
    password: str | None = None,
    username: str = "default",
    tls: ssl.SSLContext | None = None,
    path: Path | None = None,
    is_listening: trio.Event | None = None,
) -> AsyncIterator[FakeBackend]:
    """Run a `FakeBackend` for the block.

    Args:
        answer: See `FakeBackend`, as for the others.
        speaks: RESP versions.
        password: What ``AUTH`` demands.
        username: Who has that password.
        tls: How to speak TLS.
        path: Where its Unix socket is.
        is_listening: Refuse connections until this is set.
    """
    fake = FakeBackend(answer, speaks=speaks, password=password, username=username, tls=tls, path=path)
    await fake.bind()
    try:
        async with trio.open_nursery() as nursery:
            if is_listening is None:
                fake.listen()
            nursery.start_soon(_serve_when, fake, is_listening)
            try:
                yield fake
            finally:
                nursery.cancel_scope.cancel("the test is over")
    finally:
        fake.close()


async def _serve_when(fake: FakeBackend, is_listening: trio.Event | None) -> None:
    if is_listening is not None:
        await is_listening.wait()
        fake.listen()
    await fake.serve()
