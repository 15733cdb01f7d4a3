"""Batches as transactions, towards the stand-in for ElasticKV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from dualkv.core.context import Context
from dualkv.core.dirty import DirtyReason
from dualkv.core.effects.model import Command
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, commands_item
from dualkv.core.pacing import Outcome, Refusal
from dualkv.resp import encode
from dualkv.servers import EmbeddedServer
from tests.fakes.elastickv import Cluster, Pace
from tests.fakes.elastickv.texts import BUSY
from tests.net.streaming import StreamBench, key_of_shard, stream_to
from tests.support.stores import contents, flush


@asynccontextmanager
async def fusing(cluster: Cluster, **settings: Any) -> AsyncIterator[StreamBench]:
    """Run a stream to the leader that has introduced itself; nothing may have harmed the cluster."""
    assert cluster.leader is not None
    async with stream_to(cluster.leader, **settings) as bench:
        bench.offer("SET first 1")
        await bench.wait_settled()
        cluster.received.clear()
        yield bench
        await bench.wait_settled()
    assert cluster.harmful == 0


def checked(bench: StreamBench, *commands: Command, queue: Queue = Queue.WRITE) -> StreamItem:
    """Offer commands in one piece, with the replies that are due."""
    item = commands_item(queue, commands, bench.clock(), Context())
    bench.offer_items(item)
    return item


def command(line: str, reply: bytes | None = None) -> Command:
    """Return a command of a line."""
    return Command(tuple(line.encode().split()), reply)


def due(number: int) -> bytes:
    """Return the integer reply that is due."""
    return encode.integer(number)


def strings(store: EmbeddedServer) -> dict[str, Any]:
    """Return what the cluster holds, by key."""
    return {key.decode(): value for key, (_, value) in contents(store).items() if key != b"first"}


async def test_batch_goes_in_one_transaction(elastickv: Cluster, elastickv_store: EmbeddedServer) -> None:
    """Many effects cost one commit."""
    async with fusing(elastickv) as bench:
        committed = elastickv.pipeline.committed
        bench.offer(*(f"SET k{n} {n}" for n in range(100)))
        await bench.wait_settled()

        assert elastickv.received == {"EVAL": 1}
        assert elastickv.pipeline.committed - committed == 1
        assert bench.ledger().applied == 101
        assert bench.dirty() == []
    assert strings(elastickv_store) == {f"k{n}": b"%d" % n for n in range(100)}


async def test_script_is_sent_once_for_each_connection(elastickv: Cluster) -> None:
    """Afterwards its hash will do; who has forgotten it gets it again."""
    async with fusing(elastickv) as bench:
        for number in range(3):
            bench.offer(f"SET a {number}", f"SET b {number}")
            await bench.wait_settled()
        assert elastickv.received == {"EVAL": 1, "EVALSHA": 2}

        elastickv.faults.add("NOSCRIPT No matching script. Please use EVAL.", commands={"EVALSHA"}, count=1)
        bench.offer("SET a 3", "SET b 3")
        await bench.wait_settled()

        assert elastickv.received == {"EVAL": 2, "EVALSHA": 3}
        assert bench.ledger().applied == 9


async def test_effects_on_one_key_are_one_command(
    elastickv: Cluster, elastickv_store: EmbeddedServer
) -> None:
    """Each of them is answered as if it had been sent by itself."""
    async with fusing(elastickv) as bench:
        for number in range(50):
            checked(bench, command(f"RPUSH list {number}", due(number + 1)))
            checked(bench, command(f"SADD set {number % 7}", due(int(number < 7))))
            checked(bench, command(f"SET string {number}"))
        await bench.wait_settled()

        assert bench.dirty() == []
        assert bench.metrics.write_replies_differed == 0
    assert strings(elastickv_store) == {
        "list": [b"%d" % n for n in range(50)], "set": {b"%d" % n for n in range(7)}, "string": b"49",
    }  # fmt: skip


async def test_reply_that_differs_makes_its_key_dirty_and_no_other(elastickv: Cluster) -> None:
    """Folded or not, a reply that is not the primary's tells of a difference."""
    async with fusing(elastickv) as bench:
        checked(bench, command("RPUSH other x", due(1)))
        checked(bench, command("RPUSH list a", due(5)))
        checked(bench, command("RPUSH list b", due(6)))
        await bench.wait_settled()

        assert bench.dirty() == ["list"]
        assert bench.became_dirty() == {DirtyReason.REPLY_DIFFERED: 1}


