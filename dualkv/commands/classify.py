"""The category of a request."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from dualkv.commands.table import CommandSpec, find_command

__all__ = ["CommandCategory", "blocks", "category_of", "classify_command"]


class CommandCategory(enum.Enum):
    """What kind of work a request is."""

    READ = "read"
    WRITE = "write"
    BLOCKING = "blocking"
    PUBSUB = "pubsub"
    ADMIN = "admin"
    TXN = "txn"
    SCRIPT = "script"
    UNKNOWN = "unknown"
    """Not in the table: treated as a write, since it may be one."""


_BY_KIND: Final = {
    "admin": CommandCategory.ADMIN,
    "conn": CommandCategory.ADMIN,
    "container": CommandCategory.ADMIN,
    "other": CommandCategory.ADMIN,
    "publish": CommandCategory.WRITE,
    "pubsub": CommandCategory.PUBSUB,
    "read": CommandCategory.READ,
    "script": CommandCategory.SCRIPT,
    "script_ro": CommandCategory.READ,
    "txn": CommandCategory.TXN,
    "unknown": CommandCategory.UNKNOWN,
    "write": CommandCategory.WRITE,
}

_OPTIONS_BEFORE_STREAMS: Final = {b"COUNT": 2, b"GROUP": 3}
"""Options of XREAD and XREADGROUP with values, which may be called anything: the words they take."""


def blocks(spec: CommandSpec, args: Sequence[bytes]) -> bool:
    """Whether a request may make its connection wait (``XREAD`` only does with ``BLOCK``)."""
    if "blocking" not in spec.flags:
        return False
    if spec.name not in ("XREAD", "XREADGROUP"):
        return True
    position = 1
    while position < len(args):
        option = args[position].upper()
        if option in (b"BLOCK", b"STREAMS"):
            return option == b"BLOCK"
        position += _OPTIONS_BEFORE_STREAMS.get(option, 1)
    return False


def category_of(spec: CommandSpec, args: Sequence[bytes]) -> CommandCategory:
    """Return the category of the request *args* of the command *spec*."""
    if blocks(spec, args):
        return CommandCategory.BLOCKING
    return _BY_KIND[spec.kind]


def classify_command(args: Sequence[bytes]) -> CommandCategory:
    """Return the category of a request.

    Args:
        args: The command's name and its arguments, at least the name; any case.

    Returns:
        Its category. ``XREADGROUP`` without ``BLOCK`` is a write, ``PUBLISH`` too; a command that no
        server is known to have is `CommandCategory.UNKNOWN`.
    """
    subcommand = args[1] if len(args) > 1 else None
    return category_of(find_command(args[0], subcommand), args)
