"""One connection to a backend that one task uses: send a batch, read its replies."""

from __future__ import annotations

import socket

import trio

from dualkv.errors import ConnectionLost, ReplyProtocolError
from dualkv.net.transport import Greeting, close_socket, receive_some, send_all
from dualkv.resp.replies import ReplySplitter

__all__ = ["Connection"]


class Connection:
    """A request/reply connection without a reader task of its own.

    After any exception or cancellation in `exchange` a reply may be unread: close it, never use it again.
    """

    def __init__(self, sock: socket.socket, greeting: Greeting) -> None:
        self._sock = sock
        self.greeting = greeting
        self._splitter = ReplySplitter()

    async def exchange(self, wire: bytes, reply_count: int) -> list[bytes]:
        """Send *wire* and return the raw frames of its *reply_count* replies.

        Raises:
            ConnectionLost: It broke. Whether the requests were executed is unknown.
            ReplyProtocolError: The backend answered something that is not RESP, or too much.
        """
        try:
            await send_all(self._sock, wire)
            frames: list[bytes] = []
            while len(frames) < reply_count:
                await trio.lowlevel.wait_readable(self._sock)
                data = receive_some(self._sock)
                if data == b"":
                    raise ConnectionLost("the backend closed the connection")
                if data is not None:
                    frames += self._splitter.feed(data)
        except (OSError, trio.ClosedResourceError) as error:
            raise ConnectionLost(str(error)) from None
        if len(frames) > reply_count:
            raise ReplyProtocolError("more replies than requests")
        return frames

    def is_stale(self) -> bool:
        """Whether the backend has closed it, or sent something unasked, while nobody was looking."""
        try:
            return receive_some(self._sock) is not None
        except OSError:
            return True

    def close(self) -> None:
        """Close it; doing it twice does no harm."""
        close_socket(self._sock)
