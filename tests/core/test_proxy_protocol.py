"""The PROXY protocol's header: whose connection it is, and everything that is no header."""

from __future__ import annotations

import socket
import struct

import pytest

from dualkv.core.proxy_protocol import HEAD_BYTES, ProxyHeaderError, parse_head, source_of

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def header(command: int, family: int, body: bytes) -> bytes:
    """Return a header."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def source(data: bytes) -> tuple[str, int] | None:
    """Return whom a whole header names."""
    head = parse_head(data[:HEAD_BYTES])
    assert len(data) == HEAD_BYTES + head.body_bytes
    return source_of(head, data[HEAD_BYTES:])


def test_ipv4_client_is_told() -> None:
    """Source address and port are the client's; what follows the addresses is skipped."""
    body = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + struct.pack("!HH", 5000, 6379)

    assert source(header(0x21, 0x11, body)) == ("192.0.2.1", 5000)
    assert source(header(0x21, 0x11, body + b"\x04\x00\x03abc")) == ("192.0.2.1", 5000)


def test_ipv6_client_is_told() -> None:
    """The same for the longer addresses."""
    addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16)

    assert source(header(0x21, 0x21, addresses + struct.pack("!HH", 5000, 1))) == ("2001:db8::1", 5000)


@pytest.mark.parametrize(
    ("command", "family", "body"), [(0x20, 0x00, b""), (0x20, 0x11, bytes(3)), (0x21, 0x00, b""),
                                    (0x21, 0x31, bytes(216)), (0x21, 0x12, bytes(12))]
)  # fmt: skip
def test_connection_of_the_load_balancer_itself_has_its_own_address(
    command: int, family: int, body: bytes
) -> None:
    """Health checks, and families that are no TCP, tell nothing."""
    assert source(header(command, family, body)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.1 10.0.0.1",
        b"*1\r\n$4\r\nPING\r\nxxxxx",
        SIGNATURE[:-1] + b"x" + b"\x21\x11\x00\x0c",
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x11\x00\x0b",
        SIGNATURE + b"\x21\x21\x00\x0c",
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """Version 1, a client without a load balancer, other versions, commands and lengths."""
    with pytest.raises(ProxyHeaderError):
        parse_head(data[:HEAD_BYTES])
