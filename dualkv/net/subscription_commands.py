"""Pub/Sub of one client: ``SUBSCRIBE`` and its kin, and replies that count subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dualkv.core.routing import Plan
from dualkv.core.subscriptions import Kind, kind_of, push
from dualkv.net.lane import LaneState
from dualkv.net.pubsub import SubscriptionPool
from dualkv.net.waiting import CorrectedCall
from dualkv.resp import encode
from dualkv.resp.replies import is_error, value_of
from dualkv.resp.requests import Request

if TYPE_CHECKING:
    from dualkv.net.session import ClientSession

__all__ = ["SubscriptionCommands", "corrected"]


class SubscriptionCommands:
    """What one client subscribes to, and publishes.

    Args:
        session: The client's.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._client = session.client
        self._state = session.state

    def execute(self, request: Request, plan: Plan) -> bytes | None:
        """``SUBSCRIBE`` and its kin; returns as `SpecialCommands` says."""
        kind, subscribes = kind_of(plan.spec.name)
        names: Sequence[bytes] = request.args[1:]
        if subscribes:
            return self._session.begin(partial(self._subscribe, kind, names, request))
        names = names or self._state.subscriptions.names(kind)
        if not names:
            nothing = self._state.subscriptions.nothing_to_unsubscribe(kind, self._state.protocol)
            return push(nothing, self._state.protocol)
        return self._session.begin(partial(self._unsubscribe, kind, names))

    async def _subscribe(self, kind: Kind, names: Sequence[bytes], request: Request) -> bytes:
        shared = self._client.writer.subscriptions.of(self._state.login)
        return await shared.subscribe(kind, names, self._session, request.raw) or b""

    async def _unsubscribe(self, kind: Kind, names: Sequence[bytes]) -> bytes:
        state = self._state
        await self._client.writer.subscriptions.unsubscribe(kind, names, self._session)
        return b"".join(push(state.subscriptions.unsubscribe(kind, name), state.protocol) for name in names)

    def unsubscribe_all(self) -> None:
        """Give up all subscriptions without a word."""
        for kind in Kind:
            for name in self._state.subscriptions.names(kind):
                self._client.writer.subscriptions.remove(kind, name, self._session)
                self._state.subscriptions.unsubscribe(kind, name)

    def send_corrected(self, request: Request, plan: Plan) -> bytes:
        """``PUBLISH``, ``PUBSUB NUMSUB``: send it; the reply is `corrected`."""
        writer = self._client.writer
        if not writer.subscriptions:
            self._session.order.send([request], [plan])
            return b""
        if writer.lane.state is not LaneState.UP:
            return encode.PRIMARY_UNREACHABLE
        if writer.mirrors:
            writer.notes.note(self._state.db, [plan], [request])
        correct = partial(corrected, writer.subscriptions, plan, request)
        call = CorrectedCall(writer, self._state.context, self._session.order, request, plan, correct)
        self._session.order.submit(request.raw, call, [(plan, request)])
        return b""


def corrected(subscriptions: SubscriptionPool, plan: Plan, request: Request, reply: bytes) -> bytes:
    """Return a reply with dualkv's subscribers counted, who are one subscriber at the primary.

    Args:
        subscriptions: Theirs.
        plan: Of the request.
        request: ``PUBLISH``, ``SPUBLISH``, ``PUBSUB NUMSUB`` or ``PUBSUB SHARDNUMSUB``.
        reply: The primary's.
    """
    if is_error(reply):
        return reply
    if plan.spec.name in ("PUBLISH", "SPUBLISH"):
        kind = Kind.CHANNEL if plan.spec.name == "PUBLISH" else Kind.SHARD
        return encode.integer(value_of(reply) + subscriptions.surplus_receivers(kind, request.args[1]))
    kind = Kind.CHANNEL if plan.spec.name == "PUBSUB NUMSUB" else Kind.SHARD
    told: Sequence[object] = value_of(reply)
    if isinstance(told, dict):
        told = [word for pair in told.items() for word in pair]
    frames: list[bytes] = []
    for channel, count in zip(told[::2], told[1::2], strict=True):
        assert isinstance(channel, bytes)
        assert isinstance(count, int)
        frames += [encode.bulk(channel), encode.integer(count + subscriptions.surplus(kind, channel))]
    return encode.array(frames)
