"""Effects as lines that a person reads."""

from __future__ import annotations

import shlex

from dualkv.core.effects import effects_of, questions_of
from dualkv.core.effects.model import Args, Effects, Execution
from dualkv.core.effects.parsing import texts
from dualkv.resp import encode
from tests.commands.writing import request, spec_of

__all__ = ["NIL", "NOW_MS", "OK", "asked", "lines_of", "number", "told", "word"]

NOW_MS = 1_000_000
OK = encode.OK
NIL = b"$-1\r\n"
number = encode.integer
word = encode.bulk


def _line(args: Args) -> str:
    return shlex.join(arg.decode("latin-1") for arg in args)


def lines_of(effects: Effects) -> list[str]:
    """Return one line for each command, with the reply that is expected, and for each key that is copied."""
    commands = [
        _line(command.args) + ("" if command.reply is None else f" => {_told(command.reply)}")
        for command in effects.commands
    ]
    copies = [f"copy {key.decode()}" + ("" if db is None else f" in {db}") for db, key in effects.copies]
    return commands + copies


def _told(reply: bytes) -> str:
    return (b" ".join(texts(reply)) if b"$" in reply else reply[:-2]).decode()


def told(line: str, reply: bytes, *answers: bytes) -> list[str]:
    """Return the effects of the request on *line*, executed at `NOW_MS`."""
    return lines_of(effects_of(Execution(spec_of(line), request(line), reply, NOW_MS, answers)))


def asked(line: str, *, in_transaction: bool = False) -> list[str]:
    """Return what is asked behind the request on *line*."""
    return list(map(_line, questions_of(spec_of(line), request(line), in_transaction=in_transaction)))
