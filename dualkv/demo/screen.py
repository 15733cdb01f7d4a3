"""What goes on, for a terminal: a function from the server's state to something rich can draw."""

from __future__ import annotations

import attrs
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dualkv.admin.status import backend_states
from dualkv.commands.table import COMMANDS
from dualkv.core.ledger import Queue
from dualkv.net.writer import DualWriter
from dualkv.observe.metrics import BackendCounters
from dualkv.serve import ServerAddresses

__all__ = ["Rates", "draw", "line"]


@attrs.define
class Rates:
    """Remembers the last numbers, to tell how fast they grow."""

    _replies: int = 0
    _at: float = 0.0
    per_second: float = 0.0

    def update(self, replies: int, now: float) -> None:
        """Take the numbers of this moment."""
        if now - self._at >= 0.5:
            if self._at:
                self.per_second = (replies - self._replies) / (now - self._at)
            self._replies, self._at = replies, now


def _replies(backend: BackendCounters) -> int:
    return sum(sum(counters.counts) for counters in backend.by_command)


def draw(writer: DualWriter, addresses: ServerAddresses, rates: Rates) -> RenderableType:
    """Return the screen for this moment."""
    rates.update(_replies(writer.answering), writer.clock())
    return Panel(
        Group(
            _flow(writer, rates),
            Text(),
            _stream(writer),
            Text(),
            _commands(writer),
            Text(),
            _hints(writer, addresses),
        ),
        title="[bold]dualkv[/] demo",
        subtitle="Ctrl-C ends it",
        padding=(1, 2),
    )


def line(writer: DualWriter, rates: Rates) -> str:
    """Return the most important of it as one line, for output that is not a terminal."""
    metrics = writer.metrics
    rates.update(_replies(writer.answering), writer.clock())
    total = metrics.total_ledger()
    return (
        f"{writer.config.mode.value} clients={metrics.active_connections} ops/s={rates.per_second:.0f} "
        f"queued={total.queued} applied={total.applied} dropped={total.dropped.total()} "
        f"compared={metrics.shadow_matches} diverged={metrics.divergences.total()}"
    )


def _flow(writer: DualWriter, rates: Rates) -> RenderableType:
    states = backend_states(writer)
    table = Table.grid(padding=(0, 2))
    table.add_row("[dim]mode[/]", f"[bold cyan]{writer.config.mode.value}[/]")
    for which, state in states.items():
        colour = "green" if state["state"] == "up" else "red"
        table.add_row(
            f"[dim]{which}[/]",
            f"[{colour}]●[/] {state['name']} {state['address']} [dim]{state['role']}, {state['state']}[/]",
        )
    table.add_row("[dim]clients[/]", f"{writer.metrics.active_connections}")
    table.add_row("[dim]ops/s[/]", f"[bold]{rates.per_second:,.0f}[/]")
    return table


def _stream(writer: DualWriter) -> RenderableType:
    metrics = writer.metrics
    table = Table(
        title="the secondary stream", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("queue", "depth", "age", "applied", "failed", "dropped"):
        table.add_column(heading, justify="left" if heading == "queue" else "right", header_style="dim")
    age = writer.stream.oldest_age_seconds() if writer.stream is not None else 0.0
    for queue in (Queue.WRITE, Queue.SCRIPT, Queue.SHADOW):
        ledger = metrics.ledger(queue)
        dropped = ledger.dropped.total()
        table.add_row(
            queue.value,
            f"{ledger.queued:,}",
            f"{age * 1000:.0f} ms" if queue is Queue.WRITE else "",
            f"{ledger.applied:,}",
            f"[red]{ledger.failed:,}[/]" if ledger.failed else "0",
            f"[red]{dropped:,}[/]" if dropped else "0",
        )
    diverged = metrics.divergences.total()
    verdict = Text.assemble(
        ("compared ", "dim"), f"{metrics.shadow_matches + diverged:,}", ("   inconclusive ", "dim"),
        f"{metrics.shadow_inconclusive.total():,}", ("   diverged ", "dim"),
        (f"{diverged:,}", "bold red" if diverged else "bold green"),
    )  # fmt: skip
    return Group(table, Text(), verdict)


def _commands(writer: DualWriter) -> RenderableType:
    counted = sorted(
        (
            (sum(counters.counts), spec, counters)
            for spec, counters in zip(COMMANDS, writer.answering.by_command, strict=True)
        ),
        key=lambda row: -row[0],
    )
    table = Table(
        title="busiest commands", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("command", "replies", "errors", "mean"):
        table.add_column(heading, justify="left" if heading == "command" else "right", header_style="dim")
    for count, spec, counters in counted[:6]:
        if count:
            mean_ms = counters.sum_seconds / count * 1000
            table.add_row(spec.label, f"{count:,}", f"{counters.errors:,}", f"{mean_ms:.2f} ms")
    return table


def _hints(writer: DualWriter, addresses: ServerAddresses) -> RenderableType:
    secondary = writer.config.backend_options("secondary")
    table = Table.grid(padding=(0, 2))
    table.add_row("[dim]connect[/]", f"[bold]redis-cli -p {addresses.clients[1]}[/]")
    if addresses.http is not None:
        table.add_row("[dim]metrics[/]", f"http://127.0.0.1:{addresses.http[1]}/metrics")
        table.add_row("[dim]health[/]", f"http://127.0.0.1:{addresses.http[1]}/readyz")
    if addresses.admin is not None:
        table.add_row("[dim]status page[/]", f"[bold]http://127.0.0.1:{addresses.admin[1]}/[/]")
    table.add_row("[dim]make it diverge[/]", f"redis-cli -p {secondary.port} SADD demo:tags:7 intruder")
    return table
