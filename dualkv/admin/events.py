"""What goes on as a stream of server-sent events, for a page that stays open.

First ``series`` (the last minutes, as points), then ``status`` about once in a second, and ``point`` whenever
the series has a new one. Everybody who follows is told the same bytes, made once; who reads too slowly misses
what came meanwhile, and who reads nothing at all is disconnected (`dualkv.admin.serving`).
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dualkv.admin.sampler import Sampler
from dualkv.core.series import Point

__all__ = ["MAX_FOLLOWERS", "EventStream", "Feed"]

MAX_FOLLOWERS: Final = 32
"""So many may follow at once."""


class Feed:
    """The events of this process.

    Args:
        sampler: Knows what goes on.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._made_at = -1
        self._status = b""
        self.followers = 0

    def __repr__(self) -> str:
        return f"<Feed followers={self.followers}>"

    @property
    def has_room(self) -> bool:
        """Whether one more may follow."""
        return self.followers < MAX_FOLLOWERS

    @property
    def last_point(self) -> Point | None:
        """The newest point of the series."""
        points = self._sampler.series.points
        return points[-1] if points else None

    def series(self) -> bytes:
        """Return the event with all points."""
        return _event("series", [attrs.asdict(point) for point in self._sampler.series.points])

    async def news(self, since: Point | None) -> bytes:
        """Wait for the next look; return its events.

        Args:
            since: The last point that was told.
        """
        await self._sampler.wait_look()
        if self._made_at != self._sampler.looks:
            self._made_at, self._status = self._sampler.looks, self.status()
        last = self.last_point
        if last is None or last is since:
            return self._status
        return _event("point", attrs.asdict(last)) + self._status

    def status(self) -> bytes:
        """Return the event with the status of this moment."""
        return _event("status", self._sampler.status())


class EventStream(Response):
    """An answer that goes on until the other side is gone, or the server ends.

    Args:
        feed: What is told.
    """

    media_type = "text/event-stream"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._feed = feed

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Tell events."""
        self._feed.followers += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, send)
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel("it is gone")
        finally:
            self._feed.followers -= 1

    async def _tell(self, send: Send) -> None:
        told = self._feed.last_point
        events = self._feed.series() + self._feed.status()
        while True:
            await send({"type": "http.response.body", "body": events, "more_body": True})
            events = await self._feed.news(told)
            told = self._feed.last_point


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
