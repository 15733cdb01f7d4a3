"""Where settings come from, and which of them wins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dualkv.config import SETTINGS, ProxyConfig, Setting, load_config
from dualkv.config.load import name_as_flag
from dualkv.errors import ConfigError


def toml(directory: Path, text: str) -> Path:
    """Return a file with *text*."""
    path = directory / "dualkv.toml"
    path.write_text(text)
    return path


def complaint(
    flags: dict[str, str] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> str:
    """Return why these settings are refused, in one line."""
    with pytest.raises(ConfigError) as caught:
        load_config(flags, environment, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_any_source_there_are_defaults() -> None:
    """Nothing has to be set."""
    assert load_config() == ProxyConfig()


@pytest.mark.parametrize(
    ("flag", "variable", "key", "winner"),
    [
        (None, None, None, 128),
        (None, None, 3, 3),
        (None, 2, None, 2),
        (None, 2, 3, 2),
        (1, None, None, 1),
        (1, None, 3, 1),
        (1, 2, None, 1),
        (1, 2, 3, 1),
    ],
)
def test_flags_win_over_the_environment_which_wins_over_the_file(
    tmp_path: Path, flag: int | None, variable: int | None, key: int | None, winner: int
) -> None:
    """Whatever combination of sources names a setting, the first of them counts."""
    config = load_config(
        {} if flag is None else {"primary_pool_size": str(flag)},
        {} if variable is None else {"DUALKV_PRIMARY_POOL_SIZE": str(variable)},
        None if key is None else toml(tmp_path, f"primary_pool_size = {key}"),
    )

    assert config.primary_pool_size == winner


def test_each_setting_is_looked_up_by_itself(tmp_path: Path) -> None:
    """A source that wins for one setting leaves the others to the next one."""
    config = load_config(
        {"drain": "1s"},
        {"DUALKV_DRAIN": "2s", "DUALKV_LAME_DUCK": "2s"},
        toml(tmp_path, 'drain = "3s"\nlame_duck = "3s"\nread_timeout = "9s"'),
    )

    assert (config.drain_seconds, config.lame_duck_seconds, config.read_timeout_seconds) == (1.0, 2.0, 9.0)


def test_names_are_read_with_dashes_and_in_any_case(tmp_path: Path) -> None:
    """A flag, a variable and a key are the same name in three spellings."""
    config = load_config({"shadow-timeout": "1s"}, {"DUALKV_DRAIN": "2s"}, toml(tmp_path, 'Lame-Duck = "3s"'))

    assert (config.shadow_timeout_seconds, config.drain_seconds, config.lame_duck_seconds) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("name", ["elastickv_pool_size", "secondary_pool_size"])
def test_a_setting_with_two_names_is_set_by_either(tmp_path: Path, name: str) -> None:
    """The name of the reference works wherever ours does."""
    expected = ProxyConfig(secondary_pool_size=99)

    assert load_config({name: "99"}) == expected
    assert load_config(environment={"DUALKV_" + name.upper(): "99"}) == expected
    assert load_config(file=toml(tmp_path, f"{name} = 99")) == expected


def test_precedence_holds_between_two_names_of_a_setting(tmp_path: Path) -> None:
    """The flag wins over the file, whatever they call the setting."""
    file = toml(tmp_path, "secondary_pool_size = 3")

    assert load_config({"elastickv_pool_size": "1"}, {}, file).secondary_pool_size == 1


def test_numbers_and_texts_of_a_file_read_alike(tmp_path: Path) -> None:
    """A TOML number means what the same digits mean on the command line."""
    text = 'primary_db = 3\nsecondary_db = "4"\nsentry_sample = 0.5'
    config = load_config(file=toml(tmp_path, text))

    assert (config.primary_db, config.secondary_db, config.sentry_sample) == (3, 4, 0.5)


def test_rules_are_an_array_in_the_file_and_one_text_elsewhere(tmp_path: Path) -> None:
    """However they are given, they are the same rules in the same order."""
    one, other = "cache:* * ignore", "session:* TTL tolerance=5s"
    expected = load_config({"shadow_rules": f"{one};{other}"})

    assert [rule.text for rule in expected.shadow_rules] == [one, other]
    assert load_config(environment={"DUALKV_SHADOW_RULES": f" {one} ; {other};"}) == expected
    for text in (f'["{one}", "{other}"]', f'["{one}",\n"{other}",\n]', f'"{one};{other}"'):
        assert load_config(file=toml(tmp_path, f"shadow_rules = {text}")) == expected


# --- secrets from files


def test_a_password_is_read_from_a_file_without_the_line_end(tmp_path: Path) -> None:
    """An editor's line end is not part of the password; blanks inside are."""
    secret = tmp_path / "secret"
    secret.write_text("pass word\n")
    expected = ProxyConfig(primary_password="pass word")

    assert load_config({"primary_password_file": str(secret)}) == expected
    assert load_config(environment={"DUALKV_PRIMARY_PASSWORD_FILE": str(secret)}) == expected
    assert load_config(file=toml(tmp_path, f'primary_password_file = "{secret}"')) == expected


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting.secret], ids=lambda s: s.name)
def test_every_secret_can_be_in_a_file(tmp_path: Path, setting: Setting) -> None:
    """Passwords and the DSN need not be on a command line that everybody can see."""
    secret = tmp_path / "secret"
    secret.write_text("hidden-from-everybody")
    config = load_config({setting.name + "_file": str(secret)})

    assert getattr(config, setting.field) == setting.parse("hidden-from-everybody")


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The complaint says which setting and which file."""
    missing = tmp_path / "missing"

    assert complaint({"primary_password_file": str(missing)}).startswith(
        f"--primary-password-file: cannot read {missing}: "
    )


def test_a_secret_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A binary file by mistake does not end in a trace."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    assert complaint(environment={"DUALKV_SENTRY_DSN_FILE": str(binary)}).startswith(
        f"DUALKV_SENTRY_DSN_FILE: cannot read {binary}: "
    )


def test_only_secrets_can_be_in_files(tmp_path: Path) -> None:
    """There is no file form of other settings."""
    assert complaint({"mode_file": str(tmp_path)}) == "--mode-file: there is no such setting"


# --- what is refused


def test_an_unknown_flag_is_refused() -> None:
    """A program that passes a wrong name learns so."""
    assert complaint({"mood": "good"}) == "--mood: there is no such setting"


def test_an_unknown_variable_is_refused() -> None:
    """A typing error in the environment does not pass silently."""
    assert complaint(environment={"DUALKV_LISTN": ":1"}) == "DUALKV_LISTN: there is no such setting"


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A typing error in the file does not pass silently."""
    file = toml(tmp_path, 'listn = ":1"')

    assert complaint(file=file) == f"{file}: listn: there is no such setting"


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "LISTEN",
        "MY_DUALKV_LISTEN",
        "DUALKV",
        "DUALKV_CONFIG",
        "DUALKV_SERVICE_HOST",
        "DUALKV_SERVICE_PORT",
        "DUALKV_SERVICE_PORT_METRICS",
        "DUALKV_PORT",
        "DUALKV_PORT_6479_TCP",
        "DUALKV_PORT_6479_TCP_ADDR",
        "DUALKV_METRICS_SERVICE_HOST",
        "DUALKV_METRICS_PORT_9191_TCP_PROTO",
    ],
)
def test_variables_that_are_no_settings_are_left_alone(variable: str) -> None:
    """Other programs' variables, the file's path, and what Kubernetes sets for a service."""
    assert load_config(environment={variable: "tcp://10.0.0.1:6479"}) == ProxyConfig()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("drain = true", "drain: 'true' is not a duration such as 500ms, 3s or 5m"),
        ("[primary]\npool_size = 1", "primary: must be a text, a number, true or false"),
        ("shadow_rules = [1]", "shadow_rules: must be an array of texts"),
        (
            "shadow_rules = 1",
            "shadow_rules: '1': a rule is PREFIX* COMMAND ACTION, such as session:* TTL tolerance=5s",
        ),
        ('listen = [":1"]', "listen: must be a text, a number, true or false"),
        ("drain = 10", "drain: '10' is not a duration such as 500ms, 3s or 5m"),
        ("primary_pool_size = 1.5", "primary_pool_size: '1.5' is not a whole number"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """The complaint names the file, and the key if it is about one."""
    file = toml(tmp_path, text)

    assert complaint(file=file) == f"{file}: {reason}"


@pytest.mark.parametrize("text", ["listen = ", "= 1", "drain = 3s", "drain = '1s'\ndrain = '2s'"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    """The complaint names the file and says where it stops making sense."""
    file = toml(tmp_path, text)

    assert re.fullmatch(rf"{re.escape(str(file))}: not TOML: .+ \(at .+\)", complaint(file=file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Who names a file wants it to be used."""
    missing = tmp_path / "missing.toml"

    assert complaint(file=missing) == f"{missing}: No such file or directory"
    assert complaint(file=tmp_path) == f"{tmp_path}: Is a directory"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are not TOML."""
    file = tmp_path / "dualkv.toml"
    file.write_bytes(b'listen = "\xff"')

    assert complaint(file=file).startswith(f"{file}: not TOML: ")


def test_a_wrong_value_is_refused_where_it_stands(tmp_path: Path) -> None:
    """Each source is named in its own spelling."""
    wrong = "'x' is not a whole number"
    file = toml(tmp_path, 'primary_db = "x"')

    assert complaint({"primary_db": "x"}) == f"--primary-db: {wrong}"
    assert complaint(environment={"DUALKV_PRIMARY_DB": "x"}) == f"DUALKV_PRIMARY_DB: {wrong}"
    assert complaint(file=file) == f"{file}: primary_db: {wrong}"


def test_a_wrong_value_that_loses_does_no_harm() -> None:
    """Only what takes effect is checked."""
    assert load_config({"primary_db": "1"}, {"DUALKV_PRIMARY_DB": "x"}).primary_db == 1


def test_a_name_becomes_a_flag() -> None:
    """Underscores become dashes."""
    assert name_as_flag("primary_pool_size") == "--primary-pool-size"
