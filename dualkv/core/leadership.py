"""Which node of a backend leads: who is asked, what is believed, whose connections have to go.

A backend of several nodes is asked in rounds. In a round one node after the other is asked until one names a
leader: first the node that is believed to lead, then each seed (of Sentinels: first the one that knew last).
`Leadership.to_ask` says whom, `Leadership.learn` draws the conclusions of a round.

Three kinds of answers:

- ElasticKV's ``INFO replication`` has ``raft_leader_redis:host:port``; it is empty while there is no leader.
- Redis has ``role:master`` or ``role:slave`` there, and only speaks for itself.
- A Sentinel answers ``SENTINEL GET-MASTER-ADDR-BY-NAME`` with an address, or with nil.

A store that says nothing of this kind is taken as it is: commands go to the first seed that answers.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from dualkv.config import values
from dualkv.config.backends import Address, shown_address
from dualkv.core.info import info_fields
from dualkv.errors import ConfigError, ReplyProtocolError
from dualkv.resp.replies import is_error, value_of

__all__ = [
    "Leadership",
    "Learnt",
    "Refresh",
    "RefreshSchedule",
    "Told",
    "is_not_leader",
    "told_by_info",
    "told_by_sentinel",
]

MAX_FORMER: Final = 16
"""Former leaders that are no seeds whose connections may stay open."""


class Refresh(enum.StrEnum):
    """How a round ended; a label of metrics."""

    FOUND = "found"
    """There is a leader."""
    NO_LEADER = "no_leader"
    """Somebody answered, and nobody leads, as far as they know."""
    NOT_TOLD = "not_told"
    """Somebody answered, and it is no store that tells who leads."""
    UNREACHABLE = "unreachable"
    """Nobody answered; what was believed before is still believed."""


@attrs.frozen
class Told:
    """What one node has said about who leads."""

    leader: Address | None = None
    """Whom it names; itself, if it is a Redis that is nobody's replica."""
    tells: bool = True
    """Whether it is a store that says such things."""


@attrs.frozen
class Learnt:
    """What follows from a round."""

    outcome: Refresh
    has_moved: bool = False
    """Commands go to another node from now on: who is connected to the former one should connect again."""
    to_close: tuple[Address, ...] = ()
    """Nodes to which no connection may stay open."""


@attrs.define
class Leadership:
    """What is known of a backend's nodes.

    It does no I/O, and relies on being told how each round ended.
    """

    seeds: tuple[Address, ...]
    """Nodes of the store, or Sentinels."""
    has_sentinels: bool = False
    leader: Address | None = attrs.field(init=False, default=None)
    """Who leads, as far as anybody has said."""
    target: Address | None = attrs.field(init=False, default=None)
    """Where commands go; None: nowhere, since nobody leads or nothing has been learnt yet."""
    former: list[Address] = attrs.field(init=False, factory=list)
    """Nodes that have led, and are no seeds, oldest first."""
    _last_target: Address | None = attrs.field(init=False, default=None)
    _informant: Address | None = attrs.field(init=False, default=None)
    """The seed that answered last."""

    def to_ask(self) -> list[Address]:
        """Return whom to ask in a round, in order, each once."""
        first = self._informant if self.has_sentinels else self.leader
        return list(dict.fromkeys(([first] if first is not None else []) + list(self.seeds)))

    def for_subscribing(self) -> list[Address]:
        """Return where a connection that subscribes may lead, best first: without a leader, to any seed."""
        if self.target is not None:
            return [self.target]
        if self.has_sentinels:
            return []
        first = [self._informant] if self._informant is not None else []
        return list(dict.fromkeys(first + list(self.seeds)))

    def learn(self, answers: Mapping[Address, Told | None]) -> Learnt:
        """Draw the conclusions of a round.

        Args:
            answers: What each node said that was asked, in order; None: nothing in time.
        """
        told = {node: said for node, said in answers.items() if said is not None}
        if not told:
            return Learnt(Refresh.UNREACHABLE)
        self._informant = next((node for node in reversed(told) if node in self.seeds), self._informant)
        named = next((said.leader for said in told.values() if said.leader is not None), None)
        if named is not None:
            return self._follow(Refresh.FOUND, named, named)
        if any(said.tells for said in told.values()):
            self.leader = self.target = None
            return Learnt(Refresh.NO_LEADER)
        return self._follow(Refresh.NOT_TOLD, None, next(iter(told)))

    def _follow(self, outcome: Refresh, leader: Address | None, target: Address) -> Learnt:
        before = self._last_target
        self.leader, self.target, self._last_target = leader, target, target
        if target == before:
            return Learnt(outcome)
        if target in self.former:
            self.former.remove(target)
        if before is not None and (self.has_sentinels or before not in self.seeds):
            self.former.append(before)
        too_many = self.former[: max(0, len(self.former) - MAX_FORMER)]
        del self.former[: len(too_many)]
        return Learnt(outcome, before is not None, tuple(too_many))

    def describe(self) -> str:
        """Return why commands go nowhere."""
        nodes = ", ".join(map(shown_address, self.seeds))
        return f"no Sentinel of {nodes} knows a primary" if self.has_sentinels else f"no leader at {nodes}"


