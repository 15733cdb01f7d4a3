"""``dualkv preflight``: asks both stores at once, judges, shows."""

from __future__ import annotations

from functools import partial
from typing import Any

import trio
import typer

from dualkv.ask.source import HttpSource
from dualkv.ask.tables import show_table
from dualkv.config import ProxyConfig
from dualkv.errors import ConfigError
from dualkv.preflight.checks import check_all
from dualkv.preflight.gather import ask_store
from dualkv.preflight.model import Facts, Finding, StoreFacts, exit_code
from dualkv.preflight.show import findings_table, json_of, summary
from dualkv.preflight.used import check_used

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


def look_at_stores(config: ProxyConfig, url: str | None = None) -> tuple[Finding, ...]:
    """Return what is found when both stores are looked at.

    Args:
        config: The settings of `serve`.
        url: A running dualkv that is asked what the application uses; None: nobody is.

    Raises:
        ConfigError: It does not answer.
    """
    observed = None if url is None else _ask_what_is_used(url)
    facts = trio.run(gather_facts, config)
    return check_all(facts) + (() if url is None else check_used(facts, observed))


def _ask_what_is_used(url: str) -> Any:
    status, body = HttpSource(url).fetch("/observed")
    if status != 200:
        raise ConfigError(f"{url}/observed: not an answer of dualkv")
    return body


def show_findings(findings: tuple[Finding, ...], *, as_json: bool) -> int:
    """Print findings; return the exit code."""
    if as_json:
        typer.echo(json_of(findings))
    else:
        show_table(findings_table(findings))
        typer.echo(f"\n{summary(findings)}")
    return exit_code(findings)
