"""A Redis client that sees raw frames, and can misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter

__all__ = ["Client", "connect"]

PATIENCE_SECONDS = 20.0
"""Longer than anything takes; a test that waits so long has failed."""

Args = Sequence[bytes | str | int]


class Client:
    """One connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._splitter = ReplySplitter()
        self._frames: list[bytes] = []

    async def call(self, *args: bytes | str | int) -> bytes:
        """Send one command; return its raw reply."""
        return (await self.pipeline([args]))[0]

    async def pipeline(self, commands: Sequence[Args]) -> list[bytes]:
        """Send commands in one piece; return their raw replies."""
        await self.send(b"".join(command(*args) for args in commands))
        return await self.receive(len(commands))

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        with trio.fail_after(PATIENCE_SECONDS):
            await self.stream.send_all(data)

    async def receive(self, count: int) -> list[bytes]:
        """Return the next *count* raw frames."""
        with trio.fail_after(PATIENCE_SECONDS):  # noqa: ASYNC912 - frames may be there already
            while len(self._frames) < count:
                data = await self.stream.receive_some()
                assert data, f"closed after {self._frames!r}"
                self._frames += self._splitter.feed(bytes(data))
        frames, self._frames = self._frames[:count], self._frames[count:]
        return frames

    async def receive_until_closed(self) -> bytes:
        """Return everything up to the end."""
        received = b"".join(self._frames)
        with trio.fail_after(PATIENCE_SECONDS):
            while True:  # noqa: ASYNC913 - each round receives
                try:
                    data = await self.stream.receive_some()
                except trio.BrokenResourceError:
                    return received
                if not data:
                    return received
                received += data


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Client]:
    """Connect to a loopback port for the block."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        yield Client(stream)
