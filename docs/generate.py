"""Writes the tables of ``docs/reference`` that follow from the code: ``make docs``.

A page has its tables between ``<!-- table NAME -->`` and ``<!-- end -->``; the text around them is written
by hand.
``tests/test_docs.py`` fails when a page is older than the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from dualkv.config import SETTINGS
from dualkv.observe.collector import FAMILIES

__all__ = ["PAGES", "renewed"]

REFERENCE: Final = Path(__file__).parent / "reference"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _settings() -> str:
    return _table(
        ("key", "flag", "default", "meaning"),
        (
            (
                f"`{setting.name}`",
                ", ".join(
                    f"`--{name.replace('_', '-')}`"
                    for name in (
                        setting.name,
                        *setting.aliases,
                        *([f"{setting.name}_file"] if setting.secret else []),
                    )
                ),
                f"`{setting.default}`" if setting.default else "",
                setting.help,
            )
            for setting in SETTINGS
        ),
    )


def _metrics() -> str:
    return _table(
        ("metric", "labels", "type", "meaning"),
        (
            (
                f"`{family.exposed_name}`",
                ", ".join(f"`{label}`" for label in family.labels),
                family.kind.__name__.removesuffix("MetricFamily").lower(),
                family.help,
            )
            for family in FAMILIES
        ),
    )


_TABLES: Final[dict[str, Callable[[], str]]] = {"settings": _settings, "metrics": _metrics}
PAGES: Final = tuple(REFERENCE / f"{name}.md" for name in _TABLES)


def renewed(page: Path) -> str:
    """Return the text of *page* with its tables as they should be."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{_TABLES[match[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", table, page.read_text(), flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renewed(page))
