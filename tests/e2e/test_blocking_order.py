"""What is executed on the lane between a blocked command's delivery and its reply: equal stores, exactly.

The reply of the connection that waits is held back by a relay; repair is off, so order and effects must do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest

from dualkv.config import ProxyMode
from dualkv.resp.replies import is_error
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.relay import Relay, relay_to
from tests.support.servers import Pair
from tests.support.state import differences, state_of

pytestmark = pytest.mark.e2e

DELIVERED = "XADD s 5-1 f v"
"""What serves the reader."""
BEFORE = (
    "XADD s 1-1 f v",
    "XGROUP CREATE s g 0",
    "XGROUP CREATECONSUMER s g you",
    "XREADGROUP GROUP g me STREAMS s >",
)
"""What the reader has got already."""


@attrs.frozen
class Stage:
    """A client that waits on a connection of its own, another one, and what is between them and the store."""

    proxy: Proxy
    relay: Relay
    waiting: Client
    other: Client

    async def wait_at_primary(self, line: str) -> None:
        """Send a blocking command; return when the primary has it, and its reply is held."""
        name = line.split(maxsplit=1)[0]
        await self.waiting.send((line + "\r\n").encode())
        await wait_until(lambda: bool(self.relay.on_any(name)))
        self.relay.on_which(name).replies.shut()

    async def do(self, *lines: str) -> list[bytes]:
        """Execute commands on the lane."""
        replies = await self.other.pipeline([line.split() for line in lines])
        assert not any(map(is_error, replies)), replies
        return replies

    async def release(self, name: str) -> bytes:
        """Let the reply come; return it once everything has reached the secondary."""
        self.relay.on_which(name).replies.open()
        (reply,) = await self.waiting.receive(1)
        await self.do("GET on-the-lane")  # behind what dualkv asks there
        await self.proxy.wait_drained()
        return reply


@asynccontextmanager
async def stage_of(pair: Pair) -> AsyncIterator[Stage]:
    """Run dualkv between the two servers for the block, behind a relay."""
    async with (
        relay_to(pair.primary.port) as relay,
        running_proxy(relay.address, pair.secondary.address, ProxyMode.DUAL_WRITE, repair="off") as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as other,
    ):
        yield Stage(proxy, relay, waiting, other)


def assert_equal(pair: Pair) -> None:
    """Both servers hold the same, down to counters of groups."""
    found = differences(state_of(pair.primary.port), state_of(pair.secondary.port))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("ack", ["", " NOACK"], ids=["acknowledged", "NOACK"])
@pytest.mark.parametrize(
    "meanwhile",
    [
        (),
        ("XADD s 6-1 f v",),
        ("XADD s 6-1 f v", "XREADGROUP GROUP g you STREAMS s >"),
        ("XADD s 6-1 f v", "XREADGROUP GROUP g you NOACK STREAMS s >"),
        ("XREADGROUP GROUP g me STREAMS s 0",),
        ("XACK s g 5-1",),
        ("XACK s g 1-1",),
        ("MULTI", "XACK s g 5-1", "XADD s 6-1 f v", "EXEC"),
        ("XDEL s 5-1",),
        ("XTRIM s MAXLEN 0",),
        ("XADD s MAXLEN 1 6-1 f v",),
        ("XCLAIM s g you 0 5-1",),
        ("XCLAIM s g you 0 5-1", "XACK s g 5-1"),
        ("XAUTOCLAIM s g you 0 0",),
        ("XDEL s 5-1", "XAUTOCLAIM s g you 0 0"),
        ("XGROUP SETID s g 1-1",),
        ("XGROUP SETID s g 0", "XREADGROUP GROUP g me STREAMS s >"),
        ("XGROUP SETID s g 0", "XREADGROUP GROUP g you COUNT 1 STREAMS s >"),
        ("XGROUP DELCONSUMER s g me",),
        ("XGROUP DESTROY s g",),
        ("XGROUP DESTROY s g", "XGROUP CREATE s g 0"),
        ("DEL s",),
        ("DEL s", DELIVERED, "XGROUP CREATE s g $"),
        ("SET s v",),
        ("RENAME s t",),
        ("COPY s t",),
        ("EVAL return(redis.call('XACK',KEYS[1],'g','5-1')) 1 s",),
    ],
    ids=" / ".join,
)
async def test_what_a_group_has_delivered(pair: Pair, meanwhile: Sequence[str], ack: str) -> None:
    """Whatever the lane has made of the stream before the reply was seen, both stores end equal."""
    async with stage_of(pair) as stage:
        await stage.do(*BEFORE)
        await stage.wait_at_primary(f"XREADGROUP GROUP g me{ack} BLOCK 0 STREAMS s >")
        await stage.do(DELIVERED)
        await stage.do(*meanwhile)
        reply = await stage.release("XREADGROUP")
        assert stage.proxy.metrics.write_replies_differed == 0

    assert b"5-1" in reply
    assert_equal(pair)


@pytest.mark.parametrize("ack", ["", " NOACK"], ids=["acknowledged", "NOACK"])
async def test_usual_traffic_beside_a_blocked_reader_needs_no_copies(pair: Pair, ack: str) -> None:
    """Others add, read and acknowledge meanwhile, the reader does so at once: all of it is said."""
    async with stage_of(pair) as stage:
        await stage.do(*BEFORE)
        await stage.wait_at_primary(f"XREADGROUP GROUP g me{ack} BLOCK 0 STREAMS s >")
        await stage.waiting.send(b"XACK s g 5-1\r\n")
        await stage.do(DELIVERED, "XADD s 6-1 f v", "XREADGROUP GROUP g you STREAMS s >", "XACK s g 1-1 6-1")
        await stage.do("XADD s MAXLEN 3 7-1 f v", "XREADGROUP GROUP g you NOACK STREAMS s >")
        await stage.release("XREADGROUP")
        await stage.waiting.receive(1)
        await stage.proxy.wait_drained()
        assert stage.proxy.metrics.dirty.marked.total() == 0

    assert_equal(pair)


async def test_several_streams_in_one_request(pair: Pair) -> None:
    """Each that delivered is said; in one of them something happened meanwhile."""
    async with stage_of(pair) as stage:
        for key in "st":
            await stage.do(f"XGROUP CREATE {key} g 0 MKSTREAM")
        await stage.wait_at_primary("XREADGROUP GROUP g me BLOCK 0 STREAMS s t > >")
        await stage.do("MULTI", "XADD s 5-1 f v", "XADD t 5-1 f v", "XADD t 6-1 f v", "EXEC")
        await stage.do("XACK s g 5-1", "XADD s 7-1 f v")
        await stage.release("XREADGROUP")

    assert_equal(pair)


async def test_reader_whose_lane_is_lost(pair: Pair) -> None:
    """Nobody can look any more at what it has got: the stream is copied when the lane is back."""
    async with stage_of(pair) as stage:
        await stage.do(*BEFORE)
        await stage.wait_at_primary("XREADGROUP GROUP g me BLOCK 0 STREAMS s >")
        await stage.do(DELIVERED, "XADD s 6-1 f v", "GET on-the-lane")
        lane = stage.relay.on_which("GET")
        lane.replies.shut()
        stage.relay.on_which("XREADGROUP").replies.open()
        await stage.waiting.receive(1)
        await wait_until(lambda: b"XPENDING" in [name for name, *_ in lane.requests])
        lane.scope.cancel("the test cuts it")
        await wait_until(lambda: stage.proxy.server.writer.dirty.marked.total() == 1)
        await stage.proxy.wait_repaired()

    assert_equal(pair)


@pytest.mark.parametrize(
    ("wait", "give", "meanwhile"),
    [
        ("BLPOP k 0", "RPUSH k a b c", ("LMOVE k to LEFT RIGHT", "RPUSH k d")),
        ("BLPOP k 0", "RPUSH k a b c", ("LREM k 0 a", "LMPOP 1 k LEFT")),
        ("BLPOP k 0", "RPUSH k a b", ("RPUSHX k c", "SORT k ALPHA STORE to")),
        ("BLPOP k 0", "RPUSH k a", ("RPUSHX k b", "RPUSH k c")),
        ("BRPOP k 0", "RPUSH k a b", ("RENAME k to", "RPUSH k c")),
        ("BLMOVE k to LEFT RIGHT 0", "RPUSH k a b", ("LMOVE to on LEFT LEFT", "LINSERT k BEFORE b c")),
        ("BRPOPLPUSH k to 0", "RPUSH k a b", ("RPOPLPUSH to on", "COPY k too")),
        ("BLMPOP 0 1 k LEFT COUNT 2", "RPUSH k a b c d", ("EVAL return(redis.call('LPOP',KEYS[1])) 1 k",)),
        ("BZPOPMIN k 0", "ZADD k 1 a 2 b", ("ZRANGESTORE to k 0 -1", "ZADD k XX 3 a", "ZINCRBY k 1 b")),
        ("BZPOPMAX k 0", "ZADD k 1 a 2 b", ("ZUNIONSTORE to 1 k", "ZADD k NX 3 b")),
        ("BZMPOP 0 1 k MIN COUNT 2", "ZADD k 1 a 2 b 3 c", ("ZPOPMIN k", "ZADD k 4 a", "ZREM k b")),
    ],
)
async def test_what_was_popped(pair: Pair, wait: str, give: str, meanwhile: Sequence[str]) -> None:
    """Whatever the lane has made of the rest before the reply was seen, both stores end equal."""
    name = wait.split(maxsplit=1)[0]
    async with stage_of(pair) as stage:
        await stage.wait_at_primary(wait)
        await stage.do(give)
        await stage.do(*meanwhile)
        await stage.release(name)
        assert stage.proxy.metrics.write_replies_differed == 0

    assert_equal(pair)
    assert state_of(pair.primary.port)
