"""What waits on a lane for replies that a task wants: dualkv's own requests, and commands one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.context import Context
from dualkv.core.routing import Plan
from dualkv.core.translator import NOT_ASKED, Asked
from dualkv.errors import ConnectionLost
from dualkv.net.waiting import Timed
from dualkv.resp.encode import null_array
from dualkv.resp.replies import elements_of, is_error, is_null
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["Attempt", "Call", "Inquiry", "PositionedCall", "SingleCall", "wait_all"]

_NOT_IN_TRANSACTIONS: Final = b"-ERR unsupported command"
"""ElasticKV answers this to EXEC, after it has queued the command."""
_NOTHING: Final = null_array(2)


class Call:
    """Requests of dualkv's own; a task waits for their replies."""

    __slots__ = ("_done", "_frames", "missing")

    def __init__(self, missing: int = 1) -> None:
        self.missing = missing
        self._frames: list[bytes] = []
        self._done = trio.Event()

    def on_replies(self, frames: list[bytes], now: float) -> None:  # noqa: ARG002 - as `Waiting`
        """Take replies; wake the task when all are there."""
        self._frames += frames
        self.missing -= len(frames)
        if not self.missing:
            self._done.set()

    def on_lost(self) -> None:
        """Wake the task."""
        self._done.set()

    async def wait(self) -> list[bytes]:
        """Return the raw replies.

        Raises:
            ConnectionLost: The lane broke: the outcome is unknown.
        """
        await self._done.wait()
        if self.missing:
            raise ConnectionLost("the lane to the primary was lost: the outcome is unknown")
        return self._frames


class PositionedCall(Call):
    """Requests of one piece, whose replies mean something at their position.

    Args:
        missing: How many there are.
        take: Called with all replies, at the position of the last one; what it raises reaches the task.
    """

    __slots__ = ("_error", "_take")

    def __init__(self, missing: int, take: Callable[[list[bytes], float], None]) -> None:
        super().__init__(missing)
        self._take = take
        self._error: Exception | None = None

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Take replies; when all are there, that is the position."""
        self.missing -= len(frames)
        self._frames += frames
        if self.missing:
            return
        try:
            self._take(self._frames, now)
        except Exception as error:  # noqa: BLE001 - it is the task's, not the lane's
            self._error = error
        self._done.set()

    async def wait(self) -> list[bytes]:
        """Return the raw replies; raises as `Call.wait` does."""
        frames = await super().wait()
        if self._error is not None:
            raise self._error
        return frames


class Inquiry:
    """Questions of dualkv's own, for whose answers no task waits.

    Args:
        missing: How many there are.
        take: Called with all answers, at the position of the last one.
        lose: Called instead if the lane breaks.
    """

    __slots__ = ("_frames", "_lose", "_take", "missing")

    def __init__(
        self, missing: int, take: Callable[[list[bytes], float], None], lose: Callable[[], None]
    ) -> None:
        self.missing = missing
        self._take = take
        self._lose = lose
        self._frames: list[bytes] = []

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Take answers; when all are there, that is the position."""
        self._frames += frames
        self.missing -= len(frames)
        if not self.missing:
            self._take(self._frames, now)

    def on_lost(self) -> None:
        """There will be no answers."""
        self._lose()


async def wait_all(calls: Sequence[Call]) -> None:
    """Return when all calls are over; raise what one of them has raised, once none is under way any more."""
    failed: Exception | None = None
    for call in calls:
        try:
            await call.wait()
        except Exception as error:  # noqa: BLE001 - raised below
            failed = failed or error
    if failed is not None:
        raise failed


class SingleCall(Timed):
    """One command whose reply a task waits for."""

    __slots__ = ("_arrived", "_asked", "_done", "_frame", "_plan", "missing", "request")

    def __init__(
        self,
        writer: DualWriter,
        context: Context,
        plan: Plan,
        request: Request,
        asked: Asked = NOT_ASKED,
    ) -> None:
        super().__init__(writer, context)
        self._plan = plan
        self.request = request
        self._asked = asked
        self._arrived: list[bytes] = []
        self._done = trio.Event()
        self._frame: bytes | None = None
        self.missing = 1 + len(asked.wires)

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Book the reply, once all answers are there too, and wake the task."""
        self.missing -= len(frames)
        self._arrived += frames
        if not self.missing:
            self._frame, *answers = self._arrived
            self._book(self._plan, self.request, self._frame, now, self._asked, answers)
            self._done.set()

    def on_lost(self) -> None:
        """Wake the task without a reply."""
        self._writer.metrics.primary_outcomes_unknown += 1
        self._lost([(self._plan, self.request)])
        self._done.set()

    async def wait_reply(self) -> bytes:
        """Return the raw reply.

        Raises:
            ConnectionLost: The lane broke: the outcome is unknown.
        """
        await self._done.wait()
        if self._frame is None:
            raise ConnectionLost("the lane to the primary was lost: the outcome is unknown")
        return self._frame


class Attempt(SingleCall):
    """A blocking command in a transaction of its own, where nothing blocks; a task waits for its reply."""

    __slots__ = ()

    def __init__(
        self, writer: DualWriter, context: Context, plan: Plan, request: Request, asked: Asked
    ) -> None:
        super().__init__(writer, context, plan, request, asked=asked)
        self.missing += 2

    def on_replies(self, frames: list[bytes], now: float) -> None:
        """Unwrap the reply; what got nothing was no command yet.

        ElasticKV takes few commands in transactions: the others have to wait without having tried.
        """
        self.missing -= len(frames)
        self._arrived += frames
        if self.missing:
            return None
        _, queued, result, *answers = self._arrived
        if result.startswith(_NOT_IN_TRANSACTIONS) and not is_error(queued):
            self._frame = _NOTHING
            return self._done.set()
        self._frame = queued if is_error(queued) else result if is_error(result) else elements_of(result)[0]
        mirroring = self._writer.mirroring
        if not is_null(self._frame):
            self._book(self._plan, self.request, self._frame, now, self._asked, answers)
        elif self._plan.spec.name == "XREADGROUP" and mirroring is not None:  # its consumer exists now
            mirroring.executed(
                self._plan, self.request, self._frame, now, self._context, self._asked, answers
            )
        return self._done.set()
