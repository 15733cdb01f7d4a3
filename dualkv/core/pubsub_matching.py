"""Which messages of Pub/Sub only one store has delivered.

dualkv is subscribed on both stores to what its clients are subscribed to. A message of one side finds its
twin on the other by what was subscribed to, the channel and the payload, whichever comes first; equal
messages are counted one by one. What finds none within the window is *alone*: a divergence, unless there is
a *doubt*: a reason for which one side alone proves nothing (a subscription that was only just made, a
connection that broke, a message that dualkv did not mirror).

Four rules keep false alarms out:

- **A doubt is passed on.** If a message that may rightly be alone is matched, its twin may have been meant
  for an equal message that is still to come. So the next equal one on its side inherits the doubt.
- **The stream must have settled.** The secondary delivers what is mirrored when it gets there. So nothing is
  judged before all is settled that was offered around its arrival.
- **Nobody judges who has not listened.** After a pause of this process, messages are read first.
- **What finds no room makes doubtful** what comes meanwhile: its twin may be among that.

Of equal messages the one that waited longest is matched. So a lost one among equal messages that follow each
other within the window (a heartbeat) is judged when they pause.

No clock in here: times are arguments, in seconds, and never decrease.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections import Counter, deque
from itertools import takewhile
from typing import Final

import attrs

from dualkv.core.divergence import MAX_REPORTED_BYTES
from dualkv.core.subscriptions import Kind

__all__ = ["Alone", "Doubt", "MessageMatcher", "PubSubTally", "Side", "Watch"]

MAX_WAITING: Final = 20_000
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Bounds of what waits for a twin."""

MAX_ALONE: Final = 1000
"""Divergences of one sweep; the others wait for the next."""

_OVERHEAD_BYTES: Final = 800
"""What a waiting message takes in memory beside its bytes, roughly."""
_GRACE: Final = 0.25
"""A share of the window: how much later than the message itself the reply to its PUBLISH may be seen, and how
long a message takes from the secondary's reply to its mirrored PUBLISH to us."""
_NOT_COMPARED: Final = (b"__keyspace@", b"__keyevent@", b"__redis__:")
"""What servers publish of themselves: expiry and eviction are each store's own (traps.md T50)."""


class Side(enum.Enum):
    """Which store delivered."""

    PRIMARY = "primary"
    SECONDARY = "secondary"

    @property
    def other(self) -> Side:
        """The other one."""
        return Side.SECONDARY if self is Side.PRIMARY else Side.PRIMARY


class Doubt(enum.StrEnum):
    """Why a message without a twin proves nothing."""

    STARTING = "starting"
    """The subscription is so new that one store may not have known it."""
    ENDED = "ended"
    """Nobody is subscribed any more."""
    PRIMARY_LOST = "primary_lost"
    """The primary's connection of the subscribers broke."""
    SECONDARY_LOST = "secondary_lost"
    """The shadow subscriber has no connection, or had none."""
    REFUSED = "refused"
    """The secondary does not take the subscription."""
    NOT_MIRRORED = "not_mirrored"
    """A message was dropped on its way to the secondary, or may have been."""
    TOO_MANY = "too_many"
    """No room: the other store is far behind."""
    SHUTDOWN = "shutdown"
    """dualkv ended before its window did."""


@attrs.define
class PubSubTally:
    """What became of the messages of both sides.

    At every moment: heard = 2 x matched + alone + inconclusive + skipped + waiting.
    """

    heard: int = 0
    matched: int = 0
    """Pairs."""
    alone: int = 0
    """Divergences."""
    inconclusive: Counter[Doubt] = attrs.field(factory=Counter)
    skipped: int = 0
    """Keyspace notifications."""


@attrs.frozen
class Alone:
    """A message that only one side has delivered."""

    side: Side
    """Who did."""
    kind: Kind
    pattern: bytes
    """Empty unless it was subscribed to by pattern."""
    channel: bytes
    excerpt: bytes = attrs.field(repr=False)
    """How its payload begins."""


@attrs.define
class _Settling:
    """A doubt that ends a window after the stream has settled what was offered when it arose."""

    arose_at: float
    quiet_since: float

    def is_over(self, now: float, settled: float, window_seconds: float) -> bool:
        if settled < self.arose_at + _GRACE * window_seconds:
            self.quiet_since = now
        return now - self.quiet_since >= window_seconds


