"""Settings of TLS: what belongs together, and what reaches whom."""

from __future__ import annotations

import pytest

from dualkv.config import load_config
from dualkv.config.tls import TlsFiles, tls_of_clients
from dualkv.errors import ConfigError

STORE = {"primary": "rediss://store:6380"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"tls_key": "k"}, "tls_key: has no effect without tls_cert"),
        ({"tls_client_ca": "c"}, "tls_client_ca: has no effect without tls_cert"),
        ({"metrics_tls": "on"}, "metrics_tls: 'on' needs tls_cert"),
        ({"metrics_tls": "mutual", "tls_cert": "c"}, "metrics_tls: 'mutual' needs tls_client_ca"),
        ({"admin_tls": "on"}, "admin_tls: 'on' needs tls_cert"),
        ({"admin_tls": "mutual", "tls_cert": "c"}, "admin_tls: 'mutual' needs tls_client_ca"),
        ({"admin_tls": "on", "admin": "off", "tls_cert": "c"}, "admin_tls: has no effect: admin is off"),
        ({"primary_tls_ca": "c"}, "primary_tls_ca: has no effect: primary does not speak TLS"),
        ({"secondary_tls_server_name": "n"},
         "secondary_tls_server_name: has no effect: secondary does not speak TLS"),
        ({"secondary_tls_verify": "false"},
         "secondary_tls_verify: has no effect: secondary does not speak TLS"),
        ({"primary": "sentinel://s/main?sentinel_tls=true", "primary_tls_server_name": "store"},
         "primary_tls_server_name: has no effect: only the Sentinels of primary speak TLS"),
        ({**STORE, "primary_tls_key": "k"}, "primary_tls_key: has no effect without primary_tls_cert"),
        ({**STORE, "primary_tls_ca": "c", "primary_tls_verify": "false"},
         "primary_tls_ca: contradicts primary_tls_verify=false"),
    ],
)  # fmt: skip
def test_settings_without_effect_are_refused(settings: dict[str, str], complaint: str) -> None:
    """Who sets one believes that something is encrypted or verified."""
    with pytest.raises(ConfigError) as caught:
        load_config(settings)

    assert str(caught.value) == complaint


def test_settings_reach_their_leg() -> None:
    """Each store has its own files; the oldest version counts for all."""
    config = load_config(
        {
            **STORE,
            "primary_tls_ca": "ca",
            "primary_tls_cert": "cert",
            "primary_tls_key": "key",
            "primary_tls_key_password": "pw",
            "primary_tls_server_name": "name",
            "tls_min_version": "1.3",
            "tls_cert": "front",
            "tls_client_ca": "clients",
        }
    )

    assert config.backend_options("primary").tls_files == TlsFiles(
        "primary_tls", "cert", "key", "pw", "ca", "1.3", "name"
    )
    assert config.backend_options("secondary").tls_files == TlsFiles("secondary_tls", min_version="1.3")
    assert tls_of_clients(config) == TlsFiles("tls", "front", ca="clients", min_version="1.3")
    assert tls_of_clients(load_config({})) is None


def test_password_of_a_key_is_nowhere_to_be_read() -> None:
    """Neither among the effective settings nor in what is logged."""
    secret = "5ecret"
    config = load_config(
        {
            **STORE,
            "primary_tls_cert": "c",
            "primary_tls_key_password": secret,
            "tls_cert": "c",
            "tls_key_password": secret,
        }
    )

    assert secret not in str(config.effective())
    assert secret not in repr(config)
    assert secret not in repr(config.backend_options("primary"))
    assert secret not in repr(tls_of_clients(config))
