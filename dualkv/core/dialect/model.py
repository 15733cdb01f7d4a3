"""What a backend says that it can do."""

from __future__ import annotations

from typing import Final

import attrs

from dualkv.core.script_facts import ScriptFacts

__all__ = ["ELASTICKV", "Dialect"]

ELASTICKV: Final = "ElasticKV"
"""The product that commits each write through Raft."""


_BETWEEN_DATABASES: Final = frozenset({"SELECT", "MOVE", "SWAPDB"})


@attrs.frozen(eq=False)
class Dialect:
    """A backend's commands and options. One object per backend: it is compared by identity."""

    product: str
    """``Redis``, ``Valkey``, ``Dragonfly``, ``ElasticKV``; who does not say goes as ``Redis``."""
    version: tuple[int, ...]
    """The product's own; empty if unknown."""
    redis_version: tuple[int, ...]
    """The Redis whose options it takes: Valkey 9.1 goes as 7.2."""
    commands: frozenset[str] = attrs.field(repr=False)
    """Upper-case names; ``CONTAINER SUB`` for sub-commands."""
    options: frozenset[str] = attrs.field(repr=False)
    """Options that older stores lack: ``SET PXAT``."""
    rdb_version: int
    """The newest ``DUMP`` payload that it can ``RESTORE``; 0: none."""
    fuses: bool = False
    """Whether many effects go faster as one transaction, since each one costs it a commit."""
    is_enumerable: bool = True
    """Whether ``SCAN``, ``KEYS`` and ``DBSIZE`` may be sent to it. A node of ElasticKV dies of them."""
    has_databases: bool = True
    """Whether ``SELECT`` separates anything. In ElasticKV all databases are one."""

    waits_for_streams: bool = False
    """Whether ``XREAD`` of a missing stream waits for it unasked, and holds its connection up."""
    holds_hll: bool = True
    """Whether a HyperLogLog is a string with its bytes. ElasticKV counts a plain set: none can be copied."""
    not_in_scripts: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    """Commands that it has, and clients' scripts have not."""
    scripted: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    """Commands and options that it lacks, and that are said in a script of ours or at the last moment."""

    def has(self, name: str) -> bool:
        """Whether it knows a command (``SET``), sub-command (``XGROUP CREATE``) or option (``SET PXAT``)."""
        return name in self.commands or name in self.options

    def executes(self, name: str) -> bool:
        """Whether effects may hold a command or option: it has it, or it is `scripted`."""
        return self.has(name) or name in self.scripted

    def runs(self, script: ScriptFacts) -> bool:
        """Whether a script can be executed there, as far as its text tells."""
        return script.calls <= self.commands and script.calls.isdisjoint(self.not_in_scripts)

    def is_spared(self, script: ScriptFacts) -> bool:
        """Whether a script must not be sent there.

        It might list the keys, of which a node goes down, or leave the one database that is mirrored.
        """
        if not self.has_databases and not script.calls.isdisjoint(_BETWEEN_DATABASES):
            return True
        return not self.is_enumerable and not (script.tells_its_calls and self.runs(script))
