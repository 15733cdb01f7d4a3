"""What a change of the mode means, and what speaks against it: decisions only.

A change between two modes of which both mirror has to wait until the stream is empty, or the order of a key's
writes would be lost. Where another store answers afterwards, it must hold everything: no key may be dirty.
What nobody can wait for (a resync, a store that does not answer) would be a loss, which the operator has to
accept in so many words; that the other store has not proved itself is a doubt, which one may force.
"""

from __future__ import annotations

import attrs

from dualkv.config import ProxyMode
from dualkv.core.gate import GateState
from dualkv.core.modes import mode_plan

__all__ = ["ChangeFacts", "ModeChange", "ModeStep"]

_ONWARD = (ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY)
"""The modes that want a store that has proved itself, unless one comes back from the last of them."""


@attrs.frozen
class ChangeFacts:
    """What is known before a change."""

    names: tuple[str, str] = ("redis", "elastickv")
    """Of the settings' primary and secondary."""
    dirty_keys: int = 0
    has_dirty_functions: bool = False
    needs_resync: str | None = None
    is_resyncing: bool = False
    gate: GateState = GateState.FLOWING
    unready: tuple[str, ...] = ()
    """What `dualkv readiness` says against the next mode."""


@attrs.frozen
class ModeChange:
    """What a change did, or would do."""

    before: ProxyMode
    after: ProxyMode
    waited_seconds: float = 0.0
    """How long clients' commands waited."""
    notes: tuple[str, ...] = ()
    """What the operator should know of it."""
    is_done: bool = True
    """False: this is what it would do."""


@attrs.frozen
class ModeStep:
    """From one mode to another."""

    before: ProxyMode
    after: ProxyMode

    @property
    def swaps(self) -> bool:
        """Whether another store answers afterwards."""
        return mode_plan(self.before).answers != mode_plan(self.after).answers

    @property
    def has_mirrored(self) -> bool:
        """Whether writes are mirrored before it."""
        return mode_plan(self.before).follows is not None

    @property
    def will_mirror(self) -> bool:
        """Whether they are afterwards."""
        return mode_plan(self.after).follows is not None

    @property
    def drains(self) -> bool:
        """Whether the stream must be empty in between: what follows must come behind it."""
        return self.has_mirrored and (self.will_mirror or self.swaps)

    @property
    def asks_readiness(self) -> bool:
        """Whether the other store must have proved itself."""
        return self.after in _ONWARD and self.before is not ProxyMode.ELASTICKV_ONLY

    def losses(self, facts: ChangeFacts) -> tuple[str, ...]:
        """Return what would be lost by it, and no short wait will mend."""
        if not self.swaps:
            return ()
        answering = facts.names[mode_plan(self.after).answers == "secondary"]
        if not self.has_mirrored:
            return (f"writes are not mirrored to {answering} in {self.before.value}: it has other values",)
        found: list[str] = []
        if facts.is_resyncing:
            found.append(f"a resync is under way: {answering} does not have all keys yet")
        elif facts.needs_resync is not None:
            found.append(f"{answering} needs a resync: {facts.needs_resync}")
        if facts.gate not in (GateState.FLOWING, GateState.OVERLOADED):
            found.append(f"writes do not flow to {answering}: {facts.gate.value}")
        return tuple(found)

    def doubts(self, facts: ChangeFacts) -> tuple[str, ...]:
        """Return what else speaks against it: the other store has not proved itself."""
        return tuple(f"not ready: {reason}" for reason in facts.unready) if self.asks_readiness else ()

    def consequences(self, facts: ChangeFacts) -> tuple[str, ...]:
        """Return what it brings with it."""
        found: list[str] = []
        plan = mode_plan(self.after)
        if self.swaps and (facts.dirty_keys or facts.has_dirty_functions):
            what = f"{facts.dirty_keys} dirty keys" if facts.dirty_keys else "libraries of functions"
            found.append(f"{what} must be copied first")
        if self.has_mirrored and not self.will_mirror:
            left = facts.names[plan.answers == "primary"]
            found.append(
                f"{left} is not written any more: on the way back all keys are copied to it (a resync)"
            )
        if self.will_mirror and not self.has_mirrored:
            follower = facts.names[plan.follows == "secondary"]
            found.append(
                f"all keys are copied to {follower} (a resync): "
                f"writes were not mirrored in {self.before.value}"
            )
        return tuple(found)
