"""Certificates in files, and clients that speak TLS."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trustme

from tests.support.client import PATIENCE_SECONDS, Client

__all__ = ["Pems", "read", "talk_in_vain", "tls_connect", "write"]


def read(path: str) -> bytes:
    """Return what is in a file."""
    return Path(path).read_bytes()


def write(path: str, data: bytes) -> None:
    """Replace what is in a file."""
    Path(path).write_bytes(data)


class Pems:
    """An authority, and what it has signed, as files below a directory.

    Args:
        directory: Where to write them; it must be there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.cert = str(directory / "cert.pem")
        self.key = str(directory / "key.pem")
        self.issue()

    def issue(self, *names: str, authority: trustme.CA | None = None) -> None:
        """Replace the server's certificate and key; its names are this machine's unless given."""
        made = (authority or self.authority).issue_cert(*(names or ("localhost", "127.0.0.1")))
        made.private_key_pem.write_to_path(self.key)
        Path(self.cert).write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))

    def of_client(self, name: str = "client", authority: trustme.CA | None = None) -> str:
        """Return a file with a client's certificate and its key."""
        path = self.directory / f"{name}.pem"
        (authority or self.authority).issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def context(self, client: str | None = None) -> ssl.SSLContext:
        """Return how a client that believes the authority speaks.

        Args:
            client: A file of `of_client` to show.
        """
        context = ssl.create_default_context(cafile=self.ca)
        if client is not None:
            context.load_cert_chain(client)
        return context


@asynccontextmanager
async def tls_connect(
    port: int, context: ssl.SSLContext, before: bytes = b""
) -> AsyncIterator[tuple[Client, trio.SSLStream[trio.SocketStream]]]:
    """Connect to a loopback port and shake hands for the block.

    Args:
        port: Where the server is.
        context: Whom to believe and what to show.
        before: What to send before TLS.
    """
    plain = await trio.open_tcp_stream("127.0.0.1", port)
    async with plain:
        await plain.send_all(before)
        stream = trio.SSLStream(plain, context, server_hostname="localhost", https_compatible=True)
        with trio.fail_after(PATIENCE_SECONDS):
            await stream.do_handshake()
        yield Client(stream), stream  # type: ignore[arg-type] # does what a SocketStream does


async def talk_in_vain(port: int, context: ssl.SSLContext) -> None:
    """Connect and ask for something; fail if there is an answer. TLS 1.3 refuses behind the handshake."""
    with contextlib.suppress(trio.BrokenResourceError):
        async with tls_connect(port, context) as (client, stream):
            await client.send(b"GET forbidden\r\n")
            with trio.fail_after(PATIENCE_SECONDS):
                assert not await stream.receive_some()
