"""The real store behind the cluster: one pipelined connection, and one more per blocked client."""

from __future__ import annotations

from collections import deque
from typing import Final, Self

import attrs
import trio

from dualkv.resp import encode
from dualkv.resp.replies import ReplySplitter
from tests.fakes.elastickv.scripts import RUNNER

__all__ = ["Engine"]

_LOAD: Final = encode.command("SCRIPT", "LOAD", RUNNER)


@attrs.define(eq=False)
class _Exchange:
    missing: int
    replies: list[bytes] = attrs.field(factory=list)
    is_over: trio.Event = attrs.field(factory=trio.Event)


class Engine:
    """The connection that carries what the leader applies, in order. `connect` makes one; then `run` it."""

    def __init__(self, stream: trio.SocketStream, port: int) -> None:
        self._stream = stream
        self._port = port
        self._unsent = bytearray()
        self._has_work = trio.Event()
        self._exchanges: deque[_Exchange] = deque()

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Connect, and leave the script there that runs others."""
        engine = cls(await trio.open_tcp_stream("127.0.0.1", port), port)
        engine.post(_LOAD, 1)
        return engine

    async def run(self) -> None:
        """Carry what is asked until cancelled. The store's end is an error: it should not have gone."""
        async with self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self._receive)

    def post(self, requests: bytes, reply_count: int) -> _Exchange:
        """Have commands executed behind those before, whether somebody waits or not."""
        exchange = _Exchange(reply_count)
        self._exchanges.append(exchange)
        self._unsent += requests
        self._has_work.set()
        return exchange

    async def ask(self, requests: bytes, reply_count: int) -> list[bytes]:
        """Execute commands; return their raw replies. If cancelled, they are executed all the same."""
        exchange = self.post(requests, reply_count)
        await exchange.is_over.wait()
        if exchange.replies[0].startswith(b"-NOSCRIPT"):  # a test has emptied the store, scripts and all
            self.post(_LOAD, 1)
            return await self.ask(requests, reply_count)
        return exchange.replies

    async def ask_apart(self, request: bytes) -> bytes:
        """Execute one command on a connection of its own; return its raw reply. If cancelled, it hangs up."""
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            await stream.send_all(request)
            splitter = ReplySplitter()
            while True:
                data = await stream.receive_some(65536)
                if not data:
                    raise RuntimeError("the store behind the cluster has gone")
                if frames := splitter.feed(bytes(data)):
                    return frames[0]

    async def _send(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            data, self._unsent = self._unsent, bytearray()
            await self._stream.send_all(data)

    async def _receive(self) -> None:
        splitter = ReplySplitter()
        while True:
            data = await self._stream.receive_some(262144)
            if not data:
                raise RuntimeError("the store behind the cluster has gone")
            for frame in splitter.feed(bytes(data)):
                exchange = self._exchanges[0]
                exchange.replies.append(frame)
                exchange.missing -= 1
                if not exchange.missing:
                    self._exchanges.popleft()
                    exchange.is_over.set()
