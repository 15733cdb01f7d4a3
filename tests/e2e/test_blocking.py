"""Blocking commands: a connection each, nothing lost, the same in both stores."""

from __future__ import annotations

import time

import pytest
import redis
import trio

from dualkv.config import ProxyConfig, ProxyMode
from dualkv.core.ledger import Queue
from dualkv.net.writer import open_writer
from dualkv.resp.encode import command
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.e2e


def blocked(proxy: Proxy) -> int:
    """Return how many clients wait, or are about to."""
    return sum(session.state.is_blocked for session in proxy.server.writer.clients.values())


def blocked_at_primary(proxy: Proxy) -> int:
    """Return how many connections wait at the primary, as it says."""
    with redis.Redis(port=proxy.server.writer.primary.options.port) as store:
        return int(store.info("clients")["blocked_clients"])


async def start(client: Client, proxy: Proxy, *args: str | int) -> None:
    """Send a command and return when it waits at the primary."""
    before = blocked(proxy)
    await client.send(command(*args))
    await wait_until(lambda: blocked(proxy) == before + 1 == blocked_at_primary(proxy))


@pytest.mark.parametrize(
    ("wait", "give", "reply"),
    [
        (("BLPOP", "k", 0), ("RPUSH", "k", "a", "b", "a"), b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"),
        (("BRPOP", "none", "k", 0), ("RPUSH", "k", "a", "b", "a"), b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"),
        (("BLMOVE", "k", "to", "RIGHT", "LEFT", 0), ("RPUSH", "k", "a", "b"), b"$1\r\nb\r\n"),
        (("BRPOPLPUSH", "k", "to", 0), ("RPUSH", "k", "a", "b"), b"$1\r\nb\r\n"),
        (
            ("BLMPOP", 0, 1, "k", "RIGHT", "COUNT", 2),
            ("RPUSH", "k", "a", "b", "c"),
            b"*2\r\n$1\r\nk\r\n*2\r\n$1\r\nc\r\n$1\r\nb\r\n",
        ),
        (("BZPOPMIN", "k", 0), ("ZADD", "k", 1, "m", 2, "n"), b"*3\r\n$1\r\nk\r\n$1\r\nm\r\n$1\r\n1\r\n"),
        (("BZPOPMAX", "k", 0), ("ZADD", "k", 1, "m", 2, "n"), b"*3\r\n$1\r\nk\r\n$1\r\nn\r\n$1\r\n2\r\n"),
        (
            ("BZMPOP", 0, 1, "k", "MIN"),
            ("ZADD", "k", 1, "m", 2, "n"),
            b"*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$1\r\nm\r\n$1\r\n1\r\n",
        ),
        (
            ("XREAD", "BLOCK", 0, "STREAMS", "k", "$"),
            ("XADD", "k", "1-1", "f", "v"),
            b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
    ],
)
async def test_blocked_command_gets_what_comes(
    pair: Pair, wait: tuple[str | int, ...], give: tuple[str | int, ...], reply: bytes
) -> None:
    """It waits without end, others go on; it answers the primary's bytes, and both stores are equal."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as giving,
    ):
        await start(waiting, proxy, *wait)
        assert (await giving.call(*give))[:1] in b":$"
        assert [reply] == await waiting.receive(1)
        await proxy.wait_drained()

    assert contents(pair.primary) == contents(pair.secondary) != {}


async def test_group_reads_reach_the_secondary(pair: Pair) -> None:
    """What a blocked XREADGROUP has delivered is pending in both stores."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as reader,
        connect(proxy.port) as writer,
    ):
        await writer.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
        await start(reader, proxy, "XREADGROUP", "GROUP", "g", "me", "BLOCK", 0, "STREAMS", "s", ">")
        await writer.call("XADD", "s", "5-1", "f", "v")
        await reader.receive(1)
        await proxy.wait_drained()
    pending = []
    for server in (pair.primary, pair.secondary):
        async with connect(server.port) as client:
            pending.append(
                [
                    (await client.call("XPENDING", "s", "g")),
                    (await client.call("XINFO", "GROUPS", "s")).split(b"last-delivered-id")[1][:20],
                ]
            )

    assert pending[0] == pending[1]
    assert b"5-1" in pending[0][0]


async def test_wait_ends_as_asked_for(pair: Pair) -> None:
    """A time-out answers nil in the client's RESP version; a bad one gets the primary's error."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        started = time.monotonic()
        replies = await client.pipeline(
            [
                ("BLPOP", "k", "0.1"),
                ("BLPOP", "k", "x"),
                ("BLPOP", "k", -1),
                ("HELLO", 3),
                ("BLPOP", "k", "0.1"),
            ]
        )
        elapsed = time.monotonic() - started

    assert replies[0] == b"*-1\r\n"
    assert replies[1] == b"-ERR timeout is not a float or out of range\r\n"
    assert replies[2] == b"-ERR timeout is negative\r\n"
    assert replies[4] == b"_\r\n"
    assert 0.2 <= elapsed < 5


async def test_who_got_nothing_changes_nothing_on_the_other_store(pair: Pair) -> None:
    """A wait that ended with nil has no effect, and makes no key dirty."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline([("BLPOP", "k", "0.05"), ("BZPOPMIN", "z", "0.05")])
        assert replies == [b"*-1\r\n"] * 2
        await proxy.wait_drained()
        assert proxy.metrics.total_ledger().offered == 0
        assert proxy.metrics.dirty.marked.total() == 0


async def test_a_waiting_read_of_a_stream_is_never_replayed(pair: Pair) -> None:
    """It changes nothing, and the other store has the entry by the XADD."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as giving,
    ):
        await start(client, proxy, "XREAD", "BLOCK", 0, "STREAMS", "s", "$")
        await giving.call("XADD", "s", "1-1", "f", "v")
        await client.receive(1)
        await proxy.wait_drained()
        assert proxy.metrics.total_ledger().offered == proxy.metrics.ledger(Queue.WRITE).offered == 1
    assert contents(pair.secondary) == contents(pair.primary)


async def test_first_come_first_served(pair: Pair) -> None:
    """Ten blocked clients get their elements in the order in which they began to wait."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as giving,
        trio.open_nursery() as nursery,
    ):
        served: list[int] = []
        leave = trio.Event()

        async def wait(number: int, *, task_status: trio.TaskStatus[None]) -> None:
            async with connect(proxy.port) as client:
                await start(client, proxy, "BLPOP", "queue", 0)
                task_status.started()
                [reply] = await client.receive(1)
                assert reply.endswith(b"$2\r\ne%d\r\n" % number)
                served.append(number)
                await leave.wait()

        for number in range(10):
            await nursery.start(lambda *, task_status, n=number: wait(n, task_status=task_status))
        for number in range(10):
            await giving.call("RPUSH", "queue", f"e{number}")
        await wait_until(lambda: len(served) == 10)
        leave.set()

    assert contents(pair.secondary) == contents(pair.primary) == {}


async def test_client_that_leaves_takes_nothing(pair: Pair) -> None:
    """Whoever hangs up while it waits is not served: the element is for the next."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as giving,
    ):
        for _ in range(5):
            async with connect(proxy.port) as leaving:
                await start(leaving, proxy, "BLPOP", "k", 0)
            await wait_until(lambda: blocked(proxy) == 0)
        await giving.call("RPUSH", "k", "kept")
        assert await giving.call("LRANGE", "k", 0, -1) == b"*1\r\n$4\r\nkept\r\n"
        idle = proxy.metrics.backends["redis"].pool.connections["idle"]

    assert idle == 1  # a lease that was used again, and not closed


async def test_drain_releases_who_waits(pair: Pair) -> None:
    """At the shutdown a blocked client gets an error and is closed, well before the drain's time is over."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await start(client, proxy, "BLPOP", "k", 0)
        proxy.server.stop()
        with trio.fail_after(5):
            rest = await client.receive_until_closed()

    assert rest == b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"


async def test_pool_limit_is_an_error(pair: Pair) -> None:
    """Who finds all connections in use is told so at once; the others go on waiting."""
    async with (
        running_proxy(
            pair.primary.address, pair.secondary.address, ProxyMode.DUAL_WRITE, primary_pool_size=2
        ) as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as refused,
    ):
        await start(waiting, proxy, "BLPOP", "k", 0)
        error = await refused.call("BLPOP", "k", 0)
        ordinary = await refused.call("RPUSH", "k", "x")
        [served] = await waiting.receive(1)

    assert error.startswith(b"-ERR dualkv: ")
    assert b"all 2 connections are in use" in error
    assert (ordinary, served) == (b":1\r\n", b"*2\r\n$1\r\nk\r\n$1\r\nx\r\n")


async def test_transaction_does_not_block(pair: Pair) -> None:
    """Inside MULTI a blocking command answers at once."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [("RPUSH", "k", "x"), ("MULTI",), ("BLPOP", "k", 0), ("BLPOP", "k", 0), ("EXEC",), ("GET", "z")]
        )
        await proxy.wait_drained()

    assert replies[-2:] == [b"*2\r\n*2\r\n$1\r\nk\r\n$1\r\nx\r\n*-1\r\n", b"$-1\r\n"]
    assert contents(pair.secondary) == {}


async def test_client_unblock_by_another_client(pair: Pair) -> None:
    """CLIENT UNBLOCK with the proxy's id wakes the client, with nil or with an error."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as other,
    ):
        number = int((await waiting.call("CLIENT", "ID"))[1:])
        await start(waiting, proxy, "BLPOP", "k", 0)
        assert await other.call("CLIENT", "UNBLOCK", number) == b":1\r\n"
        assert await waiting.receive(1) == [b"*-1\r\n"]
        await start(waiting, proxy, "BLPOP", "k", 0)
        assert await other.call("CLIENT", "UNBLOCK", number, "ERROR") == b":1\r\n"
        assert await waiting.receive(1) == [b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"]
        assert await other.call("CLIENT", "UNBLOCK", number) == b":0\r\n"


async def test_wait_does_not_hold_up_others(pair: Pair) -> None:
    """WAIT for replicas that do not exist ends at its time; meanwhile others are served."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as waiting,
        connect(proxy.port) as other,
    ):
        await waiting.send(command("WAIT", 1, 2000))
        started = time.monotonic()
        for _ in range(20):
            await other.call("PING")
            await other.call("SET", "k", "v")
        elapsed = time.monotonic() - started
        assert await waiting.receive(1) == [b":0\r\n"]
        assert await waiting.call("WAIT", 0, 0) == b":0\r\n"
        assert await waiting.call("WAIT", "x", 0) == b"-ERR value is not an integer or out of range\r\n"

    assert elapsed < 2


async def test_python_program_can_wait_too(pair: Pair) -> None:
    """`DualWriter.blocking` waits, mirrors what it took, and takes nothing that does not wait."""
    config = ProxyConfig(primary=pair.primary.address, secondary=pair.secondary.address)
    async with open_writer(config) as writer, trio.open_nursery() as nursery:
        replies: list[bytes] = []

        async def wait() -> None:
            replies.append(await writer.blocking("BLPOP", "k", 0))

        nursery.start_soon(wait)
        await writer.write("RPUSH", "k", "a", "b")
        await wait_until(lambda: bool(replies))
        with pytest.raises(ValueError, match="does not wait"):
            await writer.blocking("GET", "k")

    assert replies == [b"*2\r\n$1\r\nk\r\n$1\r\na\r\n"]
    assert contents(pair.primary) == contents(pair.secondary) == {b"k": (b"list", [b"b"])}