class RefreshSchedule:
    """Which round a caller has to wait for: one that begins after the caller asked for it.

    Rounds follow each other, one at a time; all who ask before a round begins share it.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._ended = 0
        self._needed = 1

    def ask(self) -> None:
        """Ask for a round: what is believed may be wrong."""
        self._needed = self._begun + 1

    def begin(self) -> None:
        """A round begins."""
        self._begun += 1

    def end(self) -> None:
        """It has ended."""
        self._ended = self._begun

    @property
    def is_due(self) -> bool:
        """Whether somebody has asked since the newest round began."""
        return self._needed > self._begun

    @property
    def is_settled(self) -> bool:
        """Whether what is believed is as new as anybody has asked for."""
        return self._ended >= self._needed


_NOT_LEADER: Final = (b"not leader", b"leader not found", b"notleader")


def is_not_leader(frame: bytes) -> bool:
    """Return whether a raw error reply says that the node does not lead, or cannot reach who does.

    ElasticKV: ``not leader``, ``leader not found``, ``NOTLEADER …``; a follower whose leader is dead: ``dial
    tcp …: connect: connection refused``, ``read tcp …: connection reset by peer``. Redis: ``READONLY``.
    """
    if frame.startswith(b"-READONLY"):
        return True
    text = frame[:512].lower()
    if b" tcp " in text and (b"connection refused" in text or b"connection reset" in text):
        return True
    return any(words in text for words in _NOT_LEADER)


def told_by_info(node: Address, reply: bytes) -> Told | None:
    """Return what a node says in its raw reply to ``INFO replication``; None: it cannot say anything now."""
    if is_error(reply):
        return None if reply.startswith((b"-LOADING", b"-BUSY", b"-NOAUTH")) else Told(tells=False)
    fields = info_fields(reply)
    if (leader := fields.get("raft_leader_redis")) is not None:
        return Told(_address(leader, node[0]))
    role = fields.get("role")
    return Told(tells=False) if role is None else Told(node if role == "master" else None)


def told_by_sentinel(node: Address, reply: bytes) -> Told | None:
    """Return what a Sentinel says in its raw reply to ``SENTINEL GET-MASTER-ADDR-BY-NAME``."""
    if is_error(reply):
        return None
    try:
        found: Sequence[object] | None = value_of(reply)
    except ReplyProtocolError:
        return None
    if not isinstance(found, list) or len(found) != 2:
        return Told()
    host, port = (word.decode(errors="replace") if isinstance(word, bytes) else str(word) for word in found)
    return Told(_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", node[0]))


def _address(text: str, default_host: str) -> Address | None:
    """Return an address as nodes write it; None: nobody, or not an address."""
    try:
        host, port = values.listen_address(text.strip())
    except ConfigError:
        return None
    return (host or default_host, port) if port else None
