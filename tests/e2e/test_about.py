"""``DUALKV STATUS``, ``WHOAMI``, ``KEY`` and ``HELP``: what a client may ask about the proxy itself."""

from __future__ import annotations

import pytest
import redis
import trio

from dualkv.config import ProxyMode
from dualkv.net.about import INSTANCE, VERSION
from dualkv.net.lane import LaneState
from dualkv.resp.replies import value_of
from tests.support.client import Client, connect
from tests.support.proxy import Proxy, running_proxy, wait_until
from tests.support.servers import Pair

pytestmark = pytest.mark.e2e


async def ask(client: Client, *args: str | bytes) -> dict[str, str]:
    """Return the fields of an answer."""
    return fields_of(await client.call("DUALKV", *args))


def fields_of(frame: bytes) -> dict[str, str]:
    """Return the fields of an answer's text."""
    text = value_of(frame).decode()
    return dict(line.split(":", 1) for line in text.splitlines())


async def test_status_tells_mode_stores_and_books(pair: Pair) -> None:
    """The same figures as ``/status``, as lines that every client can read."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.pipeline([("SET", f"k{number}", "v") for number in range(5)])
        await proxy.wait_drained()
        told = await ask(client, "STATUS")

    assert (told["mode"], told["condition"]) == ("dual-write-shadow", "well")
    assert (told["primary_state"], told["secondary_role"]) == ("up", "follows")
    assert (told["ledger_offered"], told["ledger_applied"], told["clients"]) == ("5", "5", "1")
    assert (told["dirty_keys"], told["stream"]) == ("0", "flowing")
    assert (told["dualkv_version"], told["instance"]) == (VERSION, INSTANCE)


async def test_whoami_tells_who_the_client_is_and_which_proxy_answers(pair: Pair) -> None:
    """Client, connection, mode, and which process it is."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        own_id = value_of(await client.call("CLIENT", "ID"))
        await client.call("CLIENT", "SETNAME", "worker-7")
        await client.call("SELECT", 3)
        told = await ask(client, "whoami")

    assert told["client_id"] == str(own_id)
    assert (told["client_name"], told["user"], told["db"]) == ("worker-7", "default", "3")
    assert told["address"].startswith("127.0.0.1:")
    assert (told["mode"], told["answers"], told["follows"]) == ("dual-write-shadow", "redis", "elastickv")
    assert told["instance"] == INSTANCE


async def test_key_tells_its_last_writes_without_their_values(pair: Pair) -> None:
    """What this proxy has mirrored of it; neither values nor other keys."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "secret")
        await client.call("MSET", "k", "secret", "neighbour", "secret")
        await proxy.wait_drained()
        frame = await client.call("DUALKV", "KEY", "k")
        told = fields_of(frame)

    assert (told["key"], told["db"], told["dirty"], told["being_confirmed"]) == ("k", "0", "no", "no")
    assert [told[f"history_{number}"].split(", ")[1] for number in (0, 1)] == ["mset", "set"]
    assert b"secret" not in frame
    assert b"neighbour" not in frame


async def test_key_tells_why_it_is_dirty(pair: Pair) -> None:
    """While the other store is paused, a written key is dirty."""
    async with running_proxy(pair.primary.address, pair.secondary.address, repair="off") as proxy:
        stream = proxy.server.writer.stream
        assert stream is not None
        async with connect(proxy.port) as client:
            stream.gate.pause(True)
            await client.call("SET", "k", "v")
            told, other = await ask(client, "KEY", "k"), await ask(client, "KEY", "other")
            status = await ask(client, "STATUS")

    assert (told["dirty"], other["dirty"]) == ("yes", "no")
    assert (told["dirty_reason"], status["dirty_keys"], status["condition"]) == (
        "paused", "1", "attention",
    )  # fmt: skip
    assert float(told["dirty_seconds"]) >= 0


async def test_key_tells_that_a_difference_is_being_confirmed(pair: Pair) -> None:
    """A difference that was seen, and is not reported yet."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, confirm_after_seconds=30.0) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("SET", "k", "one")
        await proxy.wait_drained()
        with redis.Redis(port=pair.secondary.port) as beside:
            beside.set("k", "another")
        await client.call("GET", "k")
        await wait_until(lambda: proxy.server.writer.findings.pending_confirmations() == 1)
        told = await ask(client, "KEY", "k")

    assert (told["being_confirmed"], told["differed_readings"]) == ("yes", "1")


