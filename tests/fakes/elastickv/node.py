"""One node: a listening socket and its clients; it can die and come back."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import trio

from tests.fakes.elastickv.session import Session

if TYPE_CHECKING:
    from tests.fakes.elastickv.cluster import Cluster

__all__ = ["Node"]


class Node:
    """A member of the *cluster*. Start it with `listen`."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.port = 0
        """Where it listens, from the first `listen` on; it comes back on the same."""
        self.scripts: dict[bytes, bytes] = {}
        """Bodies that an ``EVAL`` has brought here, by digest."""
        self.received: Counter[str] = Counter()
        """Commands of clients, by upper-case name."""
        self.is_alive = False
        self._sessions: set[Session] = set()
        self._numbers = count(1)
        self._listener: trio.socket.SocketType | None = None

    def __repr__(self) -> str:
        state = "dead" if not self.is_alive else "leader" if self.cluster.leader is self else "follower"
        return f"<Node {self.index} {self.address} {state}, {len(self._sessions)} clients>"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def client_count(self) -> int:
        """How many connections it has."""
        return len(self._sessions)

    async def listen(self, nursery: trio.Nursery) -> None:
        """Begin to accept clients, in *nursery*."""
        listener = trio.socket.socket()
        listener.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        await listener.bind(("127.0.0.1", self.port))
        listener.listen(1024)
        self._listener = listener
        self.port = listener.getsockname()[1]
        self.scripts.clear()
        self.is_alive = True
        nursery.start_soon(self._accept, listener, nursery)

    def die(self) -> None:
        """End as ``kill -9`` would: connections are reset, new ones refused."""
        self.is_alive = False
        assert self._listener is not None
        self._listener.close()
        for session in self._sessions:
            session.reset()

    async def _accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        closed = (trio.ClosedResourceError, OSError)  # the latter if somebody comes in that very moment
        with listener, suppress(*closed):  # when it dies
            while True:
                accepted, _ = await listener.accept()
                session = Session(self, trio.SocketStream(accepted), next(self._numbers))
                self._sessions.add(session)
                nursery.start_soon(self._serve, session)

    async def _serve(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
