"""One client of a node: its commands are executed one after the other, pipelined or not."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from dualkv.errors import RequestProtocolError
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser
from tests.fakes.elastickv import replies
from tests.fakes.elastickv.commands import COMMANDS, HARMFUL, Args, name_of
from tests.fakes.elastickv.options import objection
from tests.fakes.elastickv.pace import Turn
from tests.fakes.elastickv.scripts import Refusal, read_script
from tests.fakes.elastickv.transactions import Transaction
from tests.fakes.elastickv.work import Work, plain_work, read_work, script_work, transaction_work

if TYPE_CHECKING:
    from tests.fakes.elastickv.node import Node

__all__ = ["Session"]

_ALLOWED = "only PING / SUBSCRIBE / QUIT are allowed"


class Session:
    """A connection from a client to *node*. `run` owns the stream and closes it."""

    def __init__(self, node: Node, stream: trio.SocketStream, number: int) -> None:
        self._node = node
        self._cluster = node.cluster
        self._stream = stream
        self._number = number
        self._parser = RequestParser()
        self._pending: deque[Args] = deque()
        self._unsent = bytearray()
        self._turn = Turn()
        self._name: bytes | None = None
        self._transaction = Transaction()
        self._channels: set[bytes] = set()
        self._pushes, self._pushed = trio.open_memory_channel[bytes](1_000_000)
        self._is_over = False
        self._is_reset = False
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None

    def reset(self) -> None:
        """Break the connection, without a goodbye."""
        self._is_reset = True
        self._scope.cancel("the node is dead")

    def push(self, frame: bytes) -> None:
        """Send what was not asked for."""
        self._pushes.send_nowait(frame)

    async def run(self) -> None:
        """Serve until either side ends it."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self._converse()
                    nursery.cancel_scope.cancel("the session is over")
        finally:
            self._close()

    def _close(self) -> None:
        if self._is_reset:
            linger = struct.pack("ii", 1, 0)
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._stream.socket.close()
        if self._channels:
            self._cluster.channels.unsubscribe(self, self._channels)
            if self._node.is_alive and self._cluster.is_open:
                self._cluster.note_harm("the end of a connection that had subscribed", self._node)

    async def _converse(self) -> None:
        while not self._is_over:
            if not self._pending and not await self._receive():
                return
            while self._pending and not self._is_over:
                reply = await self._answer(self._pending.popleft())
                if reply is None:
                    self._is_reset = True
                    return
                self._unsent += reply
            await self._flush()

    async def _receive(self) -> bool:
        """Take what arrives; return whether the client is still there."""
        data = await self._stream.receive_some(65536)
        if not self._pending:
            self._turn.at = max(self._turn.at, trio.current_time())
        try:
            self._pending += [request.args for request in self._parser.feed(bytes(data))]
        except RequestProtocolError as error:
            self._unsent += encode.error(str(error))
            await self._flush()
            return False
        return bool(data)

    async def _flush(self) -> None:
        if self._unsent:
            data, self._unsent = self._unsent, bytearray()
            await self._stream.send_all(data)

    async def _unless_gone(self, operation: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """Do something that may take for ever; give it up when the client goes, and return None."""
        await self._flush()
        reply: bytes | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            reply = await operation()
            nursery.cancel_scope.cancel("it is done")
        return reply

    async def _watch(self, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await self._receive():
                pass
        scope.cancel("the client has gone")

    # --- commands

    async def _answer(self, args: Args) -> bytes | None:
        """Return the reply to one command; None: there will be none, the connection is cut."""
        name = name_of(args)
        self._node.received[name] += 1
        self._cluster.received[name] += 1
        if self._channels:
            return self._answer_subscribed(name, args)
        if name in HARMFUL:
            self._cluster.note_harm(name, self._node, is_fatal=not self._transaction.is_open)
            if not self._node.is_alive:
                return None
        if self._transaction.is_open and name not in ("MULTI", "EXEC", "DISCARD", "QUIT"):
            return self._transaction.queue(args)
        refusal = objection(args)
        if refusal is not None:
            return encode.error(refusal)
        if COMMANDS[name].flag == "admin":
            return await self._administer(name, args)
        return await self._delegate(name, args)

    async def _administer(self, name: str, args: Args) -> bytes | None:
        is_leader = self._cluster.leader is self._node
        match name:
            case "PING":
                return encode.bulk(args[1]) if len(args) > 1 else encode.PONG
            case "HELLO":
                return replies.hello(args, self._number, is_leader=is_leader)
            case "INFO":
                return replies.info(self._cluster.advertised_leader, is_leader=is_leader)
            case "COMMAND":
                return replies.about_commands(args)
            case "SELECT":
                return replies.select(args)
            case "CLIENT":
                return self._about_client(args)
            case "MULTI":
                return self._transaction.begin()
            case "DISCARD":
                return self._transaction.discard()
            case "EXEC":
                return await self._execute()
            case "PUBLISH":
                return self._cluster.refusal() or self._cluster.channels.publish(args[1], args[2])
            case "PUBSUB":
                return self._cluster.channels.about(args)
            case "SUBSCRIBE":
                return self._subscribe(args[1:])
        self._is_over = True  # QUIT
        return encode.OK

    def _about_client(self, args: Args) -> bytes:
        if name_of(args[1:]) == "SETNAME" and len(args) == 3:
            self._name = args[2]
            return encode.OK
        return replies.about_client(args, self._number, self._name)

    async def _delegate(self, name: str, args: Args) -> bytes | None:
        """Have the leader do it, wherever that is."""
        if name in ("EVAL", "EVALSHA"):
            most = self._cluster.pipeline.pace.max_transaction_effects or 0
            try:
                script = read_script(name, args, (self._cluster.leader or self._node).scripts)
            except Refusal as refusal:
                return self._cluster.refusal() or encode.error(str(refusal))
            return await self._perform(script_work(name, script, most))
        if name == "BZPOPMIN" or (name == "XREAD" and _option(args, b"BLOCK")):
            return await self._unless_gone(lambda: self._cluster.wait_for(name, args))
        if name == "XREAD":
            return await self._read_streams(args)
        return await self._perform(plain_work(args))

    async def _perform(self, work: Work) -> bytes | None:
        if work.is_write:
            await self._flush()
        reply = await self._cluster.perform(self._node, work, self._turn)
        if reply == b"":
            return await self._unless_gone(_never)
        return reply

    async def _read_streams(self, args: Args) -> bytes | None:
        """Read streams without waiting: one that is missing is waited for all the same."""
        position = _option(args, b"STREAMS")
        if not position:
            return await self._perform(plain_work(args))
        reply = await self._cluster.perform(self._node, read_work(args, position), self._turn)
        if reply != b"":
            return reply
        waiting = (*args[:position], b"BLOCK", b"0", *args[position:])
        return await self._unless_gone(lambda: self._cluster.wait_for("XREAD", waiting))

    async def _execute(self) -> bytes | None:
        if not self._transaction.is_open:
            return encode.error("ERR EXEC without MULTI")
        try:
            queue = self._transaction.take()
        except Refusal as refusal:
            return self._cluster.refusal() or encode.error(str(refusal))
        return await self._perform(transaction_work(queue))

    # --- Pub/Sub

    def _answer_subscribed(self, name: str, args: Args) -> bytes:
        if name == "PING":
            self.push(encode.array([encode.bulk("pong"), encode.bulk(args[1] if len(args) > 1 else b"")]))
        elif name == "SUBSCRIBE" and len(args) > 1:
            self._subscribe(args[1:])
        elif name == "QUIT":
            self._is_over = True
            return encode.OK
        else:
            self.push(encode.error(f"ERR Can't execute '{name.lower()}': {_ALLOWED} in this context"))
        return b""

    def _subscribe(self, channels: Args) -> bytes:
        assert self._nursery is not None
        if not self._channels:
            self._nursery.start_soon(self._send_pushes)
        for channel in channels:
            self._channels.add(channel)
            self._cluster.channels.subscribe(self, channel)
            count = encode.integer(len(self._channels))
            self.push(encode.array([encode.bulk("subscribe"), encode.bulk(channel), count]))
        return b""

    async def _send_pushes(self) -> None:
        await self._flush()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for frame in self._pushed:
                await self._stream.send_all(frame)


async def _never() -> None:
    await trio.sleep_forever()


def _option(args: Args, word: bytes) -> int:
    """Return where an option of ``XREAD`` is, before the streams; 0: nowhere."""
    for position, argument in enumerate(args):
        if argument.upper() == word:
            return position
        if argument.upper() == b"STREAMS":
            break
    return 0
