"""``dualkv ctl``: changes a running dualkv, at its admin address.

Exit codes: 0: done; 1: refused, with the reason; 2: could not be asked.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dualkv.ask.source import HttpSource, address_of
from dualkv.ask.status import TokenFile, token_in
from dualkv.config import load_config, parse_proxy_mode
from dualkv.errors import ConfigError
from dualkv.help import DONE, complete_modes, ending

__all__ = ["ctl_app"]

_REFUSED: Final = 409
_MODE_SECONDS: Final = 30.0
"""So much longer than clients may wait a change of the mode may take: stores are connected to first."""

_CODES: Final = (
    DONE,
    ("1", "refused: the reason is on stderr, and nothing was changed"),
    ("2", "a wrong option, or dualkv cannot be asked: one line on stderr"),
)
_ENVIRONMENT: Final = (
    ("DUALKV_ADMIN", "where dualkv listens for it, unless --url says it"),
    ("DUALKV_ADMIN_TOKEN_FILE", "the token for that, unless --token-file says it"),
    ("DUALKV_CONFIG", "a file with settings, for both"),
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Admin address of dualkv, such as https://10.0.0.7:9192; unless given, this machine and the "
        "port of the setting `admin`.",
        metavar="URL",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON.")]


def _ending(*examples: tuple[str, str]) -> str:
    return ending(examples=examples, exit_codes=_CODES, environment=_ENVIRONMENT)


ctl_app = typer.Typer(
    help="Change a running dualkv: mode, kill switch, repair, drain.",
    epilog=_ending(
        ("How it stands", "dualkv ctl show"),
        ("Leave the other store alone, and go on", "dualkv ctl pause && dualkv ctl resume"),
        ("What a change of the mode would do", "dualkv ctl mode set elastickv-primary --dry-run"),
        (
            "Of another machine",
            "dualkv ctl show --url https://10.0.0.7:9192 --token-file token",
        ),
    ),
    no_args_is_help=True,
)
mode_app = typer.Typer(
    help="Tell the mode, or change it.",
    epilog=_ending(("Tell it", "dualkv ctl mode"), ("Change it", "dualkv ctl mode set dual-write-shadow")),
    invoke_without_command=True,
)
ctl_app.add_typer(mode_app, name="mode")


@ctl_app.command(epilog=_ending(("How it stands", "dualkv ctl show")))
def show(url: Url = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Show what can be changed, and how it stands."""
    source = _running(url, token_file)
    told = {**_read(source, "/api/mode"), **_read(source, "/api/control")}
    if as_json:
        typer.echo(json.dumps(told))
    else:
        for name, value in told.items():
            typer.echo(f"{name.replace('_', ' ')}: {_text(value)}")


@mode_app.callback()
def mode(
    context: typer.Context, url: Url = None, token_file: TokenFile = None, as_json: AsJson = False
) -> None:
    """Tell the mode, or change it."""
    if context.invoked_subcommand is not None:
        return
    told = _read(_running(url, token_file), "/api/mode")
    typer.echo(json.dumps(told) if as_json else told["mode"])


@mode_app.command(
    "set",
    epilog=_ending(
        ("What it would do", "dualkv ctl mode set elastickv-primary --dry-run"),
        ("Do it", "dualkv ctl mode set elastickv-primary"),
        ("Clients may wait ten seconds", "dualkv ctl mode set dual-write --wait 10"),
    ),
)
def set_mode(
    new_mode: Annotated[
        str, typer.Argument(metavar="MODE", help="The new mode.", autocompletion=complete_modes)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Do it although the other store has not proved itself.")
    ] = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Do it although writes will be lost: after a disaster.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(help="How long clients' commands may be held back.", min=0, max=60, metavar="SECONDS"),
    ] = 2.0,
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Change the mode while clients are served.

    Clients' commands are held back for a moment. If that is not enough, or the next mode is not safe, it is
    refused with the reason, and all is as before.
    """
    wanted = {
        "mode": parse_proxy_mode(new_mode).value,
        "dry_run": dry_run,
        "force": force,
        "accept_loss": accept_loss,
        "wait_seconds": wait,
    }
    source = _running(url, token_file)
    _change(source, "PUT", "/api/mode", wanted, as_json=as_json, patience_seconds=_MODE_SECONDS + 2 * wait)


def _add_action(name: str, summary: str, more: str, example: str) -> None:
    """Add a command that takes nothing but where to ask."""

    def act(url: Url = None, token_file: TokenFile = None, as_json: AsJson = False) -> None:
        _change(_running(url, token_file), "POST", f"/api/{name}", {}, as_json=as_json)

    act.__doc__ = f"{summary}\n\n{more}"
    ctl_app.command(name, epilog=_ending((example, f"dualkv ctl {name}")))(act)


_add_action(
    "pause",
    "Leave the store that follows alone (kill switch).",
    "Nothing is sent to it any more: keys of writes are remembered, reads are not compared. Clients notice "
    "nothing.",
    "It suffers, or is to be restarted",
)
_add_action(
    "resume",
    "Let writes flow to it again.",
    "What was remembered is copied, unless the setting `repair` says otherwise.",
    "It is well again",
)


@ctl_app.command(epilog=_ending(("A tenth of the keys", "dualkv ctl sample 0.1")))
def sample(
    share: Annotated[float, typer.Argument(help="Of the keys, 0 to 1.", min=0, max=1, metavar="SHARE")],
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare reads of another share of the keys."""
    _change(_running(url, token_file), "PUT", "/api/shadow-sample", {"share": share}, as_json=as_json)


