"""Values as people write them in settings: durations, sizes, addresses.

Each function takes the text and returns the value, or raises `ConfigError` with what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from dualkv.errors import ConfigError

__all__ = [
    "DATABASE_SUFFIXES",
    "auth",
    "boolean",
    "count",
    "divergence_log",
    "duration",
    "fraction",
    "fsync",
    "label",
    "listen_address",
    "log_level",
    "one_of",
    "optional_listen_address",
    "positive_count",
    "positive_duration",
    "size",
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)\s*([KMG]i?B|B)?", re.IGNORECASE)
_BYTES: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def duration(text: str) -> float:
    """Return the seconds of ``500ms``, ``3s``, ``5m``, ``1m30s``, or ``0``."""
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{text!r} is not a duration such as 500ms, 3s or 5m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def positive_duration(text: str) -> float:
    """Return the seconds of a duration that is not 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise ConfigError("must be more than 0")
    return seconds


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a function that takes one of *choices* and nothing else."""

    def chosen(text: str) -> str:
        """Return *text* if it is one of the words."""
        if text not in choices:
            *others, last = map(repr, choices)
            raise ConfigError(f"{text!r} is not {', '.join(others)} or {last}")
        return text

    return chosen


auth = one_of("configured", "pass-through", "none")
"""Whom clients must be."""

fsync = one_of("never", "interval", "always")
"""When something is forced to the disk."""


DATABASE_SUFFIXES: Final = (".sqlite", ".db")
"""Files with these are SQLite databases."""


def divergence_log(text: str) -> str:
    """Return the path of a file whose name tells its format: ``.jsonl``, ``.sqlite``, ``.db``; or nothing."""
    if text and not text.endswith((".jsonl", *DATABASE_SUFFIXES)):
        raise ConfigError(f"{text!r} does not end in .jsonl (JSON lines), .sqlite or .db (SQLite)")
    return text


def boolean(text: str) -> bool:
    """Return whether *text* is ``true``."""
    return one_of("true", "false")(text.lower()) == "true"


def count(text: str) -> int:
    """Return a whole number, 0 or more."""
    try:
        number = int(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a whole number") from None
    if number < 0:
        raise ConfigError("must not be negative")
    return number


def positive_count(text: str) -> int:
    """Return a whole number, 1 or more."""
    number = count(text)
    if number == 0:
        raise ConfigError("must be more than 0")
    return number


def size(text: str) -> int:
    """Return the bytes of ``65536``, ``512KiB``, ``64MiB``, more than 0."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is not a size such as 65536, 512KiB or 64MiB")
    number = int(found[1]) * _BYTES[(found[2] or "b")[:1].lower()]
    if number <= 0:
        raise ConfigError("must be more than 0")
    return number


def fraction(text: str) -> float:
    """Return a number between 0 and 1, which may be written as ``10%``."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number") from None
    if not 0 <= number <= 1:
        raise ConfigError("must lie between 0 and 1")
    return number


def listen_address(text: str) -> tuple[str, int]:
    """Return host (empty: all interfaces) and port of ``:6479``, ``127.0.0.1:6479``, ``[::1]:6479``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not an address such as :6479 or 127.0.0.1:6479")
    return host.strip("[]"), int(port)


def optional_listen_address(text: str) -> tuple[str, int] | None:
    """Return a listen address, or None for ``off``."""
    return None if text in ("", "off") else listen_address(text)


def log_level(text: str) -> str:
    """Return the name of a log level."""
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{text!r} is not a log level (debug, info, warning, error)")
    return text.lower()


def label(text: str) -> str:
    """Return a name that may be a metric's label."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", text):
        raise ConfigError(f"{text!r} is not a name (lower case, at most 31 characters)")
    return text
