"""Keeps asking the primary for its time: relative expiry is mirrored as absolute, on the primary's clock."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from dualkv.core.primary_time import PrimaryTime
from dualkv.errors import ConnectionLost, ReplyProtocolError
from dualkv.net.calls import PositionedCall
from dualkv.net.lane import LaneState
from dualkv.resp.encode import command
from dualkv.resp.replies import elements_of, value_of

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["keep_time"]

_ASK_SECONDS: Final = 5.0
_SETTLING_SECONDS: Final = 0.05
"""How often it is asked until it is known well enough."""


async def keep_time(writer: DualWriter) -> None:
    """Ask now and then, until cancelled; `DualWriter.time` is told.

    Args:
        writer: On whose lane.
    """
    while True:
        if writer.lane.state is LaneState.UP:
            call = PositionedCall(1, partial(_told, writer.time, writer.clock()))
            writer.lanes.submit(command("TIME"), call, writer.own_context)
            with suppress(ConnectionLost):
                await call.wait()
        else:
            await writer.wait_lane()
        await trio.sleep(_ASK_SECONDS if writer.time.is_settled else _SETTLING_SECONDS)


def _told(time: PrimaryTime, sent: float, frames: list[bytes], now: float) -> None:
    with suppress(ReplyProtocolError, ValueError):  # it does not tell: our clock must do
        seconds, microseconds = (int(value_of(element)) for element in elements_of(frames[0]))
        time.observe(sent, now, seconds * 1000 + microseconds / 1000)
