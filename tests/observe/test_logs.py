"""Log lines: JSON, one per event, and not too many of them."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from dualkv.observe.logs import JsonFormatter, RateLimit


def formatted(message: str, *args: object, exc_info: Any = None, **extra: object) -> dict[str, Any]:
    """Return what a record becomes, read back."""
    record = logging.LogRecord("dualkv.test", logging.WARNING, "", 0, message, args, exc_info)
    vars(record).update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_line_has_time_level_logger_and_message() -> None:
    """What every line has, whatever it is about."""
    line = formatted("lost %d", 3)

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "dualkv.test", "message": "lost 3"}


def test_extra_becomes_fields() -> None:
    """Numbers stay numbers, bytes become text whatever they hold, other things say what they are."""
    line = formatted("x", items=3, key=b"k\xff", why=ValueError("no"))

    assert (line["items"], line["key"], line["why"]) == (3, "k\\xff", "no")


def test_line_ends_in_text_stay_inside_the_line() -> None:
    """Nobody can forge a second line."""
    assert formatted("a\nb", why="c\r\nd")["why"] == "c\r\nd"


def test_traceback_is_a_field() -> None:
    """An exception does not spread over many lines."""
    try:
        raise ValueError("broken")
    except ValueError:
        line = formatted("failed", exc_info=sys.exc_info())

    assert line["exception"].endswith("ValueError: broken")


def test_rate_limit_lets_one_through_per_interval_and_counts_the_others() -> None:
    """Each line that passes says how many did not since the last one."""
    now = 100.0
    limit = RateLimit(5.0, lambda: now)

    assert [limit.allow() for _ in range(3)] == [0, None, None]
    now = 104.9
    assert limit.allow(10) is None
    now = 105.0
    assert [limit.allow(), limit.allow()] == [12, None]
    now = 200.0
    assert limit.allow() == 1
