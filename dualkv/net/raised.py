"""What waits on a lane for replies to a client that reads RESP3, from a primary that writes RESP2."""

from __future__ import annotations

from dualkv.core.raising import raised
from dualkv.core.routing import Plan
from dualkv.net.waiting import AskingBatch
from dualkv.resp.requests import Request

__all__ = ["RaisedBatch"]


class RaisedBatch(AskingBatch):
    """Ordinary commands of one client, perhaps with questions behind them.

    They are counted, mirrored and shadowed by what the primary has written; the client gets something else.
    """

    __slots__ = ()

    def _mirror(self, plans: list[Plan], requests: list[Request], frames: list[bytes], now: float) -> None:
        if self._writer.stream is not None:
            super()._mirror(plans, requests, frames, now)

    def _as_client_reads(
        self, plans: list[Plan], requests: list[Request], replies: list[bytes]
    ) -> list[bytes]:
        return [
            raised(plan.spec, request.args, frame)
            for plan, request, frame in zip(plans, requests, replies, strict=True)
        ]
