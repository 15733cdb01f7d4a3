"""Which node leads, who believes it, and how that changes."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from dualkv.resp import encode
from tests.fakes.elastickv.node import Node
from tests.fakes.elastickv.texts import NOTLEADER, refused_connection

__all__ = ["Leadership"]


class Leadership:
    """Nodes, and at most one leader among them.

    Args:
        nursery: Where nodes run.
        election_seconds: How long after a leader's death there is a new one; None: not before `elect`.
    """

    def __init__(self, nursery: trio.Nursery, election_seconds: float | None) -> None:
        self.nodes: list[Node] = []
        self.leader: Node | None = None
        self.election_seconds = election_seconds
        self.elections = 0
        """How many leaders there have been."""
        self.term_over = trio.Event()
        """Set when the present leader stops to lead; then another takes its place."""
        self._nursery = nursery
        self._believed: Node | None = None
        self._has_leader = trio.Event()

    @property
    def addresses(self) -> list[str]:
        """Where the nodes listen."""
        return [node.address for node in self.nodes]

    @property
    def followers(self) -> list[Node]:
        """The living nodes that do not lead."""
        return [node for node in self.nodes if node.is_alive and node is not self.leader]

    @property
    def advertised_leader(self) -> str:
        """Whom the nodes believe to lead; empty when they do not know."""
        return "" if self._believed is None else self._believed.address

    def refusal(self) -> bytes | None:
        """Return what a node answers if the leader cannot be asked; None: it can."""
        if self.leader is not None:
            return None
        if self._believed is not None:
            return encode.error(refused_connection(self._believed.address))
        return encode.error(NOTLEADER)

    def elect(self, node: Node | None = None) -> None:
        """Make *node* the leader, or the next one alive. Without a majority alive there is none."""
        alive = [each for each in self.nodes if each.is_alive]
        if len(alive) * 2 <= len(self.nodes):
            self._believed = None
            return
        if node is None:
            previous = self._believed or self.leader or self.nodes[-1]
            node = next(each for each in self._behind(previous) if each.is_alive)
        self.end_term()
        self.leader = self._believed = node
        self.elections += 1
        self._has_leader.set()

    def step_down(self) -> None:
        """Leave the cluster without a leader, and all nodes alive, until `elect`."""
        self.end_term()
        self.leader = self._believed = None

    async def move_leader(self, to: Node | None = None, *, gap_seconds: float = 0.0) -> Node:
        """Let another node lead; return it.

        Args:
            to: Which; the next one alive unless said.
            gap_seconds: How long there is none in between.
        """
        former = self.leader or self.nodes[-1]
        target = to or next(node for node in self._behind(former) if node.is_alive)
        if gap_seconds:
            self.step_down()
            await trio.sleep(gap_seconds)
        self.elect(target)
        await trio.lowlevel.checkpoint()
        return target

    def kill_leader(self) -> Node:
        """Kill the leader (``kill -9``); return it. What follows takes `election_seconds`."""
        assert self.leader is not None
        leader = self.leader
        self.kill(leader)
        return leader

    def kill(self, node: Node) -> None:
        """Kill a node."""
        was_leader = node is self.leader
        if was_leader:
            self.end_term()
            self.leader = None  # and believed to lead until the others have noticed
        node.die()
        if was_leader and self.election_seconds is not None:
            self._nursery.start_soon(self._elect_later, self.election_seconds)
        elif self.leader is not None and 2 * len(self.followers) + 2 <= len(self.nodes):
            self.step_down()

    async def revive(self, *nodes: Node) -> None:
        """Start dead nodes again, all of them unless said; they follow, if there is whom to follow."""
        for node in nodes or self.nodes:
            if not node.is_alive:
                await node.listen(self._nursery)
        if self.leader is None and self._believed is None:
            self.elect()

    async def wait_leader(self) -> Node:
        """Return the leader, when there is one."""
        await self._has_leader.wait()
        assert self.leader is not None
        return self.leader

    def _behind(self, node: Node) -> Iterable[Node]:
        return self.nodes[node.index + 1 :] + self.nodes[: node.index + 1]

    def end_term(self) -> None:
        """Let nobody lead."""
        self.term_over.set()
        self.term_over = trio.Event()
        if self._has_leader.is_set():
            self._has_leader = trio.Event()

    async def _elect_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        if self.leader is None:
            self.elect()
