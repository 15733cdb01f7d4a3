"""How to reach a backend, and how that is written."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from dualkv.config import values
from dualkv.errors import ConfigError

__all__ = ["BackendOptions", "backend", "backend_address", "without_secret"]


@attrs.frozen
class BackendOptions:
    """How to reach one backend and how much of it to use."""

    name: str
    """Its label in metrics and logs."""
    host: str = "localhost"
    port: int = 6379
    unix_path: str | None = None
    """Path of a Unix socket; host and port are not used then."""
    tls: bool = False
    """Speak TLS; the certificate is verified against the system's authorities."""
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0
    pool_size: int = 128
    """Most connections of every kind at once."""
    dial_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 3.0
    write_timeout_seconds: float = 3.0

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        if self.unix_path is not None:
            return f"unix://{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss://' if self.tls else ''}{host}:{self.port}"


def backend_address(text: str) -> dict[str, Any]:
    """Return the fields of `BackendOptions` that an address or URL gives."""
    if "," in text:
        raise ConfigError("a list of seeds (leader-aware backend) is not supported yet: name one address")
    if "://" not in text:
        host, port = values.listen_address(text)
        return {"host": host or "localhost", "port": port}
    url = urlsplit(text)
    if url.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"{url.scheme}:// is not a scheme (redis, rediss, unix)")
    found: dict[str, Any] = {}
    if url.username:
        found["username"] = unquote(url.username)
    if url.password:
        found["password"] = unquote(url.password)
    db = url.path.strip("/")
    if url.scheme == "unix":
        found["unix_path"] = url.path
        db = dict(pair.split("=", 1) for pair in url.query.split("&") if "=" in pair).get("db", "")
    else:
        found["tls"] = url.scheme == "rediss"
        found["host"] = url.hostname or "localhost"
        try:
            found["port"] = url.port or 6379
        except ValueError:
            raise ConfigError("the port is not a number up to 65535") from None
    if db:
        found["db"] = values.count(db)
    return found


def backend(text: str) -> str:
    """Return the address or URL as it is, once it is known to be right."""
    backend_address(text)
    return text


def without_secret(address: str) -> str:
    """Return an address or URL with its password blanked."""
    return re.sub(r"(://[^/@]*:)[^@]*@", r"\1***@", address)
