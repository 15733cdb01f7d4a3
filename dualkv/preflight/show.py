"""Findings as a person reads them, and as a program does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from dualkv.preflight.model import Finding, Level, exit_code

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["findings_table", "json_of", "summary"]

_STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return findings, a row each; advice stands below what it is about."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("", "check", "store", "finding"):
        table.add_column(head, overflow="fold", no_wrap=head != "finding")
    for finding in findings:
        text = _harmless(finding.text)
        if finding.advice:
            text.append(f"\n→ {_harmless(finding.advice)}")
        level = _harmless(finding.level.value)
        level.stylize(_STYLES[finding.level])
        table.add_row(level, _harmless(finding.check), _harmless(finding.store), text)
    return table


def summary(findings: Sequence[Finding]) -> str:
    """Return what it comes to, in one line."""
    counts = Counter(finding.level for finding in findings)
    told = ", ".join(f"{counts[level]} {level.value}" for level in Level)
    if counts[Level.FAIL]:
        return f"{told}: do not start before what fails is put right."
    if counts[Level.WARN]:
        return f"{told}: it can start; read the warnings first."
    return f"{told}: it can start."


def json_of(findings: Sequence[Finding]) -> str:
    """Return findings as one JSON object."""
    counts = Counter(finding.level for finding in findings)
    body: dict[str, Any] = {
        "passed": not exit_code(findings),
        "counts": {level.value: counts[level] for level in Level},
        "findings": [attrs.asdict(finding) for finding in findings],
    }
    return json.dumps(body, ensure_ascii=False)


def _harmless(text: str) -> Any:
    """Return a text in which nothing is markup, and nothing is obeyed by a terminal."""
    from rich.text import Text

    return Text("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text))
