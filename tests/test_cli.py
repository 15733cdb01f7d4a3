"""The command line: what it prints, and where; how it ends."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from dualkv.cli import main
from dualkv.config import SETTINGS, ProxyConfig, load_config

PATIENCE_SECONDS = 60
"""Longer than a start takes on the slowest machine."""

SECRET = "5ecret"


@attrs.frozen
class Outcome:
    """How a run ended."""

    code: object
    stdout: str
    stderr: str

    def complaint(self) -> str:
        """Return the one line on stderr of a run that was refused."""
        assert (self.code, self.stdout) == (2, "")
        assert self.stderr.startswith("dualkv: ")
        assert self.stderr.endswith("\n")
        assert self.stderr.count("\n") == 1
        return self.stderr.removeprefix("dualkv: ").rstrip("\n")


@pytest.fixture(autouse=True)
def _only_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of his own."""
    for variable in os.environ:
        if variable.startswith("DUALKV_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "100")


class Shell:
    """Calls the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        """Run it and return how it ended."""
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = self._capsys.readouterr()
        return Outcome(ended.value.code or 0, captured.out, captured.err)


@pytest.fixture(name="dualkv")
def _dualkv(capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line, in this process."""
    return Shell(capsys)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start ``python -m dualkv`` as an operator would."""
    return subprocess.Popen(
        [sys.executable, "-m", "dualkv", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str) -> Outcome:
    """Run ``python -m dualkv`` to its end."""
    with start(*arguments) as process:
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    return Outcome(process.returncode, stdout, stderr)


# --- what is refused


@pytest.mark.parametrize("command", [("serve",), ("config", "check")])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("--primary-pool-size", "0"),
            "--primary-pool-size: must be more than 0",
        ),
        (
            ("--drain=fast",),
            "--drain: 'fast' is not a duration such as 500ms, 3s or 5m",
        ),
        (
            ("--elastickv-pool-size", "x"),
            "--secondary-pool-size: 'x' is not a whole number",
        ),
        (
            ("--secondary-write-concurrency", "193"),
            "secondary_write_concurrency: 193 is more than secondary_pool_size (192)",
        ),
        (
            ("--lanes", "128"),
            "lanes: 128 is not less than the pool sizes (the smaller is 128)",
        ),
        (
            ("--config", "/no/such/file.toml"),
            "/no/such/file.toml: No such file or directory",
        ),
        (
            ("--primary-password-file", "/no/such/secret"),
            (
                "--primary-password-file: cannot read /no/such/secret: "
                "[Errno 2] No such file or directory: '/no/such/secret'"
            ),
        ),
        (
            ("--no-such-option", "1"),
            "No such option: --no-such-option (see dualkv {command} --help)",
        ),
        (
            ("--mode",),
            "Option '--mode' requires an argument. (see dualkv --help)",
        ),
        (
            ("surplus",),
            "Got unexpected extra argument(s) (surplus) (see dualkv {command} --help)",
        ),
    ],
)
def test_a_wrong_setting_ends_with_2_and_one_line(
    dualkv: Shell, command: tuple[str, ...], arguments: tuple[str, ...], complaint: str
) -> None:
    """Nothing is started, and the operator reads what to change."""
    expected = complaint.replace("{command}", " ".join(command))
    assert dualkv(*command, *arguments).complaint() == expected


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("no-such-command",), "No such command 'no-such-command'. (see dualkv --help)"),
        (("config", "no-such-command"), "No such command 'no-such-command'. (see dualkv config --help)"),
        (("--frobnicate",), "No such option: --frobnicate (see dualkv --help)"),
        (("demo", "--server-binary", "/no/such/binary"), "/no/such/binary: no such server binary"),
    ],
)
def test_a_wrong_command_ends_with_2_and_one_line(
    dualkv: Shell, arguments: tuple[str, ...], complaint: str
) -> None:
    """Errors of the parser and of the demo look like those of the settings."""
    assert dualkv(*arguments).complaint() == complaint


def test_the_demo_takes_the_same_modes(dualkv: Shell) -> None:
    """A wrong one is refused with those that there are."""
    complaint = dualkv("demo", "--mode", "dual").complaint()

    assert complaint.startswith("'dual' is not a mode (redis-only, dual-write, ")


def test_a_wrong_variable_is_named(dualkv: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is checked like everything else."""
    monkeypatch.setenv("DUALKV_MODE", "dual")
    assert dualkv("config", "check").complaint().startswith("DUALKV_MODE: 'dual' is not a mode (")

    monkeypatch.setenv("DUALKV_MODE", "dual-write")
    monkeypatch.setenv("DUALKV_MOOD", "good")
    assert dualkv("config", "check").complaint() == "DUALKV_MOOD: there is no such setting"


def test_a_complaint_is_one_line_whatever_the_file_holds(dualkv: Shell, tmp_path: Path) -> None:
    """A name with a line end in it does not make a second line."""
    file = tmp_path / "dualkv.toml"
    file.write_text('"two\\nlines" = 1')

    complaint = dualkv("config", "check", "--config", str(file)).complaint()
    assert complaint == f"{file}: two lines: there is no such setting"


def test_a_rule_about_a_command_that_there_is_not_is_refused(dualkv: Shell) -> None:
    """Checking the settings finds what the command table alone can tell."""
    outcome = dualkv("config", "check", "--shadow-rules", "* GET ignore; a* TLL ignore")

    assert outcome.complaint() == "shadow_rules: 'a* TLL ignore': there is no command TLL"


# --- config check


def checked(dualkv: Shell, *arguments: str) -> str:
    """Return what ``config check`` prints for *arguments*, which are right."""
    outcome = dualkv("config", "check", *arguments)
    assert (outcome.code, outcome.stderr) == (0, "")
    return outcome.stdout


def test_config_check_prints_every_setting(dualkv: Shell) -> None:
    """One line each, as TOML, in the order of the documentation."""
    assert list(tomllib.loads(checked(dualkv))) == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--listen", "[::1]:7000", "--metrics", "off"),
        ("--primary", "rediss://user@store:1/2", "--secondary", "unix:///run/redis.sock?db=3"),
        ("--sentry-env", 'a "quoted" \\ text', "--sentry-sample", "0.125", "--log-level", "DEBUG"),
        ("--drain", "1m30s", "--pubsub-sweep", "1ms", "--secondary-queue-bytes", "1GiB"),
        ("--mode", "secondary-only", "--primary-name", "old", "--secondary-name", "new"),
        ("--shadow-sample", "5%", "--shadow-rules", r"a\x20b:* * ignore; * TTL tolerance=5s"),
    ],
)
def test_what_config_check_prints_can_be_loaded_again(
    dualkv: Shell, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """The file that it makes is the same configuration, and checking it prints the same again."""
    printed = checked(dualkv, *arguments)
    file = tmp_path / "dualkv.toml"
    file.write_text(printed)

    assert checked(dualkv, "--config", str(file)) == printed
    assert (load_config(file=file) == ProxyConfig()) is (arguments == ())


def test_config_check_blanks_secrets(dualkv: Shell, tmp_path: Path) -> None:
    """It shows that there is one, and not which."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    printed = checked(
        dualkv,
        "--primary-password",
        SECRET,
        "--secondary-password-file",
        str(secret),
        "--secondary",
        f"redis://user:{SECRET}@store",
        "--sentry-dsn",
        f"https://{SECRET}@sentry.invalid/1",
    )

    assert SECRET not in printed
    found = tomllib.loads(printed)
    assert (found["primary_password"], found["secondary_password"], found["sentry_dsn"]) == (
        "***", "***", "***",
    )  # fmt: skip
    assert found["secondary"] == "redis://user:***@store"


def test_settings_come_from_flag_environment_and_file(
    dualkv: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line uses all sources; ``DUALKV_CONFIG`` names the file, ``--config`` another one."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f'sentry_env = "{name}"\ndrain = "1s"\nlame_duck = "1s"')
    monkeypatch.setenv("DUALKV_CONFIG", str(tmp_path / "one"))
    monkeypatch.setenv("DUALKV_DRAIN", "2s")
    monkeypatch.setenv("DUALKV_LAME_DUCK", "2s")

    found = tomllib.loads(checked(dualkv, "--lame-duck", "3s"))
    assert (found["sentry_env"], found["drain"], found["lame_duck"]) == ("one", "2s", "3s")
    found = tomllib.loads(checked(dualkv, "--config", str(tmp_path / "two")))
    assert (found["sentry_env"], found["drain"], found["lame_duck"]) == ("two", "2s", "2s")


# --- help


@pytest.mark.parametrize("arguments", [("serve", "--help"), ("config", "check", "-h")])
@pytest.mark.parametrize("columns", ["80", "160"])
def test_help_names_every_setting(
    dualkv: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], columns: str
) -> None:
    """Each flag is there in full, with its other names and the file form of secrets."""
    monkeypatch.setenv("COLUMNS", columns)
    outcome = dualkv(*arguments)

    words = set(outcome.stdout.replace(",", " ").split())
    assert (outcome.code, outcome.stderr) == (0, "")
    assert {setting.flag for setting in SETTINGS} <= words
    assert {setting.flag + "-file" for setting in SETTINGS if setting.secret} <= words
    assert {"--config", "--elastickv-pool-size"} <= words


def test_help_shows_what_each_setting_means_and_its_default(
    dualkv: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence of the setting, and in brackets what is used without it."""
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(dualkv("serve", "--help").stdout.split())

    for setting in SETTINGS:
        default = f" [{setting.default}]" if setting.default else ""
        assert f" {setting.help}{default} " in text


def test_help_lists_the_commands(dualkv: Shell) -> None:
    """Without knowing more, one finds what to run next."""
    outcome = dualkv("--help")

    assert outcome.code == 0
    assert {"serve", "demo", "config"} <= set(outcome.stdout.split())


def test_version_is_that_of_the_package(dualkv: Shell) -> None:
    """What to write into a bug report."""
    assert dualkv("--version").stdout == f"dualkv {importlib.metadata.version('dualkv')}\n"


# --- as a program


@pytest.fixture(name="port_in_use")
def _port_in_use() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_module_is_the_program() -> None:
    """``python -m dualkv`` is ``dualkv``."""
    assert run("config", "check", "--mode", "dual").complaint().startswith("--mode: 'dual' is not a mode (")


@pytest.mark.parametrize("which", ["listen", "metrics", "admin"])
def test_a_port_in_use_ends_with_2_and_one_line(port_in_use: int, which: str) -> None:
    """Whichever port it is, the line names it."""
    free = dict.fromkeys(("listen", "metrics", "admin"), "127.0.0.1:0")
    addresses = free | {which: f"127.0.0.1:{port_in_use}"}
    outcome = run("serve", *(f"--{name}={address}" for name, address in addresses.items()))

    assert (
        outcome.complaint() == f"cannot listen on 127.0.0.1:{port_in_use}: Address already in use"
        or outcome.complaint().startswith(f"cannot listen on 127.0.0.1:{port_in_use}: ")
    )


def test_a_dsn_that_is_none_ends_with_2_and_one_line() -> None:
    """The line names the setting, and does not repeat the secret."""
    complaint = run(
        "serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--admin", "off", "--sentry-dsn", SECRET
    ).complaint()

    assert complaint.startswith("sentry_dsn: ")
    assert SECRET not in complaint


def test_a_running_proxy_logs_lines_of_json_and_ends_with_0_on_sigterm(port_in_use: int) -> None:
    """It serves without its backends, says so without secrets, and leaves when it is told to."""
    with start(
        "serve",
        "--listen=127.0.0.1:0",
        "--metrics=off",
        "--admin=off",
        f"--primary=redis://user:{SECRET}@127.0.0.1:{port_in_use}",
        f"--secondary=unix://:{SECRET}@/no/such.sock",
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            rest, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()

    lines = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert (process.returncode, stderr) == (0, "")
    assert [line["message"] for line in lines if line["logger"] == "dualkv.server"] == [
        "serving", "signal", "stopping", "stopped",
    ]  # fmt: skip
    assert SECRET not in first + rest
