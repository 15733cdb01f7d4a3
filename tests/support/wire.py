"""A blocking Redis client that sees raw frames, for tests without an event loop."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter, value_of

__all__ = ["Wire"]

_PATIENCE_SECONDS = 20.0

Args = Sequence[bytes | str | int]


class Wire:
    """One connection. Use it as a context manager, or call `close`.

    Args:
        port: Of a server on this machine.
        protocol: The RESP version.
    """

    def __init__(self, port: int, protocol: int = 2) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        self._splitter = ReplySplitter()
        if protocol == 3:
            self.call("HELLO", 3)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, *args: bytes | str | int) -> bytes:
        """Send one command; return its raw reply."""
        return self.pipeline([args])[0]

    def ask(self, *args: bytes | str | int) -> Any:
        """Send one command; return the value of its reply."""
        return value_of(self.call(*args))

    def pipeline(self, commands: Sequence[Args]) -> list[bytes]:
        """Send commands in one piece; return their raw replies."""
        self.send(*commands)
        return self.receive(len(commands))

    def send(self, *commands: Args) -> None:
        """Send commands, and do not wait."""
        self._socket.sendall(b"".join(command(*args) for args in commands))

    def is_answered(self) -> bool:
        """Whether something can be received."""
        return bool(select.select([self._socket], [], [], 0.001)[0])

    def receive(self, count: int) -> list[bytes]:
        """Return the next *count* raw replies."""
        frames: list[bytes] = []
        while len(frames) < count:
            data = self._socket.recv(65536)
            assert data, f"closed after {frames!r}"
            frames += self._splitter.feed(data)
        return frames
