"""Writes the tables of ``docs/reference`` that follow from the code: ``make docs``.

A page has its tables between ``<!-- table NAME -->`` and ``<!-- end -->``; the text around them is written
by hand.
``tests/docs/test_docs.py`` fails when a page is older than the code.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from dualkv.admin.admin_app import operations_of
from dualkv.cli import app
from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec
from dualkv.config import SETTINGS, ProxyConfig
from dualkv.core.dialect import HOLDINGS, Held, reads_through
from dualkv.core.effects import ASKING, RULES
from dualkv.core.effects.model import Verbatim
from dualkv.core.effects.parsing import copies_of
from dualkv.core.routing import CREATED_ARGUMENT, DERIVING, ON_LANES, Route, plan_for
from dualkv.observe.collector import FAMILIES
from dualkv.serve import ProxyServer

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


def _operations() -> str:
    server = ProxyServer(ProxyConfig())
    return _table(
        ("", "path", "body", "what it does"),
        (
            (
                operation.method,
                f"`{operation.path}`",
                ", ".join(f"`{field.name}`" for field in operation.body),
                " ".join(filter(None, (operation.summary, operation.description))),
            )
            for operation in operations_of(server.control, server.sampler, has_tokens=True)
        ),
    )


_ROUTES: Final = {
    Route.LANE: "lane",
    Route.LOCAL: "dualkv answers",
    Route.SESSION: "dualkv answers",
    Route.CLIENTS: "dualkv answers, about its own clients",
    Route.OWN: "dualkv answers, about itself",
    Route.TRANSACTION: "transaction",
    Route.SUBSCRIPTION: "shared subscriptions",
    Route.RECEIVERS: "lane; subscribers counted one by one",
    Route.DELICATE: "lane; refused before an ElasticKV",
    Route.LEASED: "a connection beside the lane",
    Route.WAIT: "lane, asked again and again",
    Route.REFUSED: "refused",
}
_ALWAYS_COPIED: Final = (copies_of, RULES["RESTORE"])


def _commands() -> str:
    return _table(
        ("command", "goes to", "mirrored", "compared"),
        (
            _command_row(spec)
            for spec in sorted(COMMANDS, key=lambda spec: spec.name)
            if spec is not UNKNOWN and not spec.subcommands
        ),
    )


def _command_row(spec: CommandSpec) -> tuple[str, str, str, str]:
    plan = plan_for(spec)
    route = _ROUTES[plan.route]
    mirrored = _mirrored(spec) if plan.queue else ""
    if "blocking" in spec.flags and plan.route in ON_LANES:
        route = "lane; if it has to wait, a connection of its own"
        if spec.name in ("XREAD", "XREADGROUP"):
            route = "lane; if `BLOCK` has to wait, a connection of its own"
        if mirrored:
            mirrored += "; having waited: " + ("effect" if spec.name == "XREADGROUP" else "copy")
    return f"`{spec.name}`", route, mirrored, plan.comparator.value if plan.comparator else ""


def _mirrored(spec: CommandSpec) -> str:
    """Return how a write reaches the other store, by its rule."""
    rule = RULES.get(spec.name, copies_of)
    if rule in _ALWAYS_COPIED and spec.kind != "script":
        return "copy"
    words = ["script" if spec.kind == "script" else "effect"]
    if isinstance(rule, Verbatim):
        words = ["as it is, checked" if rule.is_checked else "as it is"]
    if spec.name in ASKING:
        words.append("asks")
    if spec.name in CREATED_ARGUMENT or spec.name in DERIVING:
        words.append("guarded")
    return ", ".join(words)


def _held() -> str:
    return _table(
        ("command", "reaches ElasticKV by", "but"),
        (
            (f"`{name}`" if name != "OTHER" else "others", holding.held.value, holding.note)
            for name, holding in sorted(HOLDINGS.items())
            if plan_for(_SPECS[name]).route is not Route.REFUSED
        ),
    )


def _held_counts() -> str:
    counts = Counter(holding.held for holding in HOLDINGS.values())
    return _table(("class", "commands"), ((f"`{held.value}`", str(counts[held])) for held in Held))


def _reads() -> str:
    compared = [spec.name for spec in COMMANDS if plan_for(spec).comparator is not None]
    made: dict[str, list[str]] = defaultdict(list)
    for name in sorted(compared):
        through = reads_through(name)
        made["not compared" if through is None else "as it is" if through == name else through].append(name)
    return _table(
        ("made through", "reads"),
        (
            (f"`{through}`" if through.isupper() else through, ", ".join(f"`{name}`" for name in names))
            for through, names in made.items()
        ),
    )


_HELP_COLUMNS: Final = 78
_HELP_OPTIONS: Final = ["-h", "--help"]
_SETTINGS_IN_HELP: Final = {
    *(setting.name for setting in SETTINGS),
    *(setting.name + "_file" for setting in SETTINGS),
}


def _help() -> str:
    return "\n\n".join(_help_of(typer.main.get_command(app), "dualkv"))


def _help_of(command: Any, name: str) -> Iterator[str]:
    """Yield a section with the help of a command, and of those below it; without the settings."""
    if any(option.name == "config" for option in command.params):
        command.params = [option for option in command.params if option.name not in _SETTINGS_IN_HELP]
    context = command.context_class(
        command, info_name=name, terminal_width=_HELP_COLUMNS, help_option_names=_HELP_OPTIONS
    )
    yield f"### {name}\n\n```text\n{command.get_help(context)}\n```"
    for word, child in getattr(command, "commands", {}).items():
        yield from _help_of(child, f"{name} {word}")


_SPECS: Final = {spec.name: spec for spec in COMMANDS}

_TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": _settings,
    "metrics": _metrics,
    "operations": _operations,
    "commands": _commands,
    "held": _held,
    "held_counts": _held_counts,
    "reads": _reads,
    "help": _help,
}
PAGES: Final = tuple(
    REFERENCE / f"{name}.md" for name in ("settings", "metrics", "commands", "elastickv", "cli", "http")
)


def renewed(page: Path) -> str:
    """Return the text of *page* with its tables as they should be."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{_TABLES[match[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", table, page.read_text(), flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renewed(page))
