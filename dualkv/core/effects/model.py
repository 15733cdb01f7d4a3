"""What an effect is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import attrs

from dualkv.commands.table import CommandSpec

__all__ = ["NOTHING", "Args", "Command", "Effects", "Execution", "Rule", "Verbatim"]

Args = tuple[bytes, ...]


class Command(NamedTuple):
    """One command for the other store."""

    args: Args
    reply: bytes | None = None
    """The frame that it answers if both stores were equal before: an integer, a simple string or an array of
    either or of strings, which both RESP versions write alike. None: anything but an error."""


class Effects(NamedTuple):
    """What makes another store do what the primary did. Empty: nothing has to be done."""

    commands: tuple[Command, ...] = ()
    """To be executed in this order, in one piece."""
    copies: tuple[tuple[int | None, bytes], ...] = ()
    """Keys whose state has to be copied because no command says it, with the database (None: the one of the
    command)."""


NOTHING: Final = Effects()


@attrs.frozen
class Execution:
    """One command that the primary has executed without answering an error."""

    spec: CommandSpec
    args: Args
    """The request, name first."""
    reply: bytes
    """Its raw frame, in either RESP version."""
    at_ms: int
    """When, by the primary's clock, in milliseconds since 1970."""
    answers: Sequence[bytes] = ()
    """Raw replies to the questions that were asked directly behind it, one each; any may be an error."""


@attrs.frozen
class Verbatim:
    """The effect of a command is the request itself, whatever it answers (but an error)."""

    is_checked: bool
    """Whether the other store must give the very same reply."""


Rule = Verbatim | Callable[[Execution], Effects]
