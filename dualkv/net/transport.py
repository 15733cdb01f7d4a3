"""Connected, non-blocking sockets to a backend, after TLS and the handshake.

The hot path needs plain sockets (a ``recv`` of trio costs a checkpoint and a failed first try), so the
waiting is trio's and the reading is ours. A `TlsSocket` fits in: it behaves as a plain one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable, ConfigError, ConnectionLost, ReplyProtocolError
from dualkv.net.tls import client_context, shake_hands, why_refused
from dualkv.resp.encode import command
from dualkv.resp.replies import ReplySplitter, elements_of, is_error, value_of

__all__ = [
    "RECEIVE_BYTES",
    "Greeting",
    "address_of",
    "close_socket",
    "dial",
    "receive_some",
    "send_all",
    "send_some",
    "tune",
]

RECEIVE_BYTES = 65536


@attrs.frozen
class Greeting:
    """What a backend said at connect."""

    hello: dict[int, dict[str, bytes]]
    """By RESP version that it speaks: the fields of its ``HELLO`` reply as raw frames."""
    term: int = 0
    """Which of the backend's moves the connection was made after."""

    @property
    def protocols(self) -> frozenset[int]:
        """The RESP versions that it speaks. RESP2 needs no ``HELLO``."""
        return frozenset({2, *self.hello})


def address_of(ask: Callable[[], Any], ask_other: Callable[[], Any] = lambda: "") -> bytes:
    """Return ``host:port``, for a Unix socket ``path:0`` as Redis does; empty if it is gone.

    Args:
        ask: A socket's ``getpeername`` or ``getsockname``.
        ask_other: The other one, if a client's Unix socket may be meant, which has no name of its own.
    """
    try:
        answer = ask() or ask_other()
    except OSError:
        return b""
    if isinstance(answer, tuple):
        return b"%b:%d" % (answer[0].encode(), answer[1])
    return f"{answer}:0".encode() if answer else b""


