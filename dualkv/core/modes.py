"""What each mode means."""

from __future__ import annotations

from typing import Final, Literal

import attrs

from dualkv.config import ProxyMode

__all__ = ["ModePlan", "mode_plan"]

BackendRole = Literal["primary", "secondary"]


@attrs.frozen
class ModePlan:
    """Who does what in a mode. ``primary`` and ``secondary`` are the settings' names of the backends."""

    answers: BackendRole
    """The backend whose replies clients get."""
    follows: BackendRole | None
    """The backend that writes are mirrored to."""
    shadows: bool
    """Whether reads are compared between the two."""


_PLANS: Final = {
    ProxyMode.REDIS_ONLY: ModePlan("primary", None, shadows=False),
    ProxyMode.DUAL_WRITE: ModePlan("primary", "secondary", shadows=False),
    ProxyMode.DUAL_WRITE_SHADOW: ModePlan("primary", "secondary", shadows=True),
    ProxyMode.ELASTICKV_PRIMARY: ModePlan("secondary", "primary", shadows=True),
    ProxyMode.ELASTICKV_ONLY: ModePlan("secondary", None, shadows=False),
}


def mode_plan(mode: ProxyMode) -> ModePlan:
    """Return what *mode* means."""
    return _PLANS[mode]
