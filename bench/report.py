"""The table for people, the JSON for tools."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from statistics import median

import attrs
from rich.console import Console
from rich.table import Table

from bench.load import Case, Measurement
from bench.memory import Memory

__all__ = ["print_report", "write_json"]

Results = dict[Case, dict[str, list[Measurement]]]


def print_report(results: Results, memory: list[Memory]) -> None:
    """Print one table per case (medians over the rounds, ratios within each round), and the memory.

    CPU is the target's own, per command.
    """
    console = Console()
    for case, by_target in results.items():
        table = Table(title=case.label, title_justify="left")
        _add_columns(table, "target", "ops/s", "of direct", "p50 ms", "p99 ms", "CPU µs", "of HAProxy")
        for name, runs in by_target.items():
            summary = summarise(by_target, name)
            table.add_row(
                name,
                f"{median(run.ops_per_second for run in runs):,.0f}",
                f"{summary['of_direct']:.2f}",
                f"{median(run.p50_ms for run in runs):.2f}",
                f"{median(run.p99_ms for run in runs):.2f}",
                _optional(summary["cpu_us"], "{:.1f}"),
                _optional(summary["cpu_of_haproxy"], "{:.2f}x"),
            )
        console.print(table)
    if memory:
        table = Table(title="memory", title_justify="left")
        _add_columns(table, "target", "MiB before clients", "idle clients", "KiB each")
        for one in memory:
            table.add_row(one.target, f"{one.before_mib:.0f}", str(one.clients), f"{one.per_client_kib:.1f}")
        console.print(table)


def _add_columns(table: Table, *headings: str) -> None:
    for heading in headings:
        is_name = heading == "target"
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name)


def summarise(by_target: dict[str, list[Measurement]], name: str) -> dict[str, float | None]:
    """Return a target's figures relative to direct Redis and HAProxy, medians of the rounds' ratios."""
    runs = by_target[name]
    cpu = [run.cpu_us_per_command for run in runs if run.cpu_us_per_command is not None]
    relay = [run.cpu_us_per_command for run in by_target.get("haproxy", []) if run.cpu_us_per_command]
    return {
        "of_direct": median(
            run.ops_per_second / direct.ops_per_second
            for run, direct in zip(runs, by_target["direct"], strict=True)
        ),
        "cpu_us": median(cpu) if cpu else None,
        "cpu_of_haproxy": median(one / other for one, other in zip(cpu, relay, strict=False))
        if cpu and relay
        else None,
    }


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def write_json(results: Results, memory: list[Memory], path: Path) -> None:
    """Write every run and the summaries to *path*."""
    content = {
        "python": platform.python_version(),
        "memory": [attrs.asdict(one) for one in memory],
        "cases": [
            {
                **attrs.asdict(case),
                "targets": {
                    name: {
                        "summary": summarise(by_target, name),
                        "runs": [attrs.asdict(run) for run in runs],
                    }
                    for name, runs in by_target.items()
                },
            }
            for case, by_target in results.items()
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
