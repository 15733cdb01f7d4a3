"""Serving an ASGI application with Hypercorn's connections, so that nobody who connects can hold us up.

Hypercorn waits without end for a client that does not read what it asked for, and lets nobody cancel that;
and it takes as many connections as come. So the listening is done here, and each connection gets a stream on
which sending has a deadline.
"""

from __future__ import annotations

import logging
import socket
import ssl
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from starlette.types import ASGIApp

__all__ = ["MAX_CONNECTIONS", "serve_http"]

MAX_CONNECTIONS: Final = 512
"""At once; who comes then is disconnected. Each one is a file descriptor that a client could have."""
_UNREAD_SECONDS: Final = 5.0
"""So long a client may not read a piece of what it asked for; then it is disconnected."""
_PIECE_BYTES: Final = 65536

_log = logging.getLogger("dualkv.http")


async def serve_http(
    app: ASGIApp,
    listeners: list[socket.socket],
    tls: ssl.SSLContext | None = None,
    handshake_seconds: float = 5.0,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *app* on *listeners* until cancelled, and close them.

    Args:
        app: What answers.
        listeners: Listening sockets.
        tls: How to speak TLS; None: plain HTTP.
        handshake_seconds: How long a TLS handshake may take.
        task_status: Told when it serves.
    """
    config = Config()
    config.ssl_handshake_timeout = handshake_seconds
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    server = _Server(ASGIWrapper(app), config, tls)  # type: ignore[arg-type] # Starlette's types for the same
    accepting = [
        trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=listener.detach())))
        for listener in listeners
    ]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.serve, accepting)
        task_status.started()


class _Server:
    """What all connections share.

    Args:
        app: What answers.
        config: Hypercorn's settings.
        tls: How to speak TLS; None: plain HTTP.
    """

    def __init__(self, app: AppWrapper, config: Config, tls: ssl.SSLContext | None) -> None:
        self._app = app
        self._config = config
        self._tls = tls
        self._context = WorkerContext(None)
        self._connections = 0

    async def serve(self, transport: trio.SocketStream) -> None:
        """Serve one connection; no error but cancellation leaves this boundary."""
        if self._connections >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(transport)
            return
        self._connections += 1
        try:
            stream: Any = _PatientStream(transport)
            if self._tls is not None:
                stream = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
            state = ConnectionState({})
            await TCPServer(self._app, self._config, self._context, state, stream).run()
        except Exception as error:  # noqa: BLE001 - the boundary of a connection
            _log.error("a connection failed", exc_info=error)
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(transport)


class _PatientStream(trio.abc.HalfCloseableStream):
    """A connection on which sending a piece does not wait longer than `_UNREAD_SECONDS`.

    Args:
        transport: The connection. Who closes this one closes it.
    """

    def __init__(self, transport: trio.SocketStream) -> None:
        self._transport = transport
        self.socket = transport.socket
        """For Hypercorn, which asks it for addresses."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*, or close the connection.

        Raises:
            trio.BrokenResourceError: It was not read, or the connection is broken.
        """
        try:
            for start in range(0, len(data) or 1, _PIECE_BYTES):
                with trio.fail_after(_UNREAD_SECONDS):
                    await self._transport.send_all(data[start : start + _PIECE_BYTES])
        except trio.TooSlowError:
            await trio.aclose_forcefully(self._transport)
            raise trio.BrokenResourceError("what was asked for is not read") from None

    async def wait_send_all_might_not_block(self) -> None:
        """Return when something can be sent."""
        await self._transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return what has come."""
        return await self._transport.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Say that nothing more will be sent."""
        await self._transport.send_eof()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._transport.aclose()
