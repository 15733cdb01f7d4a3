"""All lanes to the primary: one, or several where the primary executes one connection slowly.

ElasticKV commits each write through Raft, and executes a connection's commands one after the other: on one
lane all clients together would write as fast as one of them. So there are several lanes there. Still each
key has one order: while something is in flight on a key, it belongs to that lane, and what comes next for it
goes there, too (`dualkv.core.in_flight`). So for each key the replies of its lane are the log of what the
primary did, and all that one lane makes possible holds key by key.

A command whose keys are in flight on several lanes is held: it raises the fence around its keys, waits until
they have come together, and lowers the fence when it leaves. So does what may touch any key (``FLUSHALL``).

Where nothing is mirrored nobody needs the order of a key: then each command takes the lane that owes least.

The first lane is the one that tells who the primary is; the others connect only while it is up, and anew
whenever it has connected anew. With one lane nothing of this costs anything.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

import attrs
import trio

from dualkv.core.context import Context
from dualkv.core.fence import Claim, KeyFence
from dualkv.core.in_flight import KeysInFlight, ordered_keys_of_all
from dualkv.core.routing import Plan
from dualkv.net.calls import Call
from dualkv.net.lane import Barrier, Lane, LaneState, Waiting
from dualkv.resp.requests import Request

__all__ = ["Lanes"]

_MANY: Final = 64
"""Lanes to a primary where each write is a commit, if nobody says how many."""

Keys = Sequence[bytes] | None
"""None: any key."""
Item = TypeVar("Item")


@attrs.define(eq=False)
class _Held:
    """What cannot be sent yet: its keys are in flight on several lanes, or others come first."""

    wire: bytes
    waiting: Waiting
    context: Context
    keys: Keys
    claim: Claim | None = None
    behind: list[Callable[[], None]] = attrs.field(factory=list)
    """To be called when it has been answered."""


class _InFlight:
    """Waits in another's place, and lets the keys go when that one has all replies."""

    __slots__ = ("_over", "_waiting", "keys", "lane", "weight")

    def __init__(self, waiting: Waiting, lane: Lane, keys: Keys, over: Callable[[_InFlight], None]) -> None:
        self._waiting = waiting
        self._over = over
        self.lane = lane
        self.keys = keys
        self.weight = waiting.missing

    @property
    def missing(self) -> int:
        """Replies still to come."""
        return self._waiting.missing

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Pass them on."""
        self._waiting.on_replies(frames, now)
        if not self._waiting.missing:
            self._over(self)

    def on_lost(self) -> None:
        """Pass it on."""
        self._waiting.on_lost()
        self._over(self)


class Lanes:
    """The lanes, and which command goes where.

    Args:
        make: Makes a lane, which connects only while another one is up; the first one gets None.
        fence: Keys that have to wait, and who waits for them.
        count: How many lanes; 0: one, or many if `primary_connected` says so.
        most: How many the budget of connections allows.
        keeps_order: Whether each key has one order; else only each client has.
    """

    def __init__(
        self,
        make: Callable[[Lane | None], Lane],
        fence: KeyFence,
        count: int,
        most: int,
        *,
        keeps_order: bool = True,
    ) -> None:
        self._keeps_order = keeps_order
        self._make = make
        self._fence = fence
        self._is_automatic = count == 0
        self._most = most
        self.first = make(None)
        """Tells who the primary is, and whether it can be reached."""
        self._all = [self.first]
        self.is_single = True
        """Whether there is only the first one: then nobody has to ask for a key's lane."""
        self._in_flight: KeysInFlight[Lane] = KeysInFlight()
        self._load: Counter[Lane] = Counter()  # replies that each owes
        self._held: dict[_Held, None] = {}
        self._scattered: list[_Held] = []  # of those, whose turn it is as soon as the keys are together
        self._are_several = trio.Event()
        if count > 1:
            self._spread(count)

    def __repr__(self) -> str:
        return f"<Lanes {len(self._all)} held={len(self._held)} {self.first!r}>"

    def __len__(self) -> int:
        return len(self._all)

    # --- their life

    def _spread(self, count: int) -> None:
        self._all += [self._make(self.first) for _ in range(count - 1)]
        self.is_single = len(self._all) == 1
        if not self.is_single:
            self._are_several.set()

    def primary_connected(self, *, commits_each_write: bool) -> None:
        """The first lane has connected anew, perhaps to another node: let the others do so, too.

        Args:
            commits_each_write: Whether the primary executes one connection's writes slowly.
        """
        if self.is_single and self._is_automatic and commits_each_write:
            self._spread(min(_MANY, self._most))
        for lane in self._all[1:]:
            lane.retire()

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.first.run)
            await self._are_several.wait()
            for lane in self._all[1:]:
                nursery.start_soon(lane.run)

    @property
    def submissions(self) -> int:
        """How often something has been submitted."""
        return sum(lane.submissions for lane in self._all)

    @property
    def answered(self) -> int:
        """How many replies have come so far."""
        return sum(lane.answered for lane in self._all)

    @property
    def up(self) -> int:
        """How many are up."""
        return sum(lane.state is LaneState.UP for lane in self._all)

    # --- for those who send

    def ordered_keys(self, commands: Iterable[tuple[Plan, Request]]) -> Keys:
        """Return the keys whose order *commands* must keep with others; none where nobody has to ask."""
        return () if self.is_single or not self._keeps_order else ordered_keys_of_all(commands)

    def where(self, keys: Keys, preferred: Lane | None = None) -> Lane | None:
        """Return the lane that a command on *keys* goes to now; None: it has to be held.

        Args:
            keys: Empty: it keeps no order with others.
            preferred: Where it goes if nothing is in flight on the keys.
        """
        return None if self._fence.blocks(keys) else self._together(keys, preferred)

    def _together(self, keys: Keys, preferred: Lane | None = None) -> Lane | None:
        """Return `where`, whatever is fenced."""
        lanes = self._in_flight.lanes(keys)
        if not lanes:
            is_up = preferred is not None and preferred.state is LaneState.UP
            return preferred if is_up else self._least_busy()
        if len(lanes) > 1:
            return None
        lane = lanes.pop()
        return lane if lane.state is LaneState.UP else None  # else it answers what it owes first

    def _least_busy(self) -> Lane:
        best: Lane | None = None
        load = self._load
        for lane in self._all:
            if lane.is_open:
                if not load[lane]:
                    return lane
                if best is None or load[lane] < load[best]:
                    best = lane
        return best or self.first

    def submit(
        self,
        wire: bytes,
        waiting: Waiting,
        context: Context,
        keys: Keys = (),
        preferred: Lane | None = None,
    ) -> None:
        """Send *wire*, whose replies go to *waiting*, on the lane of its keys, as soon as they have one.

        The first lane must be up. Arguments as of `Lane.submit` and `where`.
        """
        if self.is_single:
            return self.first.submit(wire, waiting, context)
        keys = keys if self._keeps_order else ()
        lane = self.where(keys, preferred)
        if lane is not None:
            return self._send(lane, wire, waiting, context, keys)
        held = _Held(wire, waiting, context, keys)
        self._held[held] = None
        self._fence.claim(keys, partial(self._on_granted, held))
        return None

    def _send(self, lane: Lane, wire: bytes, waiting: Waiting, context: Context, keys: Keys) -> None:
        if lane.state is not LaneState.UP:
            return waiting.on_lost()
        flight = _InFlight(waiting, lane, keys, self._on_over)
        self._in_flight.enter(keys, lane)
        self._load[lane] += flight.weight
        lane.submit(wire, flight, context)
        return None

    def _on_over(self, flight: _InFlight) -> None:
        """A command has been answered, or is lost: its keys may have come together with others."""
        self._load[flight.lane] -= flight.weight
        self._in_flight.leave(flight.keys)
        if self._scattered:
            scattered, self._scattered = self._scattered, []
            for held in scattered:
                self._try(held)

    def _on_granted(self, held: _Held, claim: Claim) -> None:
        held.claim = claim
        self._try(held)

    def _try(self, held: _Held) -> None:
        """Send what was held, if its keys are together now; what follows on them follows it."""
        lane = self._together(held.keys)
        if lane is None:
            self._scattered.append(held)
            return
        del self._held[held]
        self._send(lane, held.wire, held.waiting, held.context, held.keys)
        for passed in held.behind:
            lane.submit_barrier(passed)
        assert held.claim is not None
        self._fence.lower(held.claim)

    def split(self, items: Sequence[Item], key_of: Callable[[Item], bytes]) -> list[list[Item]]:
        """Cut *items* into what can be sent in one piece: no part has keys in flight on several lanes."""
        if self.is_single:
            return [list(items)]
        parts: defaultdict[Lane, list[Item]] = defaultdict(list)
        alone: list[list[Item]] = []
        preferred = self._least_busy()
        for item in items:
            lane = self.where((key_of(item),), preferred)
            if lane is None:
                alone.append([item])
            else:
                parts[lane].append(item)
        return [*parts.values(), *alone]

    # --- what is executed beside the lanes

    async def raise_fence(self, keys: tuple[bytes, ...] | None) -> Claim:
        """Fence *keys* (None: all); return when nobody else does. `KeyFence.lower` takes it back."""
        granted = trio.Event()
        claim = self._fence.claim(keys, lambda _: granted.set())
        try:
            await granted.wait()
        except BaseException:
            self._fence.lower(claim)
            raise
        return claim

    async def wait_free(self, keys: Keys) -> None:
        """Return when none of *keys* is fenced; several lanes see to that themselves."""
        while self.is_single and self._fence.blocks(keys):
            free = trio.Event()
            self._fence.when_free(keys, free.set)
            await free.wait()

    def when_seen(self, keys: Keys, work: Callable[[], None]) -> None:
        """Do *work* once all has been seen that was executed on *keys* before a command beside the lanes.

        That is what the lanes have been told so far, and transactions on connections of their own.
        """

        def try_again() -> None:
            if self._fence.blocks(keys):
                self._fence.when_free(keys, try_again)
            else:
                work()

        self.when_answered(try_again)

    # --- for dualkv itself

    async def ask_each(self, wire: bytes, context: Context) -> list[bytes]:
        """Send a request on each lane that is up; return the replies.

        Raises:
            ConnectionLost: A lane broke.
        """
        calls = {lane: Call() for lane in self._all if lane.state is LaneState.UP}
        for lane, call in calls.items():
            lane.submit(wire, call, context)
        return [(await call.wait())[0] for call in calls.values()]

    def when_answered(self, passed: Callable[[], None]) -> None:
        """Call *passed* once all replies to what has been sent so far have been seen, or are lost."""
        if self.is_single:
            return self.first.submit_barrier(passed)
        barrier = Barrier(passed, len(self._all))
        for lane in self._all:
            lane.submit_barrier(barrier.arrive)
        return None

    def when_settled(self, passed: Callable[[], None]) -> None:
        """The same for what has been submitted so far, held or sent."""
        barrier = Barrier(passed, 1 + len(self._held))
        for held in self._held:
            held.behind.append(barrier.arrive)
        self.when_answered(barrier.arrive)
