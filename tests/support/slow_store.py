"""A store that needs some time for each command of a connection, and serves many connections at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from dualkv.core.dialect.separation import KEY_PREFIX
from dualkv.resp import encode
from dualkv.resp.requests import RequestParser

__all__ = ["SlowStore", "slow_store"]


@attrs.define(eq=False)
class SlowStore:
    """Where it listens, and what it has been told."""

    address: str
    seconds: float
    """For each command."""
    log: list[tuple[bytes, ...]] = attrs.field(factory=list)
    """Writes in the order in which they were executed."""

    async def serve(self, client: trio.SocketStream) -> None:
        """Serve one connection."""
        parser = RequestParser()
        free_at = 0.0
        try:
            while data := await client.receive_some(65536):
                now = trio.current_time()
                free_at = max(free_at, now)
                for request in parser.feed(data):
                    reply = _INTRODUCTION.get(request.args[0].upper())
                    if request.args[1:] and request.args[1].startswith(KEY_PREFIX):
                        reply = encode.OK
                    if reply is None:
                        # Counted, and not slept: the mean is right however inexactly the system sleeps.
                        free_at += self.seconds
                        await trio.sleep_until(free_at)
                        self.log.append(request.args)
                        reply = encode.OK
                    await client.send_all(reply)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


_INTRODUCTION = {
    b"HELLO": encode.error("ERR unknown command"),
    b"INFO": encode.bulk("redis_version:7.0.0\r\nrun_id:slow\r\n"),
    b"COMMAND": encode.error("ERR no"),
    b"CONFIG": encode.error("ERR no"),
    b"SELECT": encode.error("ERR no"),
    b"CLIENT": encode.OK,
}


@asynccontextmanager
async def slow_store(seconds: float) -> AsyncIterator[SlowStore]:
    """Run one for the block.

    Args:
        seconds: What a command takes.
    """
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        store = SlowStore(f"127.0.0.1:{port}", seconds)
        await nursery.start(trio.serve_listeners, store.serve, listeners)
        try:
            yield store
        finally:
            nursery.cancel_scope.cancel("the store is closed")
