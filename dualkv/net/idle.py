"""Clients that have said nothing for long are disconnected, if that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import trio

__all__ = ["MayBeIdle", "disconnect_idle"]

_ROUNDS_PER_TIMEOUT: Final = 4
_LONGEST_ROUND_SECONDS: Final = 5.0


class MayBeIdle(Protocol):
    """A client's session, as far as it is looked at here."""

    was_active: bool
    """Set when it is heard or spoken to; cleared here."""

    @property
    def is_idle(self) -> bool:
        """Whether it owes nothing, is owed nothing, and has not asked to be told things."""

    def abort(self, reason: str) -> None:
        """Disconnect it."""


async def disconnect_idle(
    sessions: Callable[[], Iterable[MayBeIdle]], timeout_seconds: float, clock: Callable[[], float]
) -> None:
    """Disconnect who is idle for *timeout_seconds* or a quarter more, until cancelled.

    The hot path only sets a flag; the time is looked at here.

    Args:
        sessions: Returns the clients that are there.
        timeout_seconds: More than 0.
        clock: Seconds, monotonic.
    """
    last_active: Mapping[MayBeIdle, float] = {}
    while True:
        await trio.sleep(min(timeout_seconds / _ROUNDS_PER_TIMEOUT, _LONGEST_ROUND_SECONDS))
        now = clock()
        seen: dict[MayBeIdle, float] = {}
        for session in tuple(sessions()):
            if session.was_active or not session.is_idle:
                session.was_active = False
                seen[session] = now
            elif now - last_active.get(session, now) >= timeout_seconds:
                session.abort("idle")
            else:
                seen[session] = last_active.get(session, now)
        last_active = seen
