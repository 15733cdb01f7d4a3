"""Asking over HTTP as anybody may, also in ways in which no library would."""

from __future__ import annotations

import json
from typing import Any

import attrs
import h11
import trio

__all__ = ["Answer", "ask", "ask_raw"]

_PATIENCE_SECONDS = 20.0


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Why it was refused."""
        return str(self.json["error"])


async def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Ask on a connection of its own.

    Args:
        port: On this machine.
        method: Such as ``GET``.
        path: With its query.
        body: Bytes as they are, else as JSON; None: none.
        token: Said if it is not empty.
        headers: Instead of those that are usual, or beside them; an empty one is left out.
    """
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
    if body is not None or method != "GET":
        said |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    if token:
        said["Authorization"] = f"Bearer {token}"
    said |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items() if value)]
    return await ask_raw(port, "\r\n".join([*lines, "", ""]).encode() + data)


async def ask_raw(port: int, data: bytes) -> Answer:
    """Send bytes as they are, and return what comes back before the end."""
    with trio.fail_after(_PATIENCE_SECONDS):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(data)
            return await receive_answer(stream)


async def receive_answer(stream: trio.SocketStream) -> Answer:
    """Return the answer that comes on a connection."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    response: h11.Response | None = None
    body = b""
    while True:  # noqa: ASYNC913 - each round receives, or ends
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None
            found = {name.decode(): value.decode() for name, value in response.headers}
            return Answer(response.status_code, found, body)
        else:
            assert not isinstance(event, h11.ConnectionClosed), "closed without an answer"
