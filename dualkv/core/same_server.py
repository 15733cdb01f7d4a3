"""Whether two stores are one: then a mirrored write would be made twice, or refused.

Sources: ``INFO server`` (``run_id``, ``tcp_port``) and ``INFO replication`` (``role``, ``master_replid``,
``master_host``, ``master_port``) of Redis and Valkey; ``raft_leader_redis`` of ElasticKV. A store that does
not tell who it is, is not the same as one that does.
"""

from __future__ import annotations

from typing import Final

import attrs

from dualkv.config import BackendOptions, ProxyConfig
from dualkv.core.identity import Identity

__all__ = ["Acquaintance", "follows", "is_one_server", "objection_to"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def objection_to(
    answering: Identity,
    following: Identity,
    answering_options: BackendOptions,
    following_options: BackendOptions,
) -> str | None:
    """Return why one store must not be mirrored to the other, in one sentence; None: nothing is known.

    Args:
        answering: What the store says of itself that answers clients.
        following: The same of the one that is mirrored to.
        answering_options: Where the first one is, and its database.
        following_options: The same of the other one.
    """
    one, other = answering_options, following_options
    if is_one_server(answering, following) and (one.db == other.db or not answering.run_id):
        return f"{one.address} and {other.address} are the same server, and the same database: {_HARM}"
    if follows(following, answering, one):
        return f"{other.address} is a replica of {one.address}: it gets every write already"
    if follows(answering, following, other):
        return f"{one.address} is a replica of {other.address}: it takes no writes"
    return None


_HARM: Final = "every write would be made twice"


def is_one_server(one: Identity, other: Identity) -> bool:
    """Whether both are the same process; of ElasticKV, the same cluster."""
    if one.run_id or other.run_id:
        return one.run_id == other.run_id
    return one.raft_leader != "" and one.raft_leader == other.raft_leader


def follows(one: Identity, other: Identity, options_of_other: BackendOptions) -> bool:
    """Whether *one* is a replica of *other*, directly or through others.

    A replica has its primary's replication id, once it is synchronised; before, only the address tells.
    """
    if not one.master:
        return False
    if one.replication_id and one.replication_id == other.replication_id:
        return True
    host, _, port = one.master.rpartition(":")
    is_near = {host, options_of_other.host} <= _LOOPBACK
    return port == str(options_of_other.port) and (host == options_of_other.host or is_near)


@attrs.define
class Acquaintance:
    """What both stores have said of themselves, as they come and go; and what follows for mirroring.

    Args:
        answering_options: Where the store is that answers, and its database.
        following_options: The same of the one that follows.
        allows_one_server: Whether somebody has said that all this does not matter.
    """

    answering_options: BackendOptions
    following_options: BackendOptions
    allows_one_server: bool = False
    objection: str | None = attrs.field(init=False, default=None)
    """Why nothing must be mirrored; None: nothing is known that speaks against it."""
    _answering: Identity | None = attrs.field(init=False, default=None)
    _following: Identity | None = attrs.field(init=False, default=None)

    @classmethod
    def of(cls, config: ProxyConfig, follows: BackendOptions) -> Acquaintance:
        """Return the acquaintance of both stores of *config*, of which one follows."""
        both = [config.backend_options(which) for which in ("primary", "secondary")]
        (answers,) = (options for options in both if options.name != follows.name)
        return cls(answers, follows, config.allow_same_server)

    def is_allowed(self, answers: Identity | None = None, follows: Identity | None = None) -> bool:
        """Take note of who a store is, and return whether one may be mirrored to the other."""
        self._answering = answers or self._answering
        self._following = follows or self._following
        if self._answering is not None and self._following is not None and not self.allows_one_server:
            self.objection = objection_to(
                self._answering, self._following, self.answering_options, self.following_options
            )
        return self.objection is None
