r"""The conversations in ``corpus/*.txt``.

One command per line, in words as a shell has them; ``\xNN`` in a word is a byte. A line that begins with
``#`` is a comment, and the last one before a conversation is its name. A blank line ends a conversation.
Each conversation begins with an empty server and a new connection.
"""

from __future__ import annotations

import enum
import re
import shlex
from pathlib import Path
from typing import Final

import attrs

from dualkv.commands.table import find_command

__all__ = ["FILES", "Command", "Conversation", "Kind", "left_out", "load"]

_FOLDER: Final = Path(__file__).parent / "corpus"
_BYTE: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")


class Kind(enum.Enum):
    """How the replies of a conversation are read and compared."""

    ORDINARY = "ordinary"
    """One reply per command, compared byte by byte."""
    SUBSCRIBING = "subscribing"
    """Any number of replies per command, compared byte by byte."""
    UNSTABLE = "unstable"
    """One reply per command, of which two servers have only the kind in common."""


_KINDS: Final = {"pubsub.txt": Kind.SUBSCRIBING, "unstable.txt": Kind.UNSTABLE}
_NO_CORPUS: Final = "left_out.txt"

FILES: Final = tuple(sorted(path.name for path in _FOLDER.glob("*.txt") if path.name != _NO_CORPUS))
"""All files with conversations."""


@attrs.frozen
class Command:
    """What a client sends."""

    args: tuple[bytes, ...]
    text: str
    """As reports show it."""

    @property
    def name(self) -> str:
        """As the command table has it (``CONFIG SET``); ``OTHER`` if it does not."""
        return find_command(self.args[0], self.args[1] if len(self.args) > 1 else None).name

    @classmethod
    def of(cls, *args: str) -> Command:
        """Return a command of the harness's own, with its text as a corpus would have it."""
        text = shlex.join(args).replace("\r", r"\x0d").replace("\n", r"\x0a")
        return cls(tuple(arg.encode() for arg in args), text)


@attrs.frozen
class Conversation:
    """Commands over one connection to an empty server."""

    name: str
    commands: tuple[Command, ...]
    kind: Kind = Kind.ORDINARY


def load(file: str) -> list[Conversation]:
    """Return the conversations of one of `FILES`."""
    kind = _KINDS.get(file, Kind.ORDINARY)
    conversations: list[Conversation] = []
    name = ""
    commands: list[Command] = []
    for line in [*(_FOLDER / file).read_text("utf-8").splitlines(), ""]:
        if line.startswith("#"):
            name = line.lstrip("# ")
        elif line:
            commands.append(_parse(line))
        else:
            if commands:
                conversations.append(Conversation(name or commands[0].text, tuple(commands), kind))
            name, commands = "", []
    return conversations


def _parse(line: str) -> Command:
    words = shlex.split(line, comments=False)
    args = tuple(_BYTE.sub(lambda found: bytes([int(found[1], 16)]), word.encode()) for word in words)
    return Command(args, line)


def left_out() -> dict[str, str]:
    """Return the commands that no conversation covers, by name as in the command table, with the reason."""
    lines = (_FOLDER / _NO_CORPUS).read_text("utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name.replace("|", " "): reason for name, reason in pairs}
