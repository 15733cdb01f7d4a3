"""Every setting: its default, what it refuses, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from dualkv.config import SETTINGS, ProxyConfig, ProxyMode, Setting, load_config
from dualkv.errors import ConfigError

REFERENCE_DEFAULTS: dict[str, Any] = {
    "listen": ("", 6479),
    "metrics": ("", 9191),
    "mode": ProxyMode.DUAL_WRITE,
    "primary": "localhost:6379",
    "primary_db": 0,
    "primary_password": "",
    "primary_name": "redis",
    "primary_pool_size": 128,
    "secondary": "localhost:6380",
    "secondary_db": 0,
    "secondary_password": "",
    "secondary_name": "elastickv",
    "secondary_pool_size": 192,
    "secondary_write_concurrency": 0,
    "secondary_script_concurrency": 0,
    "secondary_blocking_replay_concurrency": 0,
    "secondary_write_queue_size": 0,
    "secondary_script_queue_size": 0,
    "secondary_blocking_replay_queue_size": 0,
    "secondary_timeout": 30.0,
    "secondary_script_timeout": 300.0,
    "shadow_timeout": 3.0,
    "shadow_queue_size": 1024,
    "pubsub_compare_window": 2.0,
    "pubsub_sweep": 0.5,
    "dial_timeout": 5.0,
    "read_timeout": 3.0,
    "write_timeout": 3.0,
    "sentry_dsn": "",
    "sentry_env": "",
    "sentry_sample": 1.0,
}
"""What the reference uses if nothing is set."""

WRONG_VALUES = {
    "mode": "dual",
    "listen": "6479",
    "workers": "0",
    "metrics": "on",
    "admin": "9192",
    "admin_token": "short",
    "admin_tls": "yes",
    "primary": "store",
    "primary_db": "-1",
    "primary_name": "Redis!",
    "primary_pool_size": "0",
    "lanes": "many",
    "secondary": "http://store",
    "secondary_db": "x",
    "secondary_name": "",
    "secondary_pool_size": "-1",
    "dial_timeout": "0s",
    "allow_listing": "perhaps",
    "allow_same_server": "perhaps",
    "leader_aware": "sometimes",
    "read_timeout": "3",
    "write_timeout": "-3s",
    "secondary_write_concurrency": "-1",
    "secondary_script_concurrency": "many",
    "secondary_blocking_replay_concurrency": "1.5",
    "secondary_write_queue_size": "-1",
    "secondary_script_queue_size": "-1",
    "secondary_blocking_replay_queue_size": "-1",
    "secondary_queue_bytes": "0",
    "secondary_timeout": "0",
    "secondary_script_timeout": "6m",
    "shadow_timeout": "0",
    "shadow_queue_size": "0",
    "confirm_after": "soon",
    "selftest": "on",
    "shadow_sample": "110%",
    "shadow_budget_age": "0",
    "shadow_rules": "cache:* GET forget",
    "pubsub_compare_window": "0",
    "pubsub_sweep": "0ms",
    "repair": "always",
    "repair_rate": "-1",
    "repair_divergences": "yes",
    "fill_gaps": "1",
    "dirty_keys": "0",
    "dirty_bytes": "0",
    "recent_window": "0",
    "resync": "off",
    "shadow_pubsub": "true",
    "backfill": "maybe",
    "copy_bytes": "lots",
    "auth": "sometimes",
    "divergence_ring": "0",
    "divergence_log": "divergences.txt",
    "divergence_log_bytes": "0",
    "show_values": "yes",
    "coverage_prefixes": "0",
    "ready_min_reads": "-1",
    "ready_max_divergences": "none",
    "ready_max_gaps": "-1",
    "ready_max_stream_age": "0",
    "ready_max_dirty_keys": "-1",
    "ready_window": "0",
    "primary_tls_verify": "off",
    "secondary_tls_verify": "no",
    "tls_min_version": "1.1",
    "tls_handshake_timeout": "0",
    "metrics_tls": "yes",
    "max_clients": "0",
    "allow_networks": "everywhere",
    "proxy_protocol": "v2",
    "client_idle_timeout": "-1s",
    "tcp_keepalive": "always",
    "tcp_user_timeout": "1",
    "client_request_bytes": "0",
    "client_outstanding": "0",
    "client_output_bytes": "lots",
    "lame_duck": "-1s",
    "drain": "0s",
    "journal_fsync": "sometimes",
    "journal_bytes": "0",
    "sentry_sample": "2",
    "log_level": "loud",
}
"""One wrong value of each setting that does not take just any text."""

ANY_TEXT = {
    "primary_password", "secondary_password", "client_password", "users", "journal_dir",
    "sentry_dsn", "sentry_env", "coverage_delimiter",
    "tls_cert", "tls_key", "tls_key_password", "tls_client_ca",
    "primary_tls_ca", "primary_tls_cert", "primary_tls_key", "primary_tls_key_password",
    "primary_tls_server_name", "secondary_tls_ca", "secondary_tls_cert", "secondary_tls_key",
    "secondary_tls_key_password", "secondary_tls_server_name",
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_takes_its_own_default(setting: Setting) -> None:
    """Setting the documented default changes nothing."""
    assert load_config({setting.name: setting.default}) == ProxyConfig()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_says_what_it_is_for(setting: Setting) -> None:
    """Help is one sentence; flag and variable follow from the name."""
    assert setting.help.endswith(".")
    assert (setting.flag, setting.variable) == (
        f"--{setting.name.replace('_', '-')}", f"DUALKV_{setting.name.upper()}",
    )  # fmt: skip


def test_wrong_values_of_every_setting_are_tried() -> None:
    """A new setting needs a line in the table above."""
    assert {setting.name for setting in SETTINGS} == set(WRONG_VALUES) | ANY_TEXT


@pytest.mark.parametrize(("name", "text"), WRONG_VALUES.items(), ids=list(WRONG_VALUES))
def test_every_setting_refuses_a_wrong_value_in_one_line_that_names_it(name: str, text: str) -> None:
    """The operator learns which setting is wrong without reading a trace."""
    with pytest.raises(ConfigError) as caught:
        load_config(environment={f"DUALKV_{name.upper()}": text})

    place, _, complaint = str(caught.value).partition(": ")
    assert place in (f"DUALKV_{name.upper()}", name)
    assert complaint
    assert "\n" not in complaint


@pytest.mark.parametrize(("name", "value"), REFERENCE_DEFAULTS.items(), ids=list(REFERENCE_DEFAULTS))
def test_defaults_are_those_of_the_reference(name: str, value: object) -> None:
    """Who comes from the reference finds the same behaviour."""
    setting = next(setting for setting in SETTINGS if setting.name == name)

    assert getattr(ProxyConfig(), setting.field) == value


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"secondary_write_concurrency": "5", "secondary_pool_size": "4"},
            "secondary_write_concurrency: 5 is more than secondary_pool_size (4)",
        ),
        (
            {"secondary_script_concurrency": "193"},
            "secondary_script_concurrency: 193 is more than secondary_pool_size (192)",
        ),
        (
            {"secondary_blocking_replay_concurrency": "200", "elastickv_pool_size": "199"},
            "secondary_blocking_replay_concurrency: 200 is more than secondary_pool_size (199)",
        ),
        ({"secondary_script_timeout": "300001ms"}, "secondary_script_timeout: must not be more than 5m"),
        ({"secondary_name": "redis"}, "secondary_name: 'redis' is the primary's name"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str], complaint: str) -> None:
    """What no single setting can see is checked in the end."""
    with pytest.raises(ConfigError) as caught:
        load_config(settings)

    assert str(caught.value) == complaint


def test_bounds_belong_to_what_is_allowed() -> None:
    """As many as the pool has, and exactly five minutes."""
    config = load_config(
        {
            "secondary_pool_size": "4",
            "secondary_write_concurrency": "4",
            "secondary_script_concurrency": "4",
            "secondary_blocking_replay_concurrency": "4",
            "secondary_script_timeout": "5m",
        }
    )

    assert config.secondary_write_concurrency == 4


# --- what follows from the settings


@pytest.mark.parametrize(
    ("pool", "write", "scripts", "blocking", "queues"),
    [
        (192, 0, 3, 32, (6144, 192, 2048)),
        (192, 192, 3, 1, (8192, 192, 64)),
        (192, 64, 2, 32, (4096, 128, 2048)),
        (192, 32, 1, 32, (2048, 64, 2048)),
        (192, 160, 3, 29, (8192, 192, 1856)),
        (20, 0, 1, 9, (640, 64, 576)),
        (2, 0, 1, 1, (64, 64, 64)),
        (1, 0, 1, 1, (64, 64, 64)),
        (10_000, 0, 3, 32, (8192, 192, 2048)),
    ],
)
def test_sizes_that_are_not_set_follow_from_the_pool(
    pool: int, write: int, scripts: int, blocking: int, queues: tuple[int, int, int]
) -> None:
    """Scripts get a thirty-second of the writes' share, 1 to 3; queues 64 places a worker, 64 to 8192."""
    config = ProxyConfig(secondary_pool_size=pool, secondary_write_concurrency=write)

    assert (config.script_concurrency, config.blocking_replay_concurrency) == (scripts, blocking)
    assert config.queue_sizes == dict(
        zip(("write", "script", "blocking", "shadow", "copy"), (*queues, 1024, 1024), strict=True)
    )


