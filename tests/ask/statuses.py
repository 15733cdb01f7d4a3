"""A status, as dualkv tells it."""

from __future__ import annotations

import copy
from typing import Any

from dualkv.admin.sampler import Sampler
from dualkv.config import ProxyConfig, ProxyMode
from dualkv.net.writer import DualWriter

__all__ = ["status"]


def status(mode: ProxyMode = ProxyMode.DUAL_WRITE_SHADOW, **changed: Any) -> dict[str, Any]:
    """Return the status of a dualkv that has not begun, with some fields changed; inner ones are merged."""
    writer = DualWriter(ProxyConfig(mode=mode))
    told = copy.deepcopy(Sampler(lambda: writer, lambda: False, lambda: 0.0).status())
    for name, value in changed.items():
        told[name] = {**told[name], **value} if isinstance(value, dict) else value
    return told