async def test_only_the_guilty_effect_fails(elastickv: Cluster, elastickv_store: EmbeddedServer) -> None:
    """An error rolls the whole back; then it is found, and everything else is applied."""
    async with fusing(elastickv) as bench:
        bench.offer("SET guilty 1")
        await bench.wait_settled()
        bench.offer(
            *(f"SET k{n} {n}" for n in range(40)), "SADD guilty x", *(f"SET l{n} {n}" for n in range(40))
        )
        await bench.wait_settled()

        assert (bench.ledger().failed, bench.ledger().applied) == (1, 82)
        assert bench.dirty() == ["guilty"]
        assert elastickv.received.total() < 20
    assert len(strings(elastickv_store)) == 81


async def test_what_a_script_cannot_do_keeps_its_place(
    elastickv: Cluster, elastickv_store: EmbeddedServer
) -> None:
    """Shadow reads, HyperLogLogs and clients' scripts go between the transactions."""
    async with fusing(elastickv) as bench:
        bench.offer("SET k 1", "SET l 1")
        bench.offer_read("GET k", b"$1\r\n1\r\n")
        bench.offer("SET k 2", "PFADD p x", "EVAL return(redis.call('SET','k','3')) 1 k")
        bench.offer_read("GET k", b"$1\r\n3\r\n")
        bench.offer("SET k 4", "SET l 2")
        await bench.wait_settled()

        assert bench.metrics.shadow_matches == 2
        assert bench.compared == []
        assert bench.ledger().failed == bench.ledger(Queue.SCRIPT).failed == 0
    assert strings(elastickv_store)["k"] == b"4"


async def test_several_commands_of_one_item_are_one_piece(
    elastickv: Cluster, elastickv_store: EmbeddedServer
) -> None:
    """What ``MULTI`` does not take there (``SADD``) is a script, alone or with others; and it is checked."""
    async with fusing(elastickv) as bench:
        checked(bench, command("DEL s"), command("SADD s a b", due(2)), queue=Queue.COPY)
        await bench.wait_settled()
        checked(bench, command("DEL t"), command("SADD t a b", due(2)), queue=Queue.COPY)
        checked(bench, command("DEL u"), command("SADD u a b", due(3)), queue=Queue.COPY)
        await bench.wait_settled()

        assert bench.ledger(Queue.COPY).applied == 3
        assert bench.dirty() == ["u"]
        assert elastickv.received["MULTI"] == 0
    assert strings(elastickv_store) == {key: {b"a", b"b"} for key in "stu"}


async def test_overload_is_met_with_less(elastickv: Cluster, elastickv_store: EmbeddedServer) -> None:
    """``BUSY`` has not applied anything: it is sent again, in smaller portions."""
    async with fusing(elastickv) as bench:
        elastickv.faults.add(BUSY, commands={"EVAL"}, count=2)
        before = bench.stream.pacing.effects
        bench.offer(*(f"SET k{n} {n}" for n in range(200)))
        await bench.wait_settled()

        assert bench.stream.pacing.effects < before
        assert bench.ledger().applied == 201
        assert bench.dirty() == []
    assert len(strings(elastickv_store)) == 200


async def test_what_is_too_much_goes_in_portions(elastickv: Cluster, elastickv_store: EmbeddedServer) -> None:
    """``invalid request`` halves the size until it is taken."""
    elastickv.pipeline.pace = Pace(max_transaction_effects=30)
    async with fusing(elastickv) as bench:
        bench.offer(*(f"SET k{n} {n}" for n in range(200)))
        await bench.wait_settled()

        assert bench.dirty() == []
    assert len(strings(elastickv_store)) == 200


async def test_lasting_overload_ends_in_dirty_keys(elastickv: Cluster) -> None:
    """Who is refused for so long that nothing is left of its time has failed; the connection stays."""
    async with fusing(elastickv, timeout_seconds=1.0) as bench:
        elastickv.faults.add(BUSY)
        bench.offer("SET k 1", "SET l 1")
        await bench.wait_settled()
        elastickv.faults.clear()
        bench.offer("SET m 1")
        await bench.wait_settled()

        assert bench.became_dirty() == {DirtyReason.FAILED: 2}
        assert bench.ledger().applied == 2
        assert bench.metrics.backends["elastickv"].pool.events["opened"] == 1


