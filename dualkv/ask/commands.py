"""``dualkv status``, ``dualkv divergences``, ``dualkv coverage`` and ``dualkv readiness``.

Exit codes: 0: told, and ready; 1: not ready, or there is no such divergence; 2: could not be asked.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dualkv.ask.control import ctl_app
from dualkv.ask.reproduce import script_of
from dualkv.ask.source import HttpSource, Wanted, address_of, open_source
from dualkv.ask.status import TokenFile, show_status, token_in, watch_status
from dualkv.ask.tables import coverage_table, divergence_line, divergence_table, show_table
from dualkv.config import load_config, values
from dualkv.core.divergence import DivergenceKind
from dualkv.errors import ConfigError
from dualkv.help import DONE, ending

__all__ = ["register"]

_POLL_SECONDS: Final = 1.0

_NOBODY: Final = ("2", "a wrong option, or dualkv cannot be asked: one line on stderr")
_ENVIRONMENT: Final = (
    ("DUALKV_METRICS", "where dualkv's HTTP is, unless --url says it"),
    ("DUALKV_CONFIG", "a file with settings, for the same"),
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="HTTP address of dualkv, such as http://10.0.0.7:9191; unless given, this machine and the port "
        "of the setting `metrics`.",
        metavar="URL",
    ),
]
File = Annotated[
    Path | None,
    typer.Option("--file", help="Look into the file of `divergence_log` instead.", metavar="FILE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]

divergences_app = typer.Typer(
    epilog=ending(
        examples=(
            ("The last ones of a dualkv on this machine", "dualkv divergences"),
            ("Of one command, as they come", "dualkv divergences --command hgetall --follow"),
            ("Of the last ten minutes, from a file", "dualkv divergences --file div.jsonl --since 10m"),
            ("One of them as a script", "dualkv divergences export 6553f100abcd-000001 > again.sh"),
        ),
        exit_codes=(DONE, _NOBODY),
        environment=_ENVIRONMENT,
        files=(("divergence_log", "the setting: a JSON object a line"),),
    ),
    invoke_without_command=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=ending(
            examples=(
                ("A dualkv on this machine, as it goes on", "dualkv status --watch"),
                (
                    "Another one, at its admin address",
                    "dualkv status --url https://10.0.0.7:9192 --token-file token",
                ),
                ("For a program", "dualkv status --json"),
            ),
            exit_codes=(DONE, _NOBODY),
            environment=_ENVIRONMENT,
            files=(("FILE", "of --token-file: TOKEN or NAME:TOKEN; the first line counts"),),
        )
    )(status)
    app.add_typer(ctl_app, name="ctl")
    app.add_typer(divergences_app, name="divergences")
    app.command(
        epilog=ending(
            examples=(("What has been compared", "dualkv coverage"),),
            exit_codes=(DONE, _NOBODY),
            environment=_ENVIRONMENT,
        )
    )(coverage)
    app.command(
        epilog=ending(
            examples=(
                ("Ask", "dualkv readiness"),
                ("Go on only if it is safe", "dualkv readiness && ./next-mode.sh"),
            ),
            exit_codes=(("0", "ready"), ("1", "not ready"), _NOBODY),
            environment=_ENVIRONMENT,
        )
    )(readiness)


@divergences_app.callback()
def divergences(
    context: typer.Context,
    url: Url = None,
    file: File = None,
    command: Annotated[str, typer.Option(help="Of this command only.", metavar="NAME")] = "",
    kind: Annotated[str, typer.Option(help="Of this kind only.", metavar="KIND")] = "",
    key_prefix: Annotated[
        str, typer.Option(help="Of keys that begin like this, written as they are shown.", metavar="TEXT")
    ] = "",
    since: Annotated[
        str, typer.Option(help="Not older: 10m, or a time such as 2026-01-31T12:00.", metavar="WHEN")
    ] = "",
    limit: Annotated[int, typer.Option(help="So many of the newest.", min=1, max=1000, metavar="N")] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Then show new ones as they come.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show confirmed differences between the stores.

    The newest last. Values are hidden unless dualkv runs with `show_values`.
    """
    if context.invoked_subcommand is not None:
        return
    if kind and kind not in set(DivergenceKind):
        raise ConfigError(f"--kind {kind}: not one of {', '.join(DivergenceKind)}")
    wanted = Wanted(command.lower(), kind, key_prefix, _moment(since))
    source = open_source(_address(url, file), file)
    records = source.find(wanted, limit)
    if as_json or follow:
        _print_each(records, as_json)
    elif records:
        show_table(divergence_table(records))
    else:
        typer.echo("No divergences. What has been compared at all: dualkv coverage")
    try:
        while follow:
            time.sleep(_POLL_SECONDS)
            _print_each(source.later(wanted), as_json)
    except KeyboardInterrupt:
        pass  # that is how one ends it


