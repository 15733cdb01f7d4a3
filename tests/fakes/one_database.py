"""A store that says OK to each ``SELECT`` and keeps all keys in one place; else it is the Redis behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from dualkv.resp import encode
from dualkv.resp.replies import ReplySplitter
from dualkv.resp.requests import RequestParser

__all__ = ["one_database"]

_MANY_BYTES = 65536


@asynccontextmanager
async def one_database(store_port: int) -> AsyncIterator[str]:
    """Run it before the store on *store_port* for the block; its address is given."""

    async def serve(client: trio.SocketStream) -> None:
        store = await trio.open_tcp_stream("127.0.0.1", store_port)
        requests, replies = RequestParser(), ReplySplitter()
        async with client, store:
            try:
                async for data in client:
                    for request in requests.feed(bytes(data)):
                        if request.args[0].upper() == b"SELECT":
                            await client.send_all(encode.OK)
                            continue
                        await store.send_all(request.raw)
                        frames: list[bytes] = []
                        while not frames:
                            frames = replies.feed(bytes(await store.receive_some(_MANY_BYTES)))
                        await client.send_all(frames[0])
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel("the block is over")
