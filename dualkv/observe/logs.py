"""JSON lines on stdout, and a limit for lines that would repeat."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import attrs

__all__ = ["AUDIT_LOGGER", "JsonFormatter", "RateLimit", "configure_logging"]

AUDIT_LOGGER: Final = "dualkv.control"
"""Who changed what: that is told at any level."""

_STANDARD_FIELDS: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", (), None))
) | {"message", "asctime", "taskName"}  # fmt: skip


class JsonFormatter(logging.Formatter):
    """One JSON object per record; what was given as ``extra=`` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_text, ensure_ascii=False)


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def configure_logging(level: str, worker: int | None = None) -> None:
    """Send dualkv's log lines to stdout as JSON, from *level* (``info``) on.

    Args:
        level: By its name.
        worker: Which of several workers this is: its lines say so.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    if worker is not None:
        handler.addFilter(partial(_name_worker, worker))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("dualkv").setLevel(level.upper())
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # `observe.sentry` says it itself, once


def _name_worker(worker: int, record: logging.LogRecord) -> bool:
    record.worker = worker
    return True


@attrs.define
class RateLimit:
    """Lets one line through per interval and counts the others."""

    interval_seconds: float
    _clock: Callable[[], float]
    _open_at: float = attrs.field(init=False, default=float("-inf"))
    _suppressed: int = attrs.field(init=False, default=0)

    def allow(self, count: int = 1) -> int | None:
        """Return how many were suppressed since the last line, or None to stay quiet now.

        Args:
            count: How many events this one stands for.
        """
        now = self._clock()
        if now < self._open_at:
            self._suppressed += count
            return None
        self._open_at = now + self.interval_seconds
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