def test_sizes_that_are_set_are_used() -> None:
    """Nothing is derived where something was said."""
    config = ProxyConfig(
        secondary_script_concurrency=7,
        secondary_blocking_replay_concurrency=50,
        secondary_write_queue_size=1,
        secondary_script_queue_size=2,
        secondary_blocking_replay_queue_size=3,
        shadow_queue_size=4,
    )

    assert (config.script_concurrency, config.blocking_replay_concurrency) == (7, 50)
    assert config.queue_sizes == {"write": 1, "script": 2, "blocking": 3, "shadow": 4, "copy": 1024}


@pytest.mark.parametrize(("concurrency", "shards"), [(0, 1), (1, 1), (8, 8)])
def test_mirrored_writes_are_split_as_often_as_was_said(concurrency: int, shards: int) -> None:
    """One ordered stream, unless more are asked for."""
    assert ProxyConfig(secondary_write_concurrency=concurrency).shards == shards


@pytest.mark.parametrize(("scripts", "seconds"), [("0", 30.0), ("1m", 60.0), ("10s", 10.0)])
def test_scripts_without_a_timeout_follow_the_writes(scripts: str, seconds: float) -> None:
    """0 means the timeout of mirrored writes."""
    assert load_config({"secondary_script_timeout": scripts}).script_timeout_seconds == seconds


