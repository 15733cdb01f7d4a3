"""The cases of ``observed.json``: what three servers answered, and told a replica."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from dualkv.core.effects.model import Args

__all__ = ["CASES", "DUMP", "Case"]

_FILE: Final = Path(__file__).with_name("observed.json")

DUMP: Final = b"<payload>"
"""Stands for what the server at hand writes with DUMP: payloads are of a version."""

_WORDS_BEFORE_SCRIPT: Final = {"EVAL": 1, "EVAL_RO": 1, "FUNCTION LOAD": 2, "SCRIPT LOAD": 2}
"""A script has blanks of its own."""

_HIDDEN_SETUP: Final = {"XREADGROUP": "XGROUP CREATE s g $ MKSTREAM"}
"""What the file does not say that a blocked command needs."""


@attrs.frozen
class Case:
    """Commands that set the scene, and those to watch."""

    number: int
    setup: tuple[Args, ...]
    commands: tuple[Args, ...]
    blocked: tuple[Args, ...]
    """What other clients were waiting for."""

    def __str__(self) -> str:
        shown = b"; ".join(b" ".join(args) for args in self.commands).decode()
        return f"{self.number}: {shown[:80]!r}"


def _words(line: str) -> Args:
    name = next((name for name in _WORDS_BEFORE_SCRIPT if line.startswith(f"{name} ")), None)
    words = line.split(" ") if name is None else line.split(" ", _WORDS_BEFORE_SCRIPT[name])
    if words[0] == "RESTORE":
        words[3] = DUMP.decode()
    return tuple(word.encode() for word in words)


def _whole(lines: list[str]) -> Iterator[str]:
    """Yield commands, with what the file leaves out."""
    for line in lines:
        if line == "...":
            yield from (f"XADD s {number}-1 a b" for number in range(2, 250))
        elif line.endswith("..."):  # a long list of members
            yield "SADD k " + " ".join(f"m{number}" for number in range(40))
        else:
            yield line


def _case(number: int, case: dict[str, Any]) -> Case:
    blocked = [case["blocked_first"]] if "blocked_first" in case else []
    hidden = [_HIDDEN_SETUP[line.split(" ")[0]] for line in blocked if line.split(" ")[0] in _HIDDEN_SETUP]
    return Case(
        number,
        tuple(map(_words, _whole(hidden + case["setup"]))),
        tuple(map(_words, case["commands"])),
        tuple(map(_words, blocked)),
    )


CASES: Final = tuple(
    _case(number, case) for number, case in enumerate(json.loads(_FILE.read_text(encoding="utf-8"))["cases"])
)
