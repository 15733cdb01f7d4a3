"""The modes, by their names."""

from __future__ import annotations

import enum
from typing import Final

from dualkv.errors import ConfigError

__all__ = ["MODE_ALIASES", "ProxyMode", "parse_proxy_mode"]


class ProxyMode(enum.Enum):
    """Who answers and who follows; the migration path in its order."""

    REDIS_ONLY = "redis-only"
    DUAL_WRITE = "dual-write"
    DUAL_WRITE_SHADOW = "dual-write-shadow"
    ELASTICKV_PRIMARY = "elastickv-primary"
    ELASTICKV_ONLY = "elastickv-only"


MODE_ALIASES: Final = {
    "primary-only": ProxyMode.REDIS_ONLY,
    "secondary-primary": ProxyMode.ELASTICKV_PRIMARY,
    "secondary-only": ProxyMode.ELASTICKV_ONLY,
}
"""Other names of modes, for stores that are called otherwise."""


def parse_proxy_mode(text: str) -> ProxyMode:
    """Return the mode called *text*.

    Raises:
        ConfigError: No such mode.
    """
    if text in MODE_ALIASES:
        return MODE_ALIASES[text]
    try:
        return ProxyMode(text)
    except ValueError:
        known = ", ".join([mode.value for mode in ProxyMode] + list(MODE_ALIASES))
        raise ConfigError(f"{text!r} is not a mode ({known})") from None
