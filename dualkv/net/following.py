"""A connection that stays subscribed to what somebody wants: the I/O of `dualkv.core.subscribing`.

One task writes and one reads. A server that says nothing is asked, and given up if it does not answer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import trio

from dualkv.config import BackendOptions
from dualkv.core.subscribing import Confirmed, Delivered, Refused, Subscribing
from dualkv.errors import ConnectionLost
from dualkv.net.transport import receive_some, send_all
from dualkv.resp.replies import ReplySplitter

__all__ = ["Follower", "Said"]

Said = Delivered | Confirmed | Refused

_PINGS_PER_TIMEOUT: Final = 3


class Follower:
    """Talks on a socket, which stays the caller's.

    Args:
        sock: Connected, non-blocking, RESP2.
        options: The server's timeouts: it may be silent for ``read_timeout_seconds``.
        talk: What is said.
        on_said: Called with whatever the server says.
    """

    def __init__(
        self, sock: socket.socket, options: BackendOptions, talk: Subscribing, on_said: Callable[[Said], None]
    ) -> None:
        self._sock = sock
        self._options = options
        self._talk = talk
        self._on_said = on_said
        self._has_work = trio.Event()

    def wake(self) -> None:
        """There may be something to say."""
        self._has_work.set()

    async def run(self) -> None:
        """Talk until cancelled.

        Raises:
            ExceptionGroup: With `ConnectionLost` or `ReplyProtocolError`: the connection is of no use now.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            await self._read()

    async def _write(self) -> None:
        pause = self._options.read_timeout_seconds / _PINGS_PER_TIMEOUT
        next_ping = trio.current_time() + pause
        while True:
            self._has_work = trio.Event()
            request, confirmed = self._talk.next_request()
            for one in confirmed:
                self._on_said(one)
            if trio.current_time() >= next_ping:
                next_ping = trio.current_time() + pause
                request += self._talk.ping()
            try:
                with trio.fail_after(self._options.write_timeout_seconds):  # noqa: ASYNC912 - waits if it must
                    await send_all(self._sock, request)
            except trio.TooSlowError:
                raise ConnectionLost("it takes no requests") from None
            except OSError as error:
                raise ConnectionLost(str(error)) from None
            if self._talk.has_work:
                self.wake()
            with trio.move_on_at(next_ping):
                await self._has_work.wait()

    async def _read(self) -> None:
        splitter = ReplySplitter()
        while True:
            try:
                with trio.fail_after(self._options.read_timeout_seconds):
                    await trio.lowlevel.wait_readable(self._sock)
                data = receive_some(self._sock)
            except trio.TooSlowError:
                raise ConnectionLost(f"silent for {self._options.read_timeout_seconds:g} s") from None
            except OSError as error:
                raise ConnectionLost(str(error)) from None
            if data == b"":
                raise ConnectionLost("the backend closed the connection")
            for frame in splitter.feed(data or b""):
                said = self._talk.take(frame)
                if said is not None:
                    self._on_said(said)
            if self._talk.has_work:
                self.wake()
