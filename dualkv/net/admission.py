"""What an accepted connection passes before it is a client: the networks, the PROXY header, TLS.

Whoever does not get through is closed and counted. What takes time has one deadline and one place among the
most clients, so connections that never say anything cost no more than idle clients, for a short time.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

import attrs
import trio

from dualkv.config import ProxyConfig
from dualkv.config.tls import tls_of_clients
from dualkv.core.proxy_protocol import HEAD_BYTES, ProxyHeaderError, parse_head, source_of
from dualkv.core.rejection import Rejection
from dualkv.net.tls import ReloadingContext, server_context, shake_hands, why_refused
from dualkv.net.transport import close_socket, receive_some
from dualkv.observe.metrics import ProxyMetrics

__all__ = ["Admission", "Admitted"]

_LOG_SECONDS: Final = 1.0
"""At most one line in so long: whoever knocks must not fill the log."""

_log = logging.getLogger("dualkv.admission")


@attrs.frozen
class Admitted:
    """A connection that may be a client."""

    sock: socket.socket
    """Non-blocking, after TLS; whoever gets it closes it."""
    address: bytes | None
    """``host:port`` as the load balancer has told; None: the socket's own."""


class _RejectedError(Exception):
    def __init__(self, reason: Rejection, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Admission:
    """The way in.

    Args:
        config: The settings.
        metrics: Where is counted who does not get in.
        clock: Seconds, monotonic.

    Raises:
        ConfigError: A file of TLS cannot be used.
    """

    def __init__(
        self, config: ProxyConfig, metrics: ProxyMetrics, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._networks = config.allow_networks
        self._has_header = config.proxy_protocol
        self._seconds = config.tls_handshake_timeout_seconds
        self._metrics = metrics
        self._clock = clock
        self._may_log_at = float("-inf")
        files = tls_of_clients(config)
        self.tls = None if files is None else ReloadingContext(files, server_context, self._on_reload)
        """What the listener shows; None: it does not speak TLS."""

    def __repr__(self) -> str:
        return f"<Admission tls={self.tls!r} networks={len(self._networks)} header={self._has_header}>"

    @property
    def is_immediate(self) -> bool:
        """Whether nothing has to be waited for."""
        return self.tls is None and not self._has_header

    def admit_nowait(self, sock: socket.socket) -> Admitted | None:
        """Return the client that *sock* is, when `is_immediate`; None: it was closed and counted."""
        try:
            if self._networks and sock.family != socket.AF_UNIX:
                self._check_network(sock, None)
        except (_RejectedError, OSError) as error:
            self._reject(sock, error)
            return None
        return Admitted(sock, None)

    async def admit(self, sock: socket.socket) -> Admitted | None:
        """Return the client that *sock* is; None: it was closed and counted.

        Cancelled, it closes *sock*, too.
        """
        try:
            with trio.fail_after(self._seconds):  # noqa: ASYNC912 - a header or a handshake waits
                source = await self._read_header(sock) if self._has_header else None
                if self._networks and (source or sock.family != socket.AF_UNIX):
                    self._check_network(sock, source)
                if self.tls is not None:
                    sock = self.tls.current().wrap_socket(
                        sock, server_side=True, do_handshake_on_connect=False
                    )
                    await shake_hands(sock)
        except (_RejectedError, OSError, trio.TooSlowError) as error:
            self._reject(sock, error)
            return None
        except BaseException:
            close_socket(sock)
            raise
        return Admitted(sock, None if source is None else b"%b:%d" % (source[0].encode(), source[1]))

    def _check_network(self, sock: socket.socket, source: tuple[str, int] | None) -> None:
        host = source[0] if source else sock.getpeername()[0]
        address = ipaddress.ip_address(host.partition("%")[0])  # fe80::1%eth0
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not any(address in network for network in self._networks):
            raise _RejectedError(Rejection.NETWORK, f"{address} is in none of allow_networks")

    async def _read_header(self, sock: socket.socket) -> tuple[str, int] | None:
        try:
            head = parse_head(await _receive_exactly(sock, HEAD_BYTES))
            return source_of(head, await _receive_exactly(sock, head.body_bytes))
        except ProxyHeaderError as error:
            raise _RejectedError(Rejection.HEADER, str(error)) from None

    def _reject(self, sock: socket.socket, error: Exception) -> None:
        if isinstance(error, _RejectedError):
            reason, why = error.reason, str(error)
        elif isinstance(error, trio.TooSlowError):
            reason, why = Rejection.TOO_SLOW, f"no handshake in {self._seconds:g} s"
        elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            reason, why = Rejection.HANDSHAKE, why_refused(error)
        else:
            reason, why = Rejection.GONE, "closed before it was a client"
        self._metrics.rejected_connections[reason] += 1
        if reason is not Rejection.GONE and self._clock() >= self._may_log_at:
            self._may_log_at = self._clock() + _LOG_SECONDS
            _log.warning("connection rejected", extra={"reason": reason.value, "why": why})
        close_socket(sock)

    def _on_reload(self, is_loaded: bool) -> None:
        self._metrics.tls_reloads["loaded" if is_loaded else "failed"] += 1


async def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    """Return the next *count* bytes, and leave what follows where it is."""
    data = b""
    while len(data) < count:
        piece = receive_some(sock, count - len(data))
        if piece == b"":
            raise ConnectionError("closed")
        if piece is None:
            await trio.lowlevel.wait_readable(sock)
        else:
            data += piece
    return data
