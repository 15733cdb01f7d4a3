"""The command table: from what a client wrote to a `CommandSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from dualkv.commands.generated import ROWS
from dualkv.commands.own import OWN_ROWS

__all__ = ["COMMANDS", "UNKNOWN", "CommandSpec", "KeySpec", "find_command"]

Kind = Literal[
    "admin", "conn", "container", "other", "publish", "pubsub",
    "read", "script", "script_ro", "txn", "unknown", "write",
]  # fmt: skip


@attrs.frozen
class KeySpec:
    """How to find some of a command's keys (Redis: key specifications)."""

    access: Literal["R", "W"]
    """Whether the command may write these keys."""
    begin: int | tuple[str, int]
    """Index of an argument, or a keyword and the index to look for it from (negative: backwards)."""
    find: tuple[Literal["range", "keynum"], int, int, int]
    """``range``: last, step, limit. ``keynum``: where the number is, where the first key is, step."""


@attrs.frozen(eq=False)
class CommandSpec:
    """Facts about one command or sub-command."""

    index: int
    """Position in the table; counters per command are lists with this index."""
    name: str
    """Upper case; ``CONTAINER SUB`` for a sub-command. ``OTHER`` for whatever is not in the table."""
    arity: int
    """Number of arguments, the name (and container) included; negative: at least so many."""
    kind: Kind
    flags: frozenset[str]
    tips: frozenset[str]
    key_specs: tuple[KeySpec, ...]
    in_redis_7_0: bool
    subcommands: Mapping[bytes, CommandSpec] = attrs.field(factory=dict, repr=False)
    """By upper-case name; empty for a command without sub-commands."""

    @property
    def label(self) -> str:
        """The name as metrics, logs and error texts show it: ``client|setname``, ``get``."""
        return self.name.lower().replace(" ", "|")

    def takes(self, argument_count: int) -> bool:
        """Whether the command takes *argument_count* arguments, its own name included."""
        if self.arity >= 0:
            return argument_count == self.arity
        return argument_count >= -self.arity


def _spec(index: int, row: tuple[Any, ...], subcommands: Mapping[bytes, CommandSpec]) -> CommandSpec:
    name, arity, kind, flags, tips, key_specs, in_redis_7_0 = row
    return CommandSpec(
        index=index,
        name=name,
        arity=arity,
        kind=kind,
        flags=frozenset(flags.split()),
        tips=frozenset(tips.split()),
        key_specs=tuple(KeySpec(*key_spec) for key_spec in key_specs),
        in_redis_7_0=in_redis_7_0,
        subcommands=subcommands,
    )


def _build() -> tuple[CommandSpec, ...]:
    specs: list[CommandSpec] = []
    by_container: dict[str, dict[bytes, CommandSpec]] = {}
    # Longer names first, so that a container finds its sub-commands made.
    for row in sorted((*ROWS, *OWN_ROWS), key=lambda row: " " not in row[0]):
        container, _, sub = row[0].partition(" ")
        spec = _spec(len(specs), row, by_container.get(container, {}) if not sub else {})
        if sub:
            by_container.setdefault(container, {})[sub.encode()] = spec
        specs.append(spec)
    return tuple(specs)


_SPECS: Final = _build()

UNKNOWN: Final = CommandSpec(
    index=len(_SPECS),
    name="OTHER",
    arity=-1,
    kind="unknown",
    flags=frozenset(),
    tips=frozenset(),
    key_specs=(),
    in_redis_7_0=False,
)
"""Stands for every command that is not in the table."""

COMMANDS: Final[tuple[CommandSpec, ...]] = (*_SPECS, UNKNOWN)
"""All commands; ``COMMANDS[spec.index] is spec``."""

_BY_NAME: Final = {spec.name.encode(): spec for spec in _SPECS if " " not in spec.name}


def find_command(name: bytes, subcommand: bytes | None = None) -> CommandSpec:
    """Return what is known of a command, `UNKNOWN` if nothing is.

    Args:
        name: The command's name as a client wrote it.
        subcommand: The argument behind it; matters for containers only. A container with an unknown
            or missing sub-command is returned itself.
    """
    spec = _BY_NAME.get(name.upper(), UNKNOWN)
    if spec.subcommands and subcommand is not None:
        return spec.subcommands.get(subcommand.upper(), spec)
    return spec
