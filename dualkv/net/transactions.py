"""Items in transactions on one connection, for a backend where each write costs a commit.

One transaction is answered before the next is sent: if it is refused, nothing that stands behind it has been
executed, and it can be sent again in smaller portions. If one of its effects fails, the backend has undone
all of it; then it goes in halves, and these in halves, until the guilty one stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

import trio

from dualkv.core.backoff import Backoff
from dualkv.core.effects.model import Command
from dualkv.core.fusing import (
    Call,
    Verdict,
    call,
    call_one,
    effects_in,
    fold,
    judge,
    outcomes_of,
    portions,
    results,
)  # fmt: skip
from dualkv.core.mirror import StreamItem
from dualkv.core.pacing import Outcome, Pacing, Refusal
from dualkv.errors import ReplyProtocolError
from dualkv.net.connection import Connection
from dualkv.resp.replies import elements_of

__all__ = ["Transactions"]

_REFUSALS: Final = (Verdict.BUSY, Verdict.TOO_MUCH, Verdict.AGAIN)
_MOST_REFUSALS: Final = 8
_PRUDENCE: Final = 3
"""It is sent again only if it may take so many times as long as before it was refused."""
_MOST_EFFECTS: Final = 500
"""Of one item in one transaction. A real one took 1,000, and answered ``invalid request`` to some of more."""
_FIRST_WAIT_SECONDS: Final = 0.02
_LONGEST_WAIT_SECONDS: Final = 0.15
"""Before a refused transaction is sent again, when the backend has too much to do."""


class Transactions:
    """The transactions of one connection, one after the other.

    Args:
        connection: Whoever uses it closes it; after an exception it is of no use any more.
        pacing: Of the backend.
        clock: Seconds, monotonic.
        now_ms: The primary's clock, in milliseconds since 1970.
    """

    def __init__(
        self, connection: Connection, pacing: Pacing, clock: Callable[[], float], now_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._pacing = pacing
        self._clock = clock
        self._now_ms = now_ms
        self._known: set[bytes] = set()
        """Digests of the scripts that were sent on the connection."""
        self._turn = 0
        self._effects = 0  # in the transaction in flight

    async def run(self, items: list[StreamItem], until: float) -> list[bytes]:
        """Execute *items*; return the frame that tells each one's outcome.

        Args:
            items: At least one, all of the database that the connection is set to.
            until: On the clock: what is refused for the moment is not sent again later.

        Raises:
            ConnectionLost: The connection broke; so for `ReplyProtocolError`. What was executed is unknown.
        """
        frames: list[bytes] = []
        waiting = [items]  # what comes next is the last
        refusals = 0
        backoff = Backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        while waiting:
            pacing = self._pacing
            portion, *rest = portions(waiting.pop(), pacing.effects, pacing.size_bytes)
            waiting += reversed(rest)
            began = self._clock()
            verdict, told = await self._execute(portion)
            if verdict in _REFUSALS:
                if verdict is not Verdict.AGAIN:
                    why = Refusal.BUSY if verdict is Verdict.BUSY else Refusal.TOO_MUCH
                    pacing.refused(self._turn, self._effects, why)
                wait = 0.0 if verdict is Verdict.TOO_MUCH else backoff.next_wait_seconds()
                refusals += 1
                took = self._clock() - began
                if refusals <= _MOST_REFUSALS and self._clock() + wait + _PRUDENCE * took < until:
                    pacing.outcomes[Outcome.REFUSED] += 1
                    waiting.append(portion)
                    await trio.sleep(wait)
                    continue
            elif verdict is Verdict.GUILTY and len(portion) > 1:
                pacing.outcomes[Outcome.SPLIT] += 1
                middle = len(portion) // 2
                waiting += (portion[middle:], portion[:middle])
                continue
            elif verdict is Verdict.DONE:
                refusals = 0
                backoff.reset()
            is_done = verdict is Verdict.DONE
            pacing.outcomes[Outcome.COMMITTED if is_done else Outcome.FAILED] += 1
            pacing.effects_committed += self._effects if is_done else 0
            frames += told if is_done else told * len(portion)
        self._effects = 0
        return frames

    async def _execute(self, items: list[StreamItem]) -> tuple[Verdict, list[bytes]]:
        """Execute items at once; return the frame of each if that is done, else the error in a list."""
        pacing = self._pacing
        self._turn = pacing.begin()
        started = self._clock()
        effects = effects_in(items)
        self._effects = len(effects)
        if len(effects) > _MOST_EFFECTS and len(items) == 1:
            return await self._execute_in_pieces(items[0], effects)
        if len(effects) == 1:
            verdict, replies = await self._ask(
                lambda known: call_one(effects[0].args, self._now_ms(), known), 1
            )
        else:
            folded = fold(effects)
            commands = folded.commands
            verdict, replies = await self._ask(
                lambda known: call(commands, self._now_ms(), known), len(commands)
            )
            if verdict is Verdict.DONE:
                replies = folded.unfold(replies)
        if verdict is not Verdict.DONE:
            return verdict, replies
        pacing.committed(self._turn, self._effects, self._clock() - started)
        return verdict, outcomes_of(items, replies)

    async def _execute_in_pieces(
        self, item: StreamItem, effects: Sequence[Command]
    ) -> tuple[Verdict, list[bytes]]:
        """Execute an item that is too much for one transaction; it is not known to be undone if it fails."""
        replies: list[bytes] = []
        for at in range(0, len(effects), _MOST_EFFECTS):
            commands = [effect.args for effect in effects[at : at + _MOST_EFFECTS]]
            verdict, told = await self._ask(partial(call, commands, self._now_ms()), len(commands))
            if verdict is not Verdict.DONE:
                return Verdict.FAILED if at else verdict, told
            replies += told
        return Verdict.DONE, outcomes_of([item], replies)

    async def _ask(
        self, make: Callable[[Collection[bytes]], Call], count: int
    ) -> tuple[Verdict, list[bytes]]:
        """Send what executes *count* commands; return the reply to each, or the error in a list.

        A script is spelled out to a backend that does not know it, or has forgotten it.
        """
        called = make(self._known)
        (frame,) = await self._connection.exchange(called.wire, 1)
        if not called.digest:
            return judge(frame), results([frame])
        if judge(frame) is Verdict.UNKNOWN_SCRIPT:
            (frame,) = await self._connection.exchange(make(()).wire, 1)
        verdict = judge(frame)
        if verdict is not Verdict.DONE:
            return verdict, [frame]
        self._known.add(called.digest)
        replies = results(elements_of(frame))
        if len(replies) != count:
            raise ReplyProtocolError("another number of replies than of effects")
        return verdict, replies

    def give_up(self) -> None:
        """Take note that what is in flight was not answered in time, or not at all."""
        if self._effects:
            self._pacing.refused(self._turn, self._effects, Refusal.NO_ANSWER)
            self._pacing.outcomes[Outcome.FAILED] += 1
