"""Leader and followers of ElasticKV, and what harms a node."""

from __future__ import annotations

import pytest
import trio

from dualkv.resp.replies import value_of
from tests.fakes.elastickv import Cluster, Pace
from tests.fakes.elastickv.texts import NOT_LEADER
from tests.fakes.talk import ask, error_of, leader_client, until
from tests.support.client import connect
from tests.support.stores import contents


async def test_followers_answer_by_asking_the_leader(elastickv: Cluster) -> None:
    """Reads, writes, transactions and scripts, from the same data."""
    async with leader_client(elastickv) as leader, connect(elastickv.followers[0].port) as follower:
        await ask(follower, "RPUSH l a b")
        assert await ask(leader, "LRANGE l 0 -1") == [b"a", b"b"]
        await ask(leader, "SET k v")
        assert await ask(follower, "GET k") == b"v"
        await ask(follower, "MULTI")
        await ask(follower, "INCR n")
        assert await ask(follower, "EXEC") == [1]
        assert value_of(await follower.call("EVAL", "return redis.call('INCR', 'n')", 0)) == 2


async def test_a_follower_answers_set_with_a_bulk_ok(elastickv: Cluster) -> None:
    """The leader's is a simple string; both mean the same."""
    async with leader_client(elastickv) as leader, connect(elastickv.followers[0].port) as follower:
        assert await leader.call("SET", "k", "v") == b"+OK\r\n"
        assert await follower.call("SET", "k", "v") == b"$2\r\nOK\r\n"
        assert await follower.call("SETEX", "k", 9, "v") == b"+OK\r\n"


async def test_every_node_tells_who_leads(elastickv: Cluster) -> None:
    """A follower calls itself a slave."""
    async with connect(elastickv.followers[0].port) as follower:
        info = (await ask(follower, "INFO replication")).decode()

    assert "role:slave" in info
    assert f"raft_leader_redis:{elastickv.addresses[0]}\r\n" in info


async def test_without_a_leader_all_commands_are_refused(elastickv: Cluster) -> None:
    """The leader's address is empty then; what a node knows itself it still tells."""
    elastickv.step_down()
    async with connect(elastickv.nodes[0].port) as client:
        for line in ("GET k", "SET k v", "PUBLISH c m", "BZPOPMIN z 1"):
            assert await error_of(client, *line.split()) == "NOTLEADER leader not found"
        assert await client.call("PING") == b"+PONG\r\n"
        assert (await ask(client, "INFO")).endswith(b"raft_leader_redis:\r\n")
        elastickv.elect()
        assert await client.call("SET", "k", "v") in (b"+OK\r\n", b"$2\r\nOK\r\n")


async def test_when_the_leader_is_killed_its_connections_are_reset(elastickv: Cluster) -> None:
    """And no new ones are taken."""
    async with leader_client(elastickv) as client:
        await ask(client, "SET k v")
        killed = elastickv.kill_leader()
        with pytest.raises(trio.BrokenResourceError):
            await client.stream.receive_some()
    with pytest.raises(OSError, match=r"refused|attempts"):
        await trio.open_tcp_stream("127.0.0.1", killed.port)


async def test_followers_of_a_dead_leader_say_that_they_cannot_dial_it(elastickv: Cluster) -> None:
    """Without ``ERR``, until there is a new leader; then everything works again, and ``INFO`` tells it."""
    async with connect(elastickv.followers[0].port) as client:
        await ask(client, "SET k v")
        dead = elastickv.kill_leader()
        assert await error_of(client, "GET", "k") == f"dial tcp {dead.address}: connect: connection refused"
        elastickv.elect()
        assert await ask(client, "GET k") == b"v"
        assert f"raft_leader_redis:{elastickv.addresses[1]}\r\n" in (await ask(client, "INFO")).decode()


async def test_a_new_leader_is_elected_after_the_set_time(elastickv: Cluster) -> None:
    """Nobody has to call for it."""
    elastickv.election_seconds = 0.01
    elastickv.kill_leader()
    with trio.fail_after(5):
        leader = await elastickv.wait_leader()

    assert leader is elastickv.nodes[1]
    assert elastickv.elections == 2


async def test_a_dead_node_comes_back_where_it_was_and_follows(elastickv: Cluster) -> None:
    """On the same port."""
    dead = elastickv.kill_leader()
    elastickv.elect()
    await elastickv.revive()
    async with connect(dead.port) as client:
        assert await client.call("SET", "k", "v") == b"$2\r\nOK\r\n"


async def test_without_a_majority_there_is_no_leader(elastickv: Cluster) -> None:
    """One node of three refuses everything until a second one is back."""
    elastickv.kill_leader()
    elastickv.elect()
    elastickv.kill_leader()
    elastickv.elect()
    async with connect(elastickv.nodes[2].port) as client:
        assert await error_of(client, "SET", "k", "v") == "NOTLEADER leader not found"
        await elastickv.revive()
        assert not (await client.call("SET", "k", "v")).startswith(b"-")


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_write_in_flight_when_the_leader_moves_may_have_been_applied(
    elastickv: Cluster, is_applied: bool
) -> None:
    """The answer does not tell."""
    elastickv.pipeline.pace = Pace(commit_seconds=1000)
    elastickv.applied_by_chance = float(is_applied)
    async with leader_client(elastickv) as client:
        await client.send(b"SET k v\r\n")
        await until(lambda: elastickv.pipeline.committing)
        await elastickv.move_leader()
        assert str(value_of((await client.receive(1))[0])) == NOT_LEADER
        assert await ask(client, "EXISTS k") == int(is_applied)


