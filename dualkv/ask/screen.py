"""A status as a person reads it in a terminal: `status_screen` makes of ``/status`` something rich can draw.

One column up to 109 characters, two beside each other from 110 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from dualkv.core.words import duration_text, some

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["status_screen"]

_WIDE: Final = 110
_COLOURS: Final = {"well": "green", "busy": "cyan", "attention": "yellow", "trouble": "red"}
_SIGNS: Final = {"well": "✔", "busy": "↻", "attention": "▲", "trouble": "✖"}
_UNITS: Final = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))

Status = Mapping[str, Any]


def status_screen(status: Status, width: int) -> RenderableType:
    """Return a status as something rich can draw.

    Args:
        status: As ``/status`` tells it.
        width: Of the terminal, in characters.

    Raises:
        KeyError: It is no such status.
        TypeError: The same.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    facts, traffic = _grid(_facts(status)), _traffic(status)
    if width >= _WIDE:
        both = Table.grid(padding=(0, 4, 0, 0), expand=False)
        both.add_row(facts, traffic)
        body: RenderableType = both
    else:
        body = Group(facts, "", traffic)
    return Padding(Group(_headline(status), "", body), (1, 1))


def _headline(status: Status) -> Text:
    headline = status["headline"]
    condition = headline["condition"]
    colour = _COLOURS.get(condition, "white")
    text = _text(f"{_SIGNS.get(condition, '●')} {headline['title']}", f"bold {colour}")
    text.append(f"   dualkv {_plain(status['version'])} {_plain(status['instance'])}", "dim")
    for reason in headline["reasons"]:
        text.append(f"\n  {_plain(reason)}", "" if condition == "well" else colour)
    return text


def _grid(rows: Iterator[tuple[str, Text | str]]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def _facts(status: Status) -> Iterator[tuple[str, Text | str]]:
    text = _text(status["mode"], "bold")
    yield "mode", text.append(f"  for {duration_text(status['mode_seconds'])}", "dim")
    clients = status["clients"]
    yield "clients", _text(f"{clients['connected']:,} of at most {clients['limit']:,}")
    for which, backend in status["backends"].items():
        yield which, _backend(backend)
    if status["stream"] is not None:
        yield from _following(status)
    comparing = status["comparing"]
    if comparing["is_on"]:
        yield from _compared(comparing)
    selftest = status["selftest"]
    why = f": {selftest['why']}" if selftest["why"] else ""
    yield "self-test", _text(f"{selftest['state']}{why}", "red" if selftest["state"] == "failed" else "")
    readiness = status["readiness"]
    reasons = "\n".join(readiness["reasons"])
    yield "ready", _text("for the next mode" if readiness["ready"] else f"no. {reasons}")


def _backend(backend: Status) -> Text:
    colour = {"up": "green", "unused": "dim"}.get(backend["state"], "red")
    text = _text("● ", colour).append(_plain(backend["name"]), "bold")
    state = backend["role"] if backend["role"] == "unused" else f"{backend['role']}, {backend['state']}"
    text.append(f"  {_plain(backend['address'])}  {_plain(state)}")
    if "leader" in backend:
        text.append(
            f"\n  leader {_plain(backend['leader'] or 'unknown')}", "" if backend["leader"] else "red"
        )
    return text


def _following(status: Status) -> Iterator[tuple[str, Text | str]]:
    stream, converging = status["stream"], status["convergence"]
    queued = sum(queue["queued"] for queue in stream["queues"].values())
    text = _text(stream["state"], "" if stream["state"] == "flowing" else "yellow")
    if stream["paused_seconds"] is not None:
        text.append(f" for {duration_text(stream['paused_seconds'])}")
    text.append(f", {queued:,} queued, {duration_text(stream['oldest_seconds'])} behind")
    yield "stream", text.append(f", {_size(stream['bytes'])} of {_size(stream['max_bytes'])}", "dim")
    ledger = status["ledger"]
    accounts = " + ".join(
        f"{ledger[name]:,} {name.replace('_', ' ')}" for name in ledger if name != "offered"
    )
    yield "ledger", _text(f"{ledger['offered']:,} = {accounts}")
    if converging["dirty_keys"]:
        reasons = ", ".join(f"{name} {count:,}" for name, count in converging["dirty_by_reason"].items())
        oldest = duration_text(converging["dirty_for_seconds"] or 0.0)
        yield "dirty keys", _text(f"{converging['dirty_keys']:,} ({reasons}), oldest {oldest}", "yellow")
    else:
        yield "dirty keys", "none"
    yield "resync", _resync(converging)
    if converging["journal"] is not None:
        gap = converging["journal"]["gap"]
        size = _size(converging["journal"]["bytes"])
        yield (
            "journal",
            _text(f"keys are missing: {gap}" if gap else f"whole, {size}", "yellow" if gap else ""),
        )


def _resync(converging: Status) -> Text:
    resync = converging["resync"]
    if resync["phase"] == "idle":
        required = converging["resync_required"]
        return _text(f"needed: {required}" if required else "not needed", "yellow" if required else "")
    done, total, eta = resync["keys_done"], resync["keys_total"], resync["eta_seconds"]
    text = _text(f"{resync['phase']}, {done:,} of {total:,} keys, {resync['keys_per_second']:,}/s", "cyan")
    return text.append("" if eta is None else f", {duration_text(eta)} left")


def _compared(comparing: Status) -> Iterator[tuple[str, Text | str]]:
    coverage, divergences = comparing["coverage"], comparing["divergences"]
    share = "" if comparing["share"] == 1 else f", {comparing['share']:.0%} of them"
    where = "1 prefix" if coverage["prefixes"] == 1 else f"{coverage['prefixes']:,} prefixes"
    told = (
        f"{some(coverage['compared'], 'read')} in {where}{share}; {coverage['inconclusive']:,} inconclusive"
    )
    yield "compared", _text(told)
    window = duration_text(divergences["window_seconds"])
    recent, so_far = (_kinds(divergences[when]) for when in ("recent", "so_far"))
    found = any(divergences["recent"].values())
    yield "diverged", _text(f"{recent} in {window}; {so_far} so far", "yellow" if found else "")


def _kinds(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items() if count) or "none"
    )


def _traffic(status: Status) -> RenderableType:
    from rich.table import Table

    traffic = status["traffic"]
    if not traffic["over_seconds"]:
        return _text("traffic is being measured", "dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in ("store", "class", "ops/s", "errors/s", "p50", "p99"):
        table.add_column(head, justify="left" if head in ("store", "class") else "right", no_wrap=True)
    for name, rate in traffic["backends"].items():
        table.add_row(_text(name, "bold"), "all", *_rates(rate), style="bold")
        for one in traffic["classes"]:
            if one["backend"] == name:
                table.add_row("", _text(one["class"], "dim"), *_rates(one))
    return table


def _rates(rate: Status) -> tuple[str, ...]:
    return (
        f"{rate['ops_per_second']:,.0f}",
        f"{rate['errors_per_second']:,.0f}",
        *("-" if rate[name] is None else f"{rate[name]:.2f} ms" for name in ("p50_ms", "p99_ms")),
    )


def _size(size_bytes: int) -> str:
    for unit, length in _UNITS:
        if size_bytes >= length:
            return f"{size_bytes / length:,.0f} {unit}"
    return f"{size_bytes} B"


def _plain(value: object) -> str:
    """Return a text in which nothing is obeyed by a terminal."""
    text = str(value)
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


def _text(value: object, style: str = "") -> Text:
    from rich.text import Text

    return Text(_plain(value), style)
