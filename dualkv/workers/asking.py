"""HTTP to a worker, over its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from dualkv.admin.control import USER_HEADER

__all__ = ["Answer", "Worker", "WorkerSilent"]

_PATIENCE_SECONDS: Final = 5.0


class WorkerSilent(Exception):
    """A worker does not answer: it is starting, or has died."""


@attrs.frozen
class Answer:
    """What a worker has answered."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> Any:
        """Return the body's value."""
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience_seconds: float) -> None:
        super().__init__("localhost", timeout=patience_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@attrs.define(eq=False)
class Worker:
    """One worker, whichever process it is now."""

    number: int
    path: str
    """Of its socket for us."""
    kill: Callable[[], None] = lambda: None
    """Ends its process at once; another one follows."""

    async def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        patience_seconds: float = _PATIENCE_SECONDS,
        user: str = "",
    ) -> Answer:
        """Return what it answers.

        Args:
            method: As HTTP has it.
            target: Path and query.
            body: Sent as JSON; None: none.
            patience_seconds: How long it may take.
            user: For whom.

        Raises:
            WorkerSilent: It does not.
        """
        return await trio.to_thread.run_sync(
            _ask, self.path, method, target, body, patience_seconds, user, abandon_on_cancel=True
        )


def _ask(path: str, method: str, target: str, body: Any, patience_seconds: float, user: str) -> Answer:
    connection = _UnixConnection(path, patience_seconds)
    data = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, target, data, {"Content-Type": "application/json", USER_HEADER: user})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers.get_content_type(), answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise WorkerSilent(str(error)) from None
    finally:
        connection.close()
