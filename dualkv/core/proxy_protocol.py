"""The PROXY protocol, version 2: a load balancer tells in front of a connection whose it is.

A header is 16 bytes (a signature, version and command, family, length) and so many bytes behind it. It is
read in two steps, since nothing may be read beyond its end: what follows may be TLS.
https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

import attrs

__all__ = ["HEAD_BYTES", "Head", "ProxyHeaderError", "parse_head", "source_of"]

HEAD_BYTES: Final = 16
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_BODY_BYTES: Final = 16 * 1024
"""Addresses take 12 to 216 bytes; what else is told (a client's certificate) has room in this."""
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_BODY_BYTES: Final = {_TCP4: 12, _TCP6: 36}


class ProxyHeaderError(Exception):
    """What came is not a header."""


@attrs.frozen
class Head:
    """The first 16 bytes of a header."""

    is_local: bool
    """Whether the load balancer speaks for itself, as in a health check: the addresses mean nothing."""
    family: int
    body_bytes: int
    """How many bytes follow that belong to the header."""


def parse_head(data: bytes) -> Head:
    """Return what the first `HEAD_BYTES` say.

    Raises:
        ProxyHeaderError: It is no header of version 2, or one that is too large.
    """
    signature, command, family, length = struct.unpack("!12sBBH", data)
    if signature != _SIGNATURE:
        raise ProxyHeaderError("no PROXY header of version 2")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"a PROXY header with the command {command:#04x}")
    if length > _MAX_BODY_BYTES or (command == _PROXY and length < _BODY_BYTES.get(family, 0)):
        raise ProxyHeaderError(f"a PROXY header of {length} bytes")
    return Head(command == _LOCAL, family, length)


def source_of(head: Head, body: bytes) -> tuple[str, int] | None:
    """Return whom the connection is from: address and port; None: ask the socket.

    Args:
        head: What `parse_head` has returned.
        body: The `Head.body_bytes` behind it.
    """
    if head.is_local or head.family not in _BODY_BYTES:
        return None
    size = 4 if head.family == _TCP4 else 16
    (port,) = struct.unpack_from("!H", body, 2 * size)
    return str(ipaddress.ip_address(body[:size])), port
