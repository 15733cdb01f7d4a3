"""AUTH and HELLO AUTH, as a client sees them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dualkv.servers import EmbeddedServer
from tests.support.client import connect
from tests.support.proxy import Proxy, running_proxy
from tests.support.servers import Pair
from tests.support.stores import contents, open_store

pytestmark = pytest.mark.e2e

NOAUTH = b"-NOAUTH Authentication required.\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


async def test_client_must_say_the_password(pair: Pair) -> None:
    """Before AUTH nothing is executed, and the errors come in Redis's order; afterwards all is."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, client_password="one\ntwo") as proxy,
        connect(proxy.port) as client,
    ):
        refused = await client.pipeline(
            [
                ("SET", "k", 1),
                ("PING",),
                ("MULTI",),
                ("SUBSCRIBE", "c"),
                ("GET",),
                ("CLIENT", "ID"),
                ("NOSUCH",),
            ]
        )
        hello = await client.call("HELLO", 3)
        wrong = await client.call("AUTH", "three")
        right = await client.pipeline([("AUTH", "two"), ("GET", "k"), ("ACL", "WHOAMI")])
        reset = await client.pipeline([("RESET",), ("GET", "k")])
        other = await client.pipeline([("AUTH", "default", "one"), ("GET", "k")])
        assert proxy.metrics.auth_failures == 1

    assert refused == [
        NOAUTH, NOAUTH, NOAUTH, NOAUTH, b"-ERR wrong number of arguments for 'get' command\r\n", NOAUTH,
        b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n",
    ]  # fmt: skip
    assert hello.startswith(b"-NOAUTH HELLO must be called with the client already authenticated")
    assert wrong == WRONGPASS
    assert right == [b"+OK\r\n", b"$-1\r\n", b"$7\r\ndefault\r\n"]
    assert reset == [b"+RESET\r\n", NOAUTH]
    assert other == [b"+OK\r\n", b"$-1\r\n"]


async def test_hello_lets_in_and_names(pair: Pair) -> None:
    """HELLO 3 AUTH … SETNAME … does all of it at once, or nothing."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, client_password="pw") as proxy,
        connect(proxy.port) as client,
    ):
        wrong = await client.call("HELLO", 3, "AUTH", "default", "x", "SETNAME", "me")
        still = await client.call("CLIENT", "GETNAME")
        right = await client.call("HELLO", 3, "AUTH", "default", "pw", "SETNAME", "me")
        name = await client.call("CLIENT", "GETNAME")

    assert (wrong, still, name) == (WRONGPASS, NOAUTH, b"$2\r\nme\r\n")
    assert right.startswith(b"%")


async def test_guessing_is_slowed_down(pair: Pair) -> None:
    """Each wrong password of a connection is answered later than the one before."""
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, client_password="pw") as proxy,
        connect(proxy.port) as client,
        connect(proxy.port) as other,
    ):
        started = time.monotonic()
        await client.pipeline([("AUTH", "x")] * 3)
        elapsed = time.monotonic() - started
        assert await other.pipeline([("AUTH", "pw"), ("PING",)]) == [b"+OK\r\n", b"+PONG\r\n"]
        assert proxy.metrics.auth_failures == 3

    assert elapsed >= 0.1 + 0.2 + 0.4


async def test_restricted_user_is_held_to_its_rules(pair: Pair) -> None:
    """Commands and keys outside the rules are refused, alone and in transactions; others go through."""
    users = "user default off\nuser app on >pw ~app:* +@read +@write +@transaction"
    async with (
        running_proxy(pair.primary.address, pair.secondary.address, users=users) as proxy,
        connect(proxy.port) as client,
    ):
        replies = await client.pipeline(
            [
                ("AUTH", "app", "pw"), ("SET", "app:k", 1), ("GET", "other"), ("CONFIG", "GET", "x"),
                ("MULTI",), ("SET", "app:k", 2), ("SET", "other", 2), ("EXEC",), ("GET", "app:k"),
            ]
        )  # fmt: skip
        await proxy.wait_drained()

    assert replies[:2] == [b"+OK\r\n", b"+OK\r\n"]
    assert [number for number, reply in enumerate(replies) if reply.startswith(b"-NOPERM ")] == [2, 3, 6]
    assert replies[7:] == [
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
        b"$1\r\n1\r\n",
    ]


async def test_primarys_own_password_is_the_clients(server_binary: Path, pair: Pair) -> None:
    """Where nothing is set, a client must know what dualkv itself says to the primary."""
    with EmbeddedServer(server_binary, "--requirepass", "pw") as primary:
        async with (
            running_proxy(f"redis://:pw@{primary.address}", pair.secondary.address) as proxy,
            connect(proxy.port) as client,
        ):
            replies = [
                await client.call("GET", "k"),
                await client.call("AUTH", "pw"),
                await client.call("GET", "k"),
            ]

    assert replies == [NOAUTH, b"+OK\r\n", b"$-1\r\n"]


@asynccontextmanager
async def pass_through(pair: Pair) -> AsyncIterator[Proxy]:
    """Run dualkv with clients that are users of the primary: ``reader`` and ``writer``."""
    with open_store(pair.primary) as store:
        store.acl_setuser("reader", enabled=True, passwords=["+r"], keys=["a*"], categories=["+@read"])
        store.acl_setuser(
            "writer", enabled=True, passwords=["+w"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        try:
            async with running_proxy(
                pair.primary.address, pair.secondary.address, auth="pass-through"
            ) as proxy:
                yield proxy
        finally:
            store.acl_deluser("reader", "writer")


async def test_primarys_own_users_keep_their_rights(pair: Pair) -> None:
    """With pass-through the primary's ACLs decide, for every client by itself, on one lane."""
    async with (
        pass_through(pair) as proxy,
        connect(proxy.port) as reader,
        connect(proxy.port) as writer,
        connect(proxy.port) as nobody,
    ):
        assert await reader.pipeline([("AUTH", "reader", "x"), ("AUTH", "reader", "r")]) == [
            WRONGPASS,
            b"+OK\r\n",
        ]
        assert (await writer.call("HELLO", 3, "AUTH", "writer", "w", "SETNAME", "me")).startswith(b"%")
        for number in range(20):
            assert await writer.call("SET", "a", number) == b"+OK\r\n"
            refused, value, foreign = await reader.pipeline([("SET", "a", "x"), ("GET", "a"), ("GET", "b")])
            assert refused.startswith(b"-NOPERM ")
            assert foreign.startswith(b"-NOPERM ")
            assert value == b"$%d\r\n%d\r\n" % (len(str(number)), number)
            assert await nobody.call("INCR", "n") == b":%d\r\n" % (number + 1)
        assert await reader.pipeline([("ACL", "WHOAMI"), ("RESET",), ("ACL", "WHOAMI")]) == [
            b"$6\r\nreader\r\n", b"+RESET\r\n", b"$7\r\ndefault\r\n",
        ]  # fmt: skip
        await proxy.wait_drained()
        assert not proxy.metrics.divergences

    assert contents(pair.primary) == contents(pair.secondary)


