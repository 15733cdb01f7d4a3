"""The short way: ``DUMP`` there, ``RESTORE`` here. Atomic, and nothing of the state is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dualkv.core.copying.model import GONE, Copied, expires_at_ms, expiry_read, said, values_of
from dualkv.core.dialect import Dialect, reads_payload
from dualkv.core.effects.model import Args, Command
from dualkv.resp.encode import OK

__all__ = ["dump_reads", "dump_writes", "fits", "is_payload_refusal"]

MAX_PAYLOAD_BYTES: Final = 512 * 1000 * 1000
"""A bulk string's limit in Redis (proto-max-bulk-len) is 512 MiB; RedisShake's limit is this."""


def fits(source: Dialect, target: Dialect, payload: bytes) -> bool:
    """Whether *target* can ``RESTORE`` a payload that *source* made.

    A module's value needs the module there: who has all of *source*'s commands has it.
    """
    is_of_a_module = payload[:1] in (b"\x06", b"\x07")
    if is_of_a_module and not source.commands <= target.commands:
        return False
    return len(payload) <= MAX_PAYLOAD_BYTES and reads_payload(target, payload)


def is_payload_refusal(frame: bytes) -> bool:
    """Whether a store's error says that it cannot read a payload, so that the key must be copied by type."""
    return frame.startswith((b"-ERR DUMP payload version", b"-ERR Bad data format"))


def dump_reads(key: bytes, source: Dialect) -> tuple[Args, ...]:
    """Return what to read, in one piece."""
    return ((b"DUMP", key), expiry_read(key, source))


def dump_writes(
    key: bytes, replies: Sequence[bytes], now_ms: int, source: Dialect, target: Dialect
) -> Copied | None:
    """Return what to write after the *replies* to `dump_reads`; None: *target* cannot read the payload.

    Args:
        key: The key.
        replies: Raw frames.
        now_ms: The primary's clock when it answered.
        source: Who answered.
        target: Who gets it.

    Raises:
        CopyFailed: The primary answered an error.
    """
    payload, answer = values_of(key, replies)
    at_ms = expires_at_ms(answer, source, now_ms)
    if payload is None or at_ms == GONE or 0 <= at_ms <= now_ms:
        return said([Command((b"DEL", key))], target)
    if not fits(source, target, payload):
        return None
    time = b"%d" % max(at_ms, 0)
    return Copied((Command((b"RESTORE", key, time, payload, b"REPLACE", b"ABSTTL"), OK),))
