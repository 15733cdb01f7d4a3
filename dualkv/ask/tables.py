"""What comparing has found, as a person reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from dualkv.core.printable import data_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["coverage_table", "divergence_line", "divergence_table", "show_table"]

_UNLIMITED: Final = 100_000
_SHOWN: Final = 60
"""Characters of a value in a table."""

_COUNTS: Final = (
    "compared", "matched", "gaps", "diverged", "inconclusive", "writes_checked", "writes_differed",
)  # fmt: skip


def show_table(table: Table) -> None:
    """Print a table: as wide as the terminal, or without line breaks in its cells if there is none."""
    from rich.console import Console

    console = Console(highlight=False)
    if not sys.stdout.isatty():
        console = Console(highlight=False, width=_UNLIMITED)
    console.print(table)


def divergence_table(records: Iterable[dict[str, Any]]) -> Table:
    """Return divergences, a row each."""
    table = _table("id", "time", "kind", "command", "db", "key", "primary", "secondary", "cause")
    for record in records:
        table.add_row(*_cells(record))
    return table


def divergence_line(record: dict[str, Any]) -> str:
    """Return a divergence in one line."""
    found, time, kind, command, db, key, primary, secondary, cause = map(str, _cells(record))
    return f"{found}  {time}  {kind}  {command}  {db}  {key}  {primary} / {secondary}  {cause}"


def coverage_table(coverage: dict[str, Any]) -> Table:
    """Return what was checked, a row per prefix, and the sum."""
    table = _table("prefix", *(name.replace("_", " ") for name in _COUNTS))
    for column in table.columns[1:]:
        column.justify = "right"
    for counts in (*coverage["prefixes"], {"prefix": "total", **coverage["total"]}):
        table.add_row(_text(counts["prefix"]), *(f"{counts[name]:,}" for name in _COUNTS))
    return table


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head in ("id", "kind"))
    return table


def _cells(record: dict[str, Any]) -> list[Any]:
    time = str(record.get("time", "")).replace("T", " ").partition(".")[0].removesuffix("Z")
    values = (_value(record.get(name)) for name in ("expected", "actual"))
    texts = (
        record.get("id"),
        time,
        *(record.get(name) for name in ("kind", "command", "db", "key")),
        *values,
    )
    return [*map(_text, texts), _text(record.get("cause"))]


def _value(value: object) -> str:
    """Return a reply in a few characters: its text without the line ends of RESP, or its length and hash."""
    if not isinstance(value, dict):
        return "?"
    length = value.get("bytes", 0)
    if "text" not in value:
        return f"{length} bytes #{value.get('hash', '')}"
    text = str(value["text"]).replace("\\x0d\\x0a", " ").strip()
    is_cut = len(text) > _SHOWN or len(data_of(str(value["text"]))) < length
    return f"{text[:_SHOWN]}… ({length} bytes)" if is_cut else text


def _text(value: object) -> Any:
    """Return a cell in which nothing is markup, and nothing is obeyed by a terminal."""
    from rich.text import Text

    text = "" if value is None else str(value)
    return Text("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text))
