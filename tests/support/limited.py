"""A store that takes only so many writes, or answers so many reads, per second: behind turnstiles."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from dualkv.commands.table import find_command
from dualkv.resp.replies import ReplySplitter
from dualkv.resp.requests import RequestParser

__all__ = ["Turnstile", "limited_store"]

_MANY_BYTES = 65536
_CATCH_UP_SECONDS = 0.1


@attrs.define
class Turnstile:
    """Lets commands through at a rate, those of all connections together."""

    per_second: float
    port: int = 0
    passed: int = 0
    """How many came through."""
    _free_at: float = 0.0

    async def wait(self) -> None:
        """Return when the next one may go."""
        now = trio.current_time()
        # Somebody who was late may catch up a little: else the rate would be lower than it says.
        self._free_at = max(self._free_at, now - _CATCH_UP_SECONDS) + 1 / self.per_second
        self.passed += 1
        await trio.sleep(max(0.0, self._free_at - now))


@asynccontextmanager
async def limited_store(
    store_port: int, writes_per_second: float, reads_per_second: float = math.inf
) -> AsyncIterator[Turnstile]:
    """Run turnstiles before the store on *store_port* for the block; that of the writes is given."""
    turnstile, reading = Turnstile(writes_per_second), Turnstile(reads_per_second)

    async def serve(client: trio.SocketStream) -> None:
        store = await trio.open_tcp_stream("127.0.0.1", store_port)
        requests, replies = RequestParser(), ReplySplitter()
        async with client, store:
            try:
                async for data in client:
                    for request in requests.feed(bytes(data)):
                        kind = find_command(request.args[0]).kind
                        if kind in ("write", "read"):
                            await (turnstile if kind == "write" else reading).wait()
                        await store.send_all(request.raw)
                        frames: list[bytes] = []
                        while not frames:
                            frames = replies.feed(bytes(await store.receive_some(_MANY_BYTES)))
                        await client.send_all(frames[0])
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        turnstile.port = listener.socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield turnstile
        nursery.cancel_scope.cancel("the block is over")
