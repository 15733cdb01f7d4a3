"""Libraries of functions: they belong to no key, and are copied all together."""

from __future__ import annotations

from collections.abc import Iterator

from dualkv.core.effects.model import Command
from dualkv.resp.replies import value_of

__all__ = ["library_writes"]


def library_writes(listed: bytes) -> tuple[Command, ...]:
    """Return what makes a store have the libraries that another one has, and no others.

    Args:
        listed: The raw reply to ``FUNCTION LIST WITHCODE``.
    """
    loads = (Command((b"FUNCTION", b"LOAD", b"REPLACE", code)) for code in _codes(listed))
    return (Command((b"FUNCTION", b"FLUSH")), *loads)


def _codes(listed: bytes) -> Iterator[bytes]:
    for library in value_of(listed):
        facts = library if isinstance(library, dict) else dict(zip(library[::2], library[1::2], strict=True))
        yield facts[b"library_code"]
