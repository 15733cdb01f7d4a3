"""Accepting clients on plain sockets (the hot path's sockets are not trio's)."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

from dualkv.errors import ConfigError

__all__ = ["accept_clients", "open_listeners"]

_ACCEPT_CAPACITY_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""No room for another socket: wait, and try again (as ``trio.serve_listeners`` does)."""
_CAPACITY_SLEEP_SECONDS: Final = 0.1
_BACKLOG: Final = 1024

_log = logging.getLogger("dualkv.listener")


async def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of *host* (empty: all interfaces).

    Args:
        host: Name or address.
        port: Port; 0 takes a free one, the same for all addresses.

    Raises:
        ConfigError: The port is in use, or the host has no such address.
    """
    listeners: list[socket.socket] = []
    try:
        for listener in await trio.open_tcp_listeners(port, host=host or None, backlog=_BACKLOG):
            if port == 0 and listeners:
                await listener.aclose()  # a second family would get another port
                continue
            sock = socket.socket(fileno=listener.socket.detach())
            sock.setblocking(False)
            listeners.append(sock)
    except (OSError, UnicodeError) as error:
        for sock in listeners:
            sock.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from None
    return listeners


async def accept_clients(listener: socket.socket, start: Callable[[socket.socket], None]) -> None:
    """Accept connections until cancelled.

    Args:
        listener: Listening and non-blocking; stays the caller's.
        start: Gets each accepted socket, non-blocking and without delay, and owns it from then on.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(64):
                sock, _address = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                start(sock)
        except BlockingIOError:
            continue
        except ConnectionError:
            continue  # gone before it was accepted
        except OSError as error:
            if error.errno not in _ACCEPT_CAPACITY_ERRNOS:
                raise
            _log.error("cannot accept", extra={"why": error.strerror})
            await trio.sleep(_CAPACITY_SLEEP_SECONDS)
