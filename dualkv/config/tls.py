"""TLS as it is set: what one side of a connection shows, and whom it believes."""

from __future__ import annotations

from typing import Any, Final

import attrs

from dualkv.errors import ConfigError

__all__ = ["TlsFiles", "check_tls", "tls_of_backend", "tls_of_clients"]


@attrs.frozen
class TlsFiles:
    """The files of one leg, and how strict it is. The files are read by `dualkv.net.tls`."""

    setting: str = "tls"
    """What the names of its settings begin with, for messages: ``tls``, ``primary_tls``."""
    cert: str = ""
    """PEM: the certificate that is shown, and those between it and its authority; empty: none."""
    key: str = ""
    """PEM: its key; empty: it is in the same file."""
    key_password: str = attrs.field(default="", repr=False)
    ca: str = ""
    """PEM: the authorities that are believed, no others; empty: the system's, of clients: nobody is asked."""
    min_version: str = "1.2"
    server_name: str = ""
    """The name that a back-end's certificate must have, and that is sent (SNI); empty: the address has it."""
    is_verified: bool = True
    """Whether a back-end's certificate is looked at."""

    @property
    def ca_setting(self) -> str:
        """The setting that names the authorities."""
        return "tls_client_ca" if self.setting == "tls" else f"{self.setting}_ca"


def tls_of_clients(config: Any) -> TlsFiles | None:
    """Return how the listener speaks TLS; None: it does not.

    Args:
        config: The `ProxyConfig`.
    """
    if not config.tls_cert:
        return None
    return TlsFiles(
        cert=config.tls_cert,
        key=config.tls_key,
        key_password=config.tls_key_password,
        ca=config.tls_client_ca,
        min_version=config.tls_min_version,
    )


def tls_of_backend(config: Any, which: str) -> TlsFiles:
    """Return how TLS is spoken to a back-end, if its address wants it.

    Args:
        config: The `ProxyConfig`.
        which: ``primary`` or ``secondary``.
    """
    prefix = f"{which}_tls"
    return TlsFiles(
        setting=prefix,
        cert=getattr(config, f"{prefix}_cert"),
        key=getattr(config, f"{prefix}_key"),
        key_password=getattr(config, f"{prefix}_key_password"),
        ca=getattr(config, f"{prefix}_ca"),
        min_version=config.tls_min_version,
        server_name=getattr(config, f"{prefix}_server_name"),
        is_verified=getattr(config, f"{prefix}_verify"),
    )


_OF_BACKENDS: Final = ("ca", "cert", "key", "server_name")


def check_tls(config: Any) -> None:
    """Refuse settings that contradict each other, or would have no effect.

    Raises:
        ConfigError: The first of them.
    """
    for name in ("tls_key", "tls_client_ca"):
        if getattr(config, name) and not config.tls_cert:
            raise ConfigError(f"{name}: has no effect without tls_cert")
    if config.metrics_tls != "off" and not config.tls_cert:
        raise ConfigError(f"metrics_tls: {config.metrics_tls!r} needs tls_cert")
    if config.metrics_tls == "mutual" and not config.tls_client_ca:
        raise ConfigError("metrics_tls: 'mutual' needs tls_client_ca")
    for which in ("primary", "secondary"):
        prefix = f"{which}_tls"
        options = config.backend_options(which)
        has_tls = options.tls or options.sentinel_tls
        for name in _OF_BACKENDS:
            if getattr(config, f"{prefix}_{name}") and not has_tls:
                raise ConfigError(f"{prefix}_{name}: has no effect: {which} does not speak TLS")
        if getattr(config, f"{prefix}_server_name") and not options.tls:
            raise ConfigError(f"{prefix}_server_name: has no effect: only the Sentinels of {which} speak TLS")
        if getattr(config, f"{prefix}_key") and not getattr(config, f"{prefix}_cert"):
            raise ConfigError(f"{prefix}_key: has no effect without {prefix}_cert")
        if not getattr(config, f"{prefix}_verify"):
            if not has_tls:
                raise ConfigError(f"{prefix}_verify: has no effect: {which} does not speak TLS")
            if getattr(config, f"{prefix}_ca"):
                raise ConfigError(f"{prefix}_ca: contradicts {prefix}_verify=false")
