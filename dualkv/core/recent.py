"""The keys of the last writes: what a store may have lost when it comes back as another process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from dualkv.resp.encode import command
from dualkv.resp.requests import RequestParser

__all__ = ["RecentKeys"]

_MAX_KEYS: Final = 200_000


class RecentKeys:
    """Keys that were written in the last seconds: between one and three times the window.

    Args:
        window_seconds: How far back they are wanted.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._now: dict[int, set[bytes]] = {}
        self._before: dict[int, set[bytes]] = {}
        self._began = 0.0
        self._has_lost_some = self._had_lost_some = False
        self._held: dict[str, tuple[tuple[dict[int, set[bytes]], ...], bool]] = {}
        """What was recent when contact with a store was lost, and whether some of that was lost."""

    def hold(self, store: str, now: float) -> None:
        """Keep what is recent until `release`: contact with a store is lost, and that moment counts for it.

        Args:
            store: Its name.
            now: On the clock of `note`.
        """
        if store not in self._held:
            self._turn(now)
            self._held[store] = (self._before, self._now), self._has_lost_some or self._had_lost_some

    def release(self, store: str) -> None:
        """A store is back, and has been asked for."""
        self._held.pop(store, None)

    def note(self, db: int, keys: Iterable[bytes], now: float) -> None:
        """Take note of keys that are about to be written.

        Args:
            db: Their database.
            keys: Which.
            now: On any clock, in seconds.
        """
        self._turn(now)
        noted = self._now.get(db)
        if noted is None:
            noted = self._now[db] = set()
        if len(noted) < _MAX_KEYS:
            noted.update(keys)
        else:
            self._has_lost_some = True

    def note_everything(self, now: float) -> None:
        """Take note of a write that may have touched any key."""
        self._turn(now)
        self._has_lost_some = True

    def _turn(self, now: float) -> None:
        """Begin another window if this one is over."""
        if now - self._began <= self._window_seconds:
            return
        is_next = now - self._began <= 2 * self._window_seconds
        self._before = self._now if is_next else {}
        self._had_lost_some = self._has_lost_some and is_next
        self._now, self._has_lost_some, self._began = {}, False, now

    def since_window(self, now: float, store: str = "") -> tuple[list[tuple[int, bytes]], bool]:
        """Return the keys of the window, and whether these are all.

        Args:
            now: On the clock of `note`.
            store: Whose contact is over; what is held for it counts, too.
        """
        self._turn(now)
        held, has_lost_some = self._held.get(store, ((), False))
        found = dict.fromkeys(key for noted in (*held, self._before, self._now) for key in _each(noted))
        return list(found), not (self._has_lost_some or self._had_lost_some or has_lost_some)

    def saved(self, now: float) -> bytes:
        """Return the keys of the window for the next process: requests of database and keys."""
        by_db: dict[int, list[bytes]] = {}
        for db, key in self.since_window(now)[0]:
            by_db.setdefault(db, []).append(key)
        return b"".join(command(db, *keys) for db, keys in by_db.items())

    def load(self, data: bytes, now: float) -> None:
        """Take over what another process has saved, as if it had been written now."""
        for request in RequestParser().feed(data):
            self.note(int(request.args[0]), request.args[1:], now)


def _each(noted: dict[int, set[bytes]]) -> Iterator[tuple[int, bytes]]:
    return ((db, key) for db, keys in noted.items() for key in keys)
