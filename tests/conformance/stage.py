"""The two sides: a server that is talked to directly, and one behind dualkv."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from dualkv.config import ProxyMode
from dualkv.servers import EmbeddedServer
from tests.conformance.compare import Difference, differences
from tests.conformance.corpus import Command, Conversation, Kind
from tests.conformance.talk import Turn, Variant, Way, listen, talk
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import available_binaries

__all__ = ["DIRECTLY", "THROUGH", "Servers", "compare", "record_directly", "redis_7_0", "running_servers"]

DIRECTLY: Final = "direct"
THROUGH: Final = (
    ProxyMode.REDIS_ONLY.value,
    *(mode.value for mode in ProxyMode if "dual" in mode.value),
    DIRECTLY,
)
"""What can stand before the second server."""

_EMPTYING: Final = (("FLUSHALL",), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"))
_SAVING: Final = re.compile(rb"(rdb_bgsave_in_progress|aof_rewrite_in_progress|aof_rewrite_scheduled):1")


def redis_7_0() -> Path:
    """Return the server to compare with.

    Raises:
        FileNotFoundError: There is none.
    """
    for name, binary in available_binaries().items():
        if name.startswith("Redis 7.0."):
            return binary
    raise FileNotFoundError("no Redis 7.0 on the PATH: conformance is conformance with it")


@attrs.frozen
class Servers:
    """Fresh servers of the same version."""

    direct: EmbeddedServer
    behind: EmbeddedServer
    follower: EmbeddedServer
    """Behind dualkv too, for the modes that have a secondary."""


@contextmanager
def running_servers(binary: Path) -> Iterator[Servers]:
    """Run servers for the block."""
    with ExitStack() as stack:
        yield Servers(*(stack.enter_context(EmbeddedServer(binary)) for _ in range(3)))


@attrs.frozen
class Stage:
    """The two sides, ready for conversations."""

    servers: Servers
    proxy: Proxy | None

    async def empty(self) -> None:
        """Leave nothing of the last conversation."""
        if self.proxy is not None:
            await self.proxy.wait_drained()
        for server in (self.servers.direct, self.servers.behind, self.servers.follower):
            await _empty(server)

    async def record(self, conversation: Conversation, variant: Variant) -> tuple[list[Turn], list[Turn]]:
        """Return what both sides answer, the direct one first."""
        await self.empty()
        ports = self.servers.direct.port, self._port
        if conversation.kind is Kind.SUBSCRIBING:
            expected = await listen(ports[0], conversation, variant.protocol)
            return expected, await listen(ports[1], conversation, variant.protocol, expected)
        recorded: dict[int, list[Turn]] = {}

        async def have(port: int) -> None:
            recorded[port] = await talk(port, conversation, variant, self._do_refused)

        async with trio.open_nursery() as nursery:
            for port in ports:
                nursery.start_soon(have, port)
        return recorded[ports[0]], recorded[ports[1]]

    async def compare(self, conversations: Iterable[Conversation], variant: Variant) -> list[Difference]:
        """Return where the two sides differ."""
        return [
            difference
            for conversation in conversations
            for difference in differences(conversation, *await self.record(conversation, variant))
        ]

    @property
    def _port(self) -> int:
        return self.proxy.port if self.proxy is not None else self.servers.behind.port

    async def _do_refused(self, command: Command) -> None:
        async with connect(self.servers.behind.port) as client:
            await client.call(*command.args)


@asynccontextmanager
async def setting_the_stage(servers: Servers, through: str) -> AsyncIterator[Stage]:
    """Run dualkv for the block, or whatever *through* says (one of `THROUGH`)."""
    if through == DIRECTLY:
        yield Stage(servers, None)
        return
    async with running_proxy(servers.behind.address, servers.follower.address, ProxyMode(through)) as proxy:
        yield Stage(servers, proxy)


async def compare(
    servers: Servers, through: str, conversations: Iterable[Conversation], variant: Variant
) -> list[Difference]:
    """Set the stage, have the conversations and return where the two sides differ."""
    async with setting_the_stage(servers, through) as stage:
        return await stage.compare(conversations, variant)


async def record_directly(server: EmbeddedServer, conversations: Iterable[Conversation]) -> list[list[Turn]]:
    """Return what a server answers, one by one, in RESP2."""
    recorded: list[list[Turn]] = []
    for conversation in conversations:
        await _empty(server)
        if conversation.kind is Kind.SUBSCRIBING:
            recorded.append(await listen(server.port, conversation, 2))
        else:
            recorded.append(await talk(server.port, conversation, Variant(2, Way.ONE_BY_ONE)))
    return recorded


async def _empty(server: EmbeddedServer) -> None:
    """Remove everything, and wait until the server is done with saving what was there."""
    async with connect(server.port) as client:
        await client.pipeline(_EMPTYING)
        while _SAVING.search(await client.call("INFO", "persistence")):  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.02)