async def test_a_key_of_any_bytes_is_told_in_one_line(pair: Pair) -> None:
    """Nothing in a key can look like another field."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        told = await ask(client, "KEY", b"k\r\ndirty:yes\xff")

    assert (told["key"], told["dirty"]) == ("k\\x0d\\x0adirty:yes\\xff", "no")


async def test_where_nothing_is_mirrored_key_says_so(pair: Pair) -> None:
    """There is no stream, and nothing to be remembered."""
    async with (
        running_proxy(pair.primary.address, mode=ProxyMode.REDIS_ONLY) as proxy,
        connect(proxy.port) as client,
    ):
        told, status = await ask(client, "KEY", "k"), await ask(client, "STATUS")

    assert (told["mirrored"], told["history"]) == ("no", "not kept in this mode")
    assert (status["mode"], "dirty_keys" in status) == ("redis-only", False)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (("DUALKV",), b"-ERR wrong number of arguments for 'dualkv' command\r\n"),
        (("DUALKV", "NONSENSE"), b"-ERR unknown subcommand 'NONSENSE'. Try DUALKV HELP.\r\n"),
        (("DUALKV", "KEY"), b"-ERR wrong number of arguments for 'dualkv|key' command\r\n"),
        (("DUALKV", "KEY", "a", "b"), b"-ERR wrong number of arguments for 'dualkv|key' command\r\n"),
        (("dualkv", "status", "x"), b"-ERR wrong number of arguments for 'dualkv|status' command\r\n"),
    ],
)
async def test_a_wrong_request_gets_the_error_of_redis(
    pair: Pair, request_: tuple[str, ...], error: bytes
) -> None:
    """Unknown sub-commands and wrong numbers of arguments, in the words of other commands."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        assert await client.call(*request_) == error
        assert (await client.call("DUALKV", "HELP")).startswith(b"*9\r\n+DUALKV <subcommand>")


async def test_in_resp3_the_text_is_verbatim(pair: Pair) -> None:
    """As that of INFO."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        await client.call("HELLO", 3)
        frames = await client.pipeline([("DUALKV", "STATUS"), ("DUALKV", "WHOAMI"), ("DUALKV", "KEY", "k")])

    assert [frame[:1] for frame in frames] == [b"=", b"=", b"="]
    assert [b"\r\ntxt:" in frame for frame in frames] == [True, True, True]
    assert b"protocol:3" in frames[1]


@pytest.mark.parametrize("watches", [False, True])
async def test_inside_a_transaction_it_is_queued_and_keeps_its_place(pair: Pair, watches: bool) -> None:
    """Answered when EXEC comes, between the results of the store."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address) as proxy,
        connect(proxy.port) as client,
    ):
        if watches:
            await client.call("WATCH", "k")
        replies = await client.pipeline(
            [
                ("MULTI",), ("SET", "k", 1), ("DUALKV", "WHOAMI"), ("INCR", "k"), ("DUALKV", "KEY", "k"),
                ("EXEC",),
            ]
        )  # fmt: skip
        first, who, count, key = value_of(replies[-1])
        broken = await client.pipeline([("MULTI",), ("DUALKV", "KEY"), ("EXEC",)])

    assert replies[:-1] == [b"+OK\r\n", *[b"+QUEUED\r\n"] * 4]
    assert (first, count) == (b"OK", 2)
    assert b"mode:dual-write-shadow\r\n" in who
    assert key.startswith(b"key:k\r\n")
    assert broken[1].startswith(b"-ERR wrong number")
    assert broken[2].startswith(b"-EXECABORT")


async def test_who_has_not_logged_in_is_told_nothing(pair: Pair) -> None:
    """Only authenticated connections may ask."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, client_password="hunter2") as proxy,
        connect(proxy.port) as client,
    ):
        assert (await client.call("DUALKV", "STATUS")).startswith(b"-NOAUTH")
        await client.call("AUTH", "hunter2")
        assert (await ask(client, "STATUS"))["mode"] == "dual-write-shadow"


async def test_no_store_hears_of_it(pair: Pair) -> None:
    """It is answered while neither store can be reached, and no store needs to have it."""
    async with running_proxy("127.0.0.1:1", "127.0.0.1:1", drain_seconds=0.1) as proxy:
        async with connect(proxy.port) as client:
            await wait_until(lambda: proxy.server.writer.lane.state is LaneState.DOWN)
            with trio.fail_after(5):
                told = await ask(client, "STATUS")
        assert commands_seen(proxy) == set()

    assert (told["condition"], told["primary_state"]) == ("trouble", "down")


def commands_seen(proxy: Proxy) -> set[str]:
    """Return what clients have used, as ``/observed`` tells it."""
    return {spec.label for spec in proxy.metrics.observed.uses}
