"""Integers as Redis reads them."""

from __future__ import annotations

__all__ = ["parse_integer"]

_RANGE = range(-(2**63), 2**63)


def parse_integer(digits: bytes) -> int | None:
    """Return a signed 64-bit number, or None if it is not written as Redis demands.

    That is strict (``string2ll``): no ``+``, no ``007``, no white space.
    """
    try:
        number = int(digits)
    except ValueError:
        return None
    return number if b"%d" % number == digits and number in _RANGE else None
