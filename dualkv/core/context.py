"""What a connection is set to, and how shared connections change between settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from dualkv.resp.encode import command

__all__ = ["START", "Context", "context_of", "switches"]


class Context(NamedTuple):
    """A client's connection settings that its commands depend on."""

    protocol: int = 2
    """The RESP version of replies."""
    db: int = 0
    user: bytes = b""
    """Whom the primary takes it for; empty: dualkv itself."""


@lru_cache(maxsize=4096)
def context_of(protocol: int, db: int, user: bytes) -> Context:
    """Return a context; the same object for the same settings, mostly, so that `is` is worth a try."""
    return Context(protocol, db, user)


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