@attrs.define(eq=False)
class Watch:
    """A subscription that is made on both sides. `MessageMatcher` changes it; a new one begins with each."""

    kind: Kind
    name: bytes
    """A channel or a pattern."""
    doubt: Doubt | None = Doubt.STARTING
    """Of whatever arrives now; None: it must have a twin."""
    ended: Doubt | None = None
    """Why there will be no twins any more."""

    is_suspended: bool = False
    """Whether the secondary does not have it: then the doubt says why."""

    @property
    def is_certain(self) -> bool:
        """Whether what arrives now must have a twin."""
        return self.doubt is None and self.ended is None


_Identity = tuple[Watch, bytes, bytes]


@attrs.define(eq=False)
class _Waiting:
    """A message without a twin so far; or the place of one that may come and be alone (``is_expected``)."""

    side: Side
    identity: _Identity
    excerpt: bytes
    doubt: Doubt | None
    time: float
    due: float
    is_expected: bool

    @property
    def size_bytes(self) -> int:
        return _OVERHEAD_BYTES + len(self.identity[1]) + len(self.excerpt)


class MessageMatcher:
    """Finds twins, within bounds.

    Args:
        window_seconds: How long a message waits for its twin.
        tally: Where outcomes are counted.
        max_waiting: Messages that may wait.
        max_bytes: Memory that they may take, roughly.
    """

    def __init__(
        self,
        window_seconds: float,
        tally: PubSubTally,
        max_waiting: int = MAX_WAITING,
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.tally = tally
        self._window = window_seconds
        self._grace = _GRACE * window_seconds
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: dict[_Waiting, None] = {}
        """In the order of time; so their dues never decrease, either."""
        self._messages: dict[_Identity, deque[_Waiting]] = {}
        """All of one identity are of one side."""
        self._expected: dict[tuple[_Identity, Side], deque[_Waiting]] = {}
        self._starting: dict[Watch, _Settling] = {}
        self._doubt: Doubt | None = None
        self._doubting = _Settling(-math.inf, -math.inf)

    @property
    def waiting(self) -> int:
        """How many messages wait for a twin."""
        return sum(map(len, self._messages.values()))

    @property
    def waiting_bytes(self) -> int:
        """What is remembered takes so much memory, roughly."""
        return self._bytes

    # --- subscriptions

    def confirm(self, watch: Watch, now: float) -> None:
        """Both stores have confirmed a subscription; it is certain once what was under way is through."""
        watch.doubt, watch.is_suspended = Doubt.STARTING, False
        self._starting[watch] = _Settling(now, now)

    def suspend(self, watch: Watch, doubt: Doubt) -> None:
        """The secondary does not have a subscription (any more); `confirm` ends that."""
        watch.doubt, watch.is_suspended = doubt, True
        self._starting.pop(watch, None)

    def end(self, watch: Watch, doubt: Doubt) -> None:
        """A subscription has ended, and what waits for a twin waits in vain."""
        watch.ended = doubt
        self._starting.pop(watch, None)

    def disturb(self, doubt: Doubt, now: float) -> None:
        """One side may have missed any message lately: what waits is doubtful, and what comes soon."""
        for entry in self._order:
            entry.doubt = entry.doubt or doubt
        self._begin_doubting(doubt, now)

    def _begin_doubting(self, doubt: Doubt, now: float) -> None:
        self._doubt = doubt
        self._doubting = _Settling(now, now)

    # --- messages

    def hear(self, side: Side, watch: Watch, channel: bytes, payload: bytes, now: float) -> None:
        """Take a message of one side.

        Args:
            side: Which store delivered it.
            watch: By which subscription.
            channel: Where it was published.
            payload: What; of it a hash is kept, and at most 256 bytes for a report.
            now: When, in seconds.
        """
        self.tally.heard += 1
        if channel.startswith(_NOT_COMPARED):
            self.tally.skipped += 1
            return
        if watch.is_suspended:  # there will be no twin; what the secondary delivers later is doubtful, too
            self.tally.inconclusive[watch.doubt or Doubt.STARTING] += 1
            return
        identity = (watch, channel, hashlib.blake2b(payload, digest_size=16).digest())
        doubt = watch.ended or watch.doubt or self._doubt or self._inherited(identity, side)
        waiting = self._messages.get(identity)
        if waiting is None or waiting[0].side is side:
            excerpt = payload[:MAX_REPORTED_BYTES]
            entry = _Waiting(side, identity, excerpt, doubt, now, now + self._window, is_expected=False)
            if self._remember(entry, now):
                self._messages.setdefault(identity, deque()).append(entry)
            else:
                self.tally.inconclusive[Doubt.TOO_MANY] += 1
            return
        twin = waiting[0]
        self._forget(twin)
        self.tally.matched += 1
        if twin.doubt is not None:
            self._pass_on(identity, twin.side, twin.doubt, now)
        if doubt is not None:
            self._pass_on(identity, side, doubt, now)

    def _inherited(self, identity: _Identity, side: Side) -> Doubt | None:
        expected = self._expected.get((identity, side))
        if expected is None:
            return None
        entry = expected[0]
        self._forget(entry)
        return entry.doubt

    def _pass_on(self, identity: _Identity, side: Side, doubt: Doubt, now: float) -> None:
        """Expect an equal message on this side that is alone without being a divergence."""
        entry = _Waiting(side, identity, b"", doubt, now, now + self._window, is_expected=True)
        if self._remember(entry, now):
            self._expected.setdefault((identity, side), deque()).append(entry)

    def _remember(self, entry: _Waiting, now: float) -> bool:
        if len(self._order) >= self._max_waiting or self._bytes + entry.size_bytes > self._max_bytes:
            self._begin_doubting(Doubt.TOO_MANY, now)
            return False
        self._order[entry] = None
        self._bytes += entry.size_bytes
        return True

    def _forget(self, entry: _Waiting) -> None:
        """Take out an entry; it is the first one of its identity."""
        del self._order[entry]
        self._bytes -= entry.size_bytes
        if entry.is_expected:
            key = (entry.identity, entry.side)
            self._expected[key].popleft()
            if not self._expected[key]:
                del self._expected[key]
        else:
            self._messages[entry.identity].popleft()
            if not self._messages[entry.identity]:
                del self._messages[entry.identity]

    # --- judging

    def stalled(self, now: float) -> None:
        """Nobody has listened for a while: what has arrived is to be heard before anything is judged."""
        for entry in self._order:
            entry.due = max(entry.due, now + self._grace)
        for settling in (*self._starting.values(), self._doubting):
            settling.quiet_since = now

    def sweep(self, now: float, settled: float) -> list[Alone]:
        """Judge what has waited long enough; return the divergences.

        At most `MAX_ALONE` of these at once: they are reported one by one, and other work has to go on.

        Args:
            now: In seconds.
            settled: All that was offered to the stream before this has reached the secondary; infinity if
                nothing is under way.
        """
        for entry in reversed(self._order):
            if entry.time + self._grace <= settled:
                break
            entry.due = max(entry.due, now + self._grace)
        for watch in [one for one, it in self._starting.items() if it.is_over(now, settled, self._window)]:
            watch.doubt = None
            del self._starting[watch]
        if self._doubt is not None and self._doubting.is_over(now, settled, self._window):
            self._doubt = None
        alone: list[Alone] = []
        for entry in [*takewhile(lambda one: one.due <= now, self._order)]:
            if len(alone) == MAX_ALONE:
                break
            self._forget(entry)
            if not entry.is_expected:
                self._judge(entry, alone)
        return alone

    def _judge(self, entry: _Waiting, alone: list[Alone]) -> None:
        watch, channel, _ = entry.identity
        doubt = entry.doubt or watch.ended
        if doubt is not None:
            self.tally.inconclusive[doubt] += 1
            return
        self.tally.alone += 1
        pattern = watch.name if watch.kind is Kind.PATTERN else b""
        alone.append(Alone(entry.side, watch.kind, pattern, channel, entry.excerpt))

    def close(self) -> None:
        """Count what waits: nothing more will come."""
        for entry in [*self._order]:
            self._forget(entry)
            if not entry.is_expected:
                self.tally.inconclusive[entry.doubt or entry.identity[0].ended or Doubt.SHUTDOWN] += 1
