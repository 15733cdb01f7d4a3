"""The cluster: who leads, what the leader does, and what has been seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from dualkv.resp import encode
from dualkv.servers import EmbeddedServer, find_server_binary
from tests.fakes.elastickv.channels import Channels
from tests.fakes.elastickv.commands import Args
from tests.fakes.elastickv.engine import Engine
from tests.fakes.elastickv.faults import Fault, Faults
from tests.fakes.elastickv.leadership import Leadership
from tests.fakes.elastickv.node import Node
from tests.fakes.elastickv.numbers import write_scores
from tests.fakes.elastickv.pace import PROMPT, CommitPipeline, Pace, Turn
from tests.fakes.elastickv.texts import NOT_LEADER, reset_connection
from tests.fakes.elastickv.work import Work

__all__ = ["Cluster", "open_cluster"]


class Cluster(Leadership):
    """Nodes that share one real store; `open_cluster` makes one. Plain attributes may be changed at any time.

    Args:
        server: The real store.
        nursery: Where everything runs.
        engine: The connection to the store.
        pace: What commits cost.
        seed: Decides what is left to chance.
        election_seconds: How long after a leader's death there is a new one; None: not before `elect`.
        panics: Whether a node dies of what is harmful, as the real one does.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        nursery: trio.Nursery,
        engine: Engine,
        *,
        pace: Pace = PROMPT,
        seed: int = 0,
        election_seconds: float | None = 0.05,
        panics: bool = True,
    ) -> None:
        super().__init__(nursery, election_seconds)
        self.server = server
        self.faults = Faults(seed)
        self.pipeline = CommitPipeline(pace)
        self.panics = panics
        self.applied_by_chance = 0.5
        """How probable it is that what is being committed while the leader goes is applied all the same."""
        self.received: Counter[str] = Counter()
        """Commands of clients, by upper-case name."""
        self.harms: list[str] = []
        """What would have killed a real node, in order."""
        self.is_open = True
        self.channels = Channels()
        self._engine = engine
        self._in_flight: set[trio.CancelScope] = set()

    def __repr__(self) -> str:
        return f"<Cluster {self.nodes}>"

    @property
    def harmful(self) -> int:
        """How often something was received that kills a real node."""
        return len(self.harms)

    async def start(self, node_count: int) -> None:
        """Start nodes; the first one leads."""
        self.nodes = [Node(self, index) for index in range(node_count)]
        await self.revive()

    async def perform(self, node: Node, work: Work, turn: Turn) -> bytes | None:
        """Do *work* for a client of *node* when it is its *turn*; return its reply.

        None: the connection is to be cut. Nothing (``b""``): there will be no answer.
        """
        fault = self.faults.for_command(work.name)
        if fault is not None and not fault.is_applied:
            return _outcome(fault)
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        if work.is_write:
            objection = self.pipeline.objection(work)
            reply = await self._commit(work, turn) if objection is None else encode.error(objection)
        else:
            replies = await self._engine.ask(work.requests, work.reply_count)
            reply = work.finish(replies).reply
        if fault is not None:
            return _outcome(fault)
        if work.name == "SET" and reply == encode.OK and node is not self.leader:
            return encode.bulk("OK")
        return reply

    async def _commit(self, work: Work, turn: Turn) -> bytes:
        leader = self.leader
        assert leader is not None
        is_applied = False
        term = trio.CancelScope()
        self._in_flight.add(term)
        try:
            with term:
                async with self.pipeline.transaction(work, turn):
                    is_applied = True
                    self.pipeline.committed += 1
                    replies = await self._engine.ask(work.requests, work.reply_count)
                    ran = work.finish(replies)
                    for _ in range(ran.harms):
                        self.note_harm("a script", leader)
                    await self.pipeline.spend(turn, ran.keys, ran.elements)
                    return ran.reply
        finally:
            self._in_flight.discard(term)
            if not is_applied and self.is_open and self.faults.coin(self.applied_by_chance):
                self._engine.post(work.requests, work.reply_count)
        return encode.error(NOT_LEADER if leader.is_alive else reset_connection(leader.address))

    def end_term(self) -> None:
        """Let nobody lead; what is being committed is answered at once."""
        super().end_term()
        for term in self._in_flight:
            term.cancel("the leader has gone")
        self.pipeline.forget()

    async def wait_for(self, name: str, args: Args) -> bytes | None:
        """Do what blocks, until the leader moves; return its reply."""
        fault = self.faults.for_command(name)
        refusal = self.refusal()
        if refusal is not None:
            return refusal
        if fault is not None and not fault.is_applied:
            return _outcome(fault)
        replies = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, self.term_over, nursery.cancel_scope)
            replies.append(await self._engine.ask_apart(encode.pack(args)))
            nursery.cancel_scope.cancel("it is answered")
        if not replies:
            return encode.error(NOT_LEADER)
        reply = replies[0]
        if name == "BZPOPMIN" and reply != encode.null_array(2):
            pace = self.pipeline.pace
            await self.pipeline.spend(
                Turn(trio.current_time()), 1, 1, pace.transaction_seconds, pace.commit_seconds
            )
        return _outcome(fault) if fault is not None else write_scores(name, args, reply)

    def note_harm(self, what: str, node: Node, *, is_fatal: bool = True) -> None:
        """Count what kills a node, and let it."""
        self.harms.append(what)
        if self.panics and is_fatal and node.is_alive:
            self.kill(node)


def _outcome(fault: Fault) -> bytes | None:
    if fault.text is not None:
        return encode.error(fault.text)
    return b"" if fault.is_silent else None


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel("the leader has moved")


@asynccontextmanager
async def open_cluster(
    *,
    redis_binary: Path | None = None,
    server: EmbeddedServer | None = None,
    nodes: int = 3,
    pace: Pace = PROMPT,
    seed: int = 0,
    election_seconds: float | None = 0.05,
    panics: bool = True,
) -> AsyncIterator[Cluster]:
    """Run a cluster for the block.

    Args:
        redis_binary: The real store to start behind it; the one that is at hand unless said.
        server: One that runs already, instead; it is used as it is, and left running.
        nodes: How many.
        pace: What commits cost.
        seed: Decides what is left to chance.
        election_seconds: See `Cluster`.
        panics: See `Cluster`.
    """
    behind = server or EmbeddedServer(redis_binary or find_server_binary()).start()
    try:
        engine = await Engine.connect(behind.port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            cluster = Cluster(
                behind, nursery, engine,
                pace=pace, seed=seed, election_seconds=election_seconds, panics=panics,
            )  # fmt: skip
            await cluster.start(nodes)
            try:
                yield cluster
            finally:
                cluster.is_open = False
                nursery.cancel_scope.cancel("the cluster is closed")
    finally:
        if server is None:
            behind.stop()
