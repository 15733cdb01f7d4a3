"""``WAIT`` and ``WAITAOF``: how many replicas have what was written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import trio

from dualkv.net.client import Client
from dualkv.resp import encode
from dualkv.resp.encode import command
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import is_error, value_of
from dualkv.resp.requests import Request

__all__ = ["wait_for_replicas"]

_POLL_SECONDS: Final = 0.01


async def wait_for_replicas(client: Client, request: Request) -> bytes:
    """Ask again and again, so that no lane ever waits.

    Each lane tells of what was written on it, so all are asked; the least counts.

    Args:
        client: Who waits.
        request: ``WAIT`` or ``WAITAOF``.

    Returns:
        The reply.

    Raises:
        BackendUnavailable: The primary cannot be reached.
        ConnectionLost: A lane broke.
    """
    args = request.args
    numbers = [parse_integer(word) for word in args[1:]]
    if None in numbers or min(number or 0 for number in numbers) < 0:
        return await client.ask(request.raw)  # the primary knows what to say
    *wanted, patience_ms = (number or 0 for number in numbers)
    least = await _least(client, command(*args[:-1], 1))  # makes the replicas speak up at once
    deadline = trio.current_time() + (patience_ms / 1000 if patience_ms else math.inf)
    while (
        not (client.is_leaving or client.is_moving)
        and trio.current_time() < deadline
        and _is_short_of(least, wanted)
    ):
        await trio.sleep(min(_POLL_SECONDS, deadline - trio.current_time()))
        least = await _least(client, command(args[0], *(0 for _ in args[1:])))
    return least


async def _least(client: Client, wire: bytes) -> bytes:
    """Ask for numbers on all lanes; return the least ones."""
    client.require_lane()
    replies = await client.writer.lanes.ask_each(wire, client.writer.own_context)
    told = [value_of(reply) for reply in replies if not is_error(reply)]
    if len(told) == 1 or len(told) < len(replies):
        return max(replies, key=is_error)
    if isinstance(told[0], list):
        return encode.array([encode.integer(min(each)) for each in zip(*told, strict=True)])
    return encode.integer(min(told))


def _is_short_of(reply: bytes, wanted: Sequence[int]) -> bool:
    """Whether fewer replicas than wanted have it yet (``WAIT`` gives one number, ``WAITAOF`` two)."""
    told = value_of(reply)
    numbers = told if isinstance(told, list) else [told]
    return not is_error(reply) and any(have < want for have, want in zip(numbers, wanted, strict=True))
