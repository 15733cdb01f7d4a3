"""Answers clients' questions about dualkv itself: gathers what `dualkv.core.about` tells."""

from __future__ import annotations

import importlib.metadata
import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dualkv.core.about import HELP, KeyFacts, key_fields, lines_of, status_fields
from dualkv.core.clients import text_reply
from dualkv.core.session import SessionState

if TYPE_CHECKING:
    from dualkv.net.writer import DualWriter

__all__ = ["INSTANCE", "VERSION", "answer_about_self"]

VERSION: Final = importlib.metadata.version("dualkv")
INSTANCE: Final = f"{socket.gethostname()}-{os.getpid()}"
"""What tells this process apart from others: the host's name and the process's number."""


def answer_about_self(writer: DualWriter, state: SessionState, args: tuple[bytes, ...], label: str) -> bytes:
    """Answer a request of `Route.OWN`.

    Args:
        writer: Whose client asks.
        state: The client's.
        args: The request, of the right arity.
        label: The command's full name (``dualkv|key``).

    Returns:
        The reply.
    """
    fields: Iterable[tuple[str, object]]
    match label:
        case "dualkv|help":
            return HELP
        case "dualkv|key":
            fields = key_fields(_facts_of(writer, (state.db, args[2])))
        case "dualkv|status":
            fields = status_fields(writer.metrics.tell_status())
        case _:
            fields = _whoami(writer, state)
    return text_reply(lines_of(fields), state.protocol)


def _whoami(writer: DualWriter, state: SessionState) -> list[tuple[str, object]]:
    return [
        ("client_id", state.client_id),
        ("client_name", state.name),
        ("user", state.user.name if state.user else b""),
        ("address", state.address),
        ("db", state.db),
        ("protocol", state.protocol),
        ("mode", writer.config.mode.value),
        ("answers", writer.primary.name),
        ("follows", "" if writer.secondary is None else writer.secondary.name),
        ("dualkv_version", VERSION),
        ("instance", INSTANCE),
    ]


def _facts_of(writer: DualWriter, key: tuple[int, bytes]) -> KeyFacts:
    stream, now = writer.stream, writer.clock()
    dirty = writer.dirty.why(key)
    history = None
    if stream is not None and stream.history is not None:
        history = stream.history.of([key], now)
    return KeyFacts(
        db=key[0],
        key=key[1],
        shard=None if stream is None else stream.shard_of(key[1]),
        shards=0 if stream is None else stream.shard_count,
        dirty=None if dirty is None else (dirty[0], now - dirty[1]),
        readings=writer.comparing.judge.confirming.readings_of(key),
        history=history,
    )