async def test_users_rights_hold_beside_the_lane(pair: Pair) -> None:
    """WATCH, blocking commands, transactions and subscriptions are the user's own, too."""
    async with pass_through(pair) as proxy, connect(proxy.port) as reader, connect(proxy.port) as writer:
        await reader.call("AUTH", "reader", "r")
        await writer.call("AUTH", "writer", "w")
        assert (await reader.call("BLPOP", "a", 0)).startswith(b"-NOPERM ")
        assert (await reader.call("SUBSCRIBE", "c")).startswith(b"-NOPERM ")
        assert (await reader.call("WATCH", "b")).startswith(b"-NOPERM ")
        assert (await reader.pipeline([("MULTI",), ("SET", "a", 1), ("EXEC",)]))[-1].startswith(
            b"-EXECABORT "
        )
        replies = await writer.pipeline(
            [("WATCH", "b"), ("MULTI",), ("SET", "b", 1), ("EXEC",), ("SELECT", 2)]
        )
        assert replies[-2:] == [b"*1\r\n+OK\r\n", b"+OK\r\n"]
        assert (await writer.call("SUBSCRIBE", "c")).endswith(b":1\r\n")


async def test_user_who_is_gone_executes_nothing_more(pair: Pair) -> None:
    """When the primary does not know a user any more, its commands are refused and never run as another."""
    async with pass_through(pair) as proxy, connect(proxy.port) as gone, connect(proxy.port) as other:
        await gone.call("AUTH", "writer", "w")
        assert await gone.call("SET", "k", "before") == b"+OK\r\n"
        assert await other.call("GET", "k") == b"$6\r\nbefore\r\n"  # the lane is the default user's again
        with open_store(pair.primary) as store:
            store.acl_setuser("writer", reset_passwords=True, passwords=["+new"], enabled=True)
        refused = await gone.pipeline([("SET", "k", "after"), ("GET", "k")])
        assert await other.call("GET", "k") == b"$6\r\nbefore\r\n"
        assert await gone.pipeline([("AUTH", "writer", "new"), ("GET", "k")]) == [
            b"+OK\r\n", b"$6\r\nbefore\r\n",
        ]  # fmt: skip

    assert refused == [WRONGPASS, WRONGPASS]
