"""Listening and accepting on plain sockets (the hot path's sockets are not trio's)."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from dualkv.config.doors import ListenAddress, UnixAddress
from dualkv.errors import ConfigError
from dualkv.net.transport import tune

__all__ = [
    "accept_clients",
    "close_listener",
    "listen_at",
    "open_listeners",
    "open_shared_listeners",
    "open_unix_listener",
]

_ACCEPT_CAPACITY_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""No room for another socket: wait, and try again (as ``trio.serve_listeners`` does)."""
_CAPACITY_SLEEP_SECONDS: Final = 0.1
_BACKLOG: Final = 1024

_log = logging.getLogger("dualkv.listener")


async def listen_at(address: ListenAddress) -> list[socket.socket]:
    """Return listening sockets for an address; close each with `close_listener`.

    Raises:
        ConfigError: It is in use, or cannot be listened on.
    """
    if isinstance(address, UnixAddress):
        return [open_unix_listener(address)]
    return await open_listeners(*address)


def open_shared_listeners(address: ListenAddress, count: int) -> list[list[socket.socket]]:
    """Return listening sockets of one address for each of several processes.

    The kernel spreads connections over them (``SO_REUSEPORT``); of a Unix socket all have the same one.

    Raises:
        ConfigError: It is in use, or cannot be listened on.
    """
    if isinstance(address, UnixAddress):
        return [[open_unix_listener(address)]] * count
    host, port = address
    opened: list[list[socket.socket]] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )  # fmt: skip
        families = {family: where for family, _, _, _, where in found}
        if port == 0:  # a second family would get another port
            families = dict([next(iter(families.items()))])
        for _ in range(count):
            opened.append([])
            for family, where in families.items():
                taken = opened[0][0].getsockname()[1] if port == 0 and opened[0] else port
                opened[-1].append(_reusing(family, (where[0], taken, *where[2:])))
    except (OSError, UnicodeError) as error:
        for listener in (one for listeners in opened for one in listeners):
            listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from None
    return opened


def _reusing(family: int, where: tuple[object, ...]) -> socket.socket:
    """Return a socket that listens where others may listen, too."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def close_listener(listener: socket.socket) -> None:
    """Close a listening socket, and remove its file if it is a Unix socket. Doing it twice does no harm."""
    with listener:
        if listener.fileno() >= 0 and listener.family == socket.AF_UNIX:
            Path(listener.getsockname()).unlink(missing_ok=True)


def open_unix_listener(address: UnixAddress) -> socket.socket:
    """Return a socket that listens on a file, which has its mode from the first moment on.

    A file that a process left behind that is no more is removed; anything else in its place is refused.

    Raises:
        ConfigError: Somebody listens there, something else is there, or the path cannot be used.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(address.path)
        before = os.umask(0o777 & ~address.mode)
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on unix://{address.path}: {error.strerror or error}") from None
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket's file that nobody listens on.

    Raises:
        OSError: Somebody does, or it is no socket.
    """
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass  # its queue is full: somebody is there
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


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


async def accept_clients(
    listener: socket.socket,
    start: Callable[[socket.socket], None],
    keepalive_seconds: float = 60,
    user_timeout_seconds: float = 0,
) -> None:
    """Accept connections until cancelled.

    Args:
        listener: Listening and non-blocking; stays the caller's.
        start: Gets each accepted socket, non-blocking and without delay, and owns it from then on.
        keepalive_seconds: As `tune` takes it.
        user_timeout_seconds: As `tune` takes it.
    """
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(64):
                sock, _address = listener.accept()
                sock.setblocking(False)
                try:
                    tune(sock, keepalive_seconds, user_timeout_seconds)
                except OSError:  # gone already
                    sock.close()
                    continue
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
