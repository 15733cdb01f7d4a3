"""Templates of commands: one line of text → a function that draws one command.

    3 SET string value [|NX|XX|EX long]      three times as often as a line without a number
    MSET {string value}                      the braces' content, one to four times
    ZMPOP #{zset} [MIN|MAX]                  the same, behind the number of times

Brackets choose one of several. Lower-case words stand for something drawn (`dualkv.torture.words`),
everything else for itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import attrs

from dualkv.commands.table import find_command

__all__ = ["Drawing", "Template", "parse_templates"]

_PIECES: Final = re.compile(r"#?\{|[\[\]|}]|[^\s\[\]{}|]+")
_WORD: Final = re.compile(r"[a-z_]+(:[a-z_]+)?")
_MOST_REPEATS: Final = 4


class Drawing(Protocol):
    """What a template draws from."""

    rng: random.Random

    def draw(self, word: str) -> bytes:
        """Return what stands for *word* this time."""


Part = Callable[[Drawing], Iterable[bytes]]


@attrs.frozen
class Template:
    """One line."""

    name: str
    """The command's name in the command table."""
    weight: float
    part: Part

    def draw(self, drawing: Drawing) -> tuple[bytes, ...]:
        """Return one command."""
        return tuple(self.part(drawing))


def parse_templates(text: str) -> list[Template]:
    """Return the templates of *text*, a line each; empty lines and ``# comments`` are skipped.

    Raises:
        ValueError: A line cannot be read.
    """
    lines = (line.partition("# ")[0].strip() for line in text.splitlines())
    return [_template(line) for line in lines if line and line != "#"]


def _template(line: str) -> Template:
    first, _, rest = line.partition(" ")
    weight, body = (float(first), rest) if first[0].isdigit() else (1.0, line)
    words = [*body.split(), ""]
    name = find_command(words[0].encode(), words[1].encode()).name
    pieces = iter(_PIECES.findall(body))
    try:
        part = _sequence(pieces, frozenset())[0]
    except (StopIteration, KeyError):
        raise ValueError(f"not a template: {line}") from None
    return Template(name, weight, part)


def _sequence(pieces: Iterator[str], ends: frozenset[str]) -> tuple[Part, str]:
    """Read parts up to one of *ends*, or the end of the line if there are none; return the end too."""
    parts: list[Part] = []
    while True:
        piece = next(pieces, "") if not ends else next(pieces)
        if piece in ends or not piece:
            return _all_of(parts), piece
        if piece == "[":
            parts.append(_one_of(_options(pieces)))
        elif piece in ("{", "#{"):
            repeated, _ = _sequence(pieces, frozenset("}"))
            parts.append(_several(repeated, counted=piece == "#{"))
        elif piece in ("]", "|", "}"):
            raise KeyError(piece)
        elif _WORD.fullmatch(piece):
            parts.append(_drawn(piece))
        else:
            parts.append(_literal(piece.encode()))


def _options(pieces: Iterator[str]) -> list[Part]:
    options, end = [], "|"
    while end == "|":
        option, end = _sequence(pieces, frozenset("|]"))
        options.append(option)
    return options


def _literal(value: bytes) -> Part:
    return lambda _: (value,)


def _drawn(word: str) -> Part:
    return lambda drawing: (drawing.draw(word),)


def _all_of(parts: list[Part]) -> Part:
    return lambda drawing: [value for part in parts for value in part(drawing)]


def _one_of(options: list[Part]) -> Part:
    return lambda drawing: drawing.rng.choice(options)(drawing)


def _several(part: Part, *, counted: bool) -> Part:
    def draw(drawing: Drawing) -> list[bytes]:
        times = drawing.rng.randint(1, _MOST_REPEATS)
        count = [b"%d" % times] if counted else []
        return count + [value for _ in range(times) for value in part(drawing)]

    return draw
