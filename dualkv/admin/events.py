"""What goes on as a stream of server-sent events, for a page that stays open.

First ``series`` (the last minutes, as points), then ``status`` about once in a second, and ``point`` whenever
the series has a new one. What is told is found out once for all who follow, and only while somebody does. Who
reads too slowly misses what came meanwhile; who reads nothing at all is disconnected
(`dualkv.admin.serving`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dualkv.admin.operations import Endpoint, refusal

__all__ = ["MAX_FOLLOWERS", "EventStream", "Feed", "News", "events_endpoint"]

MAX_FOLLOWERS: Final = 32
"""So many may follow at once."""
_STEP_SECONDS: Final = 1.0

Data = Mapping[str, Any]


@attrs.frozen
class News:
    """What goes on at one moment."""

    status: Data
    """As ``/status`` tells it."""
    points: Sequence[Data]
    """As ``/series`` tells them."""

    @property
    def last_time(self) -> float:
        """The time of the newest point."""
        return self.points[-1]["time"] if self.points else -math.inf

    def events_since(self, time: float) -> bytes:
        """Return the events of points behind *time*, and of the status."""
        points = [_event("point", point) for point in self.points if point["time"] > time]
        return b"".join([*points, _event("status", self.status)])

    def all_events(self) -> bytes:
        """Return the events for somebody who has not been told anything."""
        return _event("series", self.points) + _event("status", self.status)


class Feed:
    """What goes on, for all who follow.

    Args:
        find_out: Returns it; None: it cannot be found out now.
    """

    def __init__(self, find_out: Callable[[], Awaitable[News | None]]) -> None:
        self._find_out = find_out
        self._finding = trio.Lock()
        self._news: News | None = None
        self._found_at = -math.inf
        self.followers = 0

    def __repr__(self) -> str:
        return f"<Feed followers={self.followers}>"

    async def news(self) -> News | None:
        """Return what goes on now, or was a moment ago; None: nobody knows."""
        async with self._finding:
            if trio.current_time() >= self._found_at + _STEP_SECONDS / 2:
                self._news = await self._find_out()
                self._found_at = trio.current_time()
            return self._news


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
        told: News | None = None
        while True:
            news = await self._feed.news()
            if news is not None:
                events = news.all_events() if told is None else news.events_since(told.last_time)
                await send({"type": "http.response.body", "body": events, "more_body": True})
                told = news
            await trio.sleep(_STEP_SECONDS)


def events_endpoint(feed: Feed) -> Endpoint:
    """Return what answers whoever wants to follow."""

    async def events(_: Request) -> Response:  # noqa: ASYNC124 - a plain one would run in a thread
        if feed.followers >= MAX_FOLLOWERS:
            return refusal(503, f"{feed.followers} follow already, the most that may")
        return EventStream(feed)

    return events


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
