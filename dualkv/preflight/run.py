"""``dualkv preflight``: asks both stores at once, judges, shows."""

from __future__ import annotations

from functools import partial

import trio
import typer

from dualkv.ask.tables import show_table
from dualkv.config import ProxyConfig
from dualkv.preflight.checks import check_all
from dualkv.preflight.gather import ask_store
from dualkv.preflight.model import Facts, Finding, StoreFacts, exit_code
from dualkv.preflight.show import findings_table, json_of, summary

__all__ = ["gather_facts", "look_at_stores", "show_findings"]


async def gather_facts(config: ProxyConfig) -> Facts:
    """Return what both stores say of themselves."""
    told: dict[str, StoreFacts] = {}

    async def ask(which: str) -> None:
        told[which] = await ask_store(which, config.backend_options(which))

    async with trio.open_nursery() as nursery:
        for which in ("primary", "secondary"):
            nursery.start_soon(partial(ask, which))
    return Facts(config, told["primary"], told["secondary"])


def look_at_stores(config: ProxyConfig) -> tuple[Finding, ...]:
    """Return what is found when both stores are looked at."""
    return check_all(trio.run(gather_facts, config))


def show_findings(findings: tuple[Finding, ...], *, as_json: bool) -> int:
    """Print findings; return the exit code."""
    if as_json:
        typer.echo(json_of(findings))
    else:
        show_table(findings_table(findings))
        typer.echo(f"\n{summary(findings)}")
    return exit_code(findings)