# --- showing them

SECRET = "5ecret"


def test_effective_settings_are_complete_and_readable() -> None:
    """Each setting is there, written as it could be set."""
    shown = load_config({"metrics": "off", "drain": "1m30s", "listen": "[::1]:1"}).effective()

    assert list(shown) == [setting.name for setting in SETTINGS]
    assert (shown["mode"], shown["metrics"], shown["drain"], shown["pubsub_sweep"]) == (
        "dual-write", "off", "90s", "0.5s",
    )  # fmt: skip
    assert (shown["primary_password"], shown["sentry_dsn"], shown["secondary_queue_bytes"]) == (
        "", "", "67108864",
    )  # fmt: skip


def test_effective_settings_are_understood_again() -> None:
    """What is shown is what would have to be set."""
    config = load_config(
        {
            "mode": "elastickv-primary",
            "listen": "[::1]:1",
            "metrics": "off",
            "primary": "rediss://user@store/3",
            "drain": "1m30s",
            "pubsub_sweep": "1ms",
            "sentry_sample": "0.125",
            "secondary_queue_bytes": "1GiB",
            "shadow_sample": "12.5%",
            "shadow_rules": "cache:* * ignore; rank:*  ZRANGE ties=set sample=10%",
        }
    )

    assert load_config(config.effective()) == config


@pytest.mark.parametrize(
    "settings",
    [
        {"primary_password": SECRET},
        {"secondary_password": SECRET},
        {"sentry_dsn": f"https://{SECRET}@sentry.invalid/1"},
        {"primary": f"redis://user:{SECRET}@store/1"},
        {"secondary": f"rediss://:{SECRET}@store"},
        {"secondary": f"unix://user:{SECRET}@/run/redis.sock"},
    ],
)
def test_secrets_are_not_shown(settings: dict[str, str]) -> None:
    """Neither a secret setting nor the password in a URL is among the effective settings."""
    config = load_config(settings)

    assert SECRET not in str(config.effective())
    for which in ("primary", "secondary"):
        assert SECRET not in repr(config.backend_options(which))
