"""The two stores of a run, reached directly, past dualkv: throw-away servers or the user's own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from dualkv.config import BackendOptions, ProxyConfig
from dualkv.net.connection import Connection
from dualkv.net.transport import dial
from dualkv.resp.encode import command
from dualkv.resp.replies import value_of
from dualkv.servers import EmbeddedServer, find_server_binary
from dualkv.torture.generate import known_commands

__all__ = ["Store", "Stores", "open_store", "own_stores", "throw_away_stores"]

_PATIENCE_SECONDS: Final = 60.0

_PERSISTENT: Final = ("--appendonly", "yes", "--appendfsync", "no")
"""What was answered has been written: a kill loses nothing."""

_SERVER_OPTIONS: Final = ("--stream-node-max-entries", "10")
"""An approximate trim removes whole nodes: small ones, so that it removes something."""


class Store:
    """A connection to one store, to look into it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.commands: frozenset[str] = frozenset()
        """What it knows; see `dualkv.torture.generate.known_commands`."""
        self.version: tuple[int, ...] = ()
        """The version of Redis that it says to be compatible with; empty if it does not tell."""

    async def ask(self, commands: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        """Send commands in one piece; return the values of their replies, errors among them.

        Raises:
            ConnectionLost: The store has gone.
        """
        wire = b"".join(command(*args) for args in commands)
        with trio.fail_after(_PATIENCE_SECONDS):
            frames = await self._connection.exchange(wire, len(commands))
        return [value_of(frame) for frame in frames]

    async def call(self, *args: bytes | str | int) -> Any:
        """Send one command; return the value of its reply."""
        return (await self.ask([args]))[0]

    def knows(self, name: str) -> bool:
        """Whether the store has a command."""
        return name in self.commands


@asynccontextmanager
async def open_store(options: BackendOptions) -> AsyncIterator[Store]:
    """Connect to a store for the block.

    Raises:
        BackendUnavailable: It cannot be reached.
    """
    with trio.fail_after(_PATIENCE_SECONDS):
        sock, greeting = await dial(options, "torture")
    connection = Connection(sock, greeting)
    try:
        store = Store(connection)
        known, info = await store.ask([("COMMAND",), ("INFO", "server")])
        store.commands = known_commands(known) if isinstance(known, list) else frozenset()
        if isinstance(info, bytes) and (told := re.search(rb"redis_version:(\d+)\.(\d+)", info)):
            store.version = tuple(map(int, told.groups()))
        yield store
    finally:
        connection.close()


@attrs.frozen
class Stores:
    """A primary and a secondary."""

    primary: BackendOptions
    secondary: BackendOptions
    primary_server: EmbeddedServer | None = None
    secondary_server: EmbeddedServer | None = None
    """Where they are ours, to be killed and restarted."""


def own_stores(primary: str, secondary: str) -> Stores:
    """Return the user's stores.

    Args:
        primary: An address or URL, as the setting of that name takes it.
        secondary: The same.

    Raises:
        ConfigError: An address is none.
    """
    config = ProxyConfig(primary=primary, secondary=secondary)
    return Stores(config.backend_options("primary"), config.backend_options("secondary"))


@contextmanager
def throw_away_stores(
    binary: Path | None, secondary_binary: Path | None, *, persistent: bool
) -> Iterator[Stores]:
    """Run two servers for the block.

    Args:
        binary: The server to start; found by itself if None.
        secondary_binary: The other one; the same if None.
        persistent: Whether they must survive a kill with their data.

    Raises:
        FileNotFoundError: There is no server to start.
    """
    first = find_server_binary(binary)
    options = [*_SERVER_OPTIONS, *(_PERSISTENT if persistent else ())]
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedServer(first, *options))
        secondary = stack.enter_context(EmbeddedServer(secondary_binary or first, *options))
        found = own_stores(primary.address, secondary.address)
        yield Stores(found.primary, found.secondary, primary, secondary)
