"""Connected, non-blocking sockets to a backend, after TLS and the handshake.

The hot path needs plain sockets (a ``recv`` of trio costs a checkpoint and a failed first try), so the
waiting is trio's and the reading is ours. An `ssl.SSLSocket` fits in: it is non-blocking too, and says what
it waits for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import attrs
import trio

from dualkv.config import BackendOptions
from dualkv.errors import BackendUnavailable, ConnectionLost, ReplyProtocolError
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


def address_of(ask: Callable[[], Any]) -> bytes:
    """Return ``host:port`` as a socket's ``getpeername`` or ``getsockname`` says; empty if it is gone."""
    try:
        answer = ask()
    except OSError:
        return b""
    return b"%b:%d" % (answer[0].encode(), answer[1]) if isinstance(answer, tuple) else str(answer).encode()


def receive_some(sock: socket.socket, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
    """Return what has arrived, ``b""`` at the end, or None if nothing is there.

    Raises:
        OSError: The connection is broken.
    """
    try:
        data = sock.recv(max_bytes)
        if isinstance(sock, ssl.SSLSocket):
            # What TLS has decrypted already does not make the socket readable.
            while sock.pending():
                data += sock.recv(sock.pending())
        return data
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def send_some(sock: socket.socket, data: bytes | memoryview) -> int:
    """Send what there is room for; return how much.

    Raises:
        OSError: The connection is broken.
    """
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
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
            sock = await _wrap_tls(sock, options.host)
        return sock, await _introduce(sock, options, client_name)
    except (OSError, ConnectionLost, ReplyProtocolError) as error:
        sock.close()
        raise BackendUnavailable(f"{options.address}: {error}") from None
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
    if options.unix_path is None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


async def _wrap_tls(sock: socket.socket, host: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:  # noqa: ASYNC913 - each round ends the handshake or waits
            try:
                wrapped.do_handshake()
                return wrapped
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(wrapped)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(wrapped)
    except BaseException:
        wrapped.close()
        raise


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
