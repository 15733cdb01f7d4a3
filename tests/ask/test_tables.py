"""What a person reads: aligned, complete, and harmless for a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from dualkv.ask.tables import coverage_table, divergence_line, divergence_table
from tests.ask.records import record


def printed(table: Table) -> list[list[str]]:
    """Return the lines of a table, split where there are two blanks."""
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_a_divergence_is_a_row_with_its_values() -> None:
    """The line ends of RESP are left out."""
    heads, row = printed(divergence_table([record()]))

    assert heads == ["id", "time", "kind", "command", "db", "key", "primary", "secondary", "cause"]
    assert row == [
        "6553f100abcd-000001", "2023-11-14", "22:13:21", "data_mismatch", "get", "0", "user:1",
        "$1", "2", "$1", "1", "dropped",
    ]  # fmt: skip
    assert divergence_line(record()) == (
        "6553f100abcd-000001  2023-11-14 22:13:21  data_mismatch  get  0  user:1  $1 2 / $1 1  dropped"
    )


def test_hidden_values_are_a_length_and_a_hash() -> None:
    """Equal ones look equal."""
    line = divergence_line(record(show_values=False, actual=b"$1\r\n2\r\n"))

    (expected, actual) = line.split("  ")[6].split(" / ")
    assert expected == actual
    assert expected.startswith("7 bytes #")


def test_long_values_are_cut_and_their_length_is_told() -> None:
    """Those that dualkv has cut already, too."""
    line = divergence_line(record(expected=b"+" + b"x" * 200, actual=b"$70000\r\nab", actual_bytes=70_010))

    assert f"+{'x' * 59}… (201 bytes) / $70000 ab… (70010 bytes)" in line


@pytest.mark.parametrize(
    "nonsense", [{}, {"key": "\x1b[31m[bold]", "id": 7, "expected": 7, "actual": {}, "time": None}]
)
def test_a_foreign_record_is_shown_and_not_obeyed(nonsense: dict[str, Any]) -> None:
    """Neither markup nor a control character does anything."""
    text = divergence_line(nonsense) + str(printed(divergence_table([nonsense])))

    assert "\x1b" not in text
    assert ("[bold]" in text) is bool(nonsense)


def test_coverage_ends_with_the_sum() -> None:
    """A row per prefix, numbers readable."""
    counts = {
        "compared": 1234567, "matched": 1234566, "gaps": 1, "diverged": 0, "inconclusive": 0,
        "writes_checked": 5, "writes_differed": 0,
    }  # fmt: skip
    table = printed(coverage_table({"prefixes": [{"prefix": "user:", **counts}], "total": counts}))

    assert table[0][:3] == ["prefix", "compared", "matched"]
    assert [row[:3] for row in table[1:]] == [
        ["user:", "1,234,567", "1,234,566"], ["total", "1,234,567", "1,234,566"],
    ]  # fmt: skip
