"""Items of the stream in the words of a store that does not speak as Redis does, at the moment of sending."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dualkv.core.dialect import Dialect, Spoken, lower_read, speak
from dualkv.core.effects.model import Args
from dualkv.core.guarding import SCRIPT_RUNS
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem
from dualkv.core.scripts import ScriptCache
from dualkv.resp.encode import error, pack

__all__ = ["effects_in", "spoken_item"]


def spoken_item(item: StreamItem, dialect: Dialect, now_ms: int, scripts: ScriptCache) -> Spoken:
    """Return what to send for an item, and how the replies tell its outcome.

    A shadow read that the store cannot make is not sent: its outcome is the error that it would get. So it is
    with a script that might harm it.

    Args:
        item: A mirrored write, a copy, or a shadow read.
        dialect: What the store understands.
        now_ms: The primary's clock, in milliseconds since 1970.
        scripts: The bodies of the clients' scripts.
    """
    if item.expected is None:
        if item.queue is Queue.SCRIPT and any(
            dialect.is_spared(scripts.facts(plan.spec.name, request.args))
            for plan, request in item.commands
            if plan.spec.name in SCRIPT_RUNS
        ):
            return _unsupported(item.request.args)  # it was executed before the store was known
        return speak(effects_in(item, scripts), now_ms)
    reading = lower_read(item.request.args, dialect)
    if reading is None or (not dialect.holds_hll and _HLL.match(item.expected)):
        return _unsupported(item.request.args)

    def fold(frames: Sequence[bytes], now_ms: int) -> bytes:
        try:
            return reading.rebuild(frames, now_ms)
        except Exception:  # noqa: BLE001 - a reply of a form that nobody foresees: nothing can be said of it
            return _NOT_REBUILT

    return Spoken(b"".join(map(pack, reading.commands)), len(reading.commands), fold)


_HLL: Final = re.compile(rb"\$\d+\r\nHYLL")
"""The reply to a read that got the bytes of a HyperLogLog, of which the other store knows nothing."""


def effects_in(item: StreamItem, scripts: ScriptCache) -> list[Args]:
    """Return the commands that a mirrored write or a copy consists of, scripts with their bodies.

    Args:
        item: Which.
        scripts: The bodies of the clients' scripts.
    """
    parts = item.commands
    if item.queue is not Queue.SCRIPT:
        return [request.args for _, request in parts]
    return [scripts.spelled_out(plan, request, set()).args for plan, request in parts]


def _unsupported(args: Args) -> Spoken:
    name = args[0].decode(errors="replace")
    return Spoken(b"", 0, lambda *_: error(f"ERR unsupported command '{name}'"))


_NOT_REBUILT: Final = error("TRYAGAIN the reply makes no sense")
"""Nothing is concluded from it."""