@ctl_app.command(epilog=_ending(("No more than that", "dualkv ctl repair-rate 500")))
def repair_rate(
    rate: Annotated[
        int, typer.Argument(help="Keys per second, at most; 0: no limit.", min=0, max=1_000_000, metavar="N")
    ],
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy another number of dirty keys per second, at most."""
    wanted = {"keys_per_second": rate}
    _change(_running(url, token_file), "PUT", "/api/repair-rate", wanted, as_json=as_json)


@ctl_app.command(epilog=_ending(("Look for something", "dualkv ctl log-level debug")))
def log_level(
    level: Annotated[str, typer.Argument(help="debug, info, warning or error.", metavar="LEVEL")],
    url: Url = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Log from another level on."""
    wanted = {"level": level.lower()}
    _change(_running(url, token_file), "PUT", "/api/log-level", wanted, as_json=as_json)


_add_action(
    "repair",
    "Copy what is dirty now, whatever `repair` says.",
    "It goes on until nothing is dirty.",
    "With repair = manual, when the load allows it",
)
_add_action(
    "resync",
    "Copy all keys to the store that follows.",
    "Somebody has written there past dualkv, say, or a backup was restored.",
    "Make both equal, whatever happened",
)
_add_action(
    "drop-dirty",
    "Forget which keys are dirty: a resync is required then.",
    "They may differ, and nobody knows any more which they are.",
    "There are too many to remember",
)
_add_action(
    "drain",
    "End in order, as SIGTERM does.",
    "Clients get their replies, what is on its way arrives, then dualkv ends.",
    "Another one takes over",
)


def _running(url: str | None, token_file: Path | None) -> HttpSource:
    """Return the dualkv that is meant: as given, else what the settings say."""
    if url is not None:
        return HttpSource(url, token_in(token_file))
    path = os.environ.get("DUALKV_CONFIG")
    config = load_config(environment=os.environ, file=Path(path) if path else None)
    token = token_in(token_file) or (config.admin_token[0].secret if config.admin_token else "")
    return HttpSource(address_of(config, "admin"), token)


def _read(source: HttpSource, path: str) -> dict[str, Any]:
    status, body = source.fetch(path)
    return _understood(source, path, status, body)


def _change(
    source: HttpSource,
    method: str,
    path: str,
    wanted: Mapping[str, object],
    *,
    as_json: bool,
    patience_seconds: float = 10.0,
) -> None:
    """Ask for a change, and tell what came of it."""
    status, body = source.change(method, path, wanted, user=_user(), patience_seconds=patience_seconds)
    if status == _REFUSED and isinstance(body, dict):
        typer.echo(json.dumps(body) if as_json else f"dualkv: refused: {body.get('error')}", err=not as_json)
        raise typer.Exit(1)
    outcome = _understood(source, path, status, body)
    if as_json:
        typer.echo(json.dumps(outcome))
        return
    line = f"{outcome['action']}: {_text(outcome['before'])} -> {_text(outcome['after'])}"
    if outcome.get("done") is False:
        line += " (nothing was changed)"
    elif "waited_seconds" in outcome:
        line += f" (clients waited {outcome['waited_seconds'] * 1000:.0f} ms)"
    typer.echo(line)
    for note in outcome["notes"]:
        typer.echo(f"- {note}")


def _understood(source: HttpSource, path: str, status: int, body: Any) -> dict[str, Any]:
    """Return what was answered.

    Raises:
        ConfigError: It is no answer of dualkv, or says that the question was wrong.
    """
    if isinstance(body, dict) and status == 200:
        return body
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        hint = " (--token-file)" if status == 401 else ""
        raise ConfigError(f"{source.url}: {body['error']}{hint}")
    raise ConfigError(f"{source.url}{path}: not an answer of dualkv")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _user() -> str:
    """Return who asks, for the log: printable, in ASCII."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # nobody has a name in many containers
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}".encode("ascii", "replace").decode()
