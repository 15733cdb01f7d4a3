"""Requests as a person writes them."""

from __future__ import annotations

import shlex

from dualkv.commands.keys import keys_of
from dualkv.commands.table import CommandSpec, find_command

__all__ = ["found_keys", "request", "spec_of"]


def request(line: str) -> tuple[bytes, ...]:
    """Return the arguments of *line*, written as for a shell: ``MIGRATE host 6379 '' 0 10 KEYS a``."""
    return tuple(word.encode() for word in shlex.split(line))


def spec_of(line: str) -> CommandSpec:
    """Return what is known of the command of *line*."""
    args = request(line)
    return find_command(args[0], args[1] if len(args) > 1 else None)


def found_keys(line: str) -> list[str] | None:
    """Return the keys that dualkv finds in *line*, None if it may touch others too."""
    keys = keys_of(spec_of(line), request(line))
    return None if keys is None else [key.decode() for key in keys]