@divergences_app.command(
    epilog=ending(
        examples=(("For a bug report", "dualkv divergences export 6553f100abcd-000001 > again.sh"),),
        exit_codes=(DONE, ("1", "no such divergence is remembered"), _NOBODY),
        environment=_ENVIRONMENT,
    )
)
def export(
    divergence_id: Annotated[str, typer.Argument(metavar="ID", help="As `dualkv divergences` shows it.")],
    url: Url = None,
    file: File = None,
) -> None:
    """Print a script that makes a divergence happen again.

    Plain commands for two other servers, named in PRIMARY and SECONDARY; without them it does nothing. It
    makes the key's last writes again (those that the other store did not get on the first server only) and
    compares the read. What is hidden or not known stands in it as a comment.
    """
    record = open_source(_address(url, file), file).get(divergence_id)
    if record is None:
        typer.echo(f"dualkv: {divergence_id}: no such divergence is remembered", err=True)
        raise typer.Exit(1)
    typer.echo(script_of(record), nl=False)


def status(
    url: Url = None,
    token_file: TokenFile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again each second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is going on: whether all is well, and the figures.

    Mode, clients, stores, operations per second and latencies, the stream and its books, dirty keys, repair,
    divergences, readiness. No keys, no values.
    """
    source = HttpSource(_address(url), token_in(token_file))
    (watch_status if watch else show_status)(source, as_json=as_json)


def coverage(url: Url = None, as_json: AsJson = False) -> None:
    """Show what has been compared, by prefix of the keys.

    What was not compared proves nothing: look for prefixes with few reads.
    """
    body = _page(_address(url), "/coverage", "prefixes")
    if as_json:
        typer.echo(json.dumps(body))
    else:
        show_table(coverage_table(body))


def readiness(url: Url = None, as_json: AsJson = False) -> None:
    """Tell whether the next mode is safe, and why not.

    Looks at coverage, divergences, dirty keys and the age of the stream, by the settings ready_….
    """
    body = _page(_address(url), "/readiness", "reasons")
    is_ready = body["ready"] is True
    if as_json:
        typer.echo(json.dumps(body))
    else:
        typer.echo("ready" if is_ready else "not ready:")
        for reason in body["reasons"]:
            typer.echo(f"- {reason}")
    raise typer.Exit(0 if is_ready else 1)


def _page(url: str, path: str, must_have: str) -> dict[str, Any]:
    _, body = HttpSource(url).fetch(path)
    if not isinstance(body, dict) or must_have not in body:
        raise ConfigError(f"{url}{path}: not an answer of dualkv")
    return body


def _address(url: str | None, file: Path | None = None) -> str:
    """Return the HTTP address to ask: as given, else what the settings say."""
    if url is not None or file is not None:
        return url or ""
    path = os.environ.get("DUALKV_CONFIG")
    return address_of(load_config(environment=os.environ, file=Path(path) if path else None))


def _moment(text: str) -> float:
    """Return the Unix time of ``10m`` (ago) or of a time; 0 for nothing."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - values.duration(text)
    except ConfigError:
        raise ConfigError(f"--since {text}: neither a duration such as 10m nor a time") from None


def _print_each(records: list[dict[str, Any]], as_json: bool) -> None:
    for record in records:
        typer.echo(json.dumps(record) if as_json else divergence_line(record))
