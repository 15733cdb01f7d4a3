"""The key fence: one order per key where two paths lead to the primary.

A transaction with WATCH executes on a connection of its own, so nothing tells where it stands in the order
of a lane. It raises the fence around its keys, waits until the lanes have answered what was sent before,
executes, and lowers the fence; commands on these keys wait meanwhile. Where there are several lanes, a
command whose keys are in flight on more than one of them does the same. While no fence is up nobody asks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence

import attrs

__all__ = ["Claim", "KeyFence"]

Keys = Sequence[bytes] | None
"""None: any key."""


@attrs.define(eq=False)
class Claim:
    """A fence around keys. Those who come earlier and want the same keys have them first."""

    keys: Keys
    granted: Callable[[Claim], None]
    """Called once nobody else has them."""
    missing: int = 0
    """How many earlier claims still have some of the keys, or wait for them."""
    behind: list[Claim] = attrs.field(factory=list)
    """Later claims that wait for this one."""
    is_over: bool = False


class KeyFence:
    """The keys that are fenced now, and who waits for them. First come, first served."""

    def __init__(self) -> None:
        self.is_up = False
        self._claims: dict[Claim, None] = {}
        self._keys: Counter[bytes] = Counter()
        self._everything = 0
        self._waiting: list[tuple[Keys, Callable[[], None]]] = []
        self._ready: deque[Claim] = deque()
        self._is_granting = False

    def blocks(self, keys: Keys) -> bool:
        """Whether a command on *keys* has to wait."""
        if not self.is_up:
            return False
        if keys is None:
            return True
        return bool(keys) and (self._everything > 0 or any(key in self._keys for key in keys))

    def when_free(self, keys: Keys, resume: Callable[[], None]) -> None:
        """Call *resume* once, when *keys* are no longer blocked; it may find them blocked again."""
        self._waiting.append((keys, resume))

    def claim(self, keys: Keys, granted: Callable[[Claim], None]) -> Claim:
        """Fence *keys* from now on; `lower` takes it back.

        Args:
            keys: Which; empty: the fence is around nothing.
            granted: Called once no earlier claim is left on any of them, perhaps at once.
        """
        claim = Claim(keys, granted)
        for earlier in self._claims:
            if _overlap(earlier.keys, keys):
                earlier.behind.append(claim)
                claim.missing += 1
        self._claims[claim] = None
        if keys is None:
            self._everything += 1
        else:
            self._keys.update(keys)
        self.is_up = True
        if not claim.missing:
            self._ready.append(claim)
            self._grant()
        return claim

    def lower(self, claim: Claim) -> None:
        """Take back what `claim` did, whether granted or not, and let those go on who waited for it."""
        del self._claims[claim]
        claim.is_over = True
        if claim.keys is None:
            self._everything -= 1
        else:
            for key in claim.keys:
                self._keys[key] -= 1
                if not self._keys[key]:
                    del self._keys[key]
        self.is_up = bool(self._claims)
        for later in claim.behind:
            later.missing -= 1
            if not later.missing:
                self._ready.append(later)
        self._grant()

    def _grant(self) -> None:
        """Tell who has their keys now; what they do at once may free others'."""
        if self._is_granting:
            return
        self._is_granting = True
        try:
            while self._ready:
                claim = self._ready.popleft()
                if not claim.is_over:
                    claim.granted(claim)
        finally:
            self._is_granting = False
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for wanted, resume in waiting:
            # A woken one may have raised the fence again: then the others go on waiting.
            if self.blocks(wanted):
                self._waiting.append((wanted, resume))
            else:
                resume()


def _overlap(one: Keys, other: Keys) -> bool:
    """Whether two claims have a key in common. Who claims nothing is in nobody's way."""
    if one is None or other is None:
        return one != () and other != ()
    return not set(one).isdisjoint(other)