def receive_some(sock: socket.socket, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
    """Return what has arrived, ``b""`` at the end, or None if nothing is there.

    Raises:
        OSError: The connection is broken.
    """
    try:
        return sock.recv(max_bytes)
    except BlockingIOError:
        return None


def send_some(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send what there is room for; return how much.

    Raises:
        OSError: The connection is broken.
    """
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all of *data*. If it is cancelled or raises, part of it may have been sent."""
    sent = send_some(sock, data)
    if sent == len(data):
        return
    with memoryview(data) as view:
        while sent < len(data):
            await trio.lowlevel.wait_writable(sock)
            sent += send_some(sock, view[sent:])


def tune(sock: socket.socket, keepalive_seconds: float, user_timeout_seconds: float) -> None:
    """Let a TCP socket send without delay and notice a peer that is gone; a Unix socket needs neither.

    Args:
        sock: Connected.
        keepalive_seconds: Silence after which the peer is probed, three times at a third of it (as Redis
            does); 0: never.
        user_timeout_seconds: How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); 0: as long as
            the system says.

    Raises:
        OSError: It is gone.
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive_seconds:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive_seconds)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(keepalive_seconds / 3)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    if user_timeout_seconds and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(user_timeout_seconds * 1000))


def close_socket(sock: socket.socket) -> None:
    """Close *sock*, and wake the tasks that wait for it."""
    trio.lowlevel.notify_closing(sock)
    sock.close()


def _reason(error: Exception) -> str:
    """Return why connecting failed; trio groups the failures of a name's several addresses."""
    cause = error.__cause__
    while isinstance(cause, ExceptionGroup):
        cause = cause.exceptions[0]
    return getattr(cause or error, "strerror", None) or str(error)


async def dial(options: BackendOptions, client_name: str) -> tuple[socket.socket, Greeting]:
    """Connect to a backend and introduce ourselves.

    Args:
        options: Where it is and who we are. The caller sets the deadline.
        client_name: What the backend's ``CLIENT LIST`` shows for the connection.

    Returns:
        The socket, which the caller owns and which speaks RESP2, and what the backend said.

    Raises:
        BackendUnavailable: It cannot be reached or does not want us.
    """
    try:
        sock = await _connect(options)
    except (OSError, UnicodeError) as error:
        raise BackendUnavailable(f"{options.address}: {_reason(error)}") from None
    try:
        if options.tls:
            sock = await _wrap_tls(sock, options)
        return sock, await _introduce(sock, options, client_name)
    except (OSError, ConfigError, ConnectionLost, ReplyProtocolError) as error:
        sock.close()
        # A store that wants a certificate says so behind the TLS handshake, or just hangs up.
        why = why_refused(error) if options.tls and isinstance(error, OSError) else error
        raise BackendUnavailable(f"{options.address}: {why}") from None
    except BaseException:
        sock.close()
        raise


async def _connect(options: BackendOptions) -> socket.socket:
    if options.unix_path is not None:
        stream = await trio.open_unix_socket(options.unix_path)
    else:
        stream = await trio.open_tcp_stream(options.host, options.port)
    # Take the socket out of trio's wrapper: from here on reading is ours.
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    try:
        tune(sock, options.keepalive_seconds, options.user_timeout_seconds)
    except BaseException:
        sock.close()
        raise
    return sock


async def _wrap_tls(sock: socket.socket, options: BackendOptions) -> socket.socket:
    files = options.tls_files
    wrapped = client_context(files).wrap_socket(
        sock, server_hostname=files.server_name or options.host, do_handshake_on_connect=False
    )
    try:
        await shake_hands(wrapped)
    except OSError as error:
        wrapped.close()
        raise ConnectionLost(why_refused(error, files.ca_setting)) from None
    except BaseException:
        wrapped.close()
        raise
    return wrapped


async def _introduce(sock: socket.socket, options: BackendOptions, client_name: str) -> Greeting:
    requests = [("CLIENT", command("CLIENT", "SETNAME", client_name))]
    if options.db:
        requests.insert(0, ("SELECT", command("SELECT", options.db)))
    if options.password is not None:
        credentials = (options.password,) if not options.username else (options.username, options.password)
        requests.insert(0, ("AUTH", command("AUTH", *credentials)))
    requests += [("HELLO 3", command("HELLO", 3)), ("HELLO 2", command("HELLO", 2))]
    await send_all(sock, b"".join(raw for _, raw in requests))
    splitter = ReplySplitter()
    replies: list[bytes] = []
    while len(replies) < len(requests):
        await trio.lowlevel.wait_readable(sock)
        data = receive_some(sock)
        if data == b"":
            words = "".join(f": {_text(reply)}" for reply in replies[:1] if is_error(reply))
            raise ConnectionLost(f"closed during the handshake{words}")
        replies += splitter.feed(data or b"")
    if len(replies) > len(requests):
        raise ReplyProtocolError("more replies than requests in the handshake")
    by_name = dict(zip((name for name, _ in requests), replies, strict=True))
    for name, reply in by_name.items():
        if is_error(reply) and (name in ("AUTH", "SELECT") or reply.startswith((b"-NOAUTH", b"-NOPERM"))):
            raise BackendUnavailable(f"{options.address}: {name}: {_text(reply)}")
    return Greeting(
        {
            protocol: _fields(reply)
            for protocol in (2, 3)
            if not is_error(reply := by_name[f"HELLO {protocol}"])
        }
    )


def _fields(hello: bytes) -> dict[str, bytes]:
    elements = elements_of(hello)
    names = [value_of(key) for key in elements[::2]]
    if len(elements) % 2 or not all(isinstance(name, bytes) for name in names):
        raise ReplyProtocolError("a HELLO reply that is no map of names")
    return {name.decode(errors="replace"): value for name, value in zip(names, elements[1::2], strict=True)}


def _text(frame: bytes) -> str:
    return frame[1:].decode(errors="replace").strip()
