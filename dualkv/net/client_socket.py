"""A client's socket: bytes leave at once as far as the client reads them, and what does not fit waits here.

A client that reads slowly is not read, either; one that leaves too many bytes unread is disconnected.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import trio

from dualkv.net.hub import ReadinessHandler, ReadinessHub
from dualkv.net.transport import RECEIVE_BYTES, receive_some, send_some

__all__ = ["ClientSocket"]

_SLOW_READER_BYTES: Final = 64 * 1024
"""Unread replies from which on a client is not read."""


class ClientSocket:
    """Sends and receives, and tells the hub what to wait for. It does not close the socket.

    Args:
        sock: Connected, non-blocking.
        hub: Watches it between `register` and `unregister`.
        most_unsent_bytes: A client that has left more unread is lost.
        on_lost: Called with the reason when nothing can be sent or received any more.
    """

    def __init__(
        self, sock: socket.socket, hub: ReadinessHub, most_unsent_bytes: int, on_lost: Callable[[str], None]
    ) -> None:
        self._sock = sock
        self._hub = hub
        self._most_unsent_bytes = most_unsent_bytes
        self._on_lost = on_lost
        self.unsent: list[bytes | memoryview] = []
        """What the client has not read yet."""
        self._unsent_bytes = 0
        self._wants_more = True
        self._interest = (True, False)
        self._is_over = False

    def register(self, client: ReadinessHandler) -> None:
        """Let the hub call *client* when there is something to read, or room to send."""
        self._hub.register(self._sock, client)

    def unregister(self) -> None:
        """Let nobody be called any more, and send nothing."""
        self._is_over = True
        self._hub.unregister(self._sock)

    @property
    def is_slow(self) -> bool:
        """Whether so much is unread that nothing more should be asked for the client."""
        return self._unsent_bytes > _SLOW_READER_BYTES

    def want_more(self, wants: bool) -> None:
        """Say whether more is to be read from the client, if it reads what it gets."""
        self._wants_more = wants
        if not self._is_over:
            self._tell_hub()

    def _tell_hub(self) -> None:
        """Tell the hub what to wait for."""
        interest = (self._wants_more and not self.is_slow, bool(self.unsent))
        if interest != self._interest:
            self._interest = interest
            self._hub.set_interest(self._sock, read=interest[0], write=interest[1])

    def receive(self) -> bytes | None:
        """Return what has arrived; empty: the client has closed its side; None: nothing, or it is lost."""
        try:
            return self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self._on_lost("gone")
            return None

    def send(self, data: bytes) -> None:
        """Send *data*, behind all that has not left yet; nothing after `give_up`."""
        if self._is_over:
            return None
        if self.unsent:
            if self._unsent_bytes > self._most_unsent_bytes:
                return self._on_lost("output limit")
            self.unsent.append(data)
            self._unsent_bytes += len(data)
            return None
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._on_lost("gone")
        if sent < len(data):
            self.unsent.append(memoryview(data)[sent:])
            self._unsent_bytes = len(data) - sent
            self._tell_hub()
        return None

    def give_up(self) -> None:
        """Send nothing more."""
        self._is_over = True

    def send_more(self) -> None:
        """Send what did not fit, as far as there is room now."""
        try:
            while self.unsent:
                data = self.unsent[0]
                sent = send_some(self._sock, data)
                self._unsent_bytes -= sent
                if sent < len(data):
                    self.unsent[0] = memoryview(data)[sent:]
                    break
                del self.unsent[0]
        except OSError:
            self._on_lost("gone")

    def end_input(self) -> None:
        """Take nothing more from the client; what the kernel has got already is still received."""
        try:
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            self._on_lost("gone")

    async def say_goodbye(self) -> None:
        """Read what still comes: closing with unread input would reset the connection."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                if receive_some(self._sock) == b"":
                    return
        except OSError:
            return
