"""When keys expire, as far as it is known, and what that means for effects.

Both stores expire keys on their own, so a proxy has two hazards that a replica has not:

- An effect that arrives after the key has expired over there brings a part of it back, without expiry.
- A key that has expired here and is created anew inherits the old expiry, and what is left of the old value,
  if the other store's clock is a little behind.

A hash has a third one: when its last field has expired, the key is gone, and each store notices that in its
own time.

So an effect that may create a key, or writes into one, is guarded by the key's expiry. The primary is asked
for it behind the command, unless it is known (`ExpiryBook`): known from a question not long ago, or from the
log itself, and too far away to matter.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

__all__ = ["NEVER", "ExpiryBook", "Guard"]

Key = tuple[int, bytes]

NEVER: Final = 0
"""The expiry of a key that has none."""

_MAX_KEYS: Final = 65_536
_BELIEVED_MS: Final = 10_000
"""So long what is known of a key is believed: somebody may write past this proxy."""
_BLURRED_MS: Final = 100
"""So close to its expiry nobody can tell whether a command found the key or created it anew."""
_GUESS_MS: Final = 1000
"""So much may be wrong about when a relative expiry began."""


class Guard(enum.Enum):
    """What an effect needs so that it does no harm."""

    NONE = "none"
    EXPIRE_AT = "expire at"
    """The key's expiry is said again behind the effect."""
    COPY = "copy"
    """The key is not what it was, or nobody can tell: its state is copied instead."""


@attrs.define(slots=True)
class _Known:
    expires_at_ms: int
    learnt_at_ms: int


class ExpiryBook:
    """What is known of the expiry of keys, the newest first to stay.

    Times are those of the primary's clock, in milliseconds since 1970.

    Args:
        lag_ms: The longest time that an effect takes to reach the other store.
    """

    def __init__(self, lag_ms: int) -> None:
        self._lag_ms = lag_ms
        self._known: dict[Key, _Known] = {}
        self._fading: dict[Key, int] = {}
        """Hashes with fields that expire, and when the last one is known to."""

    def __len__(self) -> int:
        return len(self._known)

    def must_ask(self, key: Key, now_ms: int) -> bool:
        """Whether a command that may create *key*, about to be sent, wants its expiry asked behind it."""
        known = self._known.get(key)
        if known is None or now_ms - known.learnt_at_ms > _BELIEVED_MS:
            return True
        if self._fading and self._is_fading(key, now_ms):
            return True
        return known.expires_at_ms != NEVER and not self._is_far(known.expires_at_ms, now_ms)

    def knows(self, key: Key) -> bool:
        """Whether anything is known of *key*."""
        return key in self._known

    def outlives_lag(self, key: Key, now_ms: int) -> bool:
        """Whether *key* is known not to expire before an effect of now arrives."""
        known = self._known.get(key)
        return known is not None and (
            known.expires_at_ms == NEVER or self._is_far(known.expires_at_ms, now_ms)
        )

    def learn(self, key: Key, expires_at_ms: int, now_ms: int) -> None:
        """Take note of a key's expiry at this position of the log."""
        known = self._known
        if known.pop(key, None) is None and len(known) >= _MAX_KEYS:
            del known[next(iter(known))]
        known[key] = _Known(expires_at_ms, now_ms)

    def fade(self, key: Key, until_ms: int) -> None:
        """Take note that a hash has fields that expire, the last one that is known at *until_ms*.

        Its own expiry stays as it is. But when all its fields have expired it is gone, and what is created
        anew does not expire: perhaps on one store only.
        """
        fading = self._fading
        until_ms = max(until_ms, fading.pop(key, 0))
        if len(fading) >= _MAX_KEYS:
            del fading[next(iter(fading))]
        fading[key] = until_ms

    def _is_fading(self, key: Key, now_ms: int) -> bool:
        until_ms = self._fading.get(key)
        if until_ms is None:
            return False
        if now_ms > until_ms + self._lag_ms + _BELIEVED_MS:
            del self._fading[key]
            return False
        return True

    def written_anew(self, key: Key) -> None:
        """Take note that a key was written as a whole, or removed: whatever is there now does not expire."""
        known = self._known.get(key)
        if known is not None:
            known.expires_at_ms = NEVER

    def changed(self, key: Key) -> None:
        """Take note that a key was changed: if it is empty now, the next one by this name does not expire."""
        known = self._known.get(key)
        if known is not None and known.expires_at_ms != NEVER:
            del self._known[key]

    def renamed(self, key: Key, new: Key) -> None:
        """Take note that a key has another name now, and took its expiry with it."""
        if (until_ms := self._fading.pop(key, None)) is not None:
            self._fading[new] = until_ms
        known = self._known.pop(key, None)
        if known is None:
            self.forget(new)
        else:
            self._known[new] = known
            self._known[key] = _Known(NEVER, known.learnt_at_ms)

    def forget(self, key: Key) -> None:
        """Take note that nobody knows what became of a key's expiry."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._fading.clear()

    def guard(self, key: Key, answer_ms: int | None, now_ms: int) -> tuple[Guard, int]:
        """Return what the effect of a command that wrote into *key* needs.

        Args:
            key: Which.
            answer_ms: What the primary said behind the command: `NEVER`, a time, negative if the key is gone
                already; None if it was not asked.
            now_ms: When the reply came.

        Returns:
            The guard, and the expiry that it tells.
        """
        known = self._known.get(key)
        if answer_ms is None:
            if known is None:
                return Guard.COPY, NEVER
            answer_ms = known.expires_at_ms  # nothing in the log has changed it, unless it has passed
            if NEVER != answer_ms <= now_ms + _BLURRED_MS:
                return Guard.COPY, NEVER
        elif answer_ms < 0:
            self.forget(key)
            return Guard.COPY, NEVER
        else:
            self.learn(key, answer_ms, now_ms)
            if known is not None and not _is_same(known.expires_at_ms, answer_ms):
                return Guard.COPY, NEVER  # it has expired and was created anew, or somebody writes past us
        is_fading = bool(self._fading) and self._is_fading(key, now_ms)
        if answer_ms == NEVER or (self._is_far(answer_ms, now_ms) and not is_fading):
            return Guard.NONE, answer_ms
        return Guard.EXPIRE_AT, answer_ms

    def _is_far(self, expires_at_ms: int, now_ms: int) -> bool:
        """Whether every effect of now arrives before the key expires."""
        return expires_at_ms - now_ms > self._lag_ms + _BELIEVED_MS


def _is_same(before_ms: int, now_ms: int) -> bool:
    """Whether two times of expiry are the same, but for the guess of when a command was executed."""
    if NEVER in (before_ms, now_ms):
        return before_ms == now_ms
    return abs(before_ms - now_ms) <= _GUESS_MS
