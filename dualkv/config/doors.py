"""Where clients come in, and which may: listening addresses and networks as people write them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from dualkv.config import values
from dualkv.errors import ConfigError

__all__ = ["ListenAddress", "Network", "UnixAddress", "client_address", "networks", "shown_listen_address"]

_DEFAULT_MODE: Final = 0o660

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@attrs.frozen
class UnixAddress:
    """A Unix socket that clients connect to."""

    path: str
    mode: int = _DEFAULT_MODE
    """Who may connect: the bits of the file's mode."""

    def __str__(self) -> str:
        return f"unix://{self.path}?mode={self.mode:o}"


ListenAddress = tuple[str, int] | UnixAddress


def client_address(text: str) -> ListenAddress:
    """Return where clients connect: ``host:port``, or ``unix:///path?mode=660``.

    Raises:
        ConfigError: It is neither.
    """
    if not text.startswith("unix:"):
        return values.listen_address(text)
    url = urlsplit(text)
    path = unquote(url.path)
    if url.netloc or not path.startswith("/") or path == "/":
        raise ConfigError(f"{text!r} is not a Unix socket such as unix:///run/dualkv.sock")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    mode = options.pop("mode", f"{_DEFAULT_MODE:o}")
    for name in options:
        raise ConfigError(f"{name!r} is not an option of unix:// (mode)")
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        raise ConfigError(f"mode: {mode!r} is not three octal digits such as 660")
    return UnixAddress(path, int(mode, 8))


def shown_listen_address(address: ListenAddress | None) -> str:
    """Return an address as it could be set; ``off`` for none."""
    if address is None:
        return "off"
    return str(address) if isinstance(address, UnixAddress) else f"{address[0]}:{address[1]}"


def networks(text: str) -> tuple[Network, ...]:
    """Return the networks of ``10.0.0.0/8; ::1``, separated by ``;`` or ``,``; none for an empty text.

    Raises:
        ConfigError: One is not an address or network, or has bits behind its prefix.
    """
    found = []
    for part in filter(None, re.split(r"[;,\s]+", text)):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as error:
            why = str(error) if "host bits" in str(error) else f"{part!r} is not a network such as 10.0.0.0/8"
            raise ConfigError(why) from None
    return tuple(found)
