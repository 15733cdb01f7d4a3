"""What a worker is started with: it reads this from its standard input.

So no secret stands in a list of processes or an environment, and the supervisor's settings are a worker's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from dualkv.config import ProxyConfig, ProxyMode

__all__ = ["WorkerOrder", "config_of"]

_FIRST: Final = 0


@attrs.frozen
class WorkerOrder:
    """One worker's."""

    number: int
    config: ProxyConfig
    """Its own settings."""
    client_listeners: tuple[int, ...]
    """Descriptors of its listening sockets for clients."""
    control_listener: int
    """The descriptor of the socket where it listens for the supervisor."""


def config_of(config: ProxyConfig, number: int, mode: ProxyMode) -> ProxyConfig:
    """Return a worker's settings.

    Args:
        config: Those of the whole.
        number: Which worker it is; the first one fills a new store.
        mode: What it begins with.
    """
    journal_dir = str(Path(config.journal_dir) / f"worker-{number}") if config.journal_dir else ""
    log = Path(config.divergence_log) if config.divergence_log else None
    divergence_log = str(log.with_stem(f"{log.stem}-{number}")) if log is not None else ""
    return attrs.evolve(
        config, workers=1, mode=mode, metrics=None, admin=None, journal_dir=journal_dir,
        divergence_log=divergence_log, backfill=config.backfill and number == _FIRST,
    )  # fmt: skip
