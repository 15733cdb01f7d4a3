"""How long to wait before trying again."""

from __future__ import annotations

import random

import attrs

__all__ = ["Backoff"]


@attrs.define
class Backoff:
    """Doubling waits with jitter, so that many proxies do not knock at the same moment."""

    first_seconds: float = 0.05
    longest_seconds: float = 5.0
    _next_seconds: float = attrs.field(init=False, default=0.0)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has failed since the beginning or the last success."""
        return self._next_seconds == 0.0

    def next_wait_seconds(self) -> float:
        """Return the next wait: half of it fixed, half of it random."""
        wait = self._next_seconds or self.first_seconds
        self._next_seconds = min(wait * 2, self.longest_seconds)
        return wait * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, keeps no secret

    def reset(self) -> None:
        """Begin anew; call it after a success."""
        self._next_seconds = 0.0
