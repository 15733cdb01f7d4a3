"""Sends again what the secondary has refused for the moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from dualkv.core.mirror import StreamItem
from dualkv.core.retrying import Retries

__all__ = ["run_with_retries"]


async def run_with_retries(
    run: Callable[[list[StreamItem]], Awaitable[Sequence[bytes]]],
    batch: list[StreamItem],
    clock: Callable[[], float],
    until: float,
) -> Sequence[bytes]:
    """Run a batch, and again what of it `Retries` says; return the frame that tells each item's outcome.

    Args:
        run: Sends items and returns the frame that tells each one's outcome. What it raises is raised.
        batch: The items, in order.
        clock: Seconds.
        until: On that clock: what could only be sent again later counts as refused. Whoever calls sets the
            deadline of what is in flight then.
    """
    frames = await run(batch)
    retries = Retries(batch)
    while again := retries.next(frames):
        if clock() + again.wait_seconds >= until:
            break
        await trio.sleep(again.wait_seconds)
        answers = await run([batch[position] for position in again.positions])
        newest = dict(zip(again.positions, answers, strict=True))
        frames = [newest.get(position, frame) for position, frame in enumerate(frames)]
    return frames
