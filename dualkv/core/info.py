"""What a store says of itself in a reply to ``INFO``."""

from __future__ import annotations

from dualkv.errors import ReplyProtocolError
from dualkv.resp.replies import is_error, value_of

__all__ = ["info_fields", "info_text"]


def info_text(frame: bytes) -> str:
    """Return the text of a raw reply; empty if it is an error, or makes no sense."""
    try:
        value = b"" if is_error(frame) else value_of(frame)
    except ReplyProtocolError:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def info_fields(frame: bytes) -> dict[str, str]:
    """Return the fields of a raw reply by name; none if it is an error, or makes no sense."""
    lines = (line.partition(":") for line in info_text(frame).splitlines())
    return {name: value for name, colon, value in lines if colon}
