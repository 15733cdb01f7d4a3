"""Who may control a running dualkv, and from where."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

import attrs

from dualkv.errors import ConfigError

__all__ = ["AdminToken", "admin_tokens", "check_admin", "is_loopback"]

_LEAST_CHARACTERS: Final = 16
_TOKEN: Final = re.compile(r"(?:([A-Za-z0-9_-]{1,32}):)?([A-Za-z0-9._~+/-]+=*)")
"""As RFC 6750 has it, with the name of who has it before it, if that is wanted."""


@attrs.frozen
class AdminToken:
    """What somebody says to be let in (``Authorization: Bearer …``)."""

    name: str
    """Whose it is, for the log; empty: nobody has said."""
    secret: str = attrs.field(repr=False)


def admin_tokens(text: str) -> tuple[AdminToken, ...]:
    """Return the tokens of a text with one on each line: ``TOKEN`` or ``NAME:TOKEN``.

    Raises:
        ConfigError: One is too short, or has characters that no token has. The text is not in the message.
    """
    tokens = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        found = _TOKEN.fullmatch(line)
        if found is None:
            raise ConfigError(f"token {number} is not TOKEN or NAME:TOKEN of letters, digits and -._~+/")
        if len(found[2]) < _LEAST_CHARACTERS:
            raise ConfigError(f"token {number} is shorter than {_LEAST_CHARACTERS} characters")
        tokens.append(AdminToken(found[1] or "", found[2]))
    return tuple(tokens)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or empty: all interfaces
        return False


def check_admin(config: Any) -> None:
    """Refuse to be controlled by anybody, and settings that would have no effect.

    Args:
        config: The `ProxyConfig`.

    Raises:
        ConfigError: What is wrong.
    """
    if config.admin is None:
        if config.admin_tls != "off":
            raise ConfigError("admin_tls: has no effect: admin is off")
        return
    host, port = config.admin
    if not config.admin_token and not is_loopback(host):
        raise ConfigError(
            f"admin: {host}:{port} can be reached from elsewhere: it needs a token (admin_token_file)"
        )
    if config.admin_tls != "off" and not config.tls_cert:
        raise ConfigError(f"admin_tls: {config.admin_tls!r} needs tls_cert")
    if config.admin_tls == "mutual" and not config.tls_client_ca:
        raise ConfigError("admin_tls: 'mutual' needs tls_client_ca")
