"""A store that is asked directly, past the lane and the stream: by one task at a time, now and then."""

from __future__ import annotations

import attrs
import trio

from dualkv.errors import ConnectionLost
from dualkv.net.backend import Backend
from dualkv.net.connection import Connection

__all__ = ["DirectStore"]


@attrs.define(eq=False)
class DirectStore:
    """A backend, and a connection to it for as long as that lasts. Whoever made it calls `close`.

    Args:
        backend: Whom to ask; its `run` must be running.
        use: What for, as metrics show the connection.
    """

    backend: Backend
    _use: str
    _connection: Connection | None = attrs.field(init=False, default=None)

    async def ask(self, wire: bytes, reply_count: int) -> list[bytes]:
        """Return the raw replies to what is sent; connect before that if necessary.

        Raises:
            BackendUnavailable: It cannot be reached.
            ConnectionLost: It hung up, or did not answer within its ``read_timeout_seconds``.
            ReplyProtocolError: What it answers is not RESP.
        """
        if self._connection is not None and self._connection.is_stale():
            self.close(lost=True)
        if self._connection is None:
            self._connection = Connection(*await self.backend.open(self._use))
        patience = self.backend.options.read_timeout_seconds
        is_whole = False
        try:
            with trio.fail_after(patience):
                replies = await self._connection.exchange(wire, reply_count)
            is_whole = True
        except trio.TooSlowError:
            raise ConnectionLost(f"{self.backend.options.address}: no answer in {patience:g} s") from None
        finally:
            if not is_whole:  # a reply may be unread
                self.close(lost=True)
        return replies

    def close(self, *, lost: bool = False) -> None:
        """Close the connection, if there is one; *lost*: it broke."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self.backend.closed(self._use, lost=lost)
