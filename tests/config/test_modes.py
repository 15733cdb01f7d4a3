"""The names of the modes."""

from __future__ import annotations

import pytest

from dualkv.config import ProxyMode, parse_proxy_mode
from dualkv.errors import ConfigError


@pytest.mark.parametrize("mode", ProxyMode)
def test_a_mode_is_found_by_its_name(mode: ProxyMode) -> None:
    """Its value is its name."""
    assert parse_proxy_mode(mode.value) is mode


def test_modes_have_the_names_of_the_reference() -> None:
    """The migration path in its order."""
    assert [mode.value for mode in ProxyMode] == [
        "redis-only", "dual-write", "dual-write-shadow", "elastickv-primary", "elastickv-only",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("primary-only", "redis-only"),
        ("secondary-primary", "elastickv-primary"),
        ("secondary-only", "elastickv-only"),
    ],
)
def test_modes_have_names_for_other_stores(alias: str, name: str) -> None:
    """Who has neither Redis nor ElasticKV may call a mode by the roles."""
    assert parse_proxy_mode(alias) is parse_proxy_mode(name)


@pytest.mark.parametrize("text", ["", "dual", "DUAL-WRITE", "dual_write", "dual-write "])
def test_anything_else_is_refused_with_the_names_that_there_are(text: str) -> None:
    """The complaint lists every name."""
    with pytest.raises(ConfigError) as caught:
        parse_proxy_mode(text)

    assert str(caught.value) == (
        f"{text!r} is not a mode (redis-only, dual-write, dual-write-shadow, elastickv-primary, "
        "elastickv-only, primary-only, secondary-primary, secondary-only)"
    )
