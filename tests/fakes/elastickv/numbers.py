"""How ElasticKV writes scores: shortest, without an exponent; ``+Inf``, ``-Inf``, and even ``NaN``."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

from dualkv.resp import encode
from dualkv.resp.replies import is_error, is_null, value_of
from tests.fakes.elastickv.commands import Args

__all__ = ["NAN", "shortest", "take_nan", "write_scores"]

NAN: Final = 1.234567890123e-310
"""Stands for NaN in the real store, which has none."""

_STRIDES: Final = {"ZSCORE": 1, "ZINCRBY": 1, "ZPOPMIN": 2, "BZPOPMIN": 3}
_RANGES: Final = frozenset({"ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"})


def shortest(text: bytes) -> bytes:
    """Return a score as ElasticKV writes it."""
    number = float(text)
    if number == NAN:
        return b"NaN"
    if math.isinf(number):
        return b"+Inf" if number > 0 else b"-Inf"
    digits = format(Decimal(repr(number)), "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits.encode()


def take_nan(args: Args) -> Args:
    """Return a ``ZADD`` with what stands for NaN in its place."""
    if not any(argument.lower() in (b"nan", b"+nan", b"-nan") for argument in args[2::]):
        return args
    first = next(index for index in range(2, len(args)) if args[index].upper() not in _WORDS)
    return tuple(
        repr(NAN).encode() if index >= first and (index - first) % 2 == 0 and b"nan" in arg.lower() else arg
        for index, arg in enumerate(args)
    )


_WORDS: Final = frozenset({b"NX", b"XX", b"GT", b"LT"})


def write_scores(name: str, args: Args, frame: bytes) -> bytes:
    """Return a reply of the real store with its scores as ElasticKV writes them."""
    stride = _STRIDES.get(name, 0)
    if name in _RANGES and any(argument.upper() == b"WITHSCORES" for argument in args[4:]):
        stride = 2
    if not stride or is_error(frame) or is_null(frame):
        return frame
    value = value_of(frame)
    if not isinstance(value, list):
        return encode.bulk(shortest(value))
    return encode.array(
        encode.bulk(shortest(element) if (index + 1) % stride == 0 else element)
        for index, element in enumerate(value)
    )