async def test_refused_for_another_reason_is_not_sent_again(elastickv: Cluster) -> None:
    """A leader that is gone may have applied it: that says nothing of single effects, and all are dirty."""
    async with fusing(elastickv) as bench:
        elastickv.faults.add("ERR write conflict", count=1, is_applied=True)
        bench.offer("SET k 1", "SET l 1")
        await bench.wait_settled()

        assert elastickv.received.total() == 1
        assert bench.became_dirty() == {DirtyReason.FAILED: 2}


async def test_connection_cut_behind_the_commit_makes_all_of_it_dirty(elastickv: Cluster) -> None:
    """Nobody knows what was done: each key of the batch is copied."""
    async with fusing(elastickv) as bench:
        elastickv.faults.cut(count=1)
        bench.offer("SET k 1", "SET l 1")
        await bench.wait_settled()
        bench.offer("SET m 1", "SET n 1")
        await bench.wait_settled()

        assert bench.became_dirty() == {DirtyReason.AMBIGUOUS: 2}
        assert bench.dirty() == ["k", "l"]
        assert elastickv.received["EVAL"] == 2


async def test_deadline_makes_the_next_smaller(elastickv: Cluster) -> None:
    """What is not answered in time is ambiguous, and was perhaps too much."""
    async with fusing(elastickv, timeout_seconds=0.3) as bench:
        before = bench.stream.pacing.effects
        elastickv.faults.add(None, is_silent=True, count=1)
        bench.stream.read_timeout_seconds = 0.3
        bench.offer("SET k 1", "SET l 1")
        await bench.wait_settled()

        assert bench.became_dirty() == {DirtyReason.AMBIGUOUS: 2}
        assert bench.stream.pacing.effects < before


async def test_what_became_of_transactions_is_counted(elastickv: Cluster) -> None:
    """Committed, sent again, sent in halves, given up; and why the pace went down."""
    async with fusing(elastickv, timeout_seconds=0.5) as bench:
        pacing = bench.metrics.pacing
        assert pacing is bench.stream.pacing
        assert pacing.outcomes == {Outcome.COMMITTED: 1}

        elastickv.faults.add(BUSY, commands={"EVAL"}, count=1)
        bench.offer("SET guilty 1", "SET k 1")
        await bench.wait_settled()
        assert pacing.outcomes == {Outcome.COMMITTED: 2, Outcome.REFUSED: 1}
        assert pacing.halved == {Refusal.BUSY: 1}
        assert pacing.effects_committed == 3

        bench.offer("SET k 2", "SADD guilty x", "SET l 2", "SET m 2")
        await bench.wait_settled()
        assert pacing.outcomes == {
            Outcome.COMMITTED: 4, Outcome.REFUSED: 1, Outcome.SPLIT: 2, Outcome.FAILED: 1
        }  # fmt: skip
        assert pacing.effects_committed == 6

        elastickv.faults.add(None, is_silent=True, count=1)
        bench.stream.read_timeout_seconds = 0.3
        bench.offer("SET n 1", "SET o 1")
        await bench.wait_settled()
        assert pacing.outcomes[Outcome.FAILED] == 2
        assert pacing.halved == {Refusal.BUSY: 1, Refusal.NO_ANSWER: 1}


async def test_many_shards_keep_every_key_in_order(
    elastickv: Cluster, elastickv_store: EmbeddedServer
) -> None:
    """Fused batches of many shards, with commands over two of them between: all ends as it was written."""
    keys = [key_of_shard(number, 4) for number in range(4)]
    expected: dict[str, bytes] = {}
    async with fusing(elastickv, write_concurrency=4, write_queue_size=2048) as bench:
        for number in range(300):
            key, other = keys[number % 4], keys[number % 3]
            lines = [f"SET {key} {number}"]
            expected[key] = b"%d" % number
            if number % 10 == 0 and key != other:
                lines.append(f"RENAME {key} {other}")
                expected[other] = expected.pop(key)
            bench.offer(*lines)
            if number % 16 == 0:
                await trio.lowlevel.checkpoint()
        await bench.wait_settled()

        assert bench.dirty() == []
    assert strings(elastickv_store) == expected


async def test_plain_store_is_not_sent_scripts(elastickv_store: EmbeddedServer) -> None:
    """A store that carries a pipeline has nothing to gain."""
    flush(elastickv_store)
    async with stream_to(elastickv_store) as bench:
        bench.offer("SET k 1", "SET l 1", "SADD s a")
        await bench.wait_settled()
    assert strings(elastickv_store) == {"k": b"1", "l": b"1", "s": {b"a"}}
