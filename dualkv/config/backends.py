"""How to reach a backend, and how that is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from dualkv.config import values
from dualkv.config.tls import TlsFiles
from dualkv.errors import ConfigError

__all__ = ["Address", "BackendOptions", "backend", "backend_address", "shown_address", "without_secret"]

Address = tuple[str, int]
"""Host and port of one node."""

_SCHEMES: Final = ("redis", "rediss", "unix", "sentinel", "sentinels")
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


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
    """Speak TLS; the certificate is verified."""
    tls_files: TlsFiles = attrs.field(factory=lambda: TlsFiles("…_tls"))
    """Whom to believe (unless told otherwise, the system's authorities), and what to show."""
    keepalive_seconds: float = 60.0
    """Silence after which TCP looks whether it is still there; 0: never."""
    user_timeout_seconds: float = 0.0
    """How long sent bytes may stay unacknowledged; 0: as long as the system says."""
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0
    pool_size: int = 128
    """Most connections of every kind at once."""
    dial_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 3.0
    write_timeout_seconds: float = 3.0
    seeds: tuple[Address, ...] = ()
    """Nodes that are asked which of them leads; then host and port are only the first one's."""
    sentinel: str | None = None
    """The name by which Sentinels know the store: the seeds are Sentinels, not nodes of it."""
    sentinel_username: str | None = None
    sentinel_password: str | None = attrs.field(default=None, repr=False)
    sentinel_tls: bool = False
    """Speak TLS to the Sentinels as well; a certificate of theirs must have the name in the address."""

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        if self.unix_path is not None:
            return f"unix://{self.unix_path}"
        nodes = ",".join(map(shown_address, self.seeds or [(self.host, self.port)]))
        if self.sentinel is not None:
            return f"{'sentinels' if self.tls else 'sentinel'}://{nodes}/{self.sentinel}"
        return f"{'rediss://' if self.tls else ''}{nodes}"

    def at(self, node: Address) -> BackendOptions:
        """Return how to reach one node of it."""
        return attrs.evolve(self, host=node[0], port=node[1], seeds=(), sentinel=None)

    def at_sentinel(self, node: Address) -> BackendOptions:
        """Return how to reach one of its Sentinels."""
        return attrs.evolve(
            self.at(node), username=self.sentinel_username, password=self.sentinel_password, db=0,
            tls=self.sentinel_tls, tls_files=attrs.evolve(self.tls_files, server_name=""),
        )  # fmt: skip


def shown_address(node: Address) -> str:
    """Return ``host:port``."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def backend_address(text: str) -> dict[str, Any]:
    """Return the fields of `BackendOptions` that an address, a list of addresses or a URL gives."""
    if "://" not in text:
        return _where([_node(part, None) for part in text.split(",")])
    url = urlsplit(text)
    if url.scheme not in _SCHEMES:
        raise ConfigError(f"{url.scheme}:// is not a scheme ({', '.join(_SCHEMES)})")
    if text.count("://") > 1:
        raise ConfigError("several nodes are one URL: redis://user:password@host:port,host:port")
    found: dict[str, Any] = {}
    if url.username:
        found["username"] = unquote(url.username)
    if url.password:
        found["password"] = unquote(url.password)
    if url.scheme == "unix":
        found["unix_path"] = url.path
        db = dict(pair.split("=", 1) for pair in url.query.split("&") if "=" in pair).get("db", "")
    elif url.scheme in ("sentinel", "sentinels"):
        found |= _sentinels(url)
        db = found.pop("db", "")
    else:
        found["tls"] = url.scheme == "rediss"
        found |= _where(_nodes(url, _REDIS_PORT))
        db = url.path.strip("/")
    if db:
        found["db"] = values.count(db)
    return found


def _where(nodes: Sequence[Address]) -> dict[str, Any]:
    host, port = nodes[0]
    distinct = tuple(dict.fromkeys(nodes))
    return {"host": host, "port": port} | ({"seeds": distinct} if len(nodes) > 1 else {})


def _node(text: str, default_port: int | None) -> Address:
    """Return host and port of ``host:port``, with a default also of ``host``."""
    if default_port is not None and re.fullmatch(r"\[.*\]|[^:]*", text):
        text = f"{text}:{default_port}"
    host, port = values.listen_address(text)
    return host or "localhost", port


def _nodes(url: SplitResult, default_port: int) -> list[Address]:
    hosts = url.netloc.rpartition("@")[2].split(",")
    try:
        return [_node(host, default_port) for host in hosts]
    except ConfigError:
        raise ConfigError("the port is not a number up to 65535") from None


_OF_SENTINEL: Final = ("db", "sentinel_username", "sentinel_password", "sentinel_tls")


def _sentinels(url: SplitResult) -> dict[str, Any]:
    """Return what ``sentinel://user:password@host:port,host:port/name?db=1`` gives; ``db`` still as text.

    User and password are the store's, as in other URLs; those of the Sentinels are in the query. ``sentinels://``
    speaks TLS to both, unless ``sentinel_tls`` says otherwise of the Sentinels.
    """
    name = unquote(url.path.strip("/"))
    if not name:
        raise ConfigError("the name of the primary is missing: sentinel://host:port,host:port/name")
    nodes = _nodes(url, _SENTINEL_PORT)
    found: dict[str, Any] = dict(parse_qsl(url.query, keep_blank_values=True))
    for key in found:
        if key not in _OF_SENTINEL:
            raise ConfigError(f"{key!r} is no option of sentinel:// ({', '.join(_OF_SENTINEL)})")
    has_tls = url.scheme == "sentinels"
    found["tls"] = has_tls
    found["sentinel_tls"] = values.boolean(found["sentinel_tls"]) if "sentinel_tls" in found else has_tls
    return {**_where(nodes), "seeds": tuple(dict.fromkeys(nodes)), "sentinel": name, **found}


def backend(text: str) -> str:
    """Return the address or URL as it is, once it is known to be right."""
    backend_address(text)
    return text


def without_secret(address: str) -> str:
    """Return an address or URL with its passwords blanked."""
    address = re.sub(r"(://[^/@]*:)[^@]*@", r"\1***@", address)
    return re.sub(r"(sentinel_password=)[^&]*", r"\1***", address)
