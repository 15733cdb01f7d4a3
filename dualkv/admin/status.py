"""What is going on, as plain data: for ``/readyz`` and for the demo's screen."""

from __future__ import annotations

from typing import Any

from dualkv.core.modes import mode_plan
from dualkv.net.lane import LaneState
from dualkv.net.writer import DualWriter

__all__ = ["backend_states", "is_ready"]


def is_ready(writer: DualWriter, *, is_draining: bool) -> bool:
    """Whether clients should be sent here: the primary is reachable, and we are not leaving."""
    return writer.lane.state is LaneState.UP and not is_draining


def backend_states(writer: DualWriter) -> dict[str, Any]:
    """Return each configured backend's state, by the settings' names."""
    plan = mode_plan(writer.config.mode)
    states: dict[str, Any] = {}
    for which in ("primary", "secondary"):
        options = writer.config.backend_options(which)
        state: dict[str, Any] = {"name": options.name, "address": options.address}
        if which == plan.answers:
            state |= {
                "role": "answers",
                "state": writer.lane.state.value,
                "error": writer.primary.last_error,
            }
        elif which == plan.follows:
            assert writer.stream is not None
            assert writer.secondary is not None
            is_up = writer.stream.is_connected
            state |= {
                "role": "follows",
                "state": "up" if is_up else "down",
                "error": None if is_up else writer.secondary.last_error,
            }
        else:
            state |= {"role": "unused", "state": "unused", "error": None}
        states[which] = state
    return states
