"""What a connection is set to, and how shared connections change between settings."""

from __future__ import annotations

from typing import Final, NamedTuple

from dualkv.resp.encode import command

__all__ = ["START", "Context", "switches"]


class Context(NamedTuple):
    """A client's connection settings that its commands depend on."""

    protocol: int = 2
    """The RESP version of replies."""
    db: int = 0
    user: bytes = b""
    """Whom the primary takes it for; empty: dualkv itself."""


START: Final = Context()
"""As a connection is when nothing has been said on it."""


def switches(now: Context, wanted: Context) -> list[bytes]:
    """Return the requests, one reply each, that lead from one context to another of the same user."""
    requests = []
    if wanted.protocol != now.protocol:
        requests.append(command("HELLO", wanted.protocol))
    if wanted.db != now.db:
        requests.append(command("SELECT", wanted.db))
    return requests