@pytest.mark.parametrize("is_applied", [True, False])
async def test_a_write_in_flight_when_the_leader_dies_may_have_been_applied(
    elastickv: Cluster, is_applied: bool
) -> None:
    """Through the leader the connection breaks, through a follower the answer says that one has."""
    elastickv.pipeline.pace = Pace(commit_seconds=1000)
    elastickv.applied_by_chance = float(is_applied)
    async with leader_client(elastickv) as client, connect(elastickv.followers[0].port) as other:
        await client.send(b"SET a v\r\n")
        await other.send(b"SET b v\r\n")
        await until(lambda: elastickv.pipeline.committing == 2)
        elastickv.kill_leader()
        assert b"connection reset by peer" in (await other.receive(1))[0]
        with pytest.raises(trio.BrokenResourceError):
            await client.stream.receive_some()
        elastickv.elect()
        assert await ask(other, "EXISTS a b") == 2 * is_applied


async def test_a_blocked_client_is_told_when_the_leader_moves(elastickv: Cluster) -> None:
    """It must ask again."""
    async with leader_client(elastickv) as client:
        await client.send(b"BZPOPMIN z 0\r\n")
        await until(lambda: elastickv.received["BZPOPMIN"])
        await elastickv.move_leader()
        assert (await client.receive(1)) == [b"-not leader\r\n"]


async def test_the_leader_can_move_with_a_gap(elastickv: Cluster) -> None:
    """Both nodes stay alive."""
    leader = await elastickv.move_leader(gap_seconds=0.001)

    assert leader is elastickv.leader is elastickv.nodes[1]
    assert all(node.is_alive for node in elastickv.nodes)


# --- what harms


@pytest.mark.parametrize("line", ["SCAN 0", "KEYS k", "DBSIZE"])
async def test_enumerating_kills_the_node(elastickv: Cluster, line: str) -> None:
    """It is counted, and the client hears nothing."""
    async with connect(elastickv.followers[0].port) as client:
        await client.send(f"{line}\r\n".encode())
        assert await client.receive_until_closed() == b""

    assert elastickv.harms == [line.partition(" ")[0]]
    assert not elastickv.nodes[1].is_alive


async def test_the_end_of_a_connection_that_has_subscribed_kills_the_node(elastickv: Cluster) -> None:
    """However polite."""
    async with connect(elastickv.followers[0].port) as client:
        assert await ask(client, "SUBSCRIBE c") == [b"subscribe", b"c", 1]
        await client.send(b"QUIT\r\n")
        await client.receive_until_closed()

    assert elastickv.harmful == 1
    assert not elastickv.nodes[1].is_alive


async def test_harm_can_be_survived(elastickv: Cluster) -> None:
    """It is counted all the same, in transactions and scripts too."""
    elastickv.panics = False
    async with leader_client(elastickv) as client:
        await ask(client, "SET k v")
        assert await ask(client, "DBSIZE") == 1
        assert value_of(await client.call("EVAL", "return redis.call('KEYS', '*')", 0)) == [b"k"]
        await ask(client, "MULTI")
        await ask(client, "DBSIZE")
        await ask(client, "DISCARD")

    assert elastickv.harms == ["DBSIZE", "a script", "DBSIZE"]


async def test_flushall_harms_nobody(elastickv: Cluster) -> None:
    """It works, without options."""
    async with leader_client(elastickv) as client:
        await ask(client, "SET k v")
        assert await client.call("FLUSHALL") == b"+OK\r\n"
        assert "wrong number" in await error_of(client, "FLUSHALL", "ASYNC")

    assert elastickv.harmful == 0
    assert contents(elastickv.server) == {}


async def test_what_is_published_reaches_subscribers_of_all_nodes(elastickv: Cluster) -> None:
    """While subscribed, a client can do little else."""
    async with connect(elastickv.nodes[1].port) as subscriber, leader_client(elastickv) as publisher:
        await ask(subscriber, "SUBSCRIBE c")
        assert await ask(publisher, "PUBLISH c hello") == 1
        assert value_of((await subscriber.receive(1))[0]) == [b"message", b"c", b"hello"]
        assert await ask(publisher, "PUBSUB CHANNELS c*") == [b"c"]
        assert await ask(publisher, "PUBSUB NUMSUB c d") == [b"c", 1, b"d", 0]
        assert await ask(subscriber, "PING") == [b"pong", b""]
        assert "Can't execute 'get'" in await error_of(subscriber, "GET", "k")


async def test_commands_are_counted_by_name_and_node(elastickv: Cluster) -> None:
    """Unknown ones too."""
    async with leader_client(elastickv) as client:
        for line in ("GET k", "get k", "MGET k"):
            await client.call(*line.split())

    assert dict(elastickv.received) == {"GET": 2, "MGET": 1}
    assert elastickv.nodes[0].received == elastickv.received
    assert not elastickv.nodes[1].received
