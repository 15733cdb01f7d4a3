"""A TCP relay before a store: the replies of a single connection can be held back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from dualkv.resp.requests import RequestParser
from tests.support.fake_backend import Gate

__all__ = ["Relay", "Relayed", "relay_to"]

_MANY_BYTES = 65536


@attrs.define(eq=False)
class Relayed:
    """One connection through the relay."""

    requests: list[tuple[bytes, ...]] = attrs.field(factory=list)
    """What was passed on to the store."""
    replies: Gate = attrs.field(factory=Gate)
    """Holds what the store answers."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled: it breaks."""


@attrs.define(eq=False)
class Relay:
    """Where it listens, and what goes through it."""

    address: str
    connections: list[Relayed] = attrs.field(factory=list)

    def on_which(self, name: str) -> Relayed:
        """Return the one connection whose last request was the command called *name*."""
        (found,) = self.on_any(name)
        return found

    def on_any(self, name: str) -> list[Relayed]:
        """Return those."""
        return [one for one in self.connections if one.requests and one.requests[-1][0] == name.encode()]


@asynccontextmanager
async def relay_to(store_port: int) -> AsyncIterator[Relay]:
    """Run a relay before the store on *store_port* for the block."""

    async def serve(client: trio.SocketStream) -> None:
        store = await trio.open_tcp_stream("127.0.0.1", store_port)
        relayed = Relayed()
        relay.connections.append(relayed)
        try:
            async with client, store:
                with relayed.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_pass_replies, relayed, store, client)
                        await _pass_requests(relayed, client, store)
                        nursery.cancel_scope.cancel("the client has gone")
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            relay.connections.remove(relayed)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        relay = Relay(f"127.0.0.1:{listener.socket.getsockname()[1]}")
        await nursery.start(trio.serve_listeners, serve, [listener])
        try:
            yield relay
        finally:
            nursery.cancel_scope.cancel("the block is over")


async def _pass_requests(relayed: Relayed, client: trio.SocketStream, store: trio.SocketStream) -> None:
    parser = RequestParser()
    async for data in client:
        relayed.requests += [request.args for request in parser.feed(bytes(data))]
        await store.send_all(data)


async def _pass_replies(relayed: Relayed, store: trio.SocketStream, client: trio.SocketStream) -> None:
    while data := await store.receive_some(_MANY_BYTES):
        await relayed.replies.wait()
        await client.send_all(data)
