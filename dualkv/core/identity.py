"""Which process a backend is, and what it may have forgotten when it is another one than before."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import attrs

from dualkv.core.dialect import LEARNING
from dualkv.core.effects.model import Args
from dualkv.core.info import info_fields, info_text

__all__ = ["IDENTIFYING", "INTRODUCTION", "Forgotten", "Identity", "identify", "is_clear"]

IDENTIFYING: Final[tuple[Args, ...]] = (
    (b"INFO", b"server"),
    (b"INFO", b"persistence"),
    (b"INFO", b"keyspace"),
    (b"INFO", b"replication"),
)
"""What to ask at connect."""


INTRODUCTION: Final = (*LEARNING, *IDENTIFYING)
"""All that is asked on a new connection."""


def is_clear(replies: Sequence[bytes]) -> bool:
    """Whether a backend's raw replies to `INTRODUCTION` say anything: it may be loading, or out of order.

    A refusal for good is clear: a store need not have every command.
    """
    return all(
        reply.startswith((b"-ERR", b"-NOPERM")) or (reply[:1] in expected)
        for reply, expected in zip(replies, (b"$=", b"*", b"$=", b"$=", b"$=", b"$="), strict=True)
    )


class Forgotten(enum.Enum):
    """What a backend may have lost since it was last seen."""

    NOTHING = "nothing"
    RECENT = "recent"
    """Its last writes: it is another process, which keeps what it acknowledges on disk."""
    ANYTHING = "anything"
    """It is another process, and empty, or as old as its last snapshot."""


@attrs.frozen
class Identity:
    """What a backend says of itself."""

    run_id: str
    """Changes with each start; empty if it does not tell."""
    is_empty: bool
    """It has no keys in any database, and says so."""
    logs_writes: bool
    """It keeps a log of its writes on disk, or does not tell."""
    replication_id: str = ""
    """Of its data; a replica has its primary's."""
    master: str = ""
    """``host:port`` of the store whose replica it is; empty: it is none."""
    raft_leader: str = ""
    """Of an ElasticKV, which has no run_id: ``host:port`` of its cluster's leader."""

    def forgotten_since(self, before: Identity | None) -> Forgotten:
        """Return what it may have lost since it was *before*."""
        if before is None or not self.run_id or self.run_id == before.run_id:
            return Forgotten.NOTHING
        return Forgotten.ANYTHING if self.is_empty or not self.logs_writes else Forgotten.RECENT


def identify(replies: Sequence[bytes]) -> Identity:
    """Return what follows from the raw replies to `IDENTIFYING`; any of them may be an error."""
    server, persistence, keyspace, replication = replies
    told, databases = info_fields(replication), info_text(keyspace)
    is_replica = told.get("role") == "slave" and bool(told.get("master_host"))
    return Identity(
        run_id=info_fields(server).get("run_id", ""),
        is_empty="# Keyspace" in databases and "keys=" not in databases,
        logs_writes=info_fields(persistence).get("aof_enabled") != "0",
        replication_id=told.get("master_replid", ""),
        master=f"{told['master_host']}:{told.get('master_port', '')}" if is_replica else "",
        raft_leader=told.get("raft_leader_redis", ""),
    )
