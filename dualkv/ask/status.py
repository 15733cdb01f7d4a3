"""``dualkv status``: what goes on in a running dualkv, once or again and again.

Exit codes: 0: told; 2: could not be asked.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dualkv.ask.screen import status_screen
from dualkv.ask.source import HttpSource
from dualkv.config.admin import admin_tokens
from dualkv.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["TokenFile", "show_status", "status_of_running", "token_in", "watch_status"]

_WATCH_SECONDS: Final = 1.0

TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with the admin address's token.", metavar="FILE"),
]


def token_in(file: Path | None) -> str:
    """Return the first token in a file; an empty text without a file.

    Raises:
        ConfigError: It cannot be read, or holds no token.
    """
    if file is None:
        return ""
    try:
        tokens = admin_tokens(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file}: {getattr(error, 'strerror', None) or error}") from None
    if not tokens:
        raise ConfigError(f"--token-file {file}: holds no token")
    return tokens[0].secret


def status_of_running(source: HttpSource) -> dict[str, Any]:
    """Return the status of a running dualkv.

    Raises:
        ConfigError: It cannot be asked.
    """
    code, body = source.fetch("/status")
    if code == 200 and isinstance(body, dict) and "headline" in body:
        return body
    if code in (401, 403) and isinstance(body, dict) and "error" in body:
        raise ConfigError(f"{source.url}: {body['error']} (--token-file)")
    raise ConfigError(f"{source.url}/status: not an answer of dualkv")


def show_status(source: HttpSource, *, as_json: bool) -> None:
    """Print the status once.

    Raises:
        ConfigError: It cannot be asked.
    """
    from rich.console import Console

    status = status_of_running(source)
    if as_json:
        typer.echo(json.dumps(status))
    else:
        console = Console(highlight=False)
        console.print(_drawn(source, status, console))


def watch_status(source: HttpSource, *, as_json: bool) -> None:
    """Show the status again and again, until Ctrl-C; as JSON, a line each.

    Raises:
        ConfigError: It cannot be asked even once.
    """
    from rich.console import Console
    from rich.live import Live

    status = status_of_running(source)
    console = Console(highlight=False)
    try:
        if as_json:
            while True:
                typer.echo(json.dumps(status))
                time.sleep(_WATCH_SECONDS)
                status = status_of_running(source)
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            live.update(_drawn(source, status, console), refresh=True)
            while True:
                time.sleep(_WATCH_SECONDS)
                live.update(_next_screen(source, console), refresh=True)
    except KeyboardInterrupt:
        pass  # that is how one ends it


def _next_screen(source: HttpSource, console: Console) -> RenderableType:
    """Return the screen of this moment; while nobody answers, it says so."""
    from rich.text import Text

    try:
        return _drawn(source, status_of_running(source), console)
    except ConfigError as error:
        return Text(f"\n {error}\n Asking again…", style="bold red")


def _drawn(source: HttpSource, status: dict[str, Any], console: Console) -> RenderableType:
    try:
        return status_screen(status, console.width)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{source.url}/status: an answer of another version of dualkv") from None
